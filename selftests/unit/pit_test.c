// SPDX-License-Identifier: GPL-2.0-only
/* Unit tests of the PIT: modes, access, latches, gate, IRQ 0, re-injection. */
#include "irqchip_test.h"

/* The first ns at which @clocks of the PIT are over. */
static u64 clocks(u64 clocks)
{
	return (clocks * 1000000000ULL + PIT_HZ - 1) / PIT_HZ;
}

static u64 loaded;

static void load(u32 ch, u8 mode, u32 count)
{
	outb(0x43, ch << 6 | 0x30 | mode << 1);
	outb(0x40 + ch, count);
	outb(0x40 + ch, count >> 8);
	loaded = lodge_now();
}

/* To @n clocks after the last load(). */
static void at(u64 n)
{
	env_set_time(loaded + clocks(n));
}

static u16 read_word(u32 ch)
{
	u16 low = inb(0x40 + ch);

	return low | inb(0x40 + ch) << 8;
}

static u16 latched(u32 ch)
{
	outb(0x43, ch << 6);
	return read_word(ch);
}

static bool out(u32 ch)
{
	outb(0x43, 0xe0 | 2 << ch);
	return inb(0x40 + ch) & 0x80;
}

/* A PC that takes IRQ 0 through the PIC, vector 0x30. */
static void start(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_create_pit(&m.ic, KVM_PIT_SPEAKER_DUMMY), 0);
	apic_write(0, LAPIC_LVT0, 0x700);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0x21, 0xfe);
}

/* Takes and ends IRQ 0 if it is there. */
static int tick(void)
{
	if (!pic_has_output(&m.ic.pic))
		return 0;
	EQ(pic_ack(&m.ic.pic), 0x30);
	outb(0x20, 0x20);
	return 1;
}

static void creation(void)
{
	u8 value;

	machine_start(IRQCHIP_SPLIT, 1);
	EQ(irqchip_create_pit(&m.ic, 0), -ENOENT);
	machine_stop();

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_io_read(&m.ic, 0x40, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_create_pit(&m.ic, 2), -EINVAL);
	EQ(irqchip_create_pit(&m.ic, 0), 0);
	EQ(irqchip_create_pit(&m.ic, 0), -EEXIST);
	EQ(irqchip_io_read(&m.ic, 0x61, 1, &value), -EOPNOTSUPP);
	EQ(irqchip_io_read(&m.ic, 0x44, 1, &value), -EOPNOTSUPP);
	EQ(inb(0x43), 0);
	/* Nothing runs until a guest programs it. */
	EQ(env_timers_queued(), 0);
	machine_stop();
}

static void mode0(void)
{
	start();
	load(2, 0, 1000);
	outb(0x61, 1);
	loaded = lodge_now();
	EQ(latched(2), 1000);
	CHECK(!out(2));
	at(999);
	EQ(latched(2), 1);
	CHECK(!out(2));
	at(1000);
	EQ(latched(2), 0);
	CHECK(out(2));
	/* Counts on, through the wrap; OUT stays. */
	at(1001);
	EQ(latched(2), 0xffff);
	CHECK(out(2));
	at(1000 + 65536 + 5);
	EQ(latched(2), 0xfffb);
	machine_stop();
}

static void mode1(void)
{
	start();
	load(2, 1, 100);
	outb(0x61, 1);
	loaded = lodge_now();
	CHECK(out(2));
	at(99);
	CHECK(out(2));
	at(100);
	CHECK(!out(2));
	/* The gate's rise triggers it again, its fall does nothing. */
	outb(0x61, 0);
	EQ(latched(2), 0);
	outb(0x61, 1);
	loaded = lodge_now();
	CHECK(out(2));
	EQ(latched(2), 100);
	at(50);
	EQ(latched(2), 50);
	machine_stop();
}

static void mode2(void)
{
	start();
	load(2, 2, 10);
	outb(0x61, 1);
	loaded = lodge_now();
	EQ(latched(2), 10);
	at(8);
	EQ(latched(2), 2);
	CHECK(out(2));
	at(9);
	EQ(latched(2), 1);
	CHECK(!out(2));
	at(10);
	EQ(latched(2), 10);
	CHECK(out(2));
	at(1000000009);
	CHECK(!out(2));
	/* A low gate stops it, OUT high; the rise reloads. */
	outb(0x61, 0);
	CHECK(out(2));
	env_advance(12345678);
	EQ(latched(2), 1);
	outb(0x61, 1);
	EQ(latched(2), 10);
	machine_stop();
}

