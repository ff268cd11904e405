// SPDX-License-Identifier: GPL-2.0-only
/* Unit tests of the local APIC: registers, priorities, IPIs, timer, x2APIC. */
#include "irqchip_test.h"

#define ICR_ASSERT	BIT(14)
#define ICR_LEVEL	BIT(15)
#define ICR_LOGICAL	BIT(11)
#define SHORTHAND(s)	((s) << 18)
#define LVTT_PERIODIC	BIT(17)
#define LVTT_DEADLINE	BIT(18)
#define TDCR_1		0xbU

static void send_ipi(int cpu, u32 dest, u32 low)
{
	if (lapic_mode(cpu_lapic(cpu)) == LAPIC_X2APIC) {
		EQ(lapic_msr_write(cpu_lapic(cpu), 0x830,
				   (u64)dest << 32 | low | ICR_ASSERT), 0);
		return;
	}
	apic_write(cpu, LAPIC_ICR2, dest << 24);
	apic_write(cpu, LAPIC_ICR, low | ICR_ASSERT);
}

static void power_up_state(void)
{
	u32 i;

	machine_start(IRQCHIP_KERNEL, 2);
	for (i = 0; i < 2; i++)
		lapic_reset(cpu_lapic(i), false, i == 0);
	EQ(cpu_lapic(0)->base, 0xfee00900);
	EQ(cpu_lapic(1)->base, 0xfee00800);
	EQ(apic_read(0, LAPIC_ID), 0);
	EQ(apic_read(1, LAPIC_ID), 0x01000000);
	EQ(apic_read(0, LAPIC_VERSION), 0x50014);
	EQ(apic_read(0, LAPIC_DFR), 0xffffffff);
	EQ(apic_read(0, LAPIC_SVR), 0xff);
	EQ(apic_read(0, LAPIC_LVT0), 0x700);
	EQ(apic_read(1, LAPIC_LVT0), 0x10000);
	for (i = LAPIC_LVTT; i <= LAPIC_LVTERR; i += 16)
		EQ(apic_read(1, i), 0x10000);
	EQ(lapic_get_cr8(cpu_lapic(0)), 0);
	CHECK(lapic_accepts_extint(cpu_lapic(0)));
	CHECK(!lapic_accepts_extint(cpu_lapic(1)));
	machine_stop();
}

static void init_keeps_base_and_id(void)
{
	machine_start(IRQCHIP_KERNEL, 2);
	apic_write(1, LAPIC_ID, 0x55000000);
	apic_write(1, LAPIC_TPR, 0x40);
	apic_write(1, LAPIC_TMICT, 1000000);
	send_ipi(0, 0x55, 0x31);
	send_ipi(1, 0x55, 0x05);
	lapic_reset(cpu_lapic(1), true, false);
	EQ(apic_read(1, LAPIC_ID), 0x55000000);
	EQ(cpu_lapic(1)->base, 0xfee00800);
	EQ(apic_read(1, LAPIC_TPR), 0);
	EQ(apic_read(1, LAPIC_SVR), 0xff);
	EQ(apic_read(1, LAPIC_TMCCT), 0);
	CHECK(!has_irr(1, 0x31));
	apic_write(1, LAPIC_ESR, 0);
	EQ(apic_read(1, LAPIC_ESR), 0);
	EQ(env_timers_queued(), 0);
	machine_stop();
}

/* What each register keeps of all ones and of all zeroes. */
static void writable_bits(void)
{
	static const struct {
		u32 reg, ones, zeroes;
	} regs[] = {
		{ LAPIC_ID, 0xff000000, 0 },
		{ LAPIC_VERSION, 0x50014, 0x50014 },
		{ LAPIC_TPR, 0xff, 0 },
		{ LAPIC_LDR, 0xff000000, 0 },
		{ LAPIC_DFR, 0xffffffff, 0x0fffffff },
		{ LAPIC_ICR2, 0xff000000, 0 },
		{ LAPIC_LVTT, 0x700ff, 0 },
		{ LAPIC_LVTTHMR, 0x107ff, 0 },
		{ LAPIC_LVTPC, 0x107ff, 0 },
		{ LAPIC_LVT0, 0x1a7ff, 0 },
		{ LAPIC_LVT1, 0x1a7ff, 0 },
		{ LAPIC_LVTERR, 0x100ff, 0 },
		{ LAPIC_TDCR, 0xb, 0 },
		{ LAPIC_IRR, 0, 0 },
		{ LAPIC_ISR + 0x70, 0, 0 },
		{ LAPIC_TMR, 0, 0 },
		{ LAPIC_TMCCT, 0, 0 },
		{ LAPIC_SVR, 0x3ff, 0 },
	};
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		apic_write(0, regs[i].reg, 0xffffffff);
		EQ(apic_read(0, regs[i].reg), regs[i].ones);
		apic_write(0, regs[i].reg, 0);
		EQ(apic_read(0, regs[i].reg), regs[i].zeroes);
	}
	machine_stop();
}

