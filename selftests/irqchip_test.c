// SPDX-License-Identifier: GPL-2.0-only
/*
 * The in-kernel interrupt controllers from outside: creation, state, lines of
 * IOAPIC and PIC by edge and by level, MSIs, and GSI routing.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define IOAPIC_BASE	0xfec00000UL
#define VECTOR		0x61
#define PIC_VECTOR	0x68
#define GSI		20		/* of the IOAPIC only */

FIXTURE(irqchip) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static volatile u64 counts[256];
static volatile enum {
	EOI_NOW,
	EOI_LATER,
	EOI_NEVER,
} eoi;

static void count_apic(struct guest_regs *regs)
{
	counts[regs->vector]++;
	if (eoi == EOI_NOW)
		xapic_write(APIC_EOI, 0);
}

static void count_pic(struct guest_regs *regs)
{
	counts[regs->vector]++;
	port_out8(0x20, 0x20);
}

FIXTURE_SETUP(irqchip)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_apic;
	guest_var(&self->vm, guest_handlers[PIC_VECTOR + 3]) = count_pic;
}

FIXTURE_TEARDOWN(irqchip)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void set_redirection(u32 pin, u32 low)
{
	VOLATILE(u32, IOAPIC_BASE) = 0x11 + 2 * pin;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = 0;
	VOLATILE(u32, IOAPIC_BASE) = 0x10 + 2 * pin;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = low;
}

/*
 * Sync with the count, let interrupts in, and so on for ever. A level that
 * stays high comes again at each EOI: EOI_LATER makes that once a round.
 */
static void guest_counts(u64 redirection)
{
	xapic_write(APIC_SPIV, 0x1ff);
	if (redirection)
		set_redirection(GSI, (u32)redirection);
	for (;;) {
		GUEST_SYNC(counts[VECTOR]);
		guest_irq_window();
		if (eoi == EOI_LATER)
			xapic_write(APIC_EOI, 0);
	}
}

TEST(order)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_irq_level level = { .irq = 1, .level = 1 };
	struct kvm_irq_routing routing = { .nr = 0 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create_bare(&vm);
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_GET_IRQCHIP, &chip));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_SET_IRQCHIP, &chip));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_IRQ_LINE, &level));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_IRQ_LINE_STATUS, &level));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SET_GSI_ROUTING, &routing));
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0));
	EXPECT_EQ(-EEXIST, __vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0));
	vm_destroy(&vm);

	vm_create_bare(&vm);
	ASSERT_EQ(0, __vcpu_create(&vm, &vcpu, 0));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_F(irqchip, state)
{
	struct kvm_irqchip chip = { .chip_id = 3 }, again;
	int i;

	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_IRQCHIP, &chip));

	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip);
	EXPECT_EQ(IOAPIC_BASE, chip.chip.ioapic.base_address);
	for (i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		EXPECT_TRUE(chip.chip.ioapic.redirtbl[i].bits & 1 << 16);
	chip.chip.ioapic.redirtbl[5].bits = 0x0100000000018055;
	chip.chip.ioapic.ioregsel = 7;
	chip.chip.ioapic.id = 3;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_IRQCHIP, &chip));
	memset(&again, 0, sizeof(again));
	again.chip_id = KVM_IRQCHIP_IOAPIC;
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &again);
	EXPECT_EQ(0, memcmp(&chip.chip.ioapic, &again.chip.ioapic,
			    sizeof(again.chip.ioapic)));

	chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.pic.imr = 0xa5;
	chip.chip.pic.irq_base = 0x70;
	chip.chip.pic.elcr = 0x0e;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_IRQCHIP, &chip));
	again.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &again);
	EXPECT_EQ(0xa5, again.chip.pic.imr);
	EXPECT_EQ(0x70, again.chip.pic.irq_base);
	EXPECT_EQ(0x0e, again.chip.pic.elcr);
}

TEST_F(irqchip, edge)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	/* High is no edge; neither is falling. */
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, GSI, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
}

TEST_F(irqchip, level)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_counts, VECTOR | 1 << 15);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	guest_var(&self->vm, eoi) = EOI_LATER;
	vm_irq_line(&self->vm, GSI, 1);
	/* After each EOI the line is still high. */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(3, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, GSI, 0);
	/* That one was pending already. */
	ASSERT_EQ(4, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(4, vcpu_run_to_sync(vcpu));

	/* Not acknowledged: remote IRR holds the next one back. */
	guest_var(&self->vm, eoi) = EOI_NEVER;
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(5, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(5, vcpu_run_to_sync(vcpu));
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip);
	ASSERT_TRUE(chip.chip.ioapic.redirtbl[GSI].bits & 1 << 14);
}