static void mode3(void)
{
	start();
	load(2, 3, 10);
	outb(0x61, 1);
	loaded = lodge_now();
	at(1);
	EQ(latched(2), 8);
	CHECK(out(2));
	at(4);
	CHECK(out(2));
	at(5);
	EQ(latched(2), 10);
	CHECK(!out(2));
	at(9);
	EQ(latched(2), 2);
	CHECK(!out(2));
	at(10);
	CHECK(out(2));
	/* An odd count is high for the longer half. */
	load(2, 3, 7);
	at(3);
	CHECK(out(2));
	at(4);
	CHECK(!out(2));
	machine_stop();
}

static void mode4_and_5(void)
{
	u8 mode;

	start();
	outb(0x61, 1);
	for (mode = 4; mode <= 5; mode++) {
		load(2, mode, 100);
		CHECK(out(2));
		at(100);
		CHECK(!out(2));
		at(101);
		CHECK(out(2));
		EQ(latched(2), 0xffff);
	}
	/* In mode 4 the gate holds the count. */
	load(2, 4, 100);
	at(40);
	outb(0x61, 0);
	env_advance(1000000);
	EQ(latched(2), 60);
	outb(0x61, 1);
	EQ(latched(2), 60);
	loaded = lodge_now();
	at(59);
	CHECK(out(2));
	at(61);
	EQ(latched(2), 0xffff);
	/* Modes 6 and 7 are 2 and 3. */
	load(2, 6, 10);
	at(10);
	EQ(latched(2), 10);
	outb(0x43, 0xe8);
	EQ(inb(0x42) & 0x3f, 0x34);
	machine_stop();
}

static void bcd(void)
{
	start();
	outb(0x61, 1);
	outb(0x43, 0xb1);
	outb(0x42, 0x00);
	outb(0x42, 0x12);
	loaded = lodge_now();
	EQ(latched(2), 0x1200);
	at(1);
	EQ(latched(2), 0x1199);
	at(1200);
	CHECK(out(2));
	at(1201);
	EQ(latched(2), 0x9999);
	/* Zero is 10000. */
	outb(0x43, 0xb1);
	outb(0x42, 0);
	outb(0x42, 0);
	loaded = lodge_now();
	EQ(latched(2), 0);
	at(9999);
	EQ(latched(2), 1);
	CHECK(!out(2));
	at(10000);
	CHECK(out(2));
	machine_stop();
}

static void access_modes(void)
{
	start();
	outb(0x61, 1);
	/* Low byte only. */
	outb(0x43, 0x90);
	outb(0x42, 200);
	loaded = lodge_now();
	at(1);
	EQ(inb(0x42), 199);
	at(2);
	EQ(inb(0x42), 198);
	/* High byte only. */
	outb(0x43, 0xa0);
	outb(0x42, 2);
	loaded = lodge_now();
	EQ(inb(0x42), 2);
	at(1);
	EQ(inb(0x42), 1);
	/* Both: the two bytes of a live count alternate. */
	load(2, 0, 0x1234);
	EQ(inb(0x42), 0x34);
	EQ(inb(0x42), 0x12);
	EQ(inb(0x42), 0x34);
	/* A control word starts over at the low byte. */
	outb(0x43, 0xb0);
	outb(0x42, 0x78);
	outb(0x43, 0xb0);
	outb(0x42, 0x11);
	outb(0x42, 0x22);
	EQ(read_word(2), 0x2211);
	machine_stop();
}

static void latches(void)
{
	start();
	outb(0x61, 1);
	load(2, 2, 1000);
	at(100);
	outb(0x43, 0x80);
	at(500);
	/* A second latch before the read is ignored. */
	outb(0x43, 0x80);
	EQ(read_word(2), 900);
	EQ(latched(2), 500);
	/* Read-back: status and count at once; status comes first. */
	outb(0x43, 0xc8);
	at(700);
	EQ(inb(0x42), 0x80 | 3 << 4 | 2 << 1);
	EQ(read_word(2), 500);
	/* Only the channels named are latched. */
	load(1, 2, 77);
	at(1);
	outb(0x43, 0xd8);
	at(10);
	EQ(read_word(1), 67);
	outb(0x43, 0xd4);
	at(20);
	EQ(read_word(1), 67);
	EQ(read_word(1), 57);
	machine_stop();
}

