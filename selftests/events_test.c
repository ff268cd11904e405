// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is pending and what a vCPU waits for: VCPU_EVENTS, MP_STATE, GET and
 * SET of the LAPIC's page.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

FIXTURE(events) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_VARIANT(events) {
	bool irqchip;
};

FIXTURE_VARIANT_ADD(events, none)
{
	.irqchip = false,
};

FIXTURE_VARIANT_ADD(events, irqchip)
{
	.irqchip = true,
};

static volatile u64 seen_vector, seen_error;

static void note(struct guest_regs *regs)
{
	seen_vector = regs->vector;
	seen_error = regs->error;
}

FIXTURE_SETUP(events)
{
	vm_create(&self->vm);
	if (variant->irqchip)
		vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(events)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

TEST_F(events, initial)
{
	struct kvm_vcpu_events events;

	memset(&events, 0xff, sizeof(events));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(0, events.exception.injected);
	EXPECT_EQ(0, events.interrupt.injected);
	EXPECT_EQ(0, events.interrupt.shadow);
	EXPECT_EQ(0, events.nmi.injected);
	EXPECT_EQ(0, events.nmi.pending);
	EXPECT_EQ(0, events.nmi.masked);
	EXPECT_EQ(KVM_VCPUEVENT_VALID_NMI_PENDING |
		  KVM_VCPUEVENT_VALID_SHADOW,
		  events.flags & ~KVM_VCPUEVENT_VALID_SMM);
	EXPECT_EQ(0, events.reserved[0]);
	EXPECT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS, &events));
}

TEST_F(events, refused)
{
	struct kvm_vcpu_events events;

	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = 1U << 31;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS,
					&events));
	/* Payloads and triple faults want a capability to be enabled first. */
	events.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS,
					&events));
	events.flags = 1U << 5;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS,
					&events));
	/* Vectors that no exception has. */
	events.flags = 0;
	events.exception.injected = 1;
	events.exception.nr = 32;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS,
					&events));
	events.exception.nr = 2;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS,
					&events));
}

static void guest_notes(u64 arg __maybe_unused)
{
	GUEST_SYNC(seen_vector);
	GUEST_SYNC(seen_error);
}

TEST_F(events, exception)
{
	struct kvm_vcpu_events events;

	guest_var(&self->vm, guest_handlers[13]) = note;
	vcpu_setup_long(&self->vcpu, guest_notes, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = 0;
	events.exception.injected = 1;
	events.exception.nr = 13;
	events.exception.has_error_code = 1;
	events.exception.error_code = 0x1234;
	vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS, &events);
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, events.exception.injected);
	ASSERT_EQ(0x1234, events.exception.error_code);
	ASSERT_EQ(13, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0x1234, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.exception.injected);
}

static void guest_irets(u64 arg __maybe_unused)
{
	u64 ss, rsp, flags, cs;

	GUEST_SYNC(seen_vector);
	GUEST_SYNC(seen_vector);
	GUEST_SYNC(seen_vector);
	asm volatile("mov %%ss, %0\n\tmov %%rsp, %1\n\tmov %%cs, %3\n\t"
		     "pushfq\n\tpopq %2\n\t"
		     "pushq %0\n\tpushq %1\n\tpushq %2\n\tpushq %3\n\t"
		     "pushq $1f\n\tiretq\n1:"
		     : "=&r"(ss), "=&r"(rsp), "=&r"(flags), "=&r"(cs)
		     : : "memory");
	GUEST_SYNC(seen_vector);
}

/* An NMI by SET_VCPU_EVENTS, and its mask while the handler runs. */
static void nmi_handler(struct guest_regs *regs)
{
	seen_vector = regs->vector;
	GUEST_SYNC(0x100);
}

TEST_F(events, nmi)
{
	struct kvm_vcpu_events events;

	guest_var(&self->vm, guest_handlers[2]) = nmi_handler;
	vcpu_setup_long(&self->vcpu, guest_irets, 0);
	/* Once round, so that no stage-2 fault comes between later. */
	ASSERT_EQ(0, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	events.nmi.pending = 1;
	/* Masked: it has to wait. */
	events.nmi.masked = 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, events.nmi.pending);
	ASSERT_EQ(1, events.nmi.masked);
	/* The guest's IRET lifts a mask that the VMM has set, too. */
	ASSERT_EQ(0x100, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));

	guest_var(&self->vm, seen_vector) = 0;
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.nmi.masked);
	events.nmi.pending = 1;
	vcpu_setup_long(&self->vcpu, guest_notes, 0);
	events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	events.nmi.masked = 0;
	vcpu_ioctl(&self->vcpu, KVM_SET_VCPU_EVENTS, &events);
	ASSERT_EQ(0x100, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.nmi.pending);
	ASSERT_EQ(1, events.nmi.masked);
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.nmi.masked);
}