TEST_F(irqchip, line_status)
{
	struct kvm_irq_level level = { .irq = GSI, .level = 1 };
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vm_ioctl(&self->vm, KVM_IRQ_LINE_STATUS, &level);
	ASSERT_EQ(1, level.status);		/* delivered */
	level.irq = GSI;
	level.level = 1;
	vm_ioctl(&self->vm, KVM_IRQ_LINE_STATUS, &level);
	ASSERT_EQ(0, level.status);		/* coalesced */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	/* No such route: nobody takes it, and that is no error. */
	level.irq = 1000;
	level.level = 1;
	vm_ioctl(&self->vm, KVM_IRQ_LINE_STATUS, &level);
	ASSERT_EQ(-1, (int)level.status);
}

static void guest_pic(u64 arg __maybe_unused)
{
	port_out8(0x20, 0x11);
	port_out8(0x21, PIC_VECTOR);
	port_out8(0x21, 4);
	port_out8(0x21, 1);
	port_out8(0x21, 0xff & ~(1 << 3));
	GUEST_ASSERT_EQ(port_in8(0x21), 0xf7);
	for (;;) {
		GUEST_SYNC(counts[PIC_VECTOR + 3]);
		guest_irq_window();
	}
}

TEST_F(irqchip, pic)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_pic, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, 3, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, 3, 0);
	vm_irq_line(&self->vm, 4, 1);		/* masked */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vm_ioctl(&self->vm, KVM_GET_IRQCHIP, &chip);
	ASSERT_EQ(PIC_VECTOR, chip.chip.pic.irq_base);
	ASSERT_EQ(1 << 4, chip.chip.pic.irr & 0x18);
	vm_irq_line(&self->vm, 3, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
}

TEST_F(irqchip, msi)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_counts, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	/* Pending already: the second one merges with it. */
	ASSERT_LE(0, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	msi.flags = 2;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	/* To a CPU that is not there. */
	msi.flags = 0;
	msi.address_lo = 0xfee00000 | 77 << 12;
	ASSERT_NE(1, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

struct routing {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entries[2];
};

TEST_F(irqchip, routing_refused)
{
	static const struct {
		const char *what;
		struct kvm_irq_routing_entry entries[2];
	} bad[] = {
		{ "type", { { .gsi = 5, .type = 77 } } },
		{ "flags", { { .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
			       .flags = 1 } } },
		{ "GSI", { { .gsi = 4096, .type = KVM_IRQ_ROUTING_IRQCHIP } } },
		{ "chip", { { .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
			      .u.irqchip = { 3, 1 } } } },
		{ "IOAPIC pin", { { .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
				    .u.irqchip = { KVM_IRQCHIP_IOAPIC, 24 },
				} } },
		{ "PIC pin", { { .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
				 .u.irqchip = { KVM_IRQCHIP_PIC_MASTER, 8 },
			     } } },
		{ "twice one chip", {
			{ .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
			  .u.irqchip = { KVM_IRQCHIP_IOAPIC, 1 } },
			{ .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
			  .u.irqchip = { KVM_IRQCHIP_IOAPIC, 2 } } } },
		{ "MSI and chip", {
			{ .gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP,
			  .u.irqchip = { KVM_IRQCHIP_IOAPIC, 1 } },
			{ .gsi = 5, .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = { .address_lo = 0xfee00000 } } } },
	};
	struct test_vcpu *vcpu = &self->vcpu;
	struct routing routing;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&routing, 0, sizeof(routing));
		memcpy(routing.entries, bad[i].entries, sizeof(bad[i].entries));
		routing.head.nr = bad[i].entries[1].gsi ? 2 : 1;
		EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING,
					      &routing)) {
			TH_LOG("%s", bad[i].what);
		}
	}
	routing.head.nr = 4097;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING,
				      &routing));
	routing.head.nr = 0;
	routing.head.flags = 1;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING,
				      &routing));
	/* The old routes are all still there. */
	vcpu_setup_long(vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
}

TEST_F(irqchip, routing)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct routing routing = {
		.head.nr = 2,
		.entries = {
			{ .gsi = 40, .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = { .address_lo = 0xfee00000,
				     .data = VECTOR } },
			{ .gsi = 7, .type = KVM_IRQ_ROUTING_IRQCHIP,
			  .u.irqchip = { KVM_IRQCHIP_IOAPIC, GSI } },
		},
	};

	vcpu_setup_long(vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING, &routing));
	vm_irq_line(&self->vm, 40, 1);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	vm_irq_line(&self->vm, 7, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	/* The default route of this one is gone. */
	vm_irq_line(&self->vm, GSI, 0);
	vm_irq_line(&self->vm, GSI, 1);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
}

TEST_HARNESS_MAIN
