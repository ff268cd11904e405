// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupt controllers in user space, all of them or all but the local APICs:
 * KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_INTERRUPT, the task priority
 * through kvm_run, and KVM_CAP_VAPIC.
 */
#include <kselftest_harness.h>

#include <sys/eventfd.h>

#include "guest.h"
#include "test_vm.h"

#define VECTOR		0x61
#define EXTINT		0x33
#define PINS		24
#define GSI		5		/* of user space's IOAPIC */
#define GSI_BEYOND	40		/* of a device's MSI */
#define MSI_ADDR	0xfee00000
#define LEVEL		(1 << 15)
#define LVT_EXTINT	0x700
#define LVT_MASKED	0x10000
#define VAPIC		GUEST_SCRATCH

static volatile u64 counts[256];

static void count_xapic(struct guest_regs *regs)
{
	counts[regs->vector]++;
	xapic_write(APIC_EOI, 0);
}

static void count_x2apic(struct guest_regs *regs)
{
	counts[regs->vector]++;
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

/* As an 8259A would: nobody in the kernel waits for an EOI. */
static void count_extint(struct guest_regs *regs)
{
	counts[regs->vector]++;
}

static int enable_cap(struct test_vm *vm, u32 cap, u64 arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &c);
}

struct routing {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entries[2];
};

static int route_msis(struct test_vm *vm, u32 data, u32 data_beyond)
{
	struct routing routing = {
		.head.nr = 2,
		.entries = {
			{ .gsi = GSI, .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = { .address_lo = MSI_ADDR, .data = data } },
			{ .gsi = GSI_BEYOND, .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = { .address_lo = MSI_ADDR,
				     .data = data_beyond } },
		},
	};

	return __vm_ioctl(vm, KVM_SET_GSI_ROUTING, &routing);
}

FIXTURE(split) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(split)
{
	vm_create(&self->vm);
	if (!vm_cap(&self->vm, KVM_CAP_SPLIT_IRQCHIP))
		TEST_DIE("no split irqchip");
	ASSERT_EQ(0, enable_cap(&self->vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_xapic;
	guest_var(&self->vm, guest_handlers[EXTINT]) = count_extint;
}

FIXTURE_TEARDOWN(split)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

TEST(enable)
{
	struct kvm_enable_cap flags = { .cap = KVM_CAP_SPLIT_IRQCHIP, .flags = 1 };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create_bare(&vm);
	EXPECT_EQ(1, vm_cap(&vm, KVM_CAP_SPLIT_IRQCHIP));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &flags));
	EXPECT_EQ(-EINVAL, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, 4097));
	EXPECT_EQ(-EINVAL, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, 1ULL << 32));
	EXPECT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, 4096));
	EXPECT_EQ(-EEXIST, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	EXPECT_EQ(-EEXIST, __vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0));
	vm_destroy(&vm);

	vm_create_bare(&vm);
	ASSERT_EQ(0, __vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0));
	EXPECT_EQ(-EEXIST, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	vm_destroy(&vm);

	vm_create_bare(&vm);
	ASSERT_EQ(0, __vcpu_create(&vm, &vcpu, 0));
	EXPECT_EQ(-EEXIST, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_F(split, refused)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct routing routing = {
		.head.nr = 1,
		.entries = { { .gsi = 1, .type = KVM_IRQ_ROUTING_IRQCHIP } },
	};
	int fd = eventfd(0, 0), resample = eventfd(0, 0);
	struct kvm_irqfd irqfd = {
		.fd = (u32)fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE,
		.resamplefd = (u32)resample,
	};
	struct kvm_irq_level level = { .irq = GSI, .level = 1 };

	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_SET_IRQCHIP, &chip));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING,
				      &routing));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_IRQFD, &irqfd));
	irqfd.flags = 0;
	EXPECT_EQ(0, __vm_ioctl(&self->vm, KVM_IRQFD, &irqfd));
	/* No route yet: nobody takes it. */
	EXPECT_EQ(0, __vm_ioctl(&self->vm, KVM_IRQ_LINE_STATUS, &level));
	EXPECT_EQ(-1, (int)level.status);
	close(fd);
	close(resample);
}