static void zero_is_65536(void)
{
	start();
	load(0, 2, 0);
	EQ(latched(0), 0);
	at(1);
	EQ(latched(0), 0xffff);
	at(65535);
	EQ(tick(), 0);
	at(65536);
	EQ(tick(), 1);
	machine_stop();
}

static void speaker_port(void)
{
	int i, toggles = 0;
	u8 last, now;

	start();
	EQ(inb(0x61) & 3, 0);
	outb(0x61, 0xff);
	EQ(inb(0x61) & 0xcf, 0x03);
	outb(0x61, 2);
	EQ(inb(0x61) & 3, 2);
	last = inb(0x61);
	for (i = 0; i < 1000; i++) {
		env_advance(1000);
		now = inb(0x61);
		toggles += (now ^ last) >> 4 & 1;
		last = now;
	}
	EQ(toggles, 61);
	/* How Linux calibrates its TSC: OUT of channel 2 at bit 5. */
	outb(0x61, (inb(0x61) & ~2) | 1);
	load(2, 0, 59659);
	EQ(inb(0x61) & 0x20, 0);
	at(59658);
	EQ(inb(0x61) & 0x20, 0);
	at(59659);
	EQ(inb(0x61) & 0x20, 0x20);
	machine_stop();
}

static void one_shot_irq(void)
{
	start();
	load(0, 0, 11932);
	at(11931);
	EQ(tick(), 0);
	at(11932);
	EQ(tick(), 1);
	at(1000000);
	EQ(tick(), 0);
	EQ(env_timers_queued(), 0);
	/* Linux's clock event device re-arms by the count alone. */
	outb(0x40, 100);
	outb(0x40, 0);
	loaded = lodge_now();
	at(100);
	EQ(tick(), 1);
	load(0, 4, 500);
	at(500);
	EQ(tick(), 1);
	load(0, 5, 500);
	at(1000);
	EQ(tick(), 0);
	machine_stop();
}

static void periodic_without_drift(void)
{
	u64 ticks = 0, first;
	int i;

	start();
	load(0, 2, 11932);
	first = loaded;
	/* A thousand seconds and more; 11932 clocks are no whole ns. */
	for (i = 0; i < 110000; i++) {
		env_advance(9999999);
		ticks += tick();
	}
	EQ(ticks, (lodge_now() - first) * (__uint128_t)PIT_HZ /
		  1000000000 / 11932);
	/* Mode 3 has the same period. */
	load(0, 3, 11932);
	at(11931);
	EQ(tick(), 0);
	at(11932);
	EQ(tick(), 1);
	at(2 * 11932);
	EQ(tick(), 1);
	machine_stop();
}

static void minimum_period(void)
{
	int i, ticks = 0;

	start();
	load(0, 2, 2);
	for (i = 0; i < 1000; i++) {
		env_advance(10000);
		ticks += tick();
	}
	CHECK(ticks >= 49 && ticks <= 50);
	EQ(latched(0) >= 1 && latched(0) <= 2, 1);
	machine_stop();
}

static void control_word_stops(void)
{
	start();
	load(0, 2, 1000);
	EQ(env_timers_queued(), 1);
	outb(0x43, 0x30);
	EQ(env_timers_queued(), 0);
	env_advance(10000000);
	EQ(tick(), 0);
	/* Other channels leave it alone. */
	load(0, 2, 1000);
	load(2, 0, 5);
	EQ(env_timers_queued(), 1);
	machine_stop();
}

