// SPDX-License-Identifier: GPL-2.0-only
/*
 * The benchmark's VMs: memory with page tables and the built-in guest, vCPUs that enter it,
 * and their counters.  Called by the rows, on the thread of the vCPU; no lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../cpuid.h"
#include "bench.h"

#define CR0		0x80010033ull	/* PE MP ET NE WP PG */
#define CR4		0x620ull	/* PAE OSFXSR OSXMMEXCPT */
#define EFER		0xd00ull	/* LME LMA NXE */
#define PTE_TABLE	0x7ull		/* present, writable, user */
#define PTE_2M		0x87ull
#define APIC_BASE_X2APIC	BIT_ULL(10)

/* Three pages for real mode on Intel, and one more, in the hole below the BIOS. */
#define TSS_ADDRESS		0xfffbd000ul
#define IDENTITY_MAP_ADDRESS	0xfffbc000ull

static const struct guest_head *guest_head(void)
{
	return (const struct guest_head *)bench_guest;
}

static void fill_page_tables(u8 *memory)
{
	u64 *pml4 = (u64 *)(memory + GUEST_PML4);
	u64 *pdpt = (u64 *)(memory + GUEST_PDPT);
	u64 *pd = (u64 *)(memory + GUEST_PD);

	pml4[0] = GUEST_PDPT | PTE_TABLE;
	for (u64 i = 0; i < 4; i++)
		pdpt[i] = (GUEST_PD + i * 4096) | PTE_TABLE;
	for (u64 i = 0; i < 4ull * 512; i++)
		pd[i] = i << 21 | PTE_2M;
}

/* One gate; whatever else comes ends in a triple fault, which the host sees. */
static void fill_descriptors(u8 *memory)
{
	u64 *gdt = (u64 *)(memory + GUEST_GDT);
	u64 *gate = (u64 *)(memory + GUEST_IDT + GUEST_VECTOR * 16);
	u64 entry = guest_head()->interrupt;

	gdt[GUEST_CS / 8] = 0x00af9b000000ffffull;
	gdt[GUEST_DS / 8] = 0x00cf93000000ffffull;
	gate[0] = (entry & 0xffff) | GUEST_CS << 16 | 0x8e00ull << 32 |
		  (entry >> 16 & 0xffff) << 48;
	gate[1] = entry >> 32;
}

void bench_vm_fill_memory(u8 *memory)
{
	fill_page_tables(memory);
	fill_descriptors(memory);
	memcpy(memory + GUEST_IMAGE, bench_guest, (size_t)(bench_guest_end - bench_guest));
}

