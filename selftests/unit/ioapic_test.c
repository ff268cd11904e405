// SPDX-License-Identifier: GPL-2.0-only
/* Unit tests of the IOAPIC: registers, edge and level lines, remote IRR. */
#include "irqchip_test.h"

#define MASKED		BIT_ULL(16)
#define LEVEL		BIT_ULL(15)
#define REMOTE_IRR	BIT_ULL(14)
#define LOGICAL		BIT_ULL(11)
#define DEST(id)	((u64)(id) << 56)

static int line(u32 pin, bool level)
{
	return ioapic_set_irq(&m.ic.ioapic, pin, IRQ_SOURCE_USER, level);
}

static void registers(void)
{
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(ioapic_reg_read(1), 0x00170011);
	ioapic_reg_write(1, 0xffffffff);
	EQ(ioapic_reg_read(1), 0x00170011);
	ioapic_reg_write(0, 0xffffffff);
	EQ(ioapic_reg_read(0), 0x0f000000);
	EQ(ioapic_reg_read(2), 0x0f000000);
	ioapic_reg_write(0, 0x05000000);
	EQ(ioapic_reg_read(0), 0x05000000);
	EQ(ioapic_reg_read(2), 0x05000000);
	for (i = 0; i < IOAPIC_PINS; i++)
		EQ(ioapic_entry(i), MASKED);
	EQ(ioapic_reg_read(0x0f), 0xffffffff);
	EQ(ioapic_reg_read(0x40), 0xffffffff);
	EQ(ioapic_reg_read(0xff), 0xffffffff);
	ioapic_reg_write(0x10 + 14, 0x1a5c3);
	ioapic_reg_write(0x11 + 14, 0x77000000);
	EQ(ioapic_entry(7), 0x770000000001a5c3 & ~REMOTE_IRR);
	for (i = 0; i < 0x200; i++)
		ioapic_reg_write(i, 0xffffffff);
	/* Remote IRR and delivery status are not software's to set. */
	EQ(ioapic_entry(5), ~(u64)(REMOTE_IRR | BIT_ULL(12)));
	machine_stop();
}

static void access_widths(void)
{
	u64 wide = 0x1122334455667711, value;
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_mmio_write(&m.ic, 0xfec00000, 8, &wide), 0);
	EQ(irqchip_mmio_read(&m.ic, 0xfec00000, 8, &value), 0);
	EQ(value, 0x11);
	for (i = 1; i <= 4; i *= 2) {
		wide = 0x10 + i;
		EQ(irqchip_mmio_write(&m.ic, 0xfec00000, i, &wide), 0);
		value = 0;
		EQ(irqchip_mmio_read(&m.ic, 0xfec00000, i, &value), 0);
		EQ(value, 0x10 + i);
	}
	wide = 0x33;
	EQ(irqchip_mmio_write(&m.ic, 0xfec00000, 3, &wide), 0);
	EQ(irqchip_mmio_read(&m.ic, 0xfec00000, 4, &value), 0);
	EQ((u32)value, 0x14);
	value = 1;
	EQ(irqchip_mmio_read(&m.ic, 0xfec00020, 4, &value), 0);
	EQ(value, 0);
	EQ(irqchip_mmio_read(&m.ic, 0xfec00100, 4, &value), -EOPNOTSUPP);
	EQ(irqchip_mmio_read(&m.ic, 0xfebfffff, 4, &value), -EOPNOTSUPP);
	machine_stop();
}

static void edge(void)
{
	machine_start(IRQCHIP_KERNEL, 2);
	EQ(line(4, true), -1);
	line(4, false);
	ioapic_route(4, DEST(1) | 0x34);
	EQ(line(4, true), 1);
	CHECK(has_irr(1, 0x34) && !has_irr(0, 0x34) && !has_tmr(1, 0x34));
	/* No second edge without a fall. */
	EQ(line(4, true), 0);
	EQ(line(4, false), 1);
	EQ(take(1), 0x34);
	EQ(line(4, true), 1);
	CHECK(has_irr(1, 0x34));
	line(4, false);
	EQ(ioapic_entry(4), DEST(1) | 0x34);
	machine_stop();
}

/* As KVM: an edge under mask is not delivered by unmasking. */
static void edge_while_masked(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(4, MASKED | 0x34);
	EQ(line(4, true), -1);
	ioapic_route(4, 0x34);
	EQ(take(0), -1);
	line(4, false);
	EQ(line(4, true), 1);
	EQ(take(0), 0x34);
	machine_stop();
}