static void guest_counts(u64 x2apic)
{
	if (x2apic) {
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1 << 10);
		wrmsr(X2APIC_MSR(APIC_SPIV), 0x1ff);
	} else {
		xapic_write(APIC_SPIV, 0x1ff);
	}
	for (;;) {
		GUEST_SYNC(counts[VECTOR]);
		guest_irq_window();
	}
}

/* Drives @gsi and runs on to the guest's sync: was there an exit for the EOI? */
static bool eoi_exits(struct test_vm *vm, struct test_vcpu *vcpu, u32 gsi)
{
	vm_irq_line(vm, gsi, 1);
	vm_irq_line(vm, gsi, 0);
	if (__vcpu_run(vcpu))
		TEST_DIE("run: %m");
	if (vcpu->run->exit_reason != KVM_EXIT_IOAPIC_EOI)
		return false;
	if (vcpu->run->eoi.vector != VECTOR)
		TEST_DIE("EOI of %#x", vcpu->run->eoi.vector);
	vcpu_run_to_sync(vcpu);
	return true;
}

#define MUST(cond) do {							\
	if (!(cond))							\
		TEST_DIE("not so: %s", #cond);				\
} while (0)

static void check_eoi(struct test_vm *vm, struct test_vcpu *vcpu)
{
	MUST(vcpu_run_to_sync(vcpu) == 0);
	MUST(!route_msis(vm, VECTOR, VECTOR | LEVEL));
	MUST(!eoi_exits(vm, vcpu, GSI));
	MUST(guest_var(vm, counts[VECTOR]) == 1);
	/* Level, but of a GSI that is no pin of the IOAPIC. */
	MUST(!eoi_exits(vm, vcpu, GSI_BEYOND));
	MUST(guest_var(vm, counts[VECTOR]) == 2);
	MUST(!route_msis(vm, VECTOR | LEVEL, VECTOR + 1));
	MUST(eoi_exits(vm, vcpu, GSI));
	MUST(guest_var(vm, counts[VECTOR]) == 3);
	MUST(eoi_exits(vm, vcpu, GSI));
	MUST(guest_var(vm, counts[VECTOR]) == 4);
}

TEST_F(split, eoi_xapic)
{
	vcpu_setup_long(&self->vcpu, guest_counts, 0);
	check_eoi(&self->vm, &self->vcpu);
}

TEST_F(split, eoi_x2apic)
{
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_x2apic;
	vcpu_setup_long(&self->vcpu, guest_counts, 1);
	check_eoi(&self->vm, &self->vcpu);
}

/* The IOAPIC's entries are compared with the vector when the EOI comes. */
TEST_F(split, eoi_of_an_old_route)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;

	vcpu_setup_long(vcpu, guest_counts, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, route_msis(vm, VECTOR | LEVEL, VECTOR + 1));
	vm_irq_line(vm, GSI, 1);
	ASSERT_EQ(0, route_msis(vm, VECTOR + 2, VECTOR + 1));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

static void guest_directed(u64 arg __maybe_unused)
{
	GUEST_SYNC(xapic_read(APIC_LVR));
	xapic_write(APIC_SPIV, 0x11ff);
	GUEST_SYNC(xapic_read(APIC_SPIV));
}

/* User space's IOAPIC may have an EOI register; the kernel's has none. */
TEST_F(split, directed_eoi)
{
	struct test_vcpu other;
	struct test_vm vm;

	vcpu_setup_long(&self->vcpu, guest_directed, 0);
	ASSERT_TRUE(vcpu_run_to_sync(&self->vcpu) & 1 << 24);
	ASSERT_EQ(0x11ff, vcpu_run_to_sync(&self->vcpu));

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &other, 0);
	vcpu_setup_long(&other, guest_directed, 0);
	ASSERT_FALSE(vcpu_run_to_sync(&other) & 1 << 24);
	ASSERT_EQ(0x1ff, vcpu_run_to_sync(&other));
	vcpu_destroy(&other);
	vm_destroy(&vm);
}

#ifndef KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST
#define KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST	(1 << 2)
#define KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST	(1 << 3)
#endif
#define SUPPRESS_BOTH	(KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST | \
			 KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST)

