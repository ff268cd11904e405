// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's RDMSR and WRMSR as the VMM decides of them: exits for what the kernel does
 * not know or refuses, and the filter, also for MSRs that need no exit otherwise.
 */
#include <kselftest_harness.h>

#include <pthread.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_PAT			0x277
#define MSR_STAR		0xc0000081
#define MSR_FS_BASE		0xc0000100
#define MSR_GS_BASE		0xc0000101
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_NONE		0x474f4f00

#define PAT_RESERVED		2UL	/* type 2 does not exist */

FIXTURE(filter) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(filter)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
}

FIXTURE_TEARDOWN(filter)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int enable_exits(struct test_vm *vm, u64 reasons)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args[0] = reasons,
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

/* A filter with one range of @nr MSRs; everything else by @flags. */
static int set_filter(struct test_vm *vm, u32 flags, u32 access, u32 base, u32 nr,
		      const void *bits)
{
	struct kvm_msr_filter filter = {
		.flags = flags,
		.ranges[3] = {
			.flags = access,
			.base = base,
			.nmsrs = nr,
			.bitmap = (void *)(uintptr_t)bits,
		},
	};

	return __vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter);
}

#define FILTER_BOTH	(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)

/* Ends the test unless the guest's access to @index is with us, for @reason. */
#define EXPECT_MSR_EXIT(exit, _reason, _index, _data) do {		\
	vcpu_run_expect(&self->vcpu, exit);				\
	EXPECT_EQ(_reason, self->vcpu.run->msr.reason);			\
	EXPECT_EQ(_index, self->vcpu.run->msr.index);			\
	EXPECT_EQ(_data, self->vcpu.run->msr.data);			\
	EXPECT_EQ(0, self->vcpu.run->msr.error);			\
} while (0)

static void guest_unknown(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr_try(MSR_NONE, &v), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(v, 0x1122334455667788);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_NONE, &v), 13);
	GUEST_ASSERT_EQ(guest_fault_error, 0);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_NONE, 0x8877665544332211), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_NONE, 1), 13);
	/* Known, but refused. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_PAT, PAT_RESERVED), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_PAT, PAT_RESERVED), 13);
	/* Switched off again. */
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_NONE, &v), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_NONE, 1), 13);
}

TEST_F(filter, exits)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_regs regs;
	u64 rip;

	EXPECT_EQ(-EINVAL, enable_exits(&self->vm, 8));
	EXPECT_EQ(-EINVAL, enable_exits(&self->vm, 1UL << 32));
	ASSERT_EQ(0, enable_exits(&self->vm, KVM_MSR_EXIT_REASON_UNKNOWN |
					     KVM_MSR_EXIT_REASON_INVAL));
	vcpu_setup_long(&self->vcpu, guest_unknown, 0);

	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE, 0);
	/* Meanwhile the guest is at the instruction, and completing it needs no entry. */
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	rip = regs.rip;
	run->msr.data = 0x1122334455667788;
	run->immediate_exit = 1;
	EXPECT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	run->immediate_exit = 0;
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(rip + 2, regs.rip);
	EXPECT_EQ(0x55667788, regs.rax);
	EXPECT_EQ(0x11223344, regs.rdx);

	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE, 0);
	run->msr.error = 1;
	EXPECT_MSR_EXIT(KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE,
			0x8877665544332211);
	EXPECT_MSR_EXIT(KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE, 1);
	run->msr.error = 1;
	EXPECT_MSR_EXIT(KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_INVAL, MSR_PAT, PAT_RESERVED);
	EXPECT_MSR_EXIT(KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_INVAL, MSR_PAT, PAT_RESERVED);
	run->msr.error = 1;
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, enable_exits(&self->vm, 0));
	vcpu_run_to_done(&self->vcpu);
}

/* User space that moves the guest elsewhere has finished with the instruction. */
TEST_F(filter, forgotten)
{
	ASSERT_EQ(0, enable_exits(&self->vm, KVM_MSR_EXIT_REASON_UNKNOWN));
	vcpu_setup_long(&self->vcpu, guest_unknown, 0);
	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE, 0);
	if (test_device_is_kvm())
		SKIP(return, "KVM lets the next instruction be skipped");
	vcpu_setup_long(&self->vcpu, guest_unknown, 0);
	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_UNKNOWN, MSR_NONE, 0);
}

static void guest_direct(u64 arg __maybe_unused)
{
	u64 v;

	/* MSRs that the CPU itself reads and writes, until the filter says otherwise. */
	wrmsr(MSR_GS_BASE, 0x5000);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_GS_BASE, &v), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_GS_BASE, 0), 13);
	GUEST_ASSERT_EQ(rdmsr(MSR_FS_BASE), 0);
	GUEST_SYNC(2);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_GS_BASE, &v), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(v, 0x77);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_GS_BASE, 0x99), GUEST_NO_FAULT);
	GUEST_SYNC(3);
	/* Only writes. */
	GUEST_ASSERT_EQ(rdmsr(MSR_GS_BASE), 0x5000);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_GS_BASE, 0), 13);
	GUEST_SYNC(4);
	wrmsr(MSR_GS_BASE, 0x6000);
	GUEST_ASSERT_EQ(rdmsr(MSR_GS_BASE), 0x6000);
}