static void level(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, LEVEL | 0x3a);
	EQ(line(10, true), 1);
	CHECK(has_tmr(0, 0x3a));
	EQ(ioapic_entry(10), LEVEL | REMOTE_IRR | 0x3a);
	/* In service: ignored. */
	EQ(line(10, true), -1);
	EQ(take(0), 0x3a);
	EQ(take(0), -1);
	/* Still up at EOI: again. */
	lapic_eoi(cpu_lapic(0));
	CHECK(has_irr(0, 0x3a));
	EQ(ioapic_entry(10), LEVEL | REMOTE_IRR | 0x3a);
	EQ(take(0), 0x3a);
	EQ(line(10, false), 1);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), -1);
	EQ(ioapic_entry(10), LEVEL | 0x3a);
	EQ(line(10, true), 1);
	EQ(take(0), 0x3a);
	line(10, false);
	lapic_eoi(cpu_lapic(0));
	machine_stop();
}

static void level_while_masked(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, MASKED | LEVEL | 0x3a);
	EQ(line(10, true), -1);
	ioapic_route(10, LEVEL | 0x3a);
	EQ(take(0), 0x3a);
	/* Masked in service: EOI clears remote IRR, delivers nothing. */
	ioapic_route(10, MASKED | LEVEL | 0x3a);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), -1);
	EQ(ioapic_entry(10), MASKED | LEVEL | 0x3a);
	line(10, false);
	ioapic_route(10, LEVEL | 0x3a);
	EQ(take(0), -1);
	machine_stop();
}

/* Linux ends a stuck level interrupt by making it edge and level again. */
static void edge_write_clears_remote_irr(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, LEVEL | 0x3a);
	line(10, true);
	EQ(ioapic_entry(10), LEVEL | REMOTE_IRR | 0x3a);
	ioapic_reg_write(0x10 + 20, MASKED | 0x3a);
	EQ(ioapic_entry(10), MASKED | 0x3a);
	EQ(take(0), 0x3a);
	ioapic_reg_write(0x10 + 20, LEVEL | 0x3a);
	CHECK(has_irr(0, 0x3a));
	machine_stop();
}

static void sources_share_a_pin(void)
{
	struct ioapic *s = &m.ic.ioapic;

	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, LEVEL | 0x3a);
	EQ(ioapic_set_irq(s, 10, IRQ_SOURCE_USER, true), 1);
	ioapic_set_irq(s, 10, IRQ_SOURCE_RESAMPLE, true);
	EQ(take(0), 0x3a);
	ioapic_set_irq(s, 10, IRQ_SOURCE_USER, false);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), 0x3a);
	ioapic_set_irq(s, 10, IRQ_SOURCE_RESAMPLE, false);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), -1);
	machine_stop();
}

static void two_pins_one_vector(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, LEVEL | 0x3a);
	ioapic_route(11, LEVEL | 0x3a);
	line(10, true);
	line(11, true);
	EQ(take(0), 0x3a);
	line(10, false);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), 0x3a);
	EQ(ioapic_entry(10), LEVEL | 0x3a);
	EQ(ioapic_entry(11), LEVEL | REMOTE_IRR | 0x3a);
	line(11, false);
	lapic_eoi(cpu_lapic(0));
	machine_stop();
}

static void delivery_modes(void)
{
	machine_start(IRQCHIP_KERNEL, 3);
	ioapic_route(3, DEST(2) | APIC_NMI << 8);
	EQ(line(3, true), 1);
	EQ(m.cpu[2].events[LAPIC_EVENT_NMI], 1);
	ioapic_route(5, DEST(0x6) | LOGICAL | 0x41);
	EQ(line(5, true), 2);
	CHECK(!has_irr(0, 0x41) && has_irr(1, 0x41) && has_irr(2, 0x41));
	ioapic_route(6, DEST(0x7) | LOGICAL | APIC_LOWEST << 8 | 0x42);
	EQ(line(6, true), 1);
	EQ(total_pending(0x42), 1);
	ioapic_route(7, DEST(0xff) | 0x43);
	EQ(line(7, true), 3);
	/* Nobody there. */
	ioapic_route(8, DEST(0x20) | 0x44);
	EQ(line(8, true), 0);
	ioapic_route(9, DEST(0x20) | LEVEL | 0x45);
	EQ(line(9, true), 0);
	EQ(ioapic_entry(9), DEST(0x20) | LEVEL | 0x45);
	machine_stop();
}

