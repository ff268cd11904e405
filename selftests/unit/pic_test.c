// SPDX-License-Identifier: GPL-2.0-only
/* Unit tests of the two PICs: initialization, priorities, EOIs, ELCR, poll. */
#include "irqchip_test.h"

static struct pic *pic(void)
{
	return &m.ic.pic;
}

static int line(u32 irq, bool level)
{
	return pic_set_irq(pic(), irq, IRQ_SOURCE_USER, level);
}

static void pulse(u32 irq)
{
	line(irq, true);
	line(irq, false);
}

/* -1 without output, as a run loop asks. */
static int ack(void)
{
	return pic_has_output(pic()) ? pic_ack(pic()) : -1;
}

/* Linux's init_8259A(), then all unmasked. */
static void linux_init(void)
{
	outb(0x21, 0xff);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x21, 0);
	outb(0xa1, 0);
}

static void start(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	linux_init();
}

static void init_as_linux(void)
{
	start();
	EQ(inb(0x21), 0);
	pulse(0);
	EQ(ack(), 0x30);
	outb(0x20, 0x60);
	pulse(15);
	EQ(ack(), 0x3f);
	machine_stop();
}

/* SeaBIOS: vectors 8 and 0x70, all masked but the cascade. */
static void init_as_seabios(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, 0x08);
	outb(0xa1, 0x70);
	outb(0x21, 0x04);
	outb(0xa1, 0x02);
	outb(0x21, 0x01);
	outb(0xa1, 0x01);
	outb(0x21, 0xfb);
	outb(0xa1, 0xff);
	EQ(inb(0x21), 0xfb);
	EQ(inb(0xa1), 0xff);
	pulse(0);
	EQ(ack(), -1);
	outb(0x21, 0xfa);
	EQ(ack(), 0x08);
	outb(0x20, 0x20);
	pulse(8);
	EQ(ack(), -1);
	outb(0xa1, 0xfe);
	EQ(ack(), 0x70);
	machine_stop();
}

/* ICW1 without IC4 ends after ICW3; ICW4's features are off. */
static void init_without_icw4(void)
{
	start();
	outb(0x20, 0x10);
	outb(0x21, 0x47);
	outb(0x21, 0x04);
	outb(0x21, 0xa5);
	EQ(inb(0x21), 0xa5);
	outb(0x21, 0);
	pulse(1);
	EQ(ack(), 0x41);
	machine_stop();
}

static void icw1_clears(void)
{
	start();
	pulse(3);
	EQ(ack(), 0x33);
	pulse(4);
	outb(0x20, 0x68);
	outb(0x20, 0x80);
	outb(0x21, 0x80);
	outb(0x20, 0x11);
	EQ(ack(), -1);
	EQ(inb(0x20), 0);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	EQ(inb(0x21), 0);
	EQ(pic()->chip[0].rotate_on_auto_eoi, 0);
	EQ(pic()->chip[0].special_mask, 0);
	/* Special fully nested mode comes with ICW4 alone. */
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x11);
	outb(0x20, 0x10);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	EQ(pic()->chip[0].special_fully_nested_mode, 0);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0);
	/* A line that stayed up counts as a new edge. */
	line(5, true);
	EQ(ack(), 0x35);
	machine_stop();
}

static void priorities(void)
{
	start();
	pulse(7);
	pulse(1);
	pulse(10);
	pulse(9);
	/* 0, 1, 8..15 through the cascade at 2, 3..7. */
	EQ(ack(), 0x31);
	EQ(ack(), -1);
	outb(0x20, 0x20);
	EQ(ack(), 0x39);
	EQ(ack(), -1);
	/* The slave's EOI alone leaves the master's line 2 in service. */
	outb(0xa0, 0x20);
	EQ(ack(), -1);
	outb(0x20, 0x20);
	EQ(ack(), 0x3a);
	/* A higher one nests. */
	pulse(0);
	EQ(ack(), 0x30);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0x05);
	outb(0x20, 0x0a);
	EQ(inb(0x20), 0x80);
	outb(0xa0, 0x0b);
	EQ(inb(0xa0), 0x04);
	outb(0x20, 0x20);
	outb(0x20, 0x62);
	EQ(ack(), 0x37);
	machine_stop();
}