static void missed_ticks_are_made_up(void)
{
	int i, ticks = 0;

	start();
	load(0, 2, 11932);
	at(11932);
	CHECK(pic_has_output(&m.ic.pic));
	at(11932 * 10);
	/* One is out; nine wait for its end. Each EOI brings the next. */
	for (i = 0; i < 20; i++)
		ticks += tick();
	EQ(ticks, 10);
	at(11932 * 11);
	EQ(tick(), 1);
	EQ(tick(), 0);
	/* Without re-injection they are gone, as are those from before. */
	at(11932 * 20);
	pit_set_reinject(&m.ic.pit, false);
	at(11932 * 21);
	EQ(tick(), 1);
	EQ(tick(), 0);
	pit_set_reinject(&m.ic.pit, true);
	at(11932 * 22);
	EQ(tick(), 1);
	EQ(tick(), 0);
	at(11932 * 23);
	pit_set_reinject(&m.ic.pit, false);
	pit_set_reinject(&m.ic.pit, true);
	EQ(tick(), 1);
	at(11932 * 24);
	EQ(tick(), 1);
	machine_stop();
}

/* A new count starts a new account: the old setting's ticks are not owed. */
static void reload_forgets_missed_ticks(void)
{
	start();
	load(0, 2, 11932);
	at(11932 * 10);
	load(0, 0, 11932);
	/* One was out already. */
	EQ(tick(), 1);
	EQ(tick(), 0);
	at(11932 * 2);
	EQ(tick(), 1);
	EQ(tick(), 0);
	machine_stop();
}

/* The host's timer comes late: the ticks in between count as missed. */
static void late_timer(void)
{
	struct pit *s = &m.ic.pit;
	int i, ticks = 0;

	start();
	load(0, 2, 11932);
	lodge_timer_cancel(&s->timer);
	at(11932 * 5 + 100);
	EQ(s->timer.fn(&s->timer), 0);
	for (i = 0; i < 10; i++)
		ticks += tick();
	EQ(ticks, 5);
	at(11932 * 6 - 1);
	EQ(tick(), 0);
	at(11932 * 6);
	EQ(tick(), 1);
	machine_stop();
}

/* A callback that raced with a write to the ports must change nothing. */
static void stale_callback(void)
{
	struct pit *s = &m.ic.pit;

	start();
	load(0, 2, 11932);
	at(11931);
	load(0, 2, 11932);
	EQ(s->timer.fn(&s->timer), 0);
	EQ(tick(), 0);
	EQ(s->timer.expires, loaded + 11932 * 1000000000ULL / PIT_HZ);
	outb(0x43, 0x30);
	EQ(s->timer.fn(&s->timer), 0);
	EQ(tick(), 0);
	EQ(env_timers_queued(), 0);
	machine_stop();
}

static void through_the_ioapic(void)
{
	int i, ticks = 0;

	start();
	outb(0x21, 0xff);
	ioapic_route(0, 0x30);
	load(0, 2, 11932);
	at(11932 * 4);
	/* The EOI of an edge-triggered vector acks the tick. */
	for (i = 0; i < 10; i++) {
		if (take(0) != 0x30)
			break;
		ticks++;
		lapic_eoi(cpu_lapic(0));
	}
	EQ(ticks, 4);
	/* Masked: what happens meanwhile is forgotten at the unmask. */
	ioapic_route(0, BIT_ULL(16) | 0x30);
	at(11932 * 20);
	ioapic_route(0, 0x30);
	EQ(take(0), -1);
	at(11932 * 21);
	EQ(take(0), 0x30);
	lapic_eoi(cpu_lapic(0));
	EQ(take(0), -1);
	machine_stop();
}

/* An ack that never comes (the PIC was reset) must not stop the clock. */
static void lost_ack(void)
{
	start();
	load(0, 2, 11932);
	at(11932);
	EQ(pic_ack(&m.ic.pic), 0x30);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0x21, 0xff);
	at(11932 * 3);
	outb(0x21, 0xfe);
	at(11932 * 4);
	CHECK(tick() > 0);
	at(11932 * 5);
	CHECK(tick() > 0);
	machine_stop();
}

/* What came while the PIC's mask held it is one interrupt, no more. */
static void masked_in_the_pic(void)
{
	start();
	load(0, 2, 11932);
	outb(0x21, 0xff);
	at(11932 * 9);
	EQ(tick(), 0);
	outb(0x21, 0xfe);
	EQ(tick(), 1);
	EQ(tick(), 0);
	at(11932 * 10);
	EQ(tick(), 1);
	machine_stop();
}

static void nmi_watchdog(void)
{
	start();
	apic_write(0, LAPIC_LVT0, 0x400);
	load(0, 2, 11932);
	at(11932);
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 1);
	apic_write(0, LAPIC_LVT0, 0x10400);
	outb(0x20, 0x20);
	at(11932 * 2);
	EQ(m.cpu[0].events[LAPIC_EVENT_NMI], 1);
	machine_stop();
}