void *bench_memory(struct bench *bench, size_t size, bool huge)
{
	size_t align = size >= GIB(1) ? GIB(1) : MIB(2);
	u8 *at = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		row_skip(bench, "cannot map %zu MiB of memory: %m", size >> 20);
	at += align_up((uintptr_t)at, align) - (uintptr_t)at;
	if (madvise(at, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		row_skip(bench, "this kernel has no transparent huge pages (%m)");
	return at;
}

void bench_slot(struct bench *bench, struct bench_vm *vm, u32 slot, u32 flags, u64 gpa, u64 size,
		void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	must_ioctl(bench, vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

struct kvm_cpuid2 *bench_cpuid(struct bench *bench, unsigned int id, unsigned int cpus)
{
	static struct cpuid_table table;

	memset(&table, 0, sizeof(table));
	table.head.nent = CPUID_ENTRIES;
	must_ioctl(bench, bench->node, KVM_GET_SUPPORTED_CPUID, &table);
	cpuid_fix_up(&table, id, cpus, has_capability(bench->node, KVM_CAP_TSC_DEADLINE_TIMER));
	return &table.head;
}

static bool is_intel(struct bench *bench)
{
	const struct kvm_cpuid2 *cpuid = bench_cpuid(bench, 0, 1);

	for (u32 i = 0; i < cpuid->nent; i++)
		if (!cpuid->entries[i].function)
			return cpuid->entries[i].ecx == 0x6c65746e;	/* "ntel" */
	return false;
}

const char *const exit_reasons[MAX_REASONS] = {
	"io_exits", "mmio_exits", "halt_exits", "pf_taken", "hypercalls", "irq_injections",
};

/* Note where in the file a counter is, if it is one that we want. */
static void note_counter(struct bench_vcpu *vcpu, const char *name, size_t size, u64 at)
{
	if (!strncmp(name, "exits", size))
		vcpu->exits_at = at;
	for (unsigned int i = 0; i < MAX_REASONS; i++)
		if (!strncmp(name, exit_reasons[i], size))
			vcpu->reasons_at[i] = at;
}

void bench_open_stats(struct bench_vcpu *vcpu)
{
	struct kvm_stats_header header;
	struct {
		struct kvm_stats_desc desc;
		char name[64];
	} one;

	vcpu->exits_at = 0;
	vcpu->stats_fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	if (vcpu->stats_fd < 0)
		return;
	if (pread(vcpu->stats_fd, &header, sizeof(header), 0) != sizeof(header) ||
	    header.name_size > sizeof(one.name))
		header.num_desc = 0;
	for (u32 i = 0; i < header.num_desc; i++) {
		size_t size = sizeof(one.desc) + header.name_size;

		if (pread(vcpu->stats_fd, &one, size, header.desc_offset + i * (off_t)size) !=
		    (ssize_t)size)
			break;
		note_counter(vcpu, one.desc.name, header.name_size,
			     header.data_offset + one.desc.offset);
	}
	if (vcpu->exits_at)
		return;
	close(vcpu->stats_fd);
	vcpu->stats_fd = -1;
}

/* By a system call that the runner's filter allows. */
static u64 read_counter(const struct bench_vcpu *vcpu, u64 at)
{
	u64 value;
	struct iovec part = { .iov_base = &value, .iov_len = sizeof(value) };

	if (vcpu->stats_fd < 0 || !at ||
	    preadv(vcpu->stats_fd, &part, 1, (off_t)at) != sizeof(value))
		return 0;
	return value;
}

u64 bench_exits(const struct bench_vcpu *vcpu)
{
	return read_counter(vcpu, vcpu->exits_at);
}

u64 bench_exits_for(const struct bench_vcpu *vcpu, unsigned int reason)
{
	return read_counter(vcpu, vcpu->reasons_at[reason]);
}

void bench_watch(struct bench *bench, struct bench_vcpu *vcpu, u64 own)
{
	bench->watched = vcpu->stats_fd < 0 ? NULL : vcpu;
	bench->watched_exits = bench_exits(vcpu);
	bench->own_exits = own;
}

void bench_vcpu_reset(struct bench *bench, struct bench_vm *vm, unsigned int id)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = GUEST_CS, .type = 0xb, .present = 1, .s = 1,
		.g = 1, .l = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = GUEST_DS, .type = 0x3, .present = 1, .s = 1,
		.g = 1, .db = 1,
	};
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = {
		.rip = guest_head()->main,
		.rsp = GUEST_STACKS - id * 4096 - 8,
		.rdi = vm->irqchip,
		.rflags = 2,
	};
	struct bench_vcpu *vcpu = &vm->vcpus[id];
	struct kvm_sregs sregs;

	must_ioctl(bench, vcpu->fd, KVM_GET_SREGS, &sregs);
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.ss = data;
	sregs.gs = data;
	sregs.gs.base = GUEST_SHARED + id * 4096;
	sregs.gdt.base = GUEST_GDT;
	sregs.gdt.limit = 3 * 8 - 1;
	sregs.idt.base = GUEST_IDT;
	sregs.idt.limit = 256 * 16 - 1;
	sregs.cr0 = CR0;
	sregs.cr3 = GUEST_PML4;
	sregs.cr4 = CR4;
	sregs.efer = EFER;
	must_ioctl(bench, vcpu->fd, KVM_SET_SREGS, &sregs);
	must_ioctl(bench, vcpu->fd, KVM_SET_REGS, &regs);
	if (vm->irqchip)
		must_ioctl(bench, vcpu->fd, KVM_SET_MP_STATE, &runnable);
	vcpu->shared = (struct guest_shared *)(vm->memory + GUEST_SHARED + id * 4096);
	vcpu->shared->op = OP_NOTHING;
	vcpu->shared->intel = is_intel(bench);
}

void bench_vcpu_open(struct bench *bench, struct bench_vm *vm, unsigned int id, int fd)
{
	struct bench_vcpu *vcpu = &vm->vcpus[id];

	vcpu->fd = fd;
	vcpu->run = mmap(NULL, bench->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (vcpu->run == MAP_FAILED)
		row_fail(bench, "cannot map a vCPU's state: %m");
	must_ioctl(bench, fd, KVM_SET_CPUID2, bench_cpuid(bench, id, vm->nr_vcpus));
	bench_vcpu_reset(bench, vm, id);
}

void bench_vm_create(struct bench *bench, struct bench_vm *vm, unsigned int vcpus, bool irqchip)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	u64 identity = IDENTITY_MAP_ADDRESS;

	memset(vm, 0, sizeof(*vm));
	vm->irqchip = irqchip;
	vm->nr_vcpus = vcpus;
	vm->memory = bench_memory(bench, GUEST_MEMORY, false);
	bench_vm_fill_memory(vm->memory);
	vm->fd = must_ioctl(bench, bench->node, KVM_CREATE_VM, NULL);
	must_ioctl(bench, vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	must_ioctl(bench, vm->fd, KVM_SET_TSS_ADDR, (void *)TSS_ADDRESS);
	if (irqchip) {
		must_ioctl(bench, vm->fd, KVM_CREATE_IRQCHIP, NULL);
		must_ioctl(bench, vm->fd, KVM_CREATE_PIT2, &pit);
	}
	bench_slot(bench, vm, 0, 0, 0, GUEST_MEMORY, vm->memory);
	for (unsigned int id = 0; id < vcpus; id++) {
		int fd = must_ioctl(bench, vm->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)id);

		bench_vcpu_open(bench, vm, id, fd);
		bench_open_stats(&vm->vcpus[id]);
	}
}

void bench_align_tsc(struct bench *bench, struct bench_vm *vm, unsigned int id)
{
	u64 offset = 0;
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	if (ioctl(vm->vcpus[id].fd, KVM_SET_DEVICE_ATTR, &attribute))
		row_skip(bench, "the guest's TSC cannot be made the host's: KVM_VCPU_TSC_OFFSET: %m");
}

void bench_use_x2apic(struct bench *bench, struct bench_vm *vm, unsigned int id)
{
	struct bench_vcpu *vcpu = &vm->vcpus[id];
	struct kvm_sregs sregs;

	must_ioctl(bench, vcpu->fd, KVM_GET_SREGS, &sregs);
	sregs.apic_base |= APIC_BASE_X2APIC;
	must_ioctl(bench, vcpu->fd, KVM_SET_SREGS, &sregs);
	vcpu->shared->x2apic = true;
}

const char *exit_name(u32 reason)
{
	static const char * const names[] = {
		[KVM_EXIT_IO] = "IO",
		[KVM_EXIT_HYPERCALL] = "HYPERCALL",
		[KVM_EXIT_HLT] = "HLT",
		[KVM_EXIT_MMIO] = "MMIO",
		[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
		[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
		[KVM_EXIT_INTR] = "INTR",
		[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
	};

	return reason < ARRAY_SIZE(names) && names[reason] ? names[reason] : "of another kind";
}

void bench_run_to(struct bench *bench, struct bench_vcpu *vcpu, u32 reason)
{
	int error;

	do {
		error = ioctl(vcpu->fd, KVM_RUN, 0);
	} while (error && errno == EINTR);
	if (error)
		row_fail(bench, "KVM_RUN: %m");
	if (vcpu->run->exit_reason != reason)
		row_fail(bench, "the exit is %s (%u), not %s", exit_name(vcpu->run->exit_reason),
			 vcpu->run->exit_reason, exit_name(reason));
}

void bench_call(struct bench *bench, struct bench_vcpu *vcpu)
{
	bench_run_to(bench, vcpu, KVM_EXIT_IO);
	if (vcpu->run->io.port != PORT_DONE)
		row_fail(bench, "the guest's OUT is to port 0x%x, not 0x%x", vcpu->run->io.port,
			 PORT_DONE);
}
