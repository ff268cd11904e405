// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs: creating, CPUID, MSRs, first states, running to an exit or to a call
 * of the guest. Called by the tests; no locks.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>

#include "guest.h"
#include "test_vm.h"

#define CPUID_ROOM	256

int __vcpu_create(struct test_vm *vm, struct test_vcpu *vcpu, unsigned int id)
{
	int device, fd;

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->fd = -1;
	fd = __vm_ioctl(vm, KVM_CREATE_VCPU, id);
	if (fd < 0)
		return fd;
	vcpu->fd = fd;
	vcpu->id = id;
	vcpu->vm = vm;

	device = device_open();
	vcpu->run_size = (size_t)dev_ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
	close(device);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, fd, 0);
	if (vcpu->run == MAP_FAILED)
		TEST_DIE("mmap of vCPU %u: %m", id);
	return 0;
}

void vcpu_create(struct test_vm *vm, struct test_vcpu *vcpu, unsigned int id)
{
	int ret = __vcpu_create(vm, vcpu, id);

	if (ret)
		TEST_DIE("create vCPU %u: %s", id, strerror(-ret));
	vcpu_set_supported_cpuid(vcpu);
}

void vcpu_destroy(struct test_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

/* What the device supports; the caller frees it. */
struct kvm_cpuid2 *cpuid_supported(int device_fd)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) +
			  CPUID_ROOM * sizeof(cpuid->entries[0]));
	if (!cpuid)
		TEST_DIE("out of memory");
	cpuid->nent = CPUID_ROOM;
	dev_ioctl(device_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	return cpuid;
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, u32 leaf,
				    u32 index)
{
	struct kvm_cpuid_entry2 *e;
	u32 i;

	for (i = 0; i < cpuid->nent; i++) {
		e = &cpuid->entries[i];
		if (e->function != leaf)
			continue;
		if (e->index == index ||
		    !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX))
			return e;
	}
	return NULL;
}

void vcpu_set_supported_cpuid(struct test_vcpu *vcpu)
{
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);

	vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	close(device);
}

void vcpu_offer_deadline(struct test_vcpu *vcpu)
{
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 1, 0);

	if (!e)
		TEST_DIE("CPUID has no leaf 1");
	e->ecx |= 1U << 24;
	vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	close(device);
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

/* Both return the number of MSRs done (0 or 1), or -errno. */
int __vcpu_get_msr(struct test_vcpu *vcpu, u32 index, u64 *value)
{
	struct one_msr msr = { .head.nmsrs = 1, .entry.index = index };
	int ret = __vcpu_ioctl(vcpu, KVM_GET_MSRS, &msr);

	*value = msr.entry.data;
	return ret;
}

int __vcpu_set_msr(struct test_vcpu *vcpu, u32 index, u64 value)
{
	struct one_msr msr = {
		.head.nmsrs = 1,
		.entry.index = index,
		.entry.data = value,
	};

	return __vcpu_ioctl(vcpu, KVM_SET_MSRS, &msr);
}

u64 vcpu_get_msr(struct test_vcpu *vcpu, u32 index)
{
	u64 value;
	int ret = __vcpu_get_msr(vcpu, index, &value);

	if (ret != 1)
		TEST_DIE("get MSR %#x: %d", index, ret);
	return value;
}

void vcpu_set_msr(struct test_vcpu *vcpu, u32 index, u64 value)
{
	int ret = __vcpu_set_msr(vcpu, index, value);

	if (ret != 1)
		TEST_DIE("set MSR %#x to %#lx: %d", index,
			 (unsigned long)value, ret);
}

static void flat_segment(struct kvm_segment *s, u16 selector, bool code,
			 bool l)
{
	*s = (struct kvm_segment) {
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 11 : 3,
		.present = 1,
		.db = !l,
		.s = 1,
		.l = l,
		.g = 1,
	};
}

static void set_data_segments(struct kvm_sregs *sregs,
			      const struct kvm_segment *seg)
{
	sregs->ds = *seg;
	sregs->es = *seg;
	sregs->fs = *seg;
	sregs->gs = *seg;
	sregs->ss = *seg;
}

static void set_regs(struct test_vcpu *vcpu, u64 rip, u64 rsp,
		     u64 rdi)
{
	struct kvm_regs regs = {
		.rip = rip,
		.rsp = rsp,
		.rdi = rdi,
		.rflags = 2,
	};

	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
}