static void mask(void)
{
	start();
	outb(0x21, 0x08);
	EQ(line(3, true), -1);
	EQ(ack(), -1);
	outb(0x21, 0);
	EQ(ack(), 0x33);
	outb(0x20, 0x20);
	outb(0x21, 0x04);
	pulse(12);
	EQ(ack(), -1);
	outb(0x21, 0);
	EQ(ack(), 0x3c);
	machine_stop();
}

static void edges(void)
{
	start();
	EQ(line(3, true), 1);
	EQ(line(3, true), 0);
	EQ(ack(), 0x33);
	outb(0x20, 0x20);
	/* Up all the time: one interrupt. */
	EQ(ack(), -1);
	line(3, false);
	EQ(line(3, true), 1);
	line(3, false);
	/* A second edge before the ack is lost. */
	EQ(line(3, true), 0);
	EQ(ack(), 0x33);
	outb(0x20, 0x20);
	EQ(ack(), -1);
	machine_stop();
}

static void levels(void)
{
	start();
	outb(0x4d0, 0xff);
	EQ(inb(0x4d0), 0xf8);
	outb(0x4d1, 0xff);
	EQ(inb(0x4d1), 0xde);
	EQ(line(5, true), 1);
	EQ(ack(), 0x35);
	outb(0x20, 0x20);
	EQ(ack(), 0x35);
	line(5, false);
	outb(0x20, 0x20);
	EQ(ack(), -1);
	/* Withdrawn before the ack: nothing. */
	line(11, true);
	CHECK(pic_has_output(pic()));
	line(11, false);
	CHECK(!pic_has_output(pic()));
	/* ELCR survives ICW1. */
	linux_init();
	EQ(inb(0x4d0), 0xf8);
	/* An edge that waits as its line becomes level goes with the line. */
	outb(0x4d0, 0);
	pulse(5);
	outb(0x4d0, 0x20);
	EQ(ack(), -1);
	machine_stop();
}

static void sources(void)
{
	start();
	outb(0x4d0, 0x20);
	pic_set_irq(pic(), 5, IRQ_SOURCE_USER, true);
	pic_set_irq(pic(), 5, IRQ_SOURCE_RESAMPLE, true);
	pic_set_irq(pic(), 5, IRQ_SOURCE_USER, false);
	CHECK(pic_has_output(pic()));
	pic_set_irq(pic(), 5, IRQ_SOURCE_RESAMPLE, false);
	CHECK(!pic_has_output(pic()));
	machine_stop();
}

static void spurious(void)
{
	start();
	EQ(pic_ack(pic()), 0x37);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0);
	machine_stop();
}

static void specific_eoi(void)
{
	start();
	pulse(4);
	EQ(ack(), 0x34);
	pulse(1);
	EQ(ack(), 0x31);
	outb(0x20, 0x64);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0x02);
	outb(0x20, 0x61);
	EQ(inb(0x20), 0);
	machine_stop();
}

static void rotation(void)
{
	start();
	/* Lowest 4: 5 is the highest now. */
	outb(0x20, 0xc4);
	pulse(3);
	pulse(5);
	EQ(ack(), 0x35);
	/* Rotate on EOI: 6 is the highest. */
	outb(0x20, 0xa0);
	pulse(5);
	pulse(7);
	EQ(ack(), 0x37);
	outb(0x20, 0xc7);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0x80);
	outb(0x20, 0xe7);
	EQ(inb(0x20), 0);
	/* 0 is again; 3 before 5. Setting the lowest line ends nothing. */
	EQ(ack(), 0x33);
	outb(0x20, 0x20);
	EQ(ack(), 0x35);
	machine_stop();
}