static void mmio_width_and_alignment(void)
{
	struct lapic *l = cpu_lapic(0);
	u64 wide = ~0ULL;
	u32 value = 0x77;
	u16 half = 0;
	u8 byte = 0;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(lapic_mmio_write(l, LAPIC_TPR, 1, &value), 0);
	EQ(lapic_mmio_write(l, LAPIC_TPR, 2, &value), 0);
	EQ(lapic_mmio_write(l, LAPIC_TPR, 8, &wide), 0);
	EQ(lapic_mmio_write(l, LAPIC_TPR + 4, 4, &value), 0);
	EQ(apic_read(0, LAPIC_TPR), 0);
	EQ(lapic_mmio_read(l, LAPIC_VERSION, 1, &byte), 0);
	EQ(byte, 0x14);
	EQ(lapic_mmio_read(l, LAPIC_VERSION + 2, 1, &byte), 0);
	EQ(byte, 5);
	EQ(lapic_mmio_read(l, LAPIC_VERSION + 1, 2, &half), 0);
	EQ(half, 0x500);
	EQ(lapic_mmio_read(l, LAPIC_VERSION + 3, 2, &half), 0);
	EQ(half, 0);
	EQ(lapic_mmio_read(l, LAPIC_VERSION, 8, &wide), 0);
	EQ(wide, 0);
	value = 1;
	EQ(lapic_mmio_read(l, LAPIC_VERSION + 4, 4, &value), 0);
	EQ(value, 0);
	/* Every offset of the page may be tried. */
	for (value = 0; value < 0x1000; value++) {
		EQ(lapic_mmio_read(l, value, 4, &wide), 0);
		EQ(lapic_mmio_write(l, value, 4, &wide), 0);
	}
	machine_stop();
}

static void disabled_page_is_not_there(void)
{
	struct lapic *l = cpu_lapic(0);
	u32 value = 0;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(lapic_set_base(l, 0xfee00100, false), 0);
	EQ(lapic_mmio_read(l, LAPIC_ID, 4, &value), -EOPNOTSUPP);
	EQ(lapic_mmio_write(l, LAPIC_TPR, 4, &value), -EOPNOTSUPP);
	/* PIC and CPU are wired directly then. */
	CHECK(lapic_accepts_extint(l));
	EQ(lapic_set_base(l, 0xfee00900, false), 0);
	enter_x2apic(0);
	EQ(lapic_mmio_read(l, LAPIC_ID, 4, &value), -EOPNOTSUPP);
	machine_stop();
}

static void priority_order(void)
{
	struct lapic *l = cpu_lapic(0);

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(take(0), -1);
	send_ipi(0, 0, 0x31);
	send_ipi(0, 0, 0x35);
	send_ipi(0, 0, 0x80);
	EQ(m.cpu[0].kicks, 3);
	EQ(take(0), 0x80);
	CHECK(has_isr(0, 0x80) && !has_irr(0, 0x80));
	EQ(apic_read(0, LAPIC_PPR), 0x80);
	/* Lower and same class wait, a higher class nests. */
	EQ(take(0), -1);
	send_ipi(0, 0, 0x8f);
	EQ(take(0), -1);
	send_ipi(0, 0, 0x90);
	EQ(take(0), 0x90);
	EQ(apic_read(0, LAPIC_PPR), 0x90);
	apic_write(0, LAPIC_EOI, 0);
	CHECK(!has_isr(0, 0x90) && has_isr(0, 0x80));
	EQ(apic_read(0, LAPIC_PPR), 0x80);
	lapic_eoi(l);
	EQ(take(0), 0x8f);
	lapic_eoi(l);
	EQ(take(0), 0x35);
	/* The same vector may wait while it is served. */
	send_ipi(0, 0, 0x35);
	CHECK(has_irr(0, 0x35) && has_isr(0, 0x35));
	EQ(take(0), -1);
	lapic_eoi(l);
	EQ(take(0), 0x35);
	lapic_eoi(l);
	EQ(take(0), 0x31);
	lapic_eoi(l);
	EQ(take(0), -1);
	CHECK(!l->irr_pending);
	/* EOI with nothing in service does nothing. */
	lapic_eoi(l);
	EQ(apic_read(0, LAPIC_PPR), 0);
	machine_stop();
}

static void task_priority(void)
{
	struct lapic *l = cpu_lapic(0);

	machine_start(IRQCHIP_KERNEL, 1);
	lapic_set_cr8(l, 5);
	EQ(apic_read(0, LAPIC_TPR), 0x50);
	EQ(apic_read(0, LAPIC_PPR), 0x50);
	send_ipi(0, 0, 0x5f);
	EQ(take(0), -1);
	send_ipi(0, 0, 0x60);
	EQ(take(0), 0x60);
	EQ(apic_read(0, LAPIC_PPR), 0x60);
	lapic_eoi(l);
	EQ(take(0), -1);
	m.cpu[0].kicks = 0;
	apic_write(0, LAPIC_TPR, 0x4f);
	/* Lowering it must make the vCPU look again. */
	CHECK(m.cpu[0].kicks > 0);
	EQ(lapic_get_cr8(l), 4);
	EQ(apic_read(0, LAPIC_PPR), 0x4f);
	EQ(take(0), 0x5f);
	EQ(apic_read(0, LAPIC_PPR), 0x50);
	/* Equal classes: PPR is the whole TPR. */
	apic_write(0, LAPIC_TPR, 0x57);
	EQ(apic_read(0, LAPIC_PPR), 0x57);
	lapic_eoi(l);
	machine_stop();
}

static void every_vector(void)
{
	int v;

	machine_start(IRQCHIP_KERNEL, 1);
	for (v = 16; v < 256; v++)
		send_ipi(0, 0, v);
	for (v = 255; v >= 16; v--) {
		EQ(take(0), v);
		CHECK(has_isr(0, v));
		lapic_eoi(cpu_lapic(0));
		CHECK(!has_isr(0, v));
	}
	EQ(take(0), -1);
	machine_stop();
}

