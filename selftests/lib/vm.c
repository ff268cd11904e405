// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device and VMs: opening, creating, guest memory with page tables,
 * descriptor tables and the program's own image in it, slots. Called by the
 * tests; no locks.
 */
#include <cpuid.h>
#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "guest.h"
#include "test_vm.h"

#define KVM_MISC_MINOR	232

/*
 * End the test at once: like a failed ASSERT_*() the harness sees an abort.
 */
void test_die(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "# %s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

const char *test_device(void)
{
	const char *path = getenv("LODGE_DEVICE");

	return path && *path ? path : "/dev/lodge";
}

unsigned int test_slowness(void)
{
	const char *times = getenv("LODGE_SLOW");

	return times && atoi(times) > 0 ? (unsigned int)atoi(times) : 1;
}

/* True if the device under test is KVM's own node, under whatever name. */
bool test_device_is_kvm(void)
{
	struct stat st;

	return stat(test_device(), &st) == 0 && S_ISCHR(st.st_mode) &&
	       minor(st.st_rdev) == KVM_MISC_MINOR;
}

/* Which of VMCALL and VMMCALL this CPU has. */
bool test_cpu_has_vmcall;

__constructor
static void look_at_cpu(void)
{
	unsigned int eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	test_cpu_has_vmcall = ecx & (1 << 5);
}

/*
 * Without a device there is nothing to test: kselftest wants a program to say
 * so in its plan and to exit with 4. Runs before the harness prints anything.
 */
__constructor
static void skip_without_device(void)
{
	if (access(test_device(), F_OK) == 0)
		return;
	printf("TAP version 13\n1..0 # SKIP no %s\n", test_device());
	fflush(stdout);
	_exit(4);
}

int device_open(void)
{
	int fd = open(test_device(), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		TEST_DIE("open %s: %m", test_device());
	return fd;
}

int device_cap(int device_fd, long cap)
{
	return dev_ioctl(device_fd, KVM_CHECK_EXTENSION, cap);
}

int vm_cap(struct test_vm *vm, long cap)
{
	return vm_ioctl(vm, KVM_CHECK_EXTENSION, cap);
}

int fd_ioctl_check(int ret, const char *cmd, const char *file, int line)
{
	if (ret < 0)
		test_die(file, line, "%s: %s", cmd, strerror(-ret));
	return ret;
}

/* A VM without memory. */
void vm_create_bare(struct test_vm *vm)
{
	int device = device_open();

	memset(vm, 0, sizeof(*vm));
	vm->fd = dev_ioctl(device, KVM_CREATE_VM, 0);
	close(device);
}

int __vm_set_slot(struct test_vm *vm, u32 slot, u32 flags,
		  u64 gpa, u64 size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

void vm_set_slot(struct test_vm *vm, u32 slot, u32 flags,
		 u64 gpa, u64 size, void *hva)
{
	int ret = __vm_set_slot(vm, slot, flags, gpa, size, hva);

	if (ret)
		TEST_DIE("slot %u at %#lx: %s", slot, (unsigned long)gpa,
			 strerror(-ret));
}

/* Copy the program's PT_LOAD segments to where they are linked. */
static void copy_image(struct test_vm *vm)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);
	unsigned long i, n = getauxval(AT_PHNUM);

	for (i = 0; i < n; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (ph[i].p_vaddr < GUEST_STACKS ||
		    ph[i].p_vaddr + ph[i].p_memsz > vm->mem_size)
			TEST_DIE("segment at %#lx does not fit: static-pie?",
				 (unsigned long)ph[i].p_vaddr);
		memcpy(vm_ptr(vm, ph[i].p_vaddr), (void *)ph[i].p_vaddr,
		       ph[i].p_memsz);
	}
}

static void write_page_tables(struct test_vm *vm)
{
	u64 *pml4 = vm_ptr(vm, GUEST_PML4);
	u64 *pdpt = vm_ptr(vm, GUEST_PDPT);
	u64 *pd = vm_ptr(vm, GUEST_PD);
	u64 i;

	/* Present, writable, user; the leaves are 2 MiB pages. */
	pml4[0] = GUEST_PDPT | 7;
	for (i = 0; i < 4; i++)
		pdpt[i] = (GUEST_PD + i * TEST_PAGE_SIZE) | 7;
	for (i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | 0x87;
}

static void write_descriptors(struct test_vm *vm)
{
	u64 *gdt = vm_ptr(vm, GUEST_GDT);
	u64 *idt = vm_ptr(vm, GUEST_IDT);
	u32 *tss = vm_ptr(vm, GUEST_TSS);
	u64 entry, i;

	gdt[GUEST_CODE64 / 8] = 0x00af9b000000ffffULL;
	gdt[GUEST_DATA / 8] = 0x00cf93000000ffffULL;
	gdt[GUEST_CODE32 / 8] = 0x00cf9b000000ffffULL;
	gdt[GUEST_USER_DATA / 8] = 0x00cff3000000ffffULL;
	gdt[GUEST_USER_CODE64 / 8] = 0x00affb000000ffffULL;
	gdt[GUEST_TSS_SEL / 8] = 0x00008b0000000067ULL | GUEST_TSS << 16;
	gdt[GUEST_TSS_SEL / 8 + 1] = 0;
	gdt[GUEST_CODE16 / 8] = 0x00009b000000ffffULL;

	/* The I/O permission map begins behind the limit: no port at all. */
	tss[25] = 0x68U << 16;
	/* RSP0, for interrupts of user code; IST 1 for who wants it. */
	tss[1] = GUEST_STACKS - GUEST_STACK_SIZE / 2;
	tss[9] = GUEST_STACKS - GUEST_STACK_SIZE / 4 * 3;

	for (i = 0; i < 256; i++) {
		entry = (uintptr_t)guest_vectors + i * 16;
		idt[i * 2] = (entry & 0xffff) | GUEST_CODE64 << 16 |
			     0x8e00ULL << 32 | (entry >> 16 & 0xffff) << 48;
		idt[i * 2 + 1] = entry >> 32;
	}
}

/* A VM with GUEST_MEM_SIZE of memory in slot 0, ready for 64-bit guests. */
void vm_create(struct test_vm *vm)
{
	vm_create_bare(vm);
	vm->mem_size = GUEST_MEM_SIZE;
	vm->mem = mmap(NULL, vm->mem_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->mem == MAP_FAILED)
		TEST_DIE("guest memory: %m");
	copy_image(vm);
	write_page_tables(vm);
	write_descriptors(vm);
	vm_set_slot(vm, 0, 0, 0, vm->mem_size, vm->mem);
}

void vm_destroy(struct test_vm *vm)
{
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->mem)
		munmap(vm->mem, vm->mem_size);
	vm->fd = -1;
	vm->mem = NULL;
}

void vm_create_irqchip(struct test_vm *vm)
{
	vm_ioctl(vm, KVM_CREATE_IRQCHIP, 0);
}

void vm_irq_line(struct test_vm *vm, u32 gsi, u32 level)
{
	struct kvm_irq_level irq = { .irq = gsi, .level = level };

	vm_ioctl(vm, KVM_IRQ_LINE, &irq);
}

void vm_drop(struct test_vm *vm, u64 gpa, size_t size)
{
	char save[2 * TEST_PAGE_SIZE];
	void *p = vm_ptr(vm, gpa);

	if (size > sizeof(save))
		TEST_DIE("more than two pages");
	memcpy(save, p, size);
	if (madvise(p, size, MADV_DONTNEED))
		TEST_DIE("madvise: %m");
	memcpy(p, save, size);
}

void vm_place(struct test_vm *vm, u64 gpa, const void *start,
	      const void *end)
{
	memcpy(vm_ptr(vm, gpa), start, (uintptr_t)end - (uintptr_t)start);
}

bool stat_find(int fd, const char *name, long *at)
{
	struct kvm_stats_header header;
	union {
		struct kvm_stats_desc desc;
		char bytes[256];
	} u;
	u32 i, each;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		TEST_DIE("read: %m");
	each = sizeof(u.desc) + header.name_size;
	for (i = 0; i < header.num_desc; i++) {
		if (each > sizeof(u) ||
		    pread(fd, &u, each, header.desc_offset + i * each) != (ssize_t)each)
			TEST_DIE("read: %m");
		if (strcmp(u.bytes + sizeof(u.desc), name))
			continue;
		*at = header.data_offset + u.desc.offset;
		return true;
	}
	return false;
}

u64 vm_stat(struct test_vm *vm, const char *name)
{
	int fd = __vm_ioctl(vm, KVM_GET_STATS_FD, 0);
	u64 value = ~0UL;
	long at;

	if (fd < 0)
		return value;
	if (stat_find(fd, name, &at) && pread(fd, &value, sizeof(value), at) != sizeof(value))
		TEST_DIE("read: %m");
	close(fd);
	return value;
}