static void guest_suppresses(u64 arg __maybe_unused)
{
	GUEST_SYNC(xapic_read(APIC_LVR) >> 24 & 1);
	xapic_write(APIC_SPIV, 0x11ff);
	for (;;) {
		GUEST_SYNC(counts[VECTOR]);
		guest_irq_window();
	}
}

TEST(suppressed_eois)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	ASSERT_EQ(-EINVAL, enable_cap(&vm, KVM_CAP_X2APIC_API,
				      KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	if ((vm_cap(&vm, KVM_CAP_X2APIC_API) & SUPPRESS_BOTH) != SUPPRESS_BOTH)
		SKIP(return, "an older kernel's KVM");
	EXPECT_EQ(-EINVAL, enable_cap(&vm, KVM_CAP_X2APIC_API, SUPPRESS_BOTH));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_X2APIC_API,
				KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST));
	vcpu_create(&vm, &vcpu, 0);
	guest_var(&vm, guest_handlers[VECTOR]) = count_xapic;
	vcpu_setup_long(&vcpu, guest_suppresses, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(0, route_msis(&vm, VECTOR | LEVEL, VECTOR + 1));
	ASSERT_FALSE(eoi_exits(&vm, &vcpu, GSI));
	ASSERT_EQ(1, guest_var(&vm, counts[VECTOR]));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);

	vm_create(&vm);
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_X2APIC_API,
				KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST));
	vcpu_create(&vm, &vcpu, 0);
	vcpu_setup_long(&vcpu, guest_suppresses, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static int interrupt(struct test_vcpu *vcpu, u32 vector)
{
	struct kvm_interrupt irq = { .irq = vector };

	return __vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
}

static void guest_extint(u64 lvt0)
{
	xapic_write(APIC_SPIV, 0x1ff);
	xapic_write(APIC_LVT0, (u32)lvt0);
	for (;;) {
		GUEST_SYNC(counts[EXTINT]);
		guest_irq_window();
	}
}

TEST_F(split, extint)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_extint, LVT_EXTINT);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(-EINVAL, interrupt(vcpu, 256));
	/* Interrupts are off in the guest. */
	EXPECT_EQ(0, vcpu->run->ready_for_interrupt_injection);
	ASSERT_EQ(0, interrupt(vcpu, EXTINT));
	EXPECT_EQ(-EEXIST, interrupt(vcpu, EXTINT));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));

	vcpu->run->request_interrupt_window = 1;
	vcpu_run_expect(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	ASSERT_EQ(1, vcpu->run->ready_for_interrupt_injection);
	vcpu->run->request_interrupt_window = 0;
	ASSERT_EQ(0, interrupt(vcpu, EXTINT));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
}

TEST_F(split, extint_masked)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_vcpu_events events;

	vcpu_setup_long(vcpu, guest_extint, LVT_EXTINT | LVT_MASKED);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vcpu->run->request_interrupt_window = 1;
	ASSERT_EQ(0, interrupt(vcpu, EXTINT));
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, vcpu->run->ready_for_interrupt_injection);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	/* It is no part of these. */
	vcpu_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(0, events.interrupt.injected);
	vcpu_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events);
	/* It waits until the guest lets it in. */
	EXPECT_EQ(-EEXIST, interrupt(vcpu, EXTINT));
	vcpu->run->request_interrupt_window = 0;
	vcpu_setup_long(vcpu, guest_extint, LVT_EXTINT);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	/* KVM needs a reason to look again. */
	vcpu_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

static void guest_halts(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	xapic_write(APIC_LVT0, LVT_EXTINT);
	guest_sti_halt_cli();
	GUEST_SYNC(counts[EXTINT]);
}