static void illegal_vectors(void)
{
	struct apic_irq irq = { .vector = 7, .assert = true };

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVTERR, 0xfe);
	send_ipi(0, 0, 15);
	CHECK(!has_irr(0, 15));
	/* Latched by the write, not before. */
	EQ(apic_read(0, LAPIC_ESR), 0);
	EQ(take(0), 0xfe);
	apic_write(0, LAPIC_ESR, 0);
	EQ(apic_read(0, LAPIC_ESR), 0x20);
	EQ(irqchip_deliver(&m.ic, NULL, &irq), 0);
	apic_write(0, LAPIC_ESR, 0);
	EQ(apic_read(0, LAPIC_ESR), 0x40);
	apic_write(0, 0x3d0, 1);
	apic_write(0, LAPIC_ESR, 0);
	EQ(apic_read(0, LAPIC_ESR), 0x80);
	apic_write(0, LAPIC_ESR, 0);
	EQ(apic_read(0, LAPIC_ESR), 0);
	/* An error entry with an illegal vector must not chase its tail. */
	apic_write(0, LAPIC_LVTERR, 3);
	send_ipi(0, 0, 3);
	CHECK(!has_irr(0, 3));
	machine_stop();
}

static void software_disable(void)
{
	u32 reg;

	machine_start(IRQCHIP_KERNEL, 1);
	send_ipi(0, 0, 0x40);
	for (reg = LAPIC_LVTT; reg <= LAPIC_LVTERR; reg += 16)
		apic_write(0, reg, 0x31);
	apic_write(0, LAPIC_SVR, 0xff);
	for (reg = LAPIC_LVTT; reg <= LAPIC_LVTERR; reg += 16)
		CHECK(apic_read(0, reg) & LAPIC_LVT_MASKED);
	apic_write(0, LAPIC_LVT1, 0x400);
	EQ(apic_read(0, LAPIC_LVT1), 0x10400);
	send_ipi(0, 0, 0x41);
	CHECK(!has_irr(0, 0x41));
	/* What was pending stays so; NMI is still accepted. */
	EQ(take(0), 0x40);
	send_ipi(0, 0, APIC_NMI << 8);
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 1);
	machine_stop();
}

static void delivery_modes(void)
{
	machine_start(IRQCHIP_KERNEL, 2);
	send_ipi(0, 1, APIC_SMI << 8);
	send_ipi(0, 1, APIC_NMI << 8);
	send_ipi(0, 1, APIC_REMOTE_READ << 8);
	send_ipi(0, 1, APIC_INIT << 8 | ICR_LEVEL);
	EQ(m.cpu[1].events[LAPIC_EVENT_SMI], 1);
	EQ(m.cpu[1].events[LAPIC_EVENT_NMI], 1);
	EQ(m.cpu[1].events[LAPIC_EVENT_UNHALT], 1);
	EQ(m.cpu[1].events[LAPIC_EVENT_INIT], 1);
	/* INIT level de-assert is for old arbitration only. */
	apic_write(0, LAPIC_ICR, APIC_INIT << 8 | ICR_LEVEL);
	EQ(m.cpu[1].events[LAPIC_EVENT_INIT], 1);
	send_ipi(0, 1, APIC_STARTUP << 8 | 0x9a);
	EQ(m.cpu[1].events[LAPIC_EVENT_SIPI], 1);
	EQ(m.cpu[1].sipi_vector, 0x9a);
	send_ipi(0, 1, APIC_EXTINT << 8 | 0x40);
	CHECK(!has_irr(1, 0x40));
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 0);
	EQ(m.cpu[1].kicks, 0);
	/* The busy bit never reads back set. */
	apic_write(0, LAPIC_ICR, BIT(12) | 0x31);
	EQ(apic_read(0, LAPIC_ICR), 0x31);
	machine_stop();
}

static void shorthands(void)
{
	machine_start(IRQCHIP_KERNEL, 4);
	send_ipi(2, 0, SHORTHAND(APIC_TO_SELF) | 0x41);
	EQ(total_pending(0x41), 1);
	CHECK(has_irr(2, 0x41));
	send_ipi(2, 0, SHORTHAND(APIC_TO_ALL) | 0x42);
	EQ(total_pending(0x42), 4);
	send_ipi(2, 0, SHORTHAND(APIC_TO_OTHERS) | 0x43);
	EQ(total_pending(0x43), 3);
	CHECK(!has_irr(2, 0x43));
	send_ipi(1, 0xff, 0x44);
	EQ(total_pending(0x44), 4);
	machine_stop();
}

static void trigger_mode(void)
{
	struct apic_irq irq = { .vector = 0x50, .level = true, .assert = true };

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_deliver(&m.ic, NULL, &irq), 1);
	CHECK(has_tmr(0, 0x50));
	irq.level = false;
	EQ(irqchip_deliver(&m.ic, NULL, &irq), 1);
	CHECK(!has_tmr(0, 0x50));
	irq.level = true;
	irq.assert = false;
	irq.vector = 0x51;
	EQ(irqchip_deliver(&m.ic, NULL, &irq), 0);
	CHECK(!has_irr(0, 0x51));
	machine_stop();
}

static void lint0(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVT0, 0x10700);
	CHECK(!lapic_accepts_extint(cpu_lapic(0)));
	m.cpu[0].kicks = 0;
	apic_write(0, LAPIC_LVT0, 0x700);
	CHECK(lapic_accepts_extint(cpu_lapic(0)));
	EQ(m.cpu[0].kicks, 1);
	EQ(lapic_local_deliver(cpu_lapic(0), LAPIC_LVT0), 0);
	apic_write(0, LAPIC_LVT0, 0x400);
	EQ(atomic_read(&m.ic.lint0_nmi), 1);
	apic_write(0, LAPIC_LVT0, 0x400);
	EQ(atomic_read(&m.ic.lint0_nmi), 1);
	EQ(lapic_local_deliver(cpu_lapic(0), LAPIC_LVT0), 1);
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 1);
	/* A fixed one has the entry's trigger mode. */
	apic_write(0, LAPIC_LVT1, 0x41);
	EQ(lapic_local_deliver(cpu_lapic(0), LAPIC_LVT1), 1);
	CHECK(has_irr(0, 0x41) && !has_tmr(0, 0x41));
	apic_write(0, LAPIC_LVT1, 0x8042);
	EQ(lapic_local_deliver(cpu_lapic(0), LAPIC_LVT1), 1);
	CHECK(has_irr(0, 0x42) && has_tmr(0, 0x42));
	apic_write(0, LAPIC_SVR, 0xff);
	EQ(atomic_read(&m.ic.lint0_nmi), 0);
	EQ(lapic_local_deliver(cpu_lapic(0), LAPIC_LVT0), 0);
	machine_stop();
}