static void automatic_eoi(void)
{
	start();
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x03);
	EQ(irqchip_notify_gsi(&m.ic, 3, true), 0);
	pulse(3);
	EQ(ack(), 0x33);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0);
	EQ(m.acked[3], 1);
	/* Rotate in automatic EOI mode. */
	outb(0x20, 0x80);
	pulse(3);
	EQ(ack(), 0x33);
	pulse(3);
	pulse(4);
	EQ(ack(), 0x34);
	EQ(ack(), 0x33);
	machine_stop();
}

static void special_mask_mode(void)
{
	start();
	pulse(1);
	EQ(ack(), 0x31);
	pulse(6);
	EQ(ack(), -1);
	/* A masked line in service does not block lower ones. */
	outb(0x21, 0x02);
	EQ(ack(), -1);
	outb(0x20, 0x68);
	EQ(ack(), 0x36);
	/* And a plain EOI does not end it. */
	outb(0x20, 0x20);
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0x02);
	outb(0x20, 0x48);
	outb(0x20, 0x20);
	EQ(inb(0x20), 0);
	machine_stop();
}

static void special_fully_nested_mode(void)
{
	start();
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x11);
	pulse(12);
	EQ(ack(), 0x3c);
	/* A higher line of the slave interrupts a lower one of it. */
	pulse(14);
	EQ(ack(), -1);
	pulse(9);
	EQ(ack(), 0x39);
	machine_stop();
}

static void poll(void)
{
	start();
	outb(0x20, 0x0c);
	EQ(inb(0x20), 0);
	pulse(3);
	outb(0x20, 0x0c);
	EQ(inb(0x20), 0x83);
	CHECK(!pic_has_output(pic()));
	outb(0x20, 0x0b);
	EQ(inb(0x20), 0x08);
	pulse(0);
	outb(0x20, 0x0c);
	EQ(inb(0x20), 0x80);
	outb(0x20, 0x20);
	outb(0x20, 0x20);
	pulse(9);
	outb(0x20, 0x0c);
	EQ(inb(0x21), 0x82);
	outb(0xa0, 0x0c);
	EQ(inb(0xa0), 0x81);
	machine_stop();
}

static void kicks_who_listens(void)
{
	machine_start(IRQCHIP_KERNEL, 3);
	linux_init();
	apic_write(0, LAPIC_LVT0, 0x10700);
	apic_write(2, LAPIC_LVT0, 0x700);
	m.cpu[2].kicks = 0;
	pulse(3);
	EQ(m.cpu[0].kicks, 0);
	EQ(m.cpu[1].kicks, 0);
	EQ(m.cpu[2].kicks, 1);
	/* Lower ones while it is up tell nothing new. */
	pulse(4);
	EQ(m.cpu[2].kicks, 1);
	EQ(ack(), 0x33);
	EQ(m.cpu[2].kicks, 1);
	outb(0x20, 0x20);
	EQ(m.cpu[2].kicks, 2);
	EQ(ack(), 0x34);
	machine_stop();
}

static void acks_are_reported(void)
{
	start();
	EQ(irqchip_notify_gsi(&m.ic, 4, true), 0);
	EQ(irqchip_notify_gsi(&m.ic, 12, true), 0);
	pulse(4);
	EQ(ack(), 0x34);
	outb(0x20, 0x20);
	EQ(m.acked[4], 1);
	pulse(12);
	EQ(ack(), 0x3c);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	EQ(m.acked[12], 1);
	/* A reset forgets: whoever waits must hear of it. */
	pulse(4);
	linux_init();
	EQ(m.acked[4], 2);
	pulse(4);
	EQ(ack(), 0x34);
	linux_init();
	EQ(m.acked[4], 3);
	/* A resampled level line is lowered by its ack. */
	outb(0x4d1, 0x10);
	m.lower_on_ack = 12;
	irqchip_set_irq(&m.ic, IRQ_SOURCE_RESAMPLE, 12, true);
	EQ(ack(), 0x3c);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	EQ(ack(), -1);
	machine_stop();
}

