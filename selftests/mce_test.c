// SPDX-License-Identifier: GPL-2.0-only
/*
 * Machine checks: the set-up of the banks, their MSRs, and errors that the VMM injects.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_MCG_CAP		0x179
#define MSR_MCG_STATUS		0x17a
#define MSR_MCG_CTL		0x17b
#define MSR_MC_CTL(n)		(0x400 + 4 * (n))
#define MSR_MC_STATUS(n)	(0x401 + 4 * (n))
#define MSR_MC_ADDR(n)		(0x402 + 4 * (n))

#define MCG_CTL_P		(1UL << 8)
#define MCG_EXT_P		(1UL << 9)
#define MCG_STATUS_RIPV		(1UL << 0)
#define MCG_STATUS_MCIP		(1UL << 2)

#define MCI_VAL			(1UL << 63)
#define MCI_OVER		(1UL << 62)
#define MCI_UC			(1UL << 61)
#define MCI_EN			(1UL << 60)
#define MCI_ADDRV		(1UL << 58)
#define MCI_PCC			(1UL << 57)
#define MCI_S			(1UL << 56)

#define CR4_MCE			(1UL << 6)
#define BANKS			10
#define ALL			(~0UL)

FIXTURE(mce) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static int setup_mce(struct test_vcpu *vcpu, u64 cap)
{
	return __vcpu_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap);
}

FIXTURE_SETUP(mce)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
	ASSERT_EQ(0, setup_mce(&self->vcpu, MCG_CTL_P | BANKS));
}

FIXTURE_TEARDOWN(mce)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int inject(struct test_vcpu *vcpu, u8 bank, u64 status, u64 mcg_status, u64 addr)
{
	struct kvm_x86_mce mce = {
		.bank = bank,
		.status = status,
		.mcg_status = mcg_status,
		.addr = addr,
		.misc = 0x77,
	};

	return __vcpu_ioctl(vcpu, KVM_X86_SET_MCE, &mce);
}

TEST_F(mce, cap)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int device = device_open();
	u64 cap;

	EXPECT_LE(BANKS, device_cap(device, KVM_CAP_MCE));
	EXPECT_EQ(0, __dev_ioctl(device, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap));
	EXPECT_TRUE(cap & MCG_CTL_P);
	close(device);

	EXPECT_EQ(MCG_CTL_P | BANKS, vcpu_get_msr(vcpu, MSR_MCG_CAP));
	EXPECT_EQ(ALL, vcpu_get_msr(vcpu, MSR_MCG_CTL));
	EXPECT_EQ(ALL, vcpu_get_msr(vcpu, MSR_MC_CTL(BANKS - 1)));
	EXPECT_EQ(-EINVAL, setup_mce(vcpu, 0));
	EXPECT_EQ(-EINVAL, setup_mce(vcpu, MCG_CTL_P | 33));
	EXPECT_EQ(-EINVAL, setup_mce(vcpu, MCG_EXT_P | BANKS));
	EXPECT_EQ(MCG_CTL_P | BANKS, vcpu_get_msr(vcpu, MSR_MCG_CAP));
}

static void guest_banks(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr(MSR_MCG_CAP), MCG_CTL_P | BANKS);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MC_CTL(3), 0), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MC_CTL(3), ALL), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MC_CTL(3), 0x100), 13);
	GUEST_ASSERT_EQ(rdmsr(MSR_MC_STATUS(3)), 0x123);
	/* It can only be cleared. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MC_STATUS(3), 1), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MC_STATUS(3), 0), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(rdmsr(MSR_MC_STATUS(3)), 0);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_MC_STATUS(BANKS), &v), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MCG_CTL, 5), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MCG_CTL, 0), GUEST_NO_FAULT);
}

TEST_F(mce, banks)
{
	/* A VMM may set any status. */
	vcpu_set_msr(&self->vcpu, MSR_MC_STATUS(3), 0x123);
	vcpu_setup_long(&self->vcpu, guest_banks, 0);
	vcpu_run_to_done(&self->vcpu);
}

static volatile u64 mc_status, mc_addr, mcg_status;

static void on_machine_check(struct guest_regs *regs __maybe_unused)
{
	mc_status = rdmsr(MSR_MC_STATUS(1));
	mc_addr = rdmsr(MSR_MC_ADDR(1));
	mcg_status = rdmsr(MSR_MCG_STATUS);
	wrmsr(MSR_MCG_STATUS, 0);
	GUEST_SYNC(18);
}

static void guest_waits(u64 arg)
{
	write_cr4(read_cr4() | arg);
	for (;;)
		GUEST_SYNC(1);
}