static void one_shot(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, 0x30);
	apic_write(0, LAPIC_TMICT, 1000000);
	EQ(apic_read(0, LAPIC_TMCCT), 1000000);
	env_advance(400000);
	EQ(apic_read(0, LAPIC_TMCCT), 600000);
	env_advance(599999);
	EQ(apic_read(0, LAPIC_TMCCT), 1);
	EQ(take(0), -1);
	env_advance(1);
	EQ(apic_read(0, LAPIC_TMCCT), 0);
	EQ(take(0), 0x30);
	lapic_eoi(cpu_lapic(0));
	env_advance(10000000);
	EQ(take(0), -1);
	/* A tick while masked is lost; writing 0 stops. */
	apic_write(0, LAPIC_LVTT, 0x10030);
	apic_write(0, LAPIC_TMICT, 1000);
	env_advance(2000);
	apic_write(0, LAPIC_LVTT, 0x30);
	EQ(take(0), -1);
	apic_write(0, LAPIC_TMICT, 1000);
	apic_write(0, LAPIC_TMICT, 0);
	EQ(env_timers_queued(), 0);
	EQ(apic_read(0, LAPIC_TMCCT), 0);
	machine_stop();
}

static void divide_config(void)
{
	static const u8 by[16] = { 2, 4, 8, 16, 0, 0, 0, 0, 32, 64, 128, 1 };
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVTT, 0x30);
	for (i = 0; i < 16; i++) {
		if (!by[i])
			continue;
		apic_write(0, LAPIC_TDCR, i);
		apic_write(0, LAPIC_TMICT, 1000);
		env_advance(1000 * by[i] - 1);
		EQ(take(0), -1);
		env_advance(1);
		EQ(take(0), 0x30);
		lapic_eoi(cpu_lapic(0));
	}
	/* A running count goes on at the new rate. */
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_TMICT, 1000);
	env_advance(600);
	apic_write(0, LAPIC_TDCR, 1);
	EQ(apic_read(0, LAPIC_TMCCT), 400);
	env_advance(1599);
	EQ(take(0), -1);
	env_advance(1);
	EQ(take(0), 0x30);
	m.ic.bus_ns = 10;
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_TMICT, 1000);
	env_advance(5000);
	EQ(apic_read(0, LAPIC_TMCCT), 500);
	machine_stop();
}

static void periodic_without_drift(void)
{
	const u64 period = 1000003;
	int i, ticks = 0;
	u64 start;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x30);
	start = lodge_now();
	apic_write(0, LAPIC_TMICT, period);
	for (i = 0; i < 10000; i++) {
		env_advance(333337);
		if (take(0) == 0x30) {
			ticks++;
			lapic_eoi(cpu_lapic(0));
		}
	}
	EQ(ticks, (lodge_now() - start) / period);
	EQ(apic_read(0, LAPIC_TMCCT),
	   period - (lodge_now() - start) % period);
	machine_stop();
}

static void late_callback_keeps_the_beat(void)
{
	struct lapic *l = cpu_lapic(0);
	u64 start, next;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x30);
	start = lodge_now();
	apic_write(0, LAPIC_TMICT, 1000000);
	/* The callback comes 3.5 periods late. */
	lodge_timer_cancel(&l->timer);
	env_advance(4500000);
	next = l->timer.fn(&l->timer);
	EQ(next, start + 5000000);
	lodge_timer_start(&l->timer, next);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	EQ(take(0), -1);
	EQ(apic_read(0, LAPIC_TMCCT), 500000);
	machine_stop();
}

static void minimum_period(void)
{
	int i, ticks = 0;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x30);
	apic_write(0, LAPIC_TMICT, 1);
	for (i = 0; i < 1000; i++) {
		env_advance(1000);
		if (take(0) == 0x30) {
			ticks++;
			lapic_eoi(cpu_lapic(0));
		}
	}
	EQ(ticks, 5);
	EQ(apic_read(0, LAPIC_TMCCT), 1);
	machine_stop();
}

static void mode_switches(void)
{
	struct lapic *l = cpu_lapic(0);

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, 0x30);
	apic_write(0, LAPIC_TMICT, 1000000);
	env_advance(300000);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x30);
	EQ(apic_read(0, LAPIC_TMCCT), 700000);
	env_advance(700000);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	env_advance(1000000);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	/* To TSC deadline: disarmed, and TMICT is ignored there. */
	apic_write(0, LAPIC_LVTT, LVTT_DEADLINE | 0x30);
	EQ(env_timers_queued(), 0);
	EQ(apic_read(0, LAPIC_TMICT), 0);
	apic_write(0, LAPIC_TMICT, 1000);
	EQ(apic_read(0, LAPIC_TMICT), 0);
	EQ(env_timers_queued(), 0);
	lapic_set_tsc_deadline(l, lodge_now() + 500);
	EQ(env_timers_queued(), 1);
	apic_write(0, LAPIC_LVTT, 0x30);
	EQ(env_timers_queued(), 0);
	EQ(lapic_get_tsc_deadline(l), 0);
	/* Without the CPUID bit there is no such mode. */
	lapic_set_cpuid(l, true, false, 0);
	apic_write(0, LAPIC_LVTT, LVTT_DEADLINE | 0x30);
	EQ(apic_read(0, LAPIC_LVTT), 0x30);
	machine_stop();
}