/* Whose end may stay in the guest's memory for a while: an edge's that nobody else follows. */
static void private_eoi(void)
{
	struct lapic *l;

	machine_start(IRQCHIP_KERNEL, 1);
	l = cpu_lapic(0);
	CHECK(!lapic_eoi_is_private(l));
	ioapic_route(4, 0x34);
	ioapic_route(10, LEVEL | 0x3a);
	line(4, true);
	EQ(take(0), 0x34);
	CHECK(lapic_eoi_is_private(l));
	/* It waits, or would nest; either must not wait for the end to be seen. */
	line(10, true);
	CHECK(!lapic_eoi_is_private(l));
	lapic_eoi(l);
	EQ(take(0), 0x3a);
	CHECK(!lapic_eoi_is_private(l));
	line(10, false);
	lapic_eoi(l);
	ioapic_set_notify(&m.ic.ioapic, BIT(5));
	ioapic_route(5, 0x35);
	line(5, true);
	EQ(take(0), 0x35);
	CHECK(!lapic_eoi_is_private(l));
	lapic_eoi(l);
	CHECK(!lapic_eoi_is_private(l));
	machine_stop();
}

/* A guest that never silences its device must not spin in interrupts. */
static void storm(void)
{
	int i;

	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(10, LEVEL | 0x3a);
	line(10, true);
	for (i = 0; i < 9999; i++) {
		EQ(take(0), 0x3a);
		lapic_eoi(cpu_lapic(0));
	}
	EQ(take(0), 0x3a);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), -1);
	EQ(env_timers_queued(), 1);
	env_advance(9999999);
	EQ(take(0), -1);
	env_advance(1);
	EQ(take(0), 0x3a);
	/* Lowered while deferred: nothing comes. */
	for (i = 0; i < 10000; i++) {
		lapic_eoi(cpu_lapic(0));
		if (take(0) < 0)
			break;
	}
	EQ(i, 9999);
	line(10, false);
	env_advance(20000000);
	EQ(take(0), -1);
	/* Delivered by a new rise while deferred: not once more by the timer. */
	line(10, true);
	for (i = 0; take(0) == 0x3a; i++)
		lapic_eoi(cpu_lapic(0));
	EQ(i, 10000);
	line(10, false);
	line(10, true);
	EQ(take(0), 0x3a);
	ioapic_reg_write(0x10 + 20, 0x3a);
	ioapic_reg_write(0x10 + 20, LEVEL | 0x3a);
	EQ(take(0), -1);
	lapic_eoi(cpu_lapic(0));
	CHECK(has_irr(0, 0x3a));
	clear_irr();
	ioapic_reg_write(0x10 + 20, 0x3a);
	ioapic_reg_write(0x10 + 20, LEVEL | MASKED | 0x3a);
	env_advance(20000000);
	EQ(take(0), -1);
	/* The end of the VM finds the timer running. */
	ioapic_route(10, LEVEL | 0x3a);
	for (i = 0; take(0) == 0x3a; i++)
		lapic_eoi(cpu_lapic(0));
	EQ(env_timers_queued(), 1);
	machine_stop();
}

static void ack_notifiers(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(11, LEVEL | 0x3b);
	ioapic_route(12, 0x3c);
	line(11, true);
	EQ(take(0), 0x3b);
	line(11, false);
	lapic_eoi(cpu_lapic(0));
	EQ(m.acked[11], 0);
	EQ(irqchip_notify_gsi(&m.ic, 11, true), 0);
	EQ(irqchip_notify_gsi(&m.ic, 12, true), 0);
	CHECK(ioapic_wants_eoi(&m.ic.ioapic, 0x3c));
	line(12, true);
	EQ(take(0), 0x3c);
	lapic_eoi(cpu_lapic(0));
	EQ(m.acked[12], 1);
	line(12, false);
	/* A notifier that lowers its line is not called again. */
	m.lower_on_ack = 11;
	EQ(irqchip_set_irq(&m.ic, IRQ_SOURCE_RESAMPLE, 11, true) > 0, 1);
	EQ(take(0), 0x3b);
	lapic_eoi(cpu_lapic(0));
	EQ(m.acked[11], 1);
	EQ(take(0), -1);
	/* Unmasking a line that is up asks the device first. */
	ioapic_route(11, MASKED | LEVEL | 0x3b);
	irqchip_set_irq(&m.ic, IRQ_SOURCE_RESAMPLE, 11, true);
	ioapic_route(11, LEVEL | 0x3b);
	EQ(m.acked[11], 2);
	EQ(take(0), -1);
	EQ(irqchip_notify_gsi(&m.ic, 12, false), 0);
	CHECK(!ioapic_wants_eoi(&m.ic.ioapic, 0x3c));
	EQ(irqchip_notify_gsi(&m.ic, 4096, true), -EINVAL);
	machine_stop();
}

