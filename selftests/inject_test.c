// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivering events: KVM_INTERRUPT and KVM_NMI, blocking and shadows, the
 * guest's own exceptions, and delivery that a stage-2 fault interrupts.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

FIXTURE(inject) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static volatile u64 count, last_vector, last_rip;

static void count_event(struct guest_regs *regs)
{
	count++;
	last_vector = regs->vector;
	last_rip = regs->rip;
}

FIXTURE_SETUP(inject)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[0x50]) = count_event;
	guest_var(&self->vm, guest_handlers[2]) = count_event;
}

FIXTURE_TEARDOWN(inject)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int interrupt(struct test_vcpu *vcpu, u32 vector)
{
	struct kvm_interrupt irq = { .irq = vector };

	return __vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
}

static void guest_interrupt(u64 arg __maybe_unused)
{
	GUEST_SYNC(1);
	asm volatile("sti\n\tnop");
	GUEST_SYNC(2);
	GUEST_ASSERT_EQ(count, 1);
	GUEST_ASSERT_EQ(last_vector, 0x50);
	guest_halt();
	GUEST_ASSERT_EQ(count, 2);
}

TEST_F(inject, interrupt)
{
	struct test_vcpu *vcpu = &self->vcpu;

	ASSERT_EQ(-EINVAL, interrupt(vcpu, 256));
	vcpu_setup_long(vcpu, guest_interrupt, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, vcpu->run->ready_for_interrupt_injection);
	ASSERT_EQ(0, interrupt(vcpu, 0x50));
	/* The interrupt ends the HLT after the exit for it. */
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
	ASSERT_EQ(0, interrupt(vcpu, 0x50));
	vcpu_run_to_done(vcpu);
}

TEST(interrupt_with_irqchip)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	ASSERT_EQ(-ENXIO, interrupt(&vcpu, 0x50));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* IF set by the VMM: the vector arrives before the first instruction. */
static void guest_before_first(u64 arg __maybe_unused)
{
	GUEST_ASSERT_EQ(count, 1);
}

TEST_F(inject, before_first)
{
	struct kvm_regs regs;

	vcpu_setup_long(&self->vcpu, guest_before_first, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rflags |= 0x200;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	ASSERT_EQ(0, interrupt(&self->vcpu, 0x50));
	vcpu_run_to_done(&self->vcpu);
	ASSERT_EQ(guest_var(&self->vm, last_rip), regs.rip);
}

static volatile u64 nmi_depth, nmi_max;

static void nmi_nested(struct guest_regs *regs)
{
	count_event(regs);
	nmi_depth++;
	if (nmi_depth > nmi_max)
		nmi_max = nmi_depth;
	if (count == 1) {
		GUEST_SYNC(10);		/* the VMM sends the second one here */
		GUEST_SYNC(11);		/* and it is not let in */
	}
	nmi_depth--;
}

static void guest_nmi(u64 arg __maybe_unused)
{
	GUEST_SYNC(1);
	GUEST_SYNC(count);
	GUEST_ASSERT_EQ(nmi_max, 1);
}

/* An NMI in an NMI's handler waits for the IRET. */
TEST_F(inject, nmi_blocked_until_iret)
{
	struct test_vcpu *vcpu = &self->vcpu;

	guest_var(&self->vm, guest_handlers[2]) = nmi_nested;
	vcpu_setup_long(vcpu, guest_nmi, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_NMI, 0));
	ASSERT_EQ(10, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_NMI, 0));
	ASSERT_EQ(11, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	vcpu_run_to_done(vcpu);
}

/* It does not care about IF. */
TEST_F(inject, nmi_with_if_clear)
{
	vcpu_setup_long(&self->vcpu, guest_before_first, 0);
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_NMI, 0));
	vcpu_run_to_done(&self->vcpu);
	ASSERT_EQ(2, guest_var(&self->vm, last_vector));
}

static void guest_exceptions(u64 arg __maybe_unused)
{
	u64 v, rax = 1, rdx = 0;

	v = GUEST_TRY("ud2", OUTS(), INS());
	GUEST_ASSERT_EQ(v, 6);
	v = GUEST_TRY("divq %[z]", OUTS("+a"(rax), "+d"(rdx)),
		      INS([z] "r"(0UL)));
	GUEST_ASSERT_EQ(v, 0);
	v = GUEST_TRY("int3", OUTS(), INS());
	GUEST_ASSERT_EQ(v, 3);
	v = GUEST_TRY("int $0x18", OUTS(), INS());
	GUEST_ASSERT_EQ(v, 0x18);
	v = GUEST_TRY("movq (%0), %%rax", OUTS(),
		      INS("r"(0x7f0000001000), "a"(0)));
	GUEST_ASSERT_EQ(v, 14);
	GUEST_ASSERT_EQ(guest_fault_error, 0);
	GUEST_ASSERT_EQ(guest_fault_addr, 0x7f0000001000);
	v = GUEST_TRY("movq %%rax, (%0)", OUTS(),
		      INS("r"(0x7f0000002008), "a"(0)));
	GUEST_ASSERT_EQ(guest_fault_error, 2);
	GUEST_ASSERT_EQ(guest_fault_addr, 0x7f0000002008);
	v = GUEST_TRY("movq (%0), %%rax", OUTS(),
		      INS("r"(1UL << 63), "a"(0)));
	GUEST_ASSERT_EQ(v, 13);
	v = GUEST_TRY("mov %0, %%fs", OUTS(), INS("r"(0x1230)));
	GUEST_ASSERT_EQ(v, 13);
	GUEST_ASSERT_EQ(guest_fault_error, 0x1230);
	v = GUEST_TRY("mov %0, %%cr4", OUTS(), INS("r"(1UL << 40)));
	GUEST_ASSERT_EQ(v, 13);
}