static void tsc_deadline(void)
{
	struct lapic *l = cpu_lapic(0);

	machine_start(IRQCHIP_KERNEL, 1);
	m.tsc_offset = 0x123456789;
	lapic_set_tsc_deadline(l, lodge_now() + m.tsc_offset + 500);
	EQ(lapic_get_tsc_deadline(l), 0);
	EQ(env_timers_queued(), 0);
	apic_write(0, LAPIC_LVTT, LVTT_DEADLINE | 0x31);
	lapic_set_tsc_deadline(l, lodge_now() + m.tsc_offset + 500);
	EQ(lapic_get_tsc_deadline(l), lodge_now() + m.tsc_offset + 500);
	env_advance(499);
	EQ(take(0), -1);
	env_advance(1);
	EQ(take(0), 0x31);
	EQ(lapic_get_tsc_deadline(l), 0);
	lapic_eoi(l);
	/* In the past: at once, without a host timer. */
	lapic_set_tsc_deadline(l, 1);
	EQ(env_timers_queued(), 0);
	EQ(take(0), 0x31);
	EQ(lapic_get_tsc_deadline(l), 0);
	lapic_eoi(l);
	/* Zero disarms. */
	lapic_set_tsc_deadline(l, lodge_now() + m.tsc_offset + 500);
	lapic_set_tsc_deadline(l, 0);
	env_advance(1000);
	EQ(take(0), -1);
	EQ(env_timers_queued(), 0);
	/* The guest's clock is moved ahead. */
	lapic_set_tsc_deadline(l, lodge_now() + m.tsc_offset + 500);
	m.tsc_offset += 400;
	lapic_tsc_changed(l);
	env_advance(100);
	EQ(take(0), 0x31);
	machine_stop();
}

/* The host's timer stays where it is for a later one, and moves for an earlier one. */
static void moved_deadline(void)
{
	struct lapic *l = cpu_lapic(0);
	u64 start;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVTT, LVTT_DEADLINE | 0x31);
	start = lodge_now();
	lapic_set_tsc_deadline(l, start + 500);
	lapic_set_tsc_deadline(l, start + 900);
	lapic_set_tsc_deadline(l, start + 700);
	EQ(env_timers_queued(), 1);
	EQ(l->armed, start + 500);
	env_advance(699);
	EQ(take(0), -1);
	EQ(lapic_get_tsc_deadline(l), start + 700);
	EQ(l->armed, start + 700);
	env_advance(1);
	EQ(take(0), 0x31);
	lapic_eoi(l);
	EQ(lapic_get_tsc_deadline(l), 0);
	EQ(env_timers_queued(), 0);

	start = lodge_now();
	lapic_set_tsc_deadline(l, start + 500);
	lapic_set_tsc_deadline(l, start + 100);
	EQ(env_timers_queued(), 1);
	env_advance(100);
	EQ(take(0), 0x31);
	lapic_eoi(l);
	env_advance(1000);
	EQ(take(0), -1);

	/* Armed again while the timer of one that was taken back runs. */
	start = lodge_now();
	lapic_set_tsc_deadline(l, start + 500);
	lapic_set_tsc_deadline(l, 0);
	lapic_set_tsc_deadline(l, start + 600);
	env_advance(599);
	EQ(take(0), -1);
	env_advance(1);
	EQ(take(0), 0x31);
	lapic_eoi(l);

	/* Another mode takes the host's timer away. */
	lapic_set_tsc_deadline(l, lodge_now() + 500);
	lapic_set_tsc_deadline(l, 0);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x31);
	EQ(env_timers_queued(), 0);
	machine_stop();
}

/* Early by what it takes into the guest, as was learned; and never earlier than the most. */
static void advanced_deadline(void)
{
	struct lapic *l = cpu_lapic(0);
	u64 deadline;
	int i;

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVTT, LVTT_DEADLINE | 0x31);
	l->advance = 100;
	deadline = lodge_now() + 500;
	lapic_set_tsc_deadline(l, deadline);
	env_advance(399);
	EQ(take(0), -1);
	env_advance(1);
	EQ(lapic_given_deadline(l, 0x30), 0);
	EQ(lapic_given_deadline(l, 0x31), deadline);
	EQ(lapic_given_deadline(l, 0x31), 0);
	EQ(take(0), 0x31);
	lapic_eoi(l);

	lapic_deadline_was(l, 80);
	EQ(l->advance, 120);
	lapic_deadline_was(l, -40);
	EQ(l->advance, 110);
	lapic_deadline_was(l, 1000000);
	EQ(l->advance, 110);
	for (i = 0; i < 10; i++)
		lapic_deadline_was(l, LAPIC_MAX_ADVANCE_NS);
	EQ(l->advance, LAPIC_MAX_ADVANCE_NS);
	for (i = 0; i < 10; i++)
		lapic_deadline_was(l, -LAPIC_MAX_ADVANCE_NS);
	EQ(l->advance, 0);

	/* Nearer than that: at once. */
	l->advance = 1000;
	lapic_set_tsc_deadline(l, lodge_now() + 500);
	EQ(env_timers_queued(), 0);
	EQ(take(0), 0x31);
	machine_stop();
}

