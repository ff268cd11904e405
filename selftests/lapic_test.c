// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC as the guest uses it: xAPIC registers and x2APIC MSRs, IPIs
 * to itself, priorities, stage-2 faults on their way, errors, and its timer in
 * all three modes.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_X2APIC_SELF_IPI	0x83f
#define LVT_MASKED		0x10000
#define LVT_PERIODIC		0x20000
#define LVT_DEADLINE		0x40000

#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS	237
#endif
#define BUS_NS		40UL
#define BUS_NS_MAX	0x2000000UL

FIXTURE(lapic) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static volatile u64 counts[256];
static volatile u64 order, nr_order;
static volatile bool x2apic;

static void apic_write(u32 reg, u64 v)
{
	guest_apic_write(x2apic, reg, v);
}

static u64 apic_read(u32 reg)
{
	return guest_apic_read(x2apic, reg);
}

static void take(struct guest_regs *regs)
{
	counts[regs->vector]++;
	order = order << 8 | regs->vector;
	nr_order++;
	apic_write(APIC_EOI, 0);
}

FIXTURE_VARIANT(lapic) {
	u64 mode;
};

FIXTURE_VARIANT_ADD(lapic, xapic)
{
	.mode = 0,
};

FIXTURE_VARIANT_ADD(lapic, x2apic)
{
	.mode = 1,
};

FIXTURE_SETUP(lapic)
{
	u32 v;

	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	for (v = 0x30; v < 0x100; v++)
		guest_var(&self->vm, guest_handlers[v]) = take;
}

FIXTURE_TEARDOWN(lapic)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void enable(u64 mode)
{
	if (mode) {
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 0x400);
		x2apic = true;
	}
	apic_write(APIC_SPIV, 0x1ff);
}

static void self_ipi(u32 vector)
{
	apic_write(APIC_ICR, 0x40000 | vector);
}

static void guest_registers(u64 mode)
{
	enable(mode);
	GUEST_ASSERT_EQ(apic_read(APIC_ID), 0);
	GUEST_ASSERT_EQ(apic_read(APIC_LVR) & 0xff, 0x14);
	GUEST_ASSERT_EQ(apic_read(APIC_SPIV) & 0x1ff, 0x1ff);
	if (!mode) {
		apic_write(APIC_LDR, 0x02000000);
		GUEST_ASSERT_EQ(apic_read(APIC_LDR), 0x02000000);
		apic_write(APIC_DFR, 0x0fffffff);
		GUEST_ASSERT_EQ(apic_read(APIC_DFR), 0x0fffffff);
		/* Writes outside the defined bits do nothing. */
		apic_write(APIC_LDR, 0x02ffffff);
		GUEST_ASSERT_EQ(apic_read(APIC_LDR), 0x02000000);
	} else {
		/* Cluster 0, bit 0: made from the id, and read-only. */
		GUEST_ASSERT_EQ(apic_read(APIC_LDR), 1);
		GUEST_ASSERT_EQ(wrmsr_try(X2APIC_MSR(APIC_LDR), 1), 13);
		GUEST_ASSERT_EQ(wrmsr_try(X2APIC_MSR(APIC_ID), 1), 13);
		GUEST_ASSERT_EQ(wrmsr_try(X2APIC_MSR(APIC_DFR), 0), 13);
		GUEST_ASSERT_EQ(wrmsr_try(X2APIC_MSR(APIC_TASKPRI), 0x100000000),
				13);
	}
	apic_write(APIC_LVTERR, 0xfe);
	GUEST_ASSERT_EQ(apic_read(APIC_LVTERR), 0xfe);
	apic_write(APIC_LVT1, LVT_MASKED | 0x400);
	GUEST_ASSERT_EQ(apic_read(APIC_LVT1), LVT_MASKED | 0x400);
}