static void edge_eoi_is_not_heard(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	ioapic_route(12, 0x3c);
	CHECK(!ioapic_wants_eoi(&m.ic.ioapic, 0x3c));
	ioapic_route(12, LEVEL | 0x3c);
	CHECK(ioapic_wants_eoi(&m.ic.ioapic, 0x3c));
	ioapic_route(12, LEVEL | 0xfc);
	CHECK(!ioapic_wants_eoi(&m.ic.ioapic, 0x3c));
	CHECK(ioapic_wants_eoi(&m.ic.ioapic, 0xfc));
	machine_stop();
}

static void state_round_trip(void)
{
	struct kvm_irqchip a = { .chip_id = KVM_IRQCHIP_IOAPIC }, b = a;
	struct kvm_ioapic_state *s = &a.chip.ioapic;

	machine_start(IRQCHIP_KERNEL, 1);
	/* A new edge under mask is pending, whatever was delivered before. */
	ioapic_route(5, 0x35);
	line(5, true);
	line(5, false);
	ioapic_route(5, MASKED | 0x35);
	line(5, true);
	EQ(irqchip_get_state(&m.ic, &a), 0);
	EQ(s->irr, 1 << 5);
	line(5, false);
	ioapic_reg_write(0, 0x05000000);
	ioapic_route(4, 0x34);
	ioapic_route(9, MASKED | LEVEL | 0x39);
	ioapic_route(10, LEVEL | 0x3a);
	line(4, true);
	line(9, true);
	line(10, true);
	EQ(irqchip_get_state(&m.ic, &a), 0);
	EQ(s->base_address, 0xfec00000);
	EQ(s->id, 5);
	/* Edges already delivered are not pending; levels are. */
	EQ(s->irr, 1 << 9 | 1 << 10);
	EQ(s->redirtbl[10].bits, LEVEL | REMOTE_IRR | 0x3a);
	machine_stop();

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_set_state(&m.ic, &a), 0);
	EQ(irqchip_get_state(&m.ic, &b), 0);
	EQ(memcmp(&a.chip.ioapic, &b.chip.ioapic, sizeof(*s)), 0);
	CHECK(ioapic_wants_eoi(&m.ic.ioapic, 0x3a));
	CHECK(!ioapic_wants_eoi(&m.ic.ioapic, 0x34));
	/* Remote IRR holds pin 10; the edge of pin 4 is not repeated. */
	EQ(take(0), -1);
	ioapic_eoi(&m.ic.ioapic, 0x3a, true);
	EQ(take(0), 0x3a);
	/* One that was pending and free to go is delivered by the set. */
	s->redirtbl[9].bits &= ~MASKED;
	s->irr = 1 << 9;
	EQ(irqchip_set_state(&m.ic, &a), 0);
	CHECK(has_irr(0, 0x39));
	a.chip_id = 3;
	EQ(irqchip_get_state(&m.ic, &a), -EINVAL);
	EQ(irqchip_set_state(&m.ic, &a), -EINVAL);
	machine_stop();

	machine_start(IRQCHIP_SPLIT, 1);
	a.chip_id = KVM_IRQCHIP_IOAPIC;
	EQ(irqchip_get_state(&m.ic, &a), -ENXIO);
	EQ(irqchip_set_state(&m.ic, &a), -ENXIO);
	machine_stop();
}

static const struct test tests[] = {
	TEST(registers),
	TEST(access_widths),
	TEST(edge),
	TEST(edge_while_masked),
	TEST(level),
	TEST(level_while_masked),
	TEST(edge_write_clears_remote_irr),
	TEST(sources_share_a_pin),
	TEST(two_pins_one_vector),
	TEST(delivery_modes),
	TEST(private_eoi),
	TEST(storm),
	TEST(ack_notifiers),
	TEST(edge_eoi_is_not_heard),
	TEST(state_round_trip),
};

MAIN(tests)