static void base_transitions(void)
{
	static const u64 value[4] = { 0xfee00000, 0xfee00400, 0xfee00800,
				      0xfee00c00 };
	/* By old and new mode: disabled, invalid, xAPIC, x2APIC. */
	static const int guest[4][4] = {
		{ 0, 1, 0, 1 }, { 1, 1, 1, 1 }, { 0, 1, 0, 0 }, { 0, 1, 1, 0 },
	};
	struct lapic *l = cpu_lapic(0);
	int from, to;

	for (from = 0; from < 4; from++) {
		for (to = 0; to < 4; to++) {
			if (from == LAPIC_INVALID)
				continue;
			machine_start(IRQCHIP_KERNEL, 1);
			EQ(lapic_set_base(l, value[from], true), 0);
			EQ(lapic_set_base(l, value[to], false), guest[from][to]);
			EQ(l->base, value[guest[from][to] ? from : to]);
			EQ(lapic_set_base(l, value[to], true),
			   to == LAPIC_INVALID);
			machine_stop();
		}
	}
	machine_start(IRQCHIP_KERNEL, 1);
	EQ(lapic_set_base(l, 0xfee00801, false), 1);
	EQ(lapic_set_base(l, 0xfee00a00, false), 1);
	EQ(lapic_set_base(l, 1ULL << 40 | 0xfee00800, false), 1);
	EQ(lapic_set_base(l, 0x7fee00800, false), 0);
	EQ(lapic_mmio_base(l), 0x7fee00000);
	lapic_set_cpuid(l, false, false, 0);
	EQ(lapic_set_base(l, 0xfee00c00, false), 1);
	EQ(lapic_set_base(l, 0xfee00c00, true), 1);
	machine_stop();
}

static void x2apic_ids(void)
{
	struct lapic *l = cpu_lapic(35);

	machine_start(IRQCHIP_KERNEL, 40);
	apic_write(35, LAPIC_ID, 0x77000000);
	enter_x2apic(35);
	EQ(apic_read(35, LAPIC_ID), 35);
	EQ(apic_read(35, LAPIC_LDR), 0x20008);
	/* Through disabled back to xAPIC: the initial id. */
	EQ(lapic_set_base(l, 0xfee00000, false), 0);
	EQ(lapic_set_base(l, 0xfee00800, false), 0);
	EQ(apic_read(35, LAPIC_ID), 35 << 24);
	machine_stop();
}

static void x2apic_msrs(void)
{
	static const u16 readable[] = {
		0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x828, 0x830, 0x832,
		0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x839, 0x83e,
	};
	static const struct {
		u16 msr;
		u64 bad, good;
	} writes[] = {
		{ 0x808, 0x100, 0xff }, { 0x80b, 1, 0 }, { 0x80f, 0x1000, 0x1ff },
		{ 0x828, 1, 0 }, { 0x830, BIT(13), 0x4031 },
		{ 0x830, BIT(16), 0x4031 }, { 0x830, BIT(20), 0x4031 },
		{ 0x830, BIT(31), 0xff00004031ULL },
		{ 0x832, 0x80000, 0x60030 }, { 0x833, 0x800, 0x10700 },
		{ 0x835, 0x20000, 0x1a7ff }, { 0x837, 0x700, 0x31 },
		{ 0x83e, 4, 0xb }, { 0x83f, 0x100, 0x31 },
		{ 0x838, 1ULL << 32, 0 }, { 0x808, 1ULL << 63, 0 },
	};
	struct lapic *l = cpu_lapic(0);
	u32 msr, i;
	u64 value;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(lapic_msr_read(l, 0x802, &value), 1);
	EQ(lapic_msr_write(l, 0x80b, 0), 1);
	enter_x2apic(0);
	for (msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++) {
		int want = 1;

		for (i = 0; i < ARRAY_SIZE(readable); i++)
			want &= msr != readable[i];
		want &= msr < 0x810 || msr > 0x827;
		EQ(lapic_msr_read(l, msr, &value), want);
	}
	/* Read-only ones and ones that are not there. */
	for (msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++) {
		int writable = msr == 0x808 || msr == 0x80b || msr == 0x80f ||
			       msr == 0x828 || msr == 0x830 ||
			       (msr >= 0x832 && msr <= 0x838) || msr == 0x83e ||
			       msr == 0x83f;

		EQ(lapic_msr_write(l, msr, 0), !writable);
	}
	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		EQ(lapic_msr_write(l, writes[i].msr, writes[i].bad), 1);
		EQ(lapic_msr_write(l, writes[i].msr, writes[i].good), 0);
	}
	EQ(lapic_msr_read(l, 0x830, &value), 0);
	EQ(value, 0xff00004031ULL);
	machine_stop();
}

static void self_ipi(void)
{
	machine_start(IRQCHIP_KERNEL, 2);
	apic_write(1, LAPIC_SELF_IPI, 0x45);
	EQ(total_pending(0x45), 0);
	enter_x2apic(1);
	apic_write(1, LAPIC_SELF_IPI, 0x45);
	EQ(total_pending(0x45), 1);
	EQ(take(1), 0x45);
	CHECK(!has_tmr(1, 0x45));
	machine_stop();
}

static void state_round_trip(void)
{
	struct kvm_lapic_state s, t;
	struct lapic *l = cpu_lapic(0);

	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_TDCR, TDCR_1);
	apic_write(0, LAPIC_LVTT, LVTT_PERIODIC | 0x30);
	apic_write(0, LAPIC_TPR, 0x20);
	send_ipi(0, 0, 0x60);
	EQ(take(0), 0x60);
	send_ipi(0, 0, 0x50);
	apic_write(0, LAPIC_LVT0, 0x400);
	apic_write(0, LAPIC_TMICT, 1000000);
	env_advance(250000);
	lapic_get_state(l, &s);
	EQ(*(u32 *)(s.regs + LAPIC_TMCCT), 750000);
	EQ(*(u32 *)(s.regs + LAPIC_PPR), 0x60);
	machine_stop();

	machine_start(IRQCHIP_KERNEL, 1);
	*(u32 *)(s.regs + LAPIC_ID) = 0x42000000;
	EQ(lapic_set_state(l, &s), 0);
	send_ipi(0, 0x42, 0x50);
	CHECK(has_irr(0, 0x50));
	EQ(atomic_read(&m.ic.lint0_nmi), 1);
	apic_write(0, LAPIC_ICR2, 0);
	apic_write(0, LAPIC_ICR, *(u32 *)(s.regs + LAPIC_ICR));
	lapic_get_state(l, &t);
	EQ(memcmp(&s, &t, sizeof(s)), 0);
	EQ(take(0), -1);
	lapic_eoi(l);
	EQ(take(0), 0x50);
	lapic_eoi(l);
	env_advance(749999);
	EQ(take(0), -1);
	env_advance(1);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	env_advance(1000000);
	EQ(take(0), 0x30);
	machine_stop();
}