TEST_F(lapic, registers)
{
	vcpu_setup_long(&self->vcpu, guest_registers, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_ipi(u64 mode)
{
	enable(mode);
	self_ipi(0x71);
	GUEST_ASSERT_EQ(counts[0x71], 0);
	/* In IRR until it is let in. */
	GUEST_ASSERT_EQ(apic_read(APIC_IRR + 0x30) >> 17 & 1, 1);
	guest_irq_window();
	GUEST_ASSERT_EQ(counts[0x71], 1);
	GUEST_ASSERT_EQ(apic_read(APIC_IRR + 0x30), 0);
	GUEST_ASSERT_EQ(apic_read(APIC_ISR + 0x30), 0);
	if (mode) {
		wrmsr(MSR_X2APIC_SELF_IPI, 0x72);
		guest_irq_window();
		GUEST_ASSERT_EQ(counts[0x72], 1);
	}
	/* A pending interrupt ends a HLT. */
	self_ipi(0x73);
	guest_sti_halt_cli();
	GUEST_ASSERT_EQ(counts[0x73], 1);
	/* NMI by ICR: no vector, no IF. */
	guest_handlers[2] = take;
	apic_write(APIC_ICR, 0x40400);
	asm volatile("nop");
	GUEST_ASSERT_EQ(counts[2], 1);
}

TEST_F(lapic, self_ipi)
{
	vcpu_setup_long(&self->vcpu, guest_ipi, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_priorities(u64 mode)
{
	enable(mode);
	/* The higher vector first, whatever came first. */
	self_ipi(0x51);
	self_ipi(0x91);
	self_ipi(0x52);
	guest_irq_window();
	GUEST_ASSERT_EQ(order, 0x915251);
	/* TPR and CR8 are one: it holds back its class and those below. */
	apic_write(APIC_TASKPRI, 0x50);
	GUEST_ASSERT_EQ(read_cr8(), 5);
	order = 0;
	self_ipi(0x51);
	self_ipi(0x61);
	guest_irq_window();
	GUEST_ASSERT_EQ(order, 0x61);
	GUEST_ASSERT_EQ(apic_read(APIC_PROCPRI), 0x50);
	write_cr8(0);
	GUEST_ASSERT_EQ(apic_read(APIC_TASKPRI), 0);
	guest_irq_window();
	GUEST_ASSERT_EQ(order, 0x6151);
	/* CR8 alone opens the gate with IF set. */
	write_cr8(15);
	GUEST_SYNC(1);
	self_ipi(0xf1);
	guest_sti();
	GUEST_ASSERT_EQ(counts[0xf1], 0);
	write_cr8(0);
	asm volatile("nop");
	guest_cli();
	GUEST_ASSERT_EQ(counts[0xf1], 1);
}

TEST_F(lapic, priorities)
{
	vcpu_setup_long(&self->vcpu, guest_priorities, variant->mode);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	/* With the irqchip in the kernel the VMM sees it here. */
	ASSERT_EQ(15, self->vcpu.run->cr8);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_no_eoi(struct guest_regs *regs)
{
	counts[regs->vector]++;
}

static void guest_in_service(u64 mode)
{
	enable(mode);
	guest_handlers[0x81] = guest_no_eoi;
	self_ipi(0x81);
	guest_irq_window();
	GUEST_ASSERT_EQ(apic_read(APIC_ISR + 0x40) >> 1 & 1, 1);
	GUEST_ASSERT_EQ(apic_read(APIC_PROCPRI), 0x80);
	/* Until its EOI its own class waits, the higher one does not. */
	self_ipi(0x82);
	self_ipi(0x92);
	guest_irq_window();
	GUEST_ASSERT_EQ(counts[0x82], 0);
	GUEST_ASSERT_EQ(counts[0x92], 1);
	apic_write(APIC_EOI, 0);
	guest_irq_window();
	GUEST_ASSERT_EQ(counts[0x82], 1);
	GUEST_ASSERT_EQ(apic_read(APIC_PROCPRI), 0);
}

TEST_F(lapic, in_service)
{
	vcpu_setup_long(&self->vcpu, guest_in_service, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

/* The STI is the last byte of a page, and what it shadows on the next one. */
#define STI_GPA	(GUEST_BLOB + TEST_PAGE_SIZE - 1)

GUEST_CODE(sti_nops, ".code64", "sti\n nop\n nop\n nop\n cli\n ret\n");

static volatile u64 taken_at;

static void take_at(struct guest_regs *regs)
{
	taken_at = regs->rip;
	take(regs);
}

static void guest_faults(u64 mode)
{
	u64 i;

	enable(mode);
	guest_handlers[0x51] = take_at;
	for (i = 1; i <= 16; i++) {
		GUEST_SYNC(i);
		self_ipi(0x51);
		((void (*)(void))STI_GPA)();
		GUEST_ASSERT_EQ(counts[0x51], i);
		/* Not right behind the STI, nor later than it can. */
		GUEST_ASSERT_EQ(taken_at, STI_GPA + 2);
	}
}

/*
 * A stage-2 fault between an STI and what it shadows leaves the shadow as it is, and one
 * in the delivery has it done again, once.
 */
TEST_F(lapic, faults)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_regs regs;
	u64 i;

	vm_place(&self->vm, STI_GPA, sti_nops, sti_nops_end);
	vcpu_setup_long(vcpu, guest_faults, variant->mode);
	for (i = 1; i <= 16; i++) {
		ASSERT_EQ(i, vcpu_run_to_sync(vcpu));
		vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
		if (i & 1)
			vm_drop(&self->vm, STI_GPA + 1, TEST_PAGE_SIZE);
		if (i & 2)
			vm_drop(&self->vm, GUEST_IDT, TEST_PAGE_SIZE);
		if (i & 4)
			vm_drop(&self->vm, regs.rsp & ~(TEST_PAGE_SIZE - 1), TEST_PAGE_SIZE);
		if (i & 8)
			vm_drop(&self->vm, GUEST_GDT, TEST_PAGE_SIZE);
	}
	vcpu_run_to_done(vcpu);
}

static void guest_one_shot(u64 mode)
{
	u32 before;

	enable(mode);
	apic_write(APIC_TDCR, 0xb);
	apic_write(APIC_LVTT, 0xa1);
	apic_write(APIC_TMICT, 1000000);	/* 1 ms at KVM's 1 GHz */
	before = (u32)apic_read(APIC_TMCCT);
	GUEST_ASSERT(before <= 1000000);
	while (!counts[0xa1])
		guest_sti_halt_cli();
	GUEST_ASSERT_EQ(counts[0xa1], 1);
	GUEST_ASSERT_EQ(apic_read(APIC_TMCCT), 0);
	/* Masked it runs, but says nothing. */
	apic_write(APIC_LVTT, LVT_MASKED | 0xa1);
	apic_write(APIC_TMICT, 1000);
	while (apic_read(APIC_TMCCT))
		guest_relax();
	guest_irq_window();
	GUEST_ASSERT_EQ(counts[0xa1], 1);
	/* Stopped by a count of 0. */
	apic_write(APIC_LVTT, 0xa1);
	apic_write(APIC_TMICT, 100000000);
	apic_write(APIC_TMICT, 0);
	GUEST_ASSERT_EQ(apic_read(APIC_TMCCT), 0);
}

TEST_F(lapic, timer_one_shot)
{
	vcpu_setup_long(&self->vcpu, guest_one_shot, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

static u64 guest_tsc_khz;

/* What it counts in 20 ms lies between what the TSC says that at least and at most went by. */
static void guest_bus_clock(u64 mode)
{
	u64 shift, before, after, count, least, most;

	enable(mode);
	apic_write(APIC_LVTT, LVT_MASKED);
	/* Divided by 2, by 4, by 8. */
	for (shift = 1; shift <= 3; shift++) {
		apic_write(APIC_TDCR, shift - 1);
		before = rdtsc();
		apic_write(APIC_TMICT, ~0U);
		after = rdtsc();
		while (rdtsc() - after < guest_tsc_khz * 20)
			guest_relax();
		least = (rdtsc() - after) * 1000000 / guest_tsc_khz / (BUS_NS << shift);
		count = ~0U - apic_read(APIC_TMCCT);
		most = (rdtsc() - before) * 1000000 / guest_tsc_khz / (BUS_NS << shift);
		/* However long the host took; its two clocks may differ a little. */
		GUEST_ASSERT(count >= least * 9 / 10 && count <= most * 11 / 10);
	}
}

TEST_F(lapic, bus_clock)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_APIC_BUS_CYCLES_NS, .args = { BUS_NS },
	};
	struct test_vcpu vcpu;
	struct test_vm vm;

	if (!vm_cap(&self->vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS))
		SKIP(return, "KVM before 6.11");
	/* Too late. */
	ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	vm_create(&vm);
	ASSERT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	vm_create_irqchip(&vm);
	cap.args[0] = 0;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = BUS_NS_MAX + 1;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = BUS_NS_MAX;
	ASSERT_EQ(0, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = BUS_NS;
	ASSERT_EQ(0, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	vcpu_create(&vm, &vcpu, 0);
	guest_var(&vm, guest_tsc_khz) = vcpu_ioctl(&vcpu, KVM_GET_TSC_KHZ, 0);
	vcpu_setup_long(&vcpu, guest_bus_clock, variant->mode);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void guest_periodic(u64 mode)
{
	enable(mode);
	apic_write(APIC_TDCR, 0xb);
	apic_write(APIC_LVTT, LVT_PERIODIC | 0xa2);
	apic_write(APIC_TMICT, 1000000);
	while (counts[0xa2] < 10)
		guest_sti_halt_cli();
	apic_write(APIC_TMICT, 0);
	apic_write(APIC_LVTT, LVT_MASKED);
}

TEST_F(lapic, timer_periodic)
{
	vcpu_setup_long(&self->vcpu, guest_periodic, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

/* Arms the timer so far ahead that the MSR can still be read; on a slow host that is far. */
static u64 arm_deadline(void)
{
	u64 deadline, left, delay = 20000000;

	for (;; delay *= 2) {
		deadline = rdtsc() + delay;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		left = rdmsr(MSR_TSC_DEADLINE);
		if (left == deadline)
			return deadline;
		GUEST_ASSERT_EQ(left, 0);
		GUEST_ASSERT(rdtsc() >= deadline);
		guest_irq_window();
	}
}

static void guest_deadline(u64 mode)
{
	u64 deadline, before;
	int i;

	enable(mode);
	apic_write(APIC_LVTT, LVT_DEADLINE | 0xa3);
	for (i = 1; i <= 5; i++) {
		deadline = arm_deadline();
		before = counts[0xa3];
		while (counts[0xa3] == before)
			guest_sti_halt_cli();
		GUEST_ASSERT(rdtsc() >= deadline);
		/* Fired and gone. */
		GUEST_ASSERT_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
	}
	/* In the past: at once. */
	before = counts[0xa3];
	wrmsr(MSR_TSC_DEADLINE, 1);
	while (counts[0xa3] == before)
		guest_sti_halt_cli();
	/* In another mode the MSR is deaf. */
	apic_write(APIC_LVTT, 0xa3);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000);
	GUEST_ASSERT_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
}

TEST_F(lapic, timer_deadline)
{
	vcpu_offer_deadline(&self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_deadline, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

/* A guest that does not halt, that is away as the time comes, and that changes its divider. */
static void guest_busy_deadline(u64 mode)
{
	u64 deadline, before;
	int i;

	enable(mode);
	apic_write(APIC_LVTT, LVT_DEADLINE | 0xa3);
	for (i = 1; i <= 3; i++) {
		deadline = rdtsc() + 5000000;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		if (i == 2)
			GUEST_SYNC(i);
		if (i == 3)
			apic_write(APIC_TDCR, 0xb);
		guest_sti();
		while (counts[0xa3] < (u64)i)
			guest_relax();
		guest_cli();
		GUEST_ASSERT(rdtsc() >= deadline);
		GUEST_ASSERT_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
	}
	/* Disarmed in time: nothing comes. */
	do {
		guest_irq_window();	/* of an attempt that was too late */
		before = counts[0xa3];
		deadline = rdtsc() + 5000000;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		wrmsr(MSR_TSC_DEADLINE, 0);
	} while (rdtsc() >= deadline);
	deadline = rdtsc() + 10000000;
	guest_sti();
	while (rdtsc() < deadline)
		guest_relax();
	GUEST_ASSERT_EQ(counts[0xa3], before);
}

TEST_F(lapic, timer_deadline_while_busy)
{
	vcpu_offer_deadline(&self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_busy_deadline, variant->mode);
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	usleep(100000);
	vcpu_run_to_done(&self->vcpu);
}

/* The host learns how early its timer has to be; then the TSC begins anew at a deadline. */
static void guest_last_deadline(u64 mode)
{
	u64 before;
	int i;

	enable(mode);
	apic_write(APIC_LVTT, LVT_DEADLINE | 0xa3);
	for (i = 0; i < 40; i++) {
		before = counts[0xa3];
		if (i >= 20)
			wrmsr(MSR_TSC, ~0UL - 2000000);
		wrmsr(MSR_TSC_DEADLINE, i < 20 ? rdtsc() + 2000000 : ~0UL);
		guest_sti();
		/* On a slow host the TSC is over the end before the interrupt: it never comes. */
		while (counts[0xa3] == before && (i < 20 || rdtsc() >> 63))
			guest_relax();
		guest_cli();
	}
	wrmsr(MSR_TSC_DEADLINE, 0);
}

/* Who waits for the last value of the TSC may not see it. */
TEST_F(lapic, timer_deadline_at_the_end)
{
	vcpu_offer_deadline(&self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_last_deadline, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_far_deadline(u64 mode)
{
	enable(mode);
	apic_write(APIC_LVTT, LVT_DEADLINE | 0xa3);
	wrmsr(MSR_TSC_DEADLINE, ~0UL >> 1);
	GUEST_ASSERT_EQ(rdmsr(MSR_TSC_DEADLINE), ~0UL >> 1);
	wrmsr(MSR_TSC_DEADLINE, 0);
}

/* However slow the TSC, and so far the time: more nanoseconds than 64 bits hold. */
TEST_F(lapic, timer_deadline_of_a_slow_tsc)
{
	if (!vm_cap(&self->vm, KVM_CAP_TSC_CONTROL))
		SKIP(return, "no TSC scaling");
	vcpu_ioctl(&self->vcpu, KVM_SET_TSC_KHZ, 1);
	/* It was a value of the TSC of before. */
	vcpu_set_msr(&self->vcpu, MSR_TSC, 0);
	vcpu_offer_deadline(&self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_far_deadline, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

/* A vector below 16 is an error, and the error has a vector of its own. */
static void guest_errors(u64 mode)
{
	enable(mode);
	apic_write(APIC_LVTERR, 0xe1);
	apic_write(APIC_ESR, 0);
	GUEST_ASSERT_EQ(apic_read(APIC_ESR), 0);
	/* Software-disabled, it takes nothing and masks every LVT. */
	apic_write(APIC_SPIV, 0xff);
	GUEST_ASSERT_EQ(apic_read(APIC_LVTERR), LVT_MASKED | 0xe1);
	self_ipi(0x75);
	if (mode)
		wrmsr(MSR_X2APIC_SELF_IPI, 0x75);
	guest_irq_window();
	GUEST_ASSERT_EQ(counts[0x75], 0);
}

TEST_F(lapic, disabled)
{
	vcpu_setup_long(&self->vcpu, guest_errors, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_mode_changes(u64 mode __maybe_unused)
{
	u64 base = rdmsr(MSR_APICBASE), v;

	GUEST_ASSERT_EQ(base & 0x900, 0x900);
	/* x2APIC MSRs do not exist before the mode. */
	GUEST_ASSERT_EQ(rdmsr_try(X2APIC_MSR(APIC_LVR), &v), 13);
	/* Straight from off to x2APIC, reserved bits: no. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_APICBASE, base | 1), 13);
	wrmsr(MSR_APICBASE, base & ~0x800UL);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_APICBASE, base | 0x400), 13);
	wrmsr(MSR_APICBASE, base);
	wrmsr(MSR_APICBASE, base | 0x400);
	GUEST_ASSERT_EQ(rdmsr_try(X2APIC_MSR(APIC_LVR), &v), GUEST_NO_FAULT);
	/* And not straight back to xAPIC. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_APICBASE, base), 13);
	wrmsr(MSR_APICBASE, base & ~0x800UL);
	wrmsr(MSR_APICBASE, base);
	GUEST_ASSERT_EQ(xapic_read(APIC_LVR) & 0xff, 0x14);
}

TEST_F(lapic, mode_changes)
{
	vcpu_setup_long(&self->vcpu, guest_mode_changes, variant->mode);
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