/* HLT waits in the kernel: for user space's PIC, too. */
TEST_F(split, halt)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_halts, 0);
	vcpu->run->request_interrupt_window = 1;
	vcpu_run_expect(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	vcpu->run->request_interrupt_window = 0;
	ASSERT_EQ(0, interrupt(vcpu, EXTINT));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

TEST(interrupt_with_a_pic)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	EXPECT_EQ(-ENXIO, interrupt(&vcpu, EXTINT));
	EXPECT_EQ(-EINVAL, interrupt(&vcpu, 256));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void guest_cr8(u64 arg __maybe_unused)
{
	GUEST_SYNC(read_cr8());
	GUEST_SYNC(read_cr8());
	write_cr8(9);
	GUEST_SYNC(read_cr8());
	write_cr8(3);
	GUEST_SYNC(read_cr8());
}

/* Without any controller in the kernel, the TPR is user space's. */
TEST(none_tpr)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_with_vcpu(&vm, &vcpu, guest_cr8, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	EXPECT_EQ(0xfee00900, vcpu.run->apic_base & 0xfffffbff);
	vcpu.run->cr8 = 5;
	ASSERT_EQ(5, vcpu_run_to_sync(&vcpu));
	/* A raise is of no interest; where it is lowered, something may wait. */
	ASSERT_EQ(9, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(9, vcpu.run->cr8);
	vcpu_run_expect(&vcpu, KVM_EXIT_SET_TPR);
	ASSERT_EQ(3, vcpu.run->cr8);
	ASSERT_EQ(3, vcpu_run_to_sync(&vcpu));
	vcpu.run->cr8 = 16;
	ASSERT_EQ(-EINVAL, __vcpu_run(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* X2APIC_API */

static u32 lapic_id(struct test_vcpu *vcpu)
{
	struct kvm_lapic_state state;

	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &state);
	return *(u32 *)(state.regs + APIC_ID);
}

static void enable_x2apic(struct test_vcpu *vcpu)
{
	vcpu_set_msr(vcpu, MSR_APICBASE, vcpu_get_msr(vcpu, MSR_APICBASE) |
					 1 << 10);
}

TEST(x2apic_ids)
{
	struct kvm_lapic_state state;
	struct test_vcpu vcpu, far;
	struct test_vm vm;
	int flags;

	vm_create(&vm);
	flags = vm_cap(&vm, KVM_CAP_X2APIC_API);
	ASSERT_EQ(3, flags & 3);
	EXPECT_EQ(-EINVAL, enable_cap(&vm, KVM_CAP_X2APIC_API, 1U << 31));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	vcpu_create(&vm, &vcpu, 2);
	vcpu_create(&vm, &far, 300);
	EXPECT_EQ(2 << 24, lapic_id(&vcpu));
	enable_x2apic(&vcpu);
	enable_x2apic(&far);
	EXPECT_EQ(2 << 24, lapic_id(&vcpu));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_X2APIC_API,
				KVM_X2APIC_API_USE_32BIT_IDS));
	EXPECT_EQ(2, lapic_id(&vcpu));
	EXPECT_EQ(300, lapic_id(&far));
	vcpu_ioctl(&far, KVM_GET_LAPIC, &state);
	ASSERT_EQ(0, __vcpu_ioctl(&far, KVM_SET_LAPIC, &state));
	*(u32 *)(state.regs + APIC_ID) = 299;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&far, KVM_SET_LAPIC, &state));
	vcpu_destroy(&vcpu);
	vcpu_destroy(&far);
	vm_destroy(&vm);
}