static void state_of_timers(void)
{
	struct kvm_lapic_state s;
	struct lapic *l = cpu_lapic(0);

	/* A one-shot that ran out: the tick may not have been seen. */
	machine_start(IRQCHIP_KERNEL, 1);
	apic_write(0, LAPIC_LVTT, 0x30);
	apic_write(0, LAPIC_TMICT, 1000);
	env_advance(5000);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	lapic_get_state(l, &s);
	EQ(lapic_set_state(l, &s), 0);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	/* A periodic one starts its period over. */
	*(u32 *)(s.regs + LAPIC_LVTT) = LVTT_PERIODIC | 0x30;
	*(u32 *)(s.regs + LAPIC_TMICT) = 1000000;
	EQ(lapic_set_state(l, &s), 0);
	EQ(take(0), -1);
	EQ(apic_read(0, LAPIC_TMCCT), 1000000);
	*(u32 *)(s.regs + LAPIC_LVTT) = 0x30;
	*(u32 *)(s.regs + LAPIC_TMICT) = 1000;
	/* TMCCT cannot be above TMICT. */
	*(u32 *)(s.regs + LAPIC_TMCCT) = 0xffffffff;
	EQ(lapic_set_state(l, &s), 0);
	EQ(apic_read(0, LAPIC_TMCCT), 1000);
	env_advance(2000);
	EQ(take(0), 0x30);
	lapic_eoi(l);
	/* The timer's entry has no delivery mode, whatever user space sets. */
	*(u32 *)(s.regs + LAPIC_LVTT) = 0x8400 | 0x32;
	*(u32 *)(s.regs + LAPIC_TMCCT) = 0;
	EQ(lapic_set_state(l, &s), 0);
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 0);
	CHECK(!has_tmr(0, 0x32));
	EQ(take(0), 0x32);
	lapic_eoi(l);
	/* TMICT means nothing to a deadline timer; an armed deadline stays. */
	*(u32 *)(s.regs + LAPIC_LVTT) = LVTT_DEADLINE | 0x31;
	EQ(lapic_set_state(l, &s), 0);
	EQ(env_timers_queued(), 0);
	EQ(apic_read(0, LAPIC_TMCCT), 0);
	EQ(take(0), -1);
	lapic_set_tsc_deadline(l, lodge_now() + 500);
	lapic_get_state(l, &s);
	EQ(lapic_set_state(l, &s), 0);
	EQ(lapic_get_tsc_deadline(l), lodge_now() + 500);
	env_advance(500);
	EQ(take(0), 0x31);
	machine_stop();
}

static void state_in_x2apic(void)
{
	struct kvm_lapic_state s;
	struct lapic *l = cpu_lapic(3);
	u32 *id = (u32 *)(s.regs + LAPIC_ID), *ldr = (u32 *)(s.regs + LAPIC_LDR);
	u64 icr;

	machine_start(IRQCHIP_KERNEL, 4);
	enter_x2apic(3);
	EQ(lapic_msr_write(l, 0x830, 0x1234567800004031ULL), 0);
	lapic_get_state(l, &s);
	EQ(*id, 3 << 24);
	EQ(*(u32 *)(s.regs + LAPIC_ICR), 0x4031);
	EQ(*(u32 *)(s.regs + LAPIC_ICR2), 0x12345678);
	*id = 0x7f000000;
	*ldr = 0xdead;
	EQ(lapic_set_state(l, &s), 0);
	EQ(apic_read(3, LAPIC_ID), 3);
	EQ(apic_read(3, LAPIC_LDR), 8);
	EQ(lapic_msr_read(l, 0x830, &icr), 0);
	EQ(icr, 0x1234567800004031ULL);

	m.ic.x2apic_ids = true;
	lapic_get_state(l, &s);
	EQ(*id, 3);
	EQ(lapic_set_state(l, &s), 0);
	*id = 4;
	*(u32 *)(s.regs + LAPIC_TPR) = 0x70;
	EQ(lapic_set_state(l, &s), -EINVAL);
	EQ(apic_read(3, LAPIC_TPR), 0);
	machine_stop();
}

/* Whatever user space sets, the queries stay within bounds. */
static void garbage_state(void)
{
	struct kvm_lapic_state s;
	struct lapic *l = cpu_lapic(0);
	int i, round, n;

	machine_start(IRQCHIP_KERNEL, 1);
	srand(1);
	for (round = 0; round < 2000; round++) {
		for (i = 0; i < (int)sizeof(s.regs); i++)
			s.regs[i] = round ? rand() : 0xff;
		EQ(lapic_set_state(l, &s), 0);
		EQ(apic_read(0, LAPIC_VERSION), 0x50014);
		env_advance(rand() % 1000000);
		for (n = 0; n < 300; n++) {
			take(0);
			lapic_eoi(l);
		}
		apic_write(0, LAPIC_TMICT, 0);
		apic_write(0, LAPIC_TPR, 0);
		while (l->isr_top >= 0)
			lapic_eoi(l);
		while (take(0) >= 0)
			lapic_eoi(l);
		/* Vectors below 16 have no class that beats 0. */
		EQ(apic_read(0, LAPIC_IRR) >> 16, 0);
	}
	machine_stop();
}