#define FATAL	(MCI_VAL | MCI_UC | MCI_EN | MCI_ADDRV | MCI_S)

TEST_F(mce, uncorrected)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 mcg = MCG_STATUS_MCIP | MCG_STATUS_RIPV;

	guest_var(&self->vm, guest_handlers[18]) = on_machine_check;
	vcpu_setup_long(vcpu, guest_waits, CR4_MCE);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, inject(vcpu, 1, FATAL, mcg, 0xabc000));
	ASSERT_EQ(18, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(FATAL, guest_var(&self->vm, mc_status));
	EXPECT_EQ(0xabc000, guest_var(&self->vm, mc_addr));
	EXPECT_EQ(mcg, guest_var(&self->vm, mcg_status));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));

	/* The bank was not cleared. */
	ASSERT_EQ(0, inject(vcpu, 1, FATAL, mcg, 0xdef000));
	ASSERT_EQ(18, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(FATAL | MCI_OVER, guest_var(&self->vm, mc_status));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));

	/* Switched off for the bank, then for all. */
	vcpu_set_msr(vcpu, MSR_MC_CTL(1), 0);
	ASSERT_EQ(0, inject(vcpu, 1, FATAL, mcg, 0x111000));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(0xdef000, vcpu_get_msr(vcpu, MSR_MC_ADDR(1)));
	vcpu_set_msr(vcpu, MSR_MC_CTL(1), ALL);
	vcpu_set_msr(vcpu, MSR_MCG_CTL, 0);
	ASSERT_EQ(0, inject(vcpu, 1, FATAL, mcg, 0x111000));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vcpu_set_msr(vcpu, MSR_MCG_CTL, ALL);

	/* One in the middle of another is the end. */
	vcpu_set_msr(vcpu, MSR_MCG_STATUS, MCG_STATUS_MCIP);
	ASSERT_EQ(0, inject(vcpu, 1, FATAL, mcg, 0));
	vcpu_run_expect(vcpu, KVM_EXIT_SHUTDOWN);
}

TEST_F(mce, not_enabled)
{
	vcpu_setup_long(&self->vcpu, guest_waits, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, inject(&self->vcpu, 1, FATAL, MCG_STATUS_MCIP, 0));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_SHUTDOWN);
}

/* Errors that are logged, and nothing more. */
TEST_F(mce, logged)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_waits, CR4_MCE);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, inject(vcpu, 2, MCI_VAL, 0, 0x1000));
	EXPECT_EQ(MCI_VAL, vcpu_get_msr(vcpu, MSR_MC_STATUS(2)));
	EXPECT_EQ(0x1000, vcpu_get_msr(vcpu, MSR_MC_ADDR(2)));
	ASSERT_EQ(0, inject(vcpu, 2, MCI_VAL, 0, 0x2000));
	EXPECT_EQ(MCI_VAL | MCI_OVER, vcpu_get_msr(vcpu, MSR_MC_STATUS(2)));
	EXPECT_EQ(0x2000, vcpu_get_msr(vcpu, MSR_MC_ADDR(2)));

	/* Uncorrected, without an action that is required. */
	ASSERT_EQ(0, inject(vcpu, 2, MCI_VAL | MCI_UC, 0, 0x3000));
	EXPECT_EQ(MCI_VAL | MCI_UC, vcpu_get_msr(vcpu, MSR_MC_STATUS(2)));
	EXPECT_EQ(0x3000, vcpu_get_msr(vcpu, MSR_MC_ADDR(2)));
	/* It is not overwritten by a corrected one. */
	ASSERT_EQ(0, inject(vcpu, 2, MCI_VAL, 0, 0x4000));
	EXPECT_EQ(MCI_VAL | MCI_UC | MCI_OVER, vcpu_get_msr(vcpu, MSR_MC_STATUS(2)));
	EXPECT_EQ(0x3000, vcpu_get_msr(vcpu, MSR_MC_ADDR(2)));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

TEST_F(mce, refused)
{
	EXPECT_EQ(-EINVAL, inject(&self->vcpu, BANKS, MCI_VAL, 0, 0));
	EXPECT_EQ(-EINVAL, inject(&self->vcpu, 255, MCI_VAL, 0, 0));
	EXPECT_EQ(-EINVAL, inject(&self->vcpu, 1, MCI_UC | MCI_EN | MCI_PCC, 0, 0));
	EXPECT_EQ(0, vcpu_get_msr(&self->vcpu, MSR_MC_STATUS(1)));
}

TEST_HARNESS_MAIN