TEST_F(events, mp_state)
{
	struct kvm_mp_state state = { .mp_state = 77 };
	int want = variant->irqchip ? 0 : -EINVAL;

	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_MP_STATE, &state));
	vcpu_ioctl(&self->vcpu, KVM_GET_MP_STATE, &state);
	EXPECT_EQ(KVM_MP_STATE_RUNNABLE, state.mp_state);
	EXPECT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_MP_STATE, &state));
	/* The others are the LAPIC's business. */
	state.mp_state = KVM_MP_STATE_HALTED;
	EXPECT_EQ(want, __vcpu_ioctl(&self->vcpu, KVM_SET_MP_STATE, &state));
	vcpu_ioctl(&self->vcpu, KVM_GET_MP_STATE, &state);
	EXPECT_EQ(variant->irqchip ? KVM_MP_STATE_HALTED :
		  KVM_MP_STATE_RUNNABLE, state.mp_state);
	state.mp_state = KVM_MP_STATE_UNINITIALIZED;
	EXPECT_EQ(want, __vcpu_ioctl(&self->vcpu, KVM_SET_MP_STATE, &state));
}

TEST(second_vcpu_waits)
{
	struct kvm_mp_state state;
	struct test_vcpu vcpu;
	struct test_vm vm;
	int chip;

	for (chip = 0; chip < 2; chip++) {
		vm_create(&vm);
		if (chip)
			vm_create_irqchip(&vm);
		vcpu_create(&vm, &vcpu, 1);
		vcpu_ioctl(&vcpu, KVM_GET_MP_STATE, &state);
		EXPECT_EQ(chip ? KVM_MP_STATE_UNINITIALIZED :
			  KVM_MP_STATE_RUNNABLE, state.mp_state);
		vcpu_destroy(&vcpu);
		vm_destroy(&vm);
	}
}

static u32 *lapic_reg(struct kvm_lapic_state *lapic, u32 reg)
{
	return (u32 *)(lapic->regs + reg);
}

TEST_F(events, lapic)
{
	struct kvm_lapic_state lapic, again;

	memset(&lapic, 0, sizeof(lapic));
	if (!variant->irqchip) {
		EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_GET_LAPIC,
						&lapic));
		EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_LAPIC,
						&lapic));
		return;
	}
	vcpu_ioctl(&self->vcpu, KVM_GET_LAPIC, &lapic);
	EXPECT_EQ(0, *lapic_reg(&lapic, APIC_ID));
	EXPECT_EQ(0x14, *lapic_reg(&lapic, APIC_LVR) & 0xff);
	EXPECT_LE(4, *lapic_reg(&lapic, APIC_LVR) >> 16 & 0xff);
	EXPECT_EQ(0xff, *lapic_reg(&lapic, APIC_SPIV));
	EXPECT_EQ(0xffffffff, *lapic_reg(&lapic, APIC_DFR));
	EXPECT_EQ(0x10000, *lapic_reg(&lapic, APIC_LVTT));
	EXPECT_EQ(0x10000, *lapic_reg(&lapic, APIC_LVT1));

	*lapic_reg(&lapic, APIC_TASKPRI) = 0x30;
	*lapic_reg(&lapic, APIC_SPIV) = 0x1ff;
	*lapic_reg(&lapic, APIC_LDR) = 0x01000000;
	*lapic_reg(&lapic, APIC_LVTERR) = 0xfe;
	*lapic_reg(&lapic, APIC_IRR + 0x20) = 1U << 5;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_LAPIC, &lapic));
	vcpu_ioctl(&self->vcpu, KVM_GET_LAPIC, &again);
	EXPECT_EQ(0x30, *lapic_reg(&again, APIC_TASKPRI));
	EXPECT_EQ(0x1ff, *lapic_reg(&again, APIC_SPIV));
	EXPECT_EQ(0x01000000, *lapic_reg(&again, APIC_LDR));
	EXPECT_EQ(0xfe, *lapic_reg(&again, APIC_LVTERR));
	EXPECT_EQ(1U << 5, *lapic_reg(&again, APIC_IRR + 0x20));
}

/* A snapshot after KVM_INTERRUPT has it, and a restored state takes it away. */
TEST(interrupt_is_seen)
{
	struct kvm_interrupt irq = { .irq = 0x42 };
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_ioctl(&vcpu, KVM_INTERRUPT, &irq);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, events.interrupt.injected);
	ASSERT_EQ(0x42, events.interrupt.nr);
	vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(1UL << 2, sregs.interrupt_bitmap[1]);
	events.interrupt.injected = 0;
	vcpu_ioctl(&vcpu, KVM_SET_VCPU_EVENTS, &events);
	vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0, sregs.interrupt_bitmap[1]);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* A pending page fault carries its address beside CR2 until it is delivered. */