/* A CPU that delivers interrupts itself learns of them when it is out of the guest. */
static void direct_delivery(void)
{
	struct apic_irq level = { .vector = 0x52, .level = true, .assert = true };
	struct lapic *l = cpu_lapic(1);
	u8 requested, in_service;
	u64 exits[4] = {};

	machine_start(IRQCHIP_KERNEL, 2);
	l->posts = true;
	send_ipi(0, 1, 0x31);
	send_ipi(0, 1, 0xf2);
	EQ(lapic_reg(l, LAPIC_IRR + 0x10), 0);
	CHECK(l->irr_pending);
	lapic_collect(l);
	EQ(lapic_reg(l, LAPIC_IRR + 0x10), BIT(0x31 & 31));
	EQ(lapic_reg(l, LAPIC_IRR + 0x70), BIT(0xf2 & 31));
	CHECK(l->direct_stale);
	lapic_give_direct(l, &requested, &in_service, exits);
	EQ(requested, 0xf2);
	EQ(in_service, 0);
	CHECK(!l->direct_stale);
	EQ(exits[0] | exits[1] | exits[2] | exits[3], 0);

	/* As the CPU does it. */
	lapic_reg_set(l, LAPIC_IRR + 0x70, 0);
	lapic_reg_set(l, LAPIC_ISR + 0x70, BIT(0xf2 & 31));
	lapic_take_direct(l, 0x31, 0xf2);
	EQ(lapic_highest_pending(l), -1);
	lapic_reg_set(l, LAPIC_ISR + 0x70, 0);
	lapic_take_direct(l, 0x31, 0);
	EQ(lapic_highest_pending(l), 0x31);

	/* The end of a level-triggered one has to be known; and a reset forgets what waits. */
	EQ(lapic_accept(l, &level), 1);
	lapic_collect(l);
	lapic_give_direct(l, &requested, &in_service, exits);
	EQ(requested, 0x52);
	EQ(exits[1], BIT_ULL(0x52 - 64));
	send_ipi(0, 1, 0x77);
	lapic_reset(l, true, false);
	lapic_collect(l);
	EQ(lapic_reg(l, LAPIC_IRR + 0x30), 0);
	l->posts = false;
	machine_stop();
}

/* One that takes them in the guest, too: not those whose end has to be known. */
static void posted_delivery(void)
{
	struct apic_irq level = { .vector = 0x52, .level = true, .assert = true };
	struct lapic_posts pid = {};
	struct lapic *l = cpu_lapic(1);

	machine_start(IRQCHIP_KERNEL, 2);
	l->posts = true;
	l->pid = &pid;
	send_ipi(0, 1, 0x31);
	EQ(pid.on, 0);
	EQ(m.cpu[1].kicks, 1);
	l->direct = true;
	send_ipi(0, 1, 0x41);
	send_ipi(0, 1, 0xf2);
	EQ(pid.on, 1);
	EQ(pid.requests[1], BIT_ULL(1));
	EQ(pid.requests[3], BIT_ULL(0xf2 - 192));
	EQ(m.cpu[1].notes, 1);
	EQ(m.cpu[1].kicks, 1);
	CHECK(l->irr_pending);
	EQ(lapic_accept(l, &level), 1);
	EQ(pid.requests[1], BIT_ULL(1));
	EQ(m.cpu[1].kicks, 2);

	/* As the CPU does it; then there is nothing to collect but what was not posted there. */
	pid.on = 0;
	pid.requests[1] = 0;
	pid.requests[3] = 0;
	send_ipi(0, 1, 0x42);
	EQ(m.cpu[1].notes, 2);
	lapic_collect(l);
	EQ(pid.on, 0);
	EQ(pid.requests[1], 0);
	EQ(lapic_reg(l, LAPIC_IRR + 0x10), BIT(0x31 & 31));
	EQ(lapic_reg(l, LAPIC_IRR + 0x20), BIT(0x42 & 31) | BIT(0x52 & 31));
	EQ(lapic_reg(l, LAPIC_IRR + 0x70), 0);

	/* It waits for a vCPU that is asleep. */
	send_ipi(0, 1, 0x91);
	l->direct = false;
	EQ(lapic_highest_pending(l), 0x91);
	l->posts = false;
	l->pid = NULL;
	machine_stop();
}

static const struct test tests[] = {
	TEST(power_up_state),
	TEST(init_keeps_base_and_id),
	TEST(writable_bits),
	TEST(mmio_width_and_alignment),
	TEST(disabled_page_is_not_there),
	TEST(priority_order),
	TEST(task_priority),
	TEST(every_vector),
	TEST(illegal_vectors),
	TEST(software_disable),
	TEST(delivery_modes),
	TEST(shorthands),
	TEST(trigger_mode),
	TEST(lint0),
	TEST(one_shot),
	TEST(divide_config),
	TEST(periodic_without_drift),
	TEST(late_callback_keeps_the_beat),
	TEST(minimum_period),
	TEST(mode_switches),
	TEST(tsc_deadline),
	TEST(moved_deadline),
	TEST(advanced_deadline),
	TEST(base_transitions),
	TEST(x2apic_ids),
	TEST(x2apic_msrs),
	TEST(self_ipi),
	TEST(state_round_trip),
	TEST(state_of_timers),
	TEST(state_in_x2apic),
	TEST(garbage_state),
	TEST(direct_delivery),
	TEST(posted_delivery),
};

MAIN(tests)