void vcpu_setup_real(struct test_vcpu *vcpu, u16 cs, u16 ip)
{
	struct kvm_segment seg = {
		.limit = 0xffff,
		.type = 3,
		.present = 1,
		.s = 1,
	};
	struct kvm_sregs sregs;

	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	set_data_segments(&sregs, &seg);
	seg.type = 11;
	seg.selector = cs;
	seg.base = (u64)cs << 4;
	sregs.cs = seg;
	sregs.gdt = (struct kvm_dtable) { .limit = 0xffff };
	sregs.idt = (struct kvm_dtable) { .limit = 0x3ff };
	sregs.cr0 = 0x10;
	sregs.cr3 = 0;
	sregs.cr4 = 0;
	sregs.efer = 0;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	set_regs(vcpu, ip, 0x8000, 0);
}

static void set_tables(struct kvm_sregs *sregs)
{
	sregs->gdt = (struct kvm_dtable) { .base = GUEST_GDT, .limit = 0x4f };
	sregs->idt = (struct kvm_dtable) { .base = GUEST_IDT, .limit = 0xfff };
	sregs->tr = (struct kvm_segment) {
		.base = GUEST_TSS,
		.limit = 0x67,
		.selector = GUEST_TSS_SEL,
		.type = 11,
		.present = 1,
	};
	sregs->ldt = (struct kvm_segment) { .unusable = 1 };
}

/* Flat 32-bit protected mode without paging; interrupts have no IDT. */
void vcpu_setup_prot32(struct test_vcpu *vcpu, u32 eip)
{
	struct kvm_segment seg;
	struct kvm_sregs sregs;

	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	flat_segment(&seg, GUEST_DATA, false, false);
	set_data_segments(&sregs, &seg);
	flat_segment(&sregs.cs, GUEST_CODE32, true, false);
	set_tables(&sregs);
	sregs.idt.limit = 0;
	sregs.cr0 = 0x31;
	sregs.cr3 = 0;
	sregs.cr4 = 0;
	sregs.efer = 0;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	set_regs(vcpu, eip, GUEST_STACKS, 0);
}

/*
 * 64-bit mode, CPL 0, interrupts off, about to call @fn(@arg), on a stack that
 * ends at @stack.
 */
void vcpu_setup_long_stack(struct test_vcpu *vcpu, void (*fn)(u64), u64 arg,
			   u64 stack)
{
	u64 rsp = stack - 8;
	struct kvm_segment seg;
	struct kvm_sregs sregs;

	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	flat_segment(&seg, GUEST_DATA, false, false);
	set_data_segments(&sregs, &seg);
	flat_segment(&sregs.cs, GUEST_CODE64, true, true);
	set_tables(&sregs);
	/* PE MP ET NE WP PG; PAE OSFXSR OSXMMEXCPT; SCE LME LMA NXE. */
	sregs.cr0 = 0x80010033;
	sregs.cr3 = GUEST_PML4;
	sregs.cr4 = 0x620;
	sregs.efer = 0xd01;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);

	*(u64 *)vm_ptr(vcpu->vm, rsp) = (uintptr_t)guest_return;
	set_regs(vcpu, (uintptr_t)fn, rsp, arg);
}

/* The same, on the vCPU's own stack: there is room for those with ids to 31. */
void vcpu_setup_long(struct test_vcpu *vcpu, void (*fn)(u64),
		     u64 arg)
{
	vcpu_setup_long_stack(vcpu, fn, arg,
			      GUEST_STACKS - vcpu->id * GUEST_STACK_SIZE);
}

void vm_with_vcpu(struct test_vm *vm, struct test_vcpu *vcpu,
		  void (*fn)(u64), u64 arg)
{
	vm_create(vm);
	vcpu_create(vm, vcpu, 0);
	vcpu_setup_long(vcpu, fn, arg);
}