/* A message with a destination of more than 8 bits. */
TEST(msi_far)
{
	struct kvm_msi msi = {
		.address_lo = MSI_ADDR | (300 & 0xff) << 12,
		.address_hi = 300 & ~0xffU,
		.data = VECTOR,
	};
	struct routing routing = {
		.head.nr = 1,
		.entries = { { .gsi = GSI, .type = KVM_IRQ_ROUTING_MSI } },
	};
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_X2APIC_API,
				KVM_X2APIC_API_USE_32BIT_IDS));
	vcpu_create(&vm, &vcpu, 300);
	guest_var(&vm, guest_handlers[VECTOR]) = count_x2apic;
	enable_x2apic(&vcpu);
	vcpu_setup_long_stack(&vcpu, guest_counts, 1, GUEST_STACKS);
	ASSERT_EQ(0, __vcpu_ioctl(&vcpu, KVM_SET_MP_STATE, &runnable));
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(1, __vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	msi.address_hi |= 1;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi));
	routing.entries[0].u.msi.address_lo = msi.address_lo;
	routing.entries[0].u.msi.address_hi = msi.address_hi;
	routing.entries[0].u.msi.data = VECTOR;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SET_GSI_ROUTING, &routing));
	routing.entries[0].u.msi.address_hi &= ~0xff;
	ASSERT_EQ(0, __vm_ioctl(&vm, KVM_SET_GSI_ROUTING, &routing));
	vm_irq_line(&vm, GSI, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* An MSI to 0xff reaches a LAPIC in x2APIC mode, unless user space knows better. */
TEST(broadcast_quirk)
{
	struct kvm_msi msi = { .address_lo = MSI_ADDR | 0xff << 12,
			       .data = VECTOR };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS));
	vcpu_create(&vm, &vcpu, 0);
	guest_var(&vm, guest_handlers[VECTOR]) = count_x2apic;
	vcpu_setup_long(&vcpu, guest_counts, 1);
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(1, __vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(0, enable_cap(&vm, KVM_CAP_X2APIC_API,
				KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK));
	ASSERT_NE(1, __vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* VAPIC */

static void guest_tpr(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	VOLATILE(u8, VAPIC) = 0x20;
	GUEST_SYNC(xapic_read(APIC_TASKPRI));
	VOLATILE(u8, VAPIC) = 0x70;
	GUEST_SYNC(xapic_read(APIC_TASKPRI));
	VOLATILE(u8, VAPIC) = 0;
	for (;;) {
		GUEST_SYNC(counts[VECTOR]);
		guest_irq_window();
	}
}

TEST_F(split, vapic)
{
	struct kvm_vapic_addr va = { .vapic_addr = VAPIC };
	struct kvm_msi msi = { .address_lo = MSI_ADDR, .data = VECTOR };
	struct test_vcpu *vcpu = &self->vcpu;
	u32 *word = vm_ptr(&self->vm, VAPIC);

	ASSERT_EQ(1, vm_cap(&self->vm, KVM_CAP_VAPIC));
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &va));
	vcpu_setup_long(vcpu, guest_tpr, 0);
	ASSERT_EQ(0x20, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0x20, *word & 0xff);
	ASSERT_EQ(1, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	/* What the guest writes there is its TPR. */
	ASSERT_EQ(0x70, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(VECTOR, *word >> 24);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	va.vapic_addr = GUEST_HOLE;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &va));
	va.vapic_addr = 0;
	EXPECT_EQ(0, __vcpu_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &va));
}

GUEST_TEXT(tpr_read, "movabs 0xfee00080, %eax\n ret");
GUEST_TEXT(tpr_write, "mov $0x30, %al\n movabs %eax, 0xfee00080\n ret");

static void guest_tpr_access(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	((void (*)(void))(uintptr_t)tpr_write)();
	((void (*)(void))(uintptr_t)tpr_read)();
	GUEST_SYNC(xapic_read(APIC_TASKPRI));
	GUEST_SYNC(xapic_read(APIC_TASKPRI));
}

TEST_F(split, tpr_access)
{
	struct kvm_tpr_access_ctl ctl = { .enabled = 1, .flags = 1 };
	struct test_vcpu *vcpu = &self->vcpu;

	EXPECT_EQ(-EINVAL, __vcpu_ioctl(vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	ctl.flags = 0;
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	vcpu_setup_long(vcpu, guest_tpr_access, 0);
	vcpu_run_expect(vcpu, KVM_EXIT_TPR_ACCESS);
	EXPECT_EQ(1, vcpu->run->tpr_access.is_write);
	EXPECT_EQ((uintptr_t)tpr_write + 2, vcpu->run->tpr_access.rip);
	vcpu_run_expect(vcpu, KVM_EXIT_TPR_ACCESS);
	EXPECT_EQ(0, vcpu->run->tpr_access.is_write);
	EXPECT_EQ((uintptr_t)tpr_read, vcpu->run->tpr_access.rip);
	vcpu_run_expect(vcpu, KVM_EXIT_TPR_ACCESS);
	ASSERT_EQ(0x30, vcpu_run_to_sync(vcpu));
	ctl.enabled = 0;
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	ASSERT_EQ(0x30, vcpu_run_to_sync(vcpu));
}

TEST_HARNESS_MAIN
