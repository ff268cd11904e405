// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interrupt for machine-check errors that need no action, where the processor has
 * one: its entry in the local APIC, the switch of each bank, and its delivery.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define APIC_LVTCMCI		0x2f0
#define APIC_LVT_MASKED		0x10000

#define MSR_MC_CTL2(n)		(0x280 + (n))
#define MSR_MC_STATUS(n)	(0x401 + 4 * (n))

#define MCG_CTL_P		(1UL << 8)
#define MCG_CMCI_P		(1UL << 10)
#define MCI_CTL2_EN		(1UL << 30)
#define MCI_VAL			(1UL << 63)
#define MCI_UC			(1UL << 61)
#define NO_ACTION		(MCI_VAL | MCI_UC)

#define BANKS			4
#define VECTOR			0x61

static volatile u32 taken;

static void take(struct guest_regs *regs __maybe_unused)
{
	taken++;
	guest_apic_write(rdmsr(MSR_APICBASE) & 0x400, APIC_EOI, 0);
}

FIXTURE(cmci) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	u64 supported;
};

FIXTURE_VARIANT(cmci)
{
	bool x2apic;
};

FIXTURE_VARIANT_ADD(cmci, xapic)
{
	.x2apic = false,
};

FIXTURE_VARIANT_ADD(cmci, x2apic)
{
	.x2apic = true,
};

FIXTURE_SETUP(cmci)
{
	int device = device_open();

	ASSERT_EQ(0, __dev_ioctl(device, KVM_X86_GET_MCE_CAP_SUPPORTED, &self->supported));
	close(device);
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
	guest_var(&self->vm, guest_handlers[VECTOR]) = take;
}

FIXTURE_TEARDOWN(cmci)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int setup(struct test_vcpu *vcpu, u64 flags)
{
	u64 cap = MCG_CTL_P | flags | BANKS;

	return __vcpu_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap);
}

static void inject(struct test_vcpu *vcpu, u8 bank)
{
	struct kvm_x86_mce mce = { .bank = bank, .status = NO_ACTION };

	vcpu_ioctl(vcpu, KVM_X86_SET_MCE, &mce);
}

static void enable(bool x2apic)
{
	if (x2apic)
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 0x400);
	guest_apic_write(x2apic, APIC_SPIV, 0x1ff);
}

static u32 lvt_entries(bool x2apic)
{
	return ((guest_apic_read(x2apic, APIC_LVR) >> 16) & 0xff) + 1;
}

static void guest_without(u64 x2apic)
{
	u64 v;

	enable(x2apic);
	GUEST_ASSERT_EQ(6, lvt_entries(x2apic));
	GUEST_ASSERT_EQ(13, rdmsr_try(MSR_MC_CTL2(0), &v));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_MC_CTL2(0), 0));
	if (x2apic)
		GUEST_ASSERT_EQ(13, wrmsr_try(X2APIC_MSR(APIC_LVTCMCI), VECTOR));
	GUEST_SYNC(1);
	guest_sti();
	GUEST_SYNC(taken);
}

TEST_F(cmci, without)
{
	ASSERT_EQ(0, setup(&self->vcpu, 0));
	if (!(self->supported & MCG_CMCI_P))
		EXPECT_EQ(-EINVAL, setup(&self->vcpu, MCG_CMCI_P));
	vcpu_setup_long(&self->vcpu, guest_without, variant->x2apic);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	inject(&self->vcpu, 1);
	EXPECT_EQ(NO_ACTION, vcpu_get_msr(&self->vcpu, MSR_MC_STATUS(1)));
	ASSERT_EQ(0, vcpu_run_to_sync(&self->vcpu));
}

static void guest_with(u64 x2apic)
{
	enable(x2apic);
	GUEST_ASSERT_EQ(7, lvt_entries(x2apic));
	GUEST_ASSERT_EQ(APIC_LVT_MASKED, guest_apic_read(x2apic, APIC_LVTCMCI));
	guest_apic_write(x2apic, APIC_LVTCMCI, VECTOR);
	GUEST_ASSERT_EQ(VECTOR, guest_apic_read(x2apic, APIC_LVTCMCI));

	GUEST_ASSERT_EQ(0, rdmsr(MSR_MC_CTL2(1)));
	wrmsr(MSR_MC_CTL2(1), MCI_CTL2_EN | 1);
	GUEST_ASSERT_EQ(MCI_CTL2_EN | 1, rdmsr(MSR_MC_CTL2(1)));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_MC_CTL2(1), 1UL << 31));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_MC_CTL2(BANKS), 0));
	guest_sti();
	for (;;)
		GUEST_SYNC(taken);
}

TEST_F(cmci, with)
{
	struct test_vcpu *vcpu = &self->vcpu;

	if (!(self->supported & MCG_CMCI_P))
		SKIP(return, "not on this processor");
	ASSERT_EQ(0, setup(vcpu, MCG_CMCI_P));
	vcpu_setup_long(vcpu, guest_with, variant->x2apic);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));

	/* Bank 2's is off. */
	inject(vcpu, 2);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	inject(vcpu, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(NO_ACTION, vcpu_get_msr(vcpu, MSR_MC_STATUS(1)));

	/* A VMM switches it off, and all of it. */
	EXPECT_EQ(MCI_CTL2_EN | 1, vcpu_get_msr(vcpu, MSR_MC_CTL2(1)));
	vcpu_set_msr(vcpu, MSR_MC_CTL2(1), 0);
	inject(vcpu, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vcpu_set_msr(vcpu, MSR_MC_CTL2(1), MCI_CTL2_EN);
	inject(vcpu, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
}

TEST_HARNESS_MAIN