TEST_F(inject, own_exceptions)
{
	vcpu_setup_long(&self->vcpu, guest_exceptions, 0);
	vcpu_run_to_done(&self->vcpu);
}

/*
 * The handler's stack, the IDT, or the handler's code is not mapped at stage 2
 * when the event is delivered: the fault interrupts delivery, and the event
 * must be delivered again, exactly once.
 */
static void guest_delivery(u64 arg __maybe_unused)
{
	u64 i;

	for (i = 1; i <= 8; i++) {
		GUEST_SYNC(i);
		asm volatile("sti\n\tnop\n\tnop\n\tcli");
		GUEST_ASSERT_EQ(count, i);
	}
}

TEST_F(inject, interrupted_delivery)
{
	u64 entry = (uintptr_t)guest_vectors & ~(TEST_PAGE_SIZE - 1);
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_regs regs;
	int i;

	vcpu_setup_long(vcpu, guest_delivery, 0);
	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(i, vcpu_run_to_sync(vcpu));
		vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
		if (i & 1)
			vm_drop(&self->vm, GUEST_IDT, TEST_PAGE_SIZE);
		if (i & 2)
			vm_drop(&self->vm, regs.rsp & ~(TEST_PAGE_SIZE - 1),
				TEST_PAGE_SIZE);
		if (i & 4) {
			vm_drop(&self->vm, GUEST_GDT, TEST_PAGE_SIZE);
			vm_drop(&self->vm, entry, 2 * TEST_PAGE_SIZE);
		}
		if (i % 3) {
			vcpu->run->request_interrupt_window = 1;
			vcpu_run_expect(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
			vcpu->run->request_interrupt_window = 0;
			ASSERT_EQ(0, interrupt(vcpu, 0x50));
		} else {
			ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_NMI, 0));
		}
	}
	vcpu_run_to_done(vcpu);
	ASSERT_EQ(8, guest_var(&self->vm, count));
}

/* The same for an exception of the guest's own. */
static void guest_own_delivery(u64 arg __maybe_unused)
{
	u64 i, v;

	for (i = 1; i <= 4; i++) {
		GUEST_SYNC(i);
		v = GUEST_TRY("ud2", OUTS(), INS());
		GUEST_ASSERT_EQ(v, 6);
		GUEST_SYNC(i);
		v = GUEST_TRY("movq (%0), %%rax", OUTS(),
			      INS("r"(0x7f0000003000 + i), "a"(0)));
		GUEST_ASSERT_EQ(v, 14);
		GUEST_ASSERT_EQ(guest_fault_addr, 0x7f0000003000 + i);
		GUEST_SYNC(i);
		v = GUEST_TRY("int $0x19", OUTS(), INS());
		GUEST_ASSERT_EQ(v, 0x19);
	}
}

TEST_F(inject, interrupted_exception)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_regs regs;
	int i;

	vcpu_setup_long(vcpu, guest_own_delivery, 0);
	for (i = 0; i < 12; i++) {
		ASSERT_EQ(i / 3 + 1, vcpu_run_to_sync(vcpu));
		vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
		vm_drop(&self->vm, GUEST_IDT, TEST_PAGE_SIZE);
		if (i & 1)
			vm_drop(&self->vm, regs.rsp & ~(TEST_PAGE_SIZE - 1),
				TEST_PAGE_SIZE);
	}
	vcpu_run_to_done(vcpu);
}

/* MOV SS and STI hold an interrupt back for one instruction. */
static void guest_shadow(u64 arg __maybe_unused)
{
	u64 after;

	GUEST_SYNC(1);
	asm volatile("sti\n\tlea 1f(%%rip), %0\n1:\tnop\n\tcli" : "=r"(after));
	GUEST_ASSERT_EQ(count, 1);
	GUEST_ASSERT(last_rip >= after);
}

TEST_F(inject, sti_shadow)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_shadow, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vcpu->run->request_interrupt_window = 1;
	vcpu_run_expect(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	vcpu->run->request_interrupt_window = 0;
	ASSERT_EQ(0, interrupt(vcpu, 0x50));
	vcpu_run_to_done(vcpu);
}

TEST_HARNESS_MAIN