const char *exit_name(u32 reason)
{
	static const char * const names[] = {
		[KVM_EXIT_UNKNOWN] = "UNKNOWN",
		[KVM_EXIT_IO] = "IO",
		[KVM_EXIT_DEBUG] = "DEBUG",
		[KVM_EXIT_HLT] = "HLT",
		[KVM_EXIT_MMIO] = "MMIO",
		[KVM_EXIT_IRQ_WINDOW_OPEN] = "IRQ_WINDOW_OPEN",
		[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
		[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
		[KVM_EXIT_INTR] = "INTR",
		[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
	};

	if (reason >= ARRAY_SIZE(names) || !names[reason])
		return "?";
	return names[reason];
}

/* Say on stderr what the last exit was. */
void dump_exit(struct test_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;
	u32 i;

	fprintf(stderr, "# exit %u %s", run->exit_reason,
		exit_name(run->exit_reason));
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		fprintf(stderr, " %s port %#x size %u count %u",
			run->io.direction ? "out" : "in", run->io.port,
			run->io.size, run->io.count);
		break;
	case KVM_EXIT_MMIO:
		fprintf(stderr, " %s %#llx size %u",
			run->mmio.is_write ? "write" : "read",
			run->mmio.phys_addr, run->mmio.len);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		fprintf(stderr, " suberror %u", run->internal.suberror);
		for (i = 0; i < run->internal.ndata && i < 16; i++)
			fprintf(stderr, " %llx", run->internal.data[i]);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fprintf(stderr, " reason %#llx",
			run->fail_entry.hardware_entry_failure_reason);
		break;
	}
	if (__vcpu_ioctl(vcpu, KVM_GET_REGS, &regs) == 0)
		fprintf(stderr, ", rip %#llx", regs.rip);
	fputc('\n', stderr);
}

void vcpu_run_expect_at(struct test_vcpu *vcpu, u32 reason,
			const char *file, int line)
{
	int ret = __vcpu_run(vcpu);

	if (ret)
		test_die(file, line, "KVM_RUN: %s, expected exit %s",
			 strerror(-ret), exit_name(reason));
	if (vcpu->run->exit_reason == reason)
		return;
	vcpu_guest_call(vcpu);
	dump_exit(vcpu);
	test_die(file, line, "expected exit %s", exit_name(reason));
}

u32 vcpu_run_to_out32(struct test_vcpu *vcpu, u16 port)
{
	vcpu_run_expect(vcpu, KVM_EXIT_IO);
	if (vcpu->run->io.port != port || vcpu->run->io.size != 4) {
		dump_exit(vcpu);
		TEST_DIE("expected an out");
	}
	return *(u32 *)io_data(vcpu);
}

int vcpu_stat_open(struct test_vcpu *vcpu, const char *name, long *at)
{
	int fd = vcpu_ioctl(vcpu, KVM_GET_STATS_FD, 0);

	if (!stat_find(fd, name, at))
		TEST_DIE("nothing counts %s", name);
	return fd;
}

u64 vcpu_stat(struct test_vcpu *vcpu, const char *name)
{
	u64 value = 0;
	long at;
	int fd = vcpu_stat_open(vcpu, name, &at);

	if (pread(fd, &value, sizeof(value), at) != sizeof(value))
		TEST_DIE("read: %m");
	close(fd);
	return value;
}

void *io_data(struct test_vcpu *vcpu)
{
	return (char *)vcpu->run + vcpu->run->io.data_offset;
}

/*
 * If the last exit is a call of the guest, return it, else NULL. A failed
 * assertion in the guest, or an exception it did not expect, ends the test.
 */
struct guest_call *vcpu_guest_call(struct test_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct guest_call *call;
	u32 addr;

	if (run->exit_reason != KVM_EXIT_IO || !run->io.direction ||
	    run->io.port != GUEST_CALL_PORT || run->io.size != 4)
		return NULL;
	memcpy(&addr, io_data(vcpu), sizeof(addr));
	if (addr > GUEST_MEM_SIZE - sizeof(*call))
		TEST_DIE("guest call at %#x", addr);
	call = vm_ptr(vcpu->vm, addr);
	if (call->kind == GUEST_CALL_ASSERT)
		test_die(call->file, (int)call->line,
			 "guest: %s (%#lx, %#lx)", call->text,
			 (unsigned long)call->a, (unsigned long)call->b);
	if (call->kind == GUEST_CALL_EXCEPTION)
		TEST_DIE("guest: exception %lu, error %#lx, at %#lx",
			 (unsigned long)call->a, (unsigned long)call->b,
			 (unsigned long)call->line);
	return call;
}

static struct guest_call *run_to_call(struct test_vcpu *vcpu, const char *file,
				      int line)
{
	struct guest_call *call;
	int ret = __vcpu_run(vcpu);

	if (ret)
		test_die(file, line, "KVM_RUN: %s", strerror(-ret));
	call = vcpu_guest_call(vcpu);
	if (!call) {
		dump_exit(vcpu);
		test_die(file, line, "expected a call of the guest");
	}
	return call;
}

u64 vcpu_run_to_sync_at(struct test_vcpu *vcpu, const char *file,
			int line)
{
	struct guest_call *call = run_to_call(vcpu, file, line);

	if (call->kind != GUEST_CALL_SYNC)
		test_die(file, line, "the guest is done, expected a sync");
	return call->a;
}

void vcpu_run_to_done_at(struct test_vcpu *vcpu, const char *file, int line)
{
	while (run_to_call(vcpu, file, line)->kind != GUEST_CALL_DONE)
		;
}

/* For tests that only want to interrupt a system call. */
void host_signal_noop(int sig __maybe_unused)
{
}

int host_stay_on_first_cpu(void)
{
	cpu_set_t allowed, one;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -1;
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one);
}