TEST_F(filter, direct)
{
	/* Of three: FS base is allowed, GS base is not, KERNEL_GS_BASE is. */
	u64 bits = 5;

	vcpu_setup_long(&self->vcpu, guest_direct, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_ALLOW, FILTER_BOTH,
				MSR_FS_BASE, 3, &bits));
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	/* The VMM is not bound by it. */
	EXPECT_EQ(0x5000, vcpu_get_msr(&self->vcpu, MSR_GS_BASE));

	ASSERT_EQ(0, enable_exits(&self->vm, KVM_MSR_EXIT_REASON_FILTER));
	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_FILTER, MSR_GS_BASE, 0);
	self->vcpu.run->msr.data = 0x77;
	EXPECT_MSR_EXIT(KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_FILTER, MSR_GS_BASE, 0x99);
	ASSERT_EQ(3, vcpu_run_to_sync(&self->vcpu));
	EXPECT_EQ(0x5000, vcpu_get_msr(&self->vcpu, MSR_GS_BASE));

	ASSERT_EQ(0, enable_exits(&self->vm, 0));
	ASSERT_EQ(0, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_ALLOW, KVM_MSR_FILTER_WRITE,
				MSR_FS_BASE, 3, &bits));
	ASSERT_EQ(4, vcpu_run_to_sync(&self->vcpu));
	/* No range at all: as before. */
	ASSERT_EQ(0, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_ALLOW, 0, 0, 0, NULL));
	vcpu_run_to_done(&self->vcpu);
}

static void guest_default_deny(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr_try(MSR_PAT, &v), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_PAT + 1, &v), 13);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_STAR, &v), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_TSC_DEADLINE, 0), 13);
	/* x2APIC registers are never filtered. */
	GUEST_ASSERT_EQ(rdmsr_try(X2APIC_MSR(APIC_TASKPRI), &v), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(wrmsr_try(X2APIC_MSR(APIC_TASKPRI), 0x20), GUEST_NO_FAULT);
}

TEST_F(filter, default_deny)
{
	u64 bits = 1;

	ASSERT_EQ(0, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_DENY, FILTER_BOTH,
				MSR_PAT, 1, &bits));
	vcpu_setup_long(&self->vcpu, guest_default_deny, 0);
	/* xAPIC to x2APIC mode. */
	vcpu_set_msr(&self->vcpu, MSR_APICBASE,
		     vcpu_get_msr(&self->vcpu, MSR_APICBASE) | 1UL << 10);
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(filter, refused)
{
	static u64 bits[0x608 / sizeof(u64)];

	/* A vCPU keeps the filter that was there before the refused one. */
	ASSERT_EQ(0, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_DENY, FILTER_BOTH,
				MSR_PAT, 1, &(u64){ 1 }));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, 2, FILTER_BOTH, 0, 1, bits));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, 0, 4, 0, 1, bits));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, 0, 0, 0, 1, bits));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, 0, FILTER_BOTH, 0, 0x600 * 8 + 1, bits));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, 0, FILTER_BOTH, 0, ~0U, bits));
	EXPECT_EQ(-EINVAL, set_filter(&self->vm, KVM_MSR_FILTER_DEFAULT_DENY, 0, 0, 0, bits));
	EXPECT_EQ(-EFAULT, set_filter(&self->vm, 0, FILTER_BOTH, 0, 1, NULL));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_X86_SET_MSR_FILTER, 1));
	vcpu_setup_long(&self->vcpu, guest_default_deny, 0);
	vcpu_set_msr(&self->vcpu, MSR_APICBASE,
		     vcpu_get_msr(&self->vcpu, MSR_APICBASE) | 1UL << 10);
	vcpu_run_to_done(&self->vcpu);
	EXPECT_EQ(0, set_filter(&self->vm, 0, FILTER_BOTH, 0, 0x600 * 8, bits));
}

static void guest_reads_tsc(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr_try(MSR_TSC, &v), GUEST_NO_FAULT);
}

/* A range does not begin again at 0. */
TEST_F(filter, wraps)
{
	static u64 bits[2];

	ASSERT_EQ(0, set_filter(&self->vm, 0, FILTER_BOTH, -16U, 16 + MSR_TSC + 1, bits));
	vcpu_setup_long(&self->vcpu, guest_reads_tsc, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* Reads without an exit until the filter changes under it. */
static void guest_spin(u64 arg __maybe_unused)
{
	GUEST_SYNC(1);
	while (rdmsr(MSR_KERNEL_GS_BASE) != 0x123)
		guest_relax();
}

static void *change_filter(void *vm)
{
	usleep(20000);
	if (set_filter(vm, 0, KVM_MSR_FILTER_READ, MSR_KERNEL_GS_BASE, 1, &(u64){ 0 }))
		TEST_DIE("KVM_X86_SET_MSR_FILTER");
	return NULL;
}

TEST_F(filter, while_running)
{
	pthread_t thread;

	ASSERT_EQ(0, enable_exits(&self->vm, KVM_MSR_EXIT_REASON_FILTER));
	vcpu_setup_long(&self->vcpu, guest_spin, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_filter, &self->vm));
	EXPECT_MSR_EXIT(KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_FILTER, MSR_KERNEL_GS_BASE, 0);
	pthread_join(thread, NULL);
	self->vcpu.run->msr.data = 0x123;
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