static void odd_widths_and_ports(void)
{
	u32 value = 0xffffffff;

	start();
	EQ(irqchip_io_write(&m.ic, 0x21, 2, value), 0);
	EQ(inb(0x21), 0);
	EQ(irqchip_io_read(&m.ic, 0x21, 4, &value), 0);
	EQ(value, 0);
	EQ(irqchip_io_read(&m.ic, 0x22, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_io_read(&m.ic, 0x1f, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_io_read(&m.ic, 0x4d2, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_io_read(&m.ic, 0xa2, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_io_read(&m.ic, 0x40, 1, &value), -EOPNOTSUPP);
	machine_stop();
}

static void state_round_trip(void)
{
	struct kvm_irqchip a[2] = { { .chip_id = 0 }, { .chip_id = 1 } };
	struct kvm_irqchip b;
	int i;

	start();
	outb(0x4d1, 0x10);
	outb(0x21, 0x40);
	outb(0x20, 0xc4);
	pulse(3);
	EQ(ack(), 0x33);
	line(12, true);
	pulse(1);
	outb(0x20, 0x0b);
	outb(0xa0, 0x11);
	outb(0xa1, 0x50);
	for (i = 0; i < 2; i++)
		EQ(irqchip_get_state(&m.ic, &a[i]), 0);
	EQ(a[0].chip.pic.irq_base, 0x30);
	EQ(a[0].chip.pic.imr, 0x40);
	EQ(a[0].chip.pic.isr, 0x08);
	EQ(a[0].chip.pic.priority_add, 5);
	EQ(a[0].chip.pic.read_reg_select, 1);
	EQ(a[0].chip.pic.elcr_mask, 0xf8);
	EQ(a[1].chip.pic.elcr, 0x10);
	EQ(a[1].chip.pic.init_state, 2);
	machine_stop();

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVT0, 0x700);
	m.cpu[0].kicks = 0;
	EQ(irqchip_set_state(&m.ic, &a[1]), 0);
	EQ(m.cpu[0].kicks, 1);
	EQ(irqchip_set_state(&m.ic, &a[0]), 0);
	EQ(m.cpu[0].kicks, 2);
	for (i = 0; i < 2; i++) {
		b.chip_id = i;
		EQ(irqchip_get_state(&m.ic, &b), 0);
		EQ(memcmp(&a[i].chip.pic, &b.chip.pic, sizeof(b.chip.pic)), 0);
	}
	/* The slave's initialization goes on where it was. */
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x20, 0x63);
	EQ(ack(), 0x31);
	outb(0x20, 0x61);
	EQ(ack(), 0x54);
	machine_stop();
}

static void garbage_state(void)
{
	struct kvm_irqchip a;
	int i, j;

	machine_start(IRQCHIP_KERNEL, 1);
	srand(2);
	for (i = 0; i < 5000; i++) {
		for (j = 0; j < (int)sizeof(a.chip.pic); j++)
			((u8 *)&a.chip.pic)[j] = rand();
		a.chip_id = i & 1;
		EQ(irqchip_set_state(&m.ic, &a), 0);
		for (j = 0; j < 16; j++) {
			pulse(rand() & 15);
			ack();
			outb(rand() & 1 ? 0x20 : 0xa1, rand());
			inb(rand() & 1 ? 0xa0 : 0x21);
		}
	}
	machine_stop();
}

static const struct test tests[] = {
	TEST(init_as_linux),
	TEST(init_as_seabios),
	TEST(init_without_icw4),
	TEST(icw1_clears),
	TEST(priorities),
	TEST(mask),
	TEST(edges),
	TEST(levels),
	TEST(sources),
	TEST(spurious),
	TEST(specific_eoi),
	TEST(rotation),
	TEST(automatic_eoi),
	TEST(special_mask_mode),
	TEST(special_fully_nested_mode),
	TEST(poll),
	TEST(kicks_who_listens),
	TEST(acks_are_reported),
	TEST(odd_widths_and_ports),
	TEST(state_round_trip),
	TEST(garbage_state),
};

MAIN(tests)