static void hpet_legacy(void)
{
	struct kvm_pit_state2 state;

	start();
	load(0, 2, 11932);
	pit_get_state(&m.ic.pit, &state);
	state.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	EQ(pit_set_state(&m.ic.pit, &state), 0);
	EQ(env_timers_queued(), 0);
	loaded = lodge_now();
	at(11932 * 2 + 32);
	EQ(tick(), 0);
	EQ(latched(0), 11900);
	load(0, 2, 11932);
	EQ(env_timers_queued(), 0);
	state.flags = 0;
	EQ(pit_set_state(&m.ic.pit, &state), 0);
	loaded = lodge_now();
	at(11932);
	EQ(tick(), 1);
	machine_stop();
}

static void state_round_trip(void)
{
	struct kvm_pit_state2 a, b;
	int ch;

	start();
	load(0, 2, 11932);
	load(1, 3, 18);
	outb(0x43, 0x90);
	outb(0x42, 77);
	outb(0x61, 3);
	outb(0x43, 0x00);
	inb(0x40);
	outb(0x43, 0xb4);
	outb(0x42, 0x34);
	pit_get_state(&m.ic.pit, &a);
	EQ(a.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	EQ(a.channels[0].count, 11932);
	EQ(a.channels[0].mode, 2);
	EQ(a.channels[0].rw_mode, 3);
	EQ(a.channels[0].count_latched, 2);
	EQ(a.channels[1].mode, 3);
	EQ(a.channels[2].write_state, 4);
	EQ(a.channels[2].write_latch, 0x34);
	EQ(a.channels[2].gate, 1);
	machine_stop();

	start();
	EQ(pit_set_state(&m.ic.pit, &a), 0);
	loaded = lodge_now();
	pit_get_state(&m.ic.pit, &b);
	for (ch = 0; ch < 3; ch++) {
		EQ(b.channels[ch].count_load_time, lodge_now());
		b.channels[ch].count_load_time = a.channels[ch].count_load_time;
	}
	EQ(memcmp(&a, &b, sizeof(a)), 0);
	EQ(inb(0x61) & 3, 3);
	at(11932);
	EQ(tick(), 1);
	/* The high byte completes the count. */
	outb(0x42, 0x12);
	EQ(latched(2), 0x1234);
	a.flags = 4;
	a.channels[0].count = 5;
	EQ(pit_set_state(&m.ic.pit, &a), -EINVAL);
	pit_get_state(&m.ic.pit, &b);
	EQ(b.channels[0].count, 11932);
	machine_stop();
}

static void garbage(void)
{
	struct kvm_pit_state2 state;
	int i, j;

	start();
	srand(3);
	for (i = 0; i < 3000; i++) {
		for (j = 0; j < (int)sizeof(state); j++)
			((u8 *)&state)[j] = rand();
		state.flags &= 3;
		EQ(pit_set_state(&m.ic.pit, &state), 0);
		for (j = 0; j < 30; j++) {
			outb(rand() % 5 ? 0x40 + rand() % 4 : 0x61, rand());
			inb(rand() % 5 ? 0x40 + rand() % 4 : 0x61);
			env_advance(rand() % 300000);
			tick();
		}
	}
	machine_stop();
}

static const struct test tests[] = {
	TEST(creation),
	TEST(mode0),
	TEST(mode1),
	TEST(mode2),
	TEST(mode3),
	TEST(mode4_and_5),
	TEST(bcd),
	TEST(access_modes),
	TEST(latches),
	TEST(zero_is_65536),
	TEST(speaker_port),
	TEST(one_shot_irq),
	TEST(periodic_without_drift),
	TEST(minimum_period),
	TEST(control_word_stops),
	TEST(missed_ticks_are_made_up),
	TEST(reload_forgets_missed_ticks),
	TEST(late_timer),
	TEST(stale_callback),
	TEST(through_the_ioapic),
	TEST(lost_ack),
	TEST(masked_in_the_pic),
	TEST(nmi_watchdog),
	TEST(hpet_legacy),
	TEST(state_round_trip),
	TEST(garbage),
};

MAIN(tests)