TEST(payload)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXCEPTION_PAYLOAD };
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	ASSERT_EQ(1, __vm_ioctl(&vm, KVM_CHECK_EXTENSION, KVM_CAP_EXCEPTION_PAYLOAD));
	cap.flags = 1;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	cap.args[0] = 1;
	vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);

	guest_var(&vm, guest_handlers[14]) = note;
	vcpu_setup_long(&vcpu, guest_notes, 0);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	events.exception.pending = 1;
	events.exception.nr = 14;
	events.exception.has_error_code = 1;
	events.exception.error_code = 2;
	events.exception_has_payload = 1;
	events.exception_payload = 0x123456789000;
	vcpu_ioctl(&vcpu, KVM_SET_VCPU_EVENTS, &events);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(KVM_VCPUEVENT_VALID_PAYLOAD, events.flags & KVM_VCPUEVENT_VALID_PAYLOAD);
	ASSERT_EQ(1, events.exception.pending);
	ASSERT_EQ(0, events.exception.injected);
	ASSERT_EQ(0x123456789000, events.exception_payload);
	vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0, sregs.cr2);
	ASSERT_EQ(14, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(&vcpu));
	vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0x123456789000, sregs.cr2);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void guest_goes_on(u64 arg)
{
	for (;;)
		GUEST_SYNC(arg);
}

/* DR6 has 32 bits: more of them in the CPU are a fault of the kernel's. */
TEST(payload_above_dr6)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };
	struct kvm_vcpu_events events;
	struct kvm_debugregs regs;
	struct test_vcpu vcpu;
	struct test_vm vm;

	if (test_device_is_kvm())
		SKIP(return, "KVM keeps them");
	vm_create(&vm);
	vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);
	vcpu_create(&vm, &vcpu, 0);
	guest_var(&vm, guest_handlers[1]) = note;
	vcpu_setup_long(&vcpu, guest_goes_on, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));

	/* With a breakpoint the CPU has all of them. */
	vcpu_ioctl(&vcpu, KVM_GET_DEBUGREGS, &regs);
	regs.db[0] = GUEST_SCRATCH;
	regs.dr7 = 0x401;
	vcpu_ioctl(&vcpu, KVM_SET_DEBUGREGS, &regs);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	events.exception.pending = 1;
	events.exception.nr = 1;
	events.exception_has_payload = 1;
	events.exception_payload = 1ULL << 40 | 0x4000;
	vcpu_ioctl(&vcpu, KVM_SET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(1, guest_var(&vm, seen_vector));
	vcpu_ioctl(&vcpu, KVM_GET_DEBUGREGS, &regs);
	ASSERT_EQ(0xffff4ff0, regs.dr6);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST(triple_fault_event)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT,
		.args = { 1 },
	};
	struct kvm_vcpu_events events;
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	ASSERT_EQ(1, __vm_ioctl(&vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_TRIPLE_FAULT_EVENT));
	vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);
	cap.cap = 0x7fffffff;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));

	vcpu_setup_long(&vcpu, guest_notes, 0);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(KVM_VCPUEVENT_VALID_TRIPLE_FAULT,
		  events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	ASSERT_EQ(0, events.triple_fault.pending);
	events.triple_fault.pending = 1;
	vcpu_ioctl(&vcpu, KVM_SET_VCPU_EVENTS, &events);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, events.triple_fault.pending);
	vcpu_run_expect(&vcpu, KVM_EXIT_SHUTDOWN);
	vcpu_ioctl(&vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.triple_fault.pending);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* What is asked of an AP before its first INIT waits until it runs. */
TEST(triple_fault_before_init)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT,
		.args = { 1 },
	};
	struct sigaction act = { .sa_handler = host_signal_noop };
	struct kvm_vcpu_events events;
	struct test_vcpu bsp, ap;
	struct test_vm vm;
	int ret;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &bsp, 0);
	vcpu_create(&vm, &ap, 1);
	vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);
	vcpu_ioctl(&ap, KVM_GET_VCPU_EVENTS, &events);
	events.triple_fault.pending = 1;
	vcpu_ioctl(&ap, KVM_SET_VCPU_EVENTS, &events);

	ASSERT_EQ(0, sigaction(SIGALRM, &act, NULL));
	/* Again and again: the first one may come too early. */
	ualarm(100000, 100000);
	do {
		ret = __vcpu_run(&ap);
	} while (ret == -EAGAIN);
	ASSERT_EQ(-EINTR, ret);
	ualarm(0, 0);
	vcpu_ioctl(&ap, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, events.triple_fault.pending);
	vcpu_destroy(&ap);
	vcpu_destroy(&bsp);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
