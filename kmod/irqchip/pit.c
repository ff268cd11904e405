// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 8254 interval timer and port 0x61 (Intel 8254 datasheet). Called by the
 * port handlers, by the host timer, and when the guest acknowledges IRQ 0.
 *
 * pit.lock, raw and interrupt-safe, guards all state and is innermost: pulses
 * are sent after it is dropped. The host timer is started and stopped under
 * the lock and nowhere waited for; a callback that finds it queued again, or
 * channel 0 idle, was overtaken and does nothing.
 *
 * Counters are not counted: their value follows from the time since the load.
 */
#include "irqchip.h"

/* Access modes, as control words and struct kvm_pit_channel_state have them. */
enum { RW_LATCH, RW_LSB, RW_MSB, RW_WORD, RW_WORD_HIGH };

#define NS_PER_S	1000000000ULL
#define MODE_NONE	0xff	/* never programmed */

#define MIN_STEP	((u32)(LODGE_MIN_PERIOD_NS * PIT_HZ / NS_PER_S) + 1)

/* The initial count in clocks: 0 stands for 65536, in BCD for 10000. */
static u32 initial(const struct kvm_pit_channel_state *c)
{
	u32 n;

	if (!c->bcd)
		return c->count;
	if (c->count == 0x10000)
		return 10000;
	n = (c->count >> 12) * 1000 + (c->count >> 8 & 0xf) * 100 +
	    (c->count >> 4 & 0xf) * 10 + (c->count & 0xf);
	return max(n, 1U);
}

static u32 to_bcd(u32 n)
{
	return n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
}

/* A low gate stops all modes but the two that its rise triggers. */
static bool stopped(const struct kvm_pit_channel_state *c)
{
	return !c->gate && c->mode != 1 && c->mode != 5;
}

/* Clocks since the count was loaded, or last triggered. */
static u64 elapsed(const struct pit *s, u32 ch)
{
	const struct kvm_pit_channel_state *c = &s->ch[ch];
	u64 now = stopped(c) ? s->stopped[ch] : lodge_now();

	return mul_u64_u64_div_u64(now - (u64)c->count_load_time, PIT_HZ,
				   NS_PER_S);
}

static u16 counter(const struct pit *s, u32 ch)
{
	const struct kvm_pit_channel_state *c = &s->ch[ch];
	u32 n = initial(c), wrap = c->bcd ? 10000 : 0x10000, value, left;
	u64 d = elapsed(s, ch);

	switch (c->mode) {
	case 2:
		div64_u64_rem(d, n, &d);
		value = n - d;
		break;
	case 3:	/* counts by two */
		div64_u64_rem(2 * d, n, &d);
		value = n - d;
		break;
	default:
		div64_u64_rem(d, wrap, &d);
		left = n + wrap - (u32)d;
		value = left % wrap;
		break;
	}
	return c->bcd ? to_bcd(value) : value;
}

static bool output(const struct pit *s, u32 ch)
{
	const struct kvm_pit_channel_state *c = &s->ch[ch];
	u64 d = elapsed(s, ch);
	u32 n = initial(c);

	switch (c->mode) {
	case 1:
		return d < n;
	case 2:	/* low for one clock before the reload */
		if (!c->gate)
			return true;
		div64_u64_rem(d, n, &d);
		return d != n - 1;
	case 3:	/* high for the first half, the longer one */
		if (!c->gate)
			return true;
		div64_u64_rem(d, n, &d);
		return d < (n + 1) / 2;
	case 4:
	case 5:
		return d != n;
	default:
		return d >= n;
	}
}

static u64 due_time(const struct pit *s)
{
	/* From the load each time, so that rounding never adds up. */
	return (u64)s->ch[0].count_load_time +
	       mul_u64_u64_div_u64(s->due, NS_PER_S, PIT_HZ);
}

static void stop_timer(struct pit *s)
{
	if (s->running)
		lodge_timer_stop(&s->timer);
	s->running = false;
}

/* Channel 0 was loaded: start the timer its mode calls for. */
static void start_timer(struct pit *s)
{
	stop_timer(s);
	/* Ticks of the old setting are not owed under the new one. */
	s->unacked = false;
	s->missed = 0;
	if (s->ch[0].mode > 4 || (s->flags & KVM_PIT_FLAGS_HPET_LEGACY))
		return;
	s->periodic = s->ch[0].mode == 2 || s->ch[0].mode == 3;
	s->step = initial(&s->ch[0]);
	/* A guest may not drown the host in timer interrupts. */
	if (s->periodic)
		s->step = max(s->step, MIN_STEP);
	s->due = s->step;
	s->running = true;
	lodge_timer_start(&s->timer, due_time(s));
}

static void load(struct pit *s, u32 ch, u32 count)
{
	struct kvm_pit_channel_state *c = &s->ch[ch];

	c->count = count && count < 0x10000 ? count : 0x10000;
	c->count_load_time = lodge_now();
	s->stopped[ch] = c->count_load_time;
	if (ch == 0)
		start_timer(s);
}

/*
 * One tick of channel 0. With re-injection, a tick waits for the ack of the one
 * before. Return: whether to pulse now.
 */
static bool tick(struct pit *s)
{
	if (!s->reinject)
		return true;
	if (s->unacked) {
		if (s->missed != U32_MAX)
			s->missed++;
		return false;
	}
	s->unacked = true;
	return true;
}

static u64 expired(struct lodge_timer *t)
{
	struct pit *s = container_of(t, struct pit, timer);
	unsigned long flags;
	bool pulse = false;
	u64 late;

	lodge_spin_lock(&s->lock, flags);
	if (!s->running || lodge_timer_queued(t))
		goto out;
	pulse = tick(s);
	if (!s->periodic) {
		s->running = false;
		goto out;
	}
	s->due += s->step;
	late = elapsed(s, 0);
	if (late >= s->due) {
		u64 n = div64_u64(late - s->due, s->step) + 1;

		s->due += n * s->step;
		if (s->reinject)
			s->missed += min_t(u64, n, U32_MAX - s->missed);
	}
	lodge_timer_start(t, due_time(s));
out:
	lodge_spin_unlock(&s->lock, flags);
	if (pulse)
		s->ops->pulse(s);
	return 0;
}

/* The guest ended IRQ 0: the next tick that waited may go. */
void pit_acked(struct pit *s)
{
	unsigned long flags;
	bool pulse = false;

	lodge_spin_lock(&s->lock, flags);
	s->unacked = false;
	if (s->missed && s->reinject) {
		s->missed--;
		s->unacked = true;
		pulse = true;
	}
	lodge_spin_unlock(&s->lock, flags);
	if (pulse)
		s->ops->pulse(s);
}

/* IRQ 0 was unmasked: ticks from before do not count, no ack is awaited. */
void pit_forget_ticks(struct pit *s)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	s->unacked = false;
	s->missed = 0;
	lodge_spin_unlock(&s->lock, flags);
}

/* KVM_REINJECT_CONTROL: whether ticks that the guest missed are made up for. */
void pit_set_reinject(struct pit *s, bool reinject)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	if (s->reinject != reinject) {
		s->reinject = reinject;
		s->unacked = false;
		s->missed = 0;
	}
	lodge_spin_unlock(&s->lock, flags);
}

static void latch_count(struct pit *s, u32 ch)
{
	struct kvm_pit_channel_state *c = &s->ch[ch];

	if (c->count_latched)
		return;
	c->latched_count = counter(s, ch);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct pit *s, u32 ch)
{
	struct kvm_pit_channel_state *c = &s->ch[ch];

	if (c->status_latched)
		return;
	c->status = output(s, ch) << 7 | c->rw_mode << 4 | (c->mode & 7) << 1 |
		    c->bcd;
	c->status_latched = 1;
}

static void write_control(struct pit *s, u8 value)
{
	u32 ch = value >> 6, access = (value >> 4) & 3;
	struct kvm_pit_channel_state *c;

	if (ch == 3) {	/* read-back */
		for (ch = 0; ch < 3; ch++) {
			if (!(value & (2 << ch)))
				continue;
			if (!(value & 0x20))
				latch_count(s, ch);
			if (!(value & 0x10))
				latch_status(s, ch);
		}
		return;
	}
	ch = array_index_nospec(ch, 3);
	if (access == RW_LATCH) {
		latch_count(s, ch);
		return;
	}
	c = &s->ch[ch];
	c->rw_mode = access;
	c->read_state = access;
	c->write_state = access;
	c->count_latched = 0;
	c->status_latched = 0;
	c->mode = (value >> 1) & 7;
	if (c->mode > 5)
		c->mode &= 3;
	c->bcd = value & 1;
	/* Counting stops until a count is loaded. */
	if (ch == 0)
		stop_timer(s);
}

static void write_count(struct pit *s, u32 ch, u8 value)
{
	struct kvm_pit_channel_state *c = &s->ch[ch];

	switch (c->write_state) {
	case RW_MSB:
		load(s, ch, value << 8);
		break;
	case RW_WORD:
		c->write_latch = value;
		c->write_state = RW_WORD_HIGH;
		break;
	case RW_WORD_HIGH:
		c->write_state = RW_WORD;
		load(s, ch, c->write_latch | value << 8);
		break;
	default:
		load(s, ch, value);
		break;
	}
}

static u8 read_count(struct pit *s, u32 ch)
{
	struct kvm_pit_channel_state *c = &s->ch[ch];
	u16 count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	switch (c->count_latched) {
	case 0:
		break;
	case RW_MSB:
		c->count_latched = 0;
		return c->latched_count >> 8;
	case RW_WORD:
		c->count_latched = RW_MSB;
		return c->latched_count;
	default:
		c->count_latched = 0;
		return c->latched_count;
	}
	count = counter(s, ch);
	switch (c->read_state) {
	case RW_MSB:
		return count >> 8;
	case RW_WORD:
		c->read_state = RW_WORD_HIGH;
		return count;
	case RW_WORD_HIGH:
		c->read_state = RW_WORD;
		return count >> 8;
	default:
		return count;
	}
}

/* Bit 0 of port 0x61: the gate of channel 2. */
static void set_gate(struct pit *s, bool gate)
{
	struct kvm_pit_channel_state *c = &s->ch[2];
	u64 now = lodge_now();

	if (gate == !!c->gate)
		return;
	c->gate = gate;
	if (!gate) {
		s->stopped[2] = now;
		return;
	}
	switch (c->mode) {
	case 0:
	case 4:	/* goes on where it stopped */
		c->count_load_time += now - s->stopped[2];
		break;
	default:
		c->count_load_time = now;
		break;
	}
}

/* Bit 4 toggles with the memory refresh of old, every 15 us or so. */
static u8 read_speaker(const struct pit *s)
{
	return output(s, 2) << 5 | (lodge_now() >> 14 & 1) << 4 |
	       s->speaker_on << 1 | (s->ch[2].gate ? 1 : 0);
}

/**
 * pit_io_write - OUT to one of the PIT's ports
 * @s: the PIT
 * @port: one that pit_owns_port()
 * @value: the lowest byte, whatever the width
 */
void pit_io_write(struct pit *s, u16 port, u8 value)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	if (port == 0x61) {
		s->speaker_on = value & 2;
		set_gate(s, value & 1);
	} else if (port == 0x43) {
		write_control(s, value);
	} else {
		write_count(s, array_index_nospec(port & 3, 3), value);
	}
	lodge_spin_unlock(&s->lock, flags);
}

/**
 * pit_io_read - IN from one of the PIT's ports
 * @s: the PIT
 * @port: one that pit_owns_port()
 *
 * Return: the lowest byte, the others are 0; the control port reads as 0.
 */
u8 pit_io_read(struct pit *s, u16 port)
{
	unsigned long flags;
	u8 value = 0;

	lodge_spin_lock(&s->lock, flags);
	if (port == 0x61)
		value = read_speaker(s);
	else if (port != 0x43)
		value = read_count(s, array_index_nospec(port & 3, 3));
	lodge_spin_unlock(&s->lock, flags);
	return value;
}

/* KVM_GET_PIT2 */
void pit_get_state(struct pit *s, struct kvm_pit_state2 *state)
{
	unsigned long flags;

	memset(state, 0, sizeof(*state));
	lodge_spin_lock(&s->lock, flags);
	memcpy(state->channels, s->ch, sizeof(state->channels));
	state->flags = s->flags |
		       (s->speaker_on ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0);
	lodge_spin_unlock(&s->lock, flags);
}

/**
 * pit_set_state - KVM_SET_PIT2
 * @s: the PIT
 * @state: each channel starts over from its count, as in KVM
 *
 * Return: 0, or -EINVAL for an unknown flag.
 */
int pit_set_state(struct pit *s, const struct kvm_pit_state2 *state)
{
	unsigned long flags;
	u32 ch;

	if (state->flags & ~(KVM_PIT_FLAGS_HPET_LEGACY |
			     KVM_PIT_FLAGS_SPEAKER_DATA_ON))
		return -EINVAL;
	lodge_spin_lock(&s->lock, flags);
	s->flags = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	s->speaker_on = state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	s->unacked = false;
	s->missed = 0;
	for (ch = 0; ch < 3; ch++) {
		s->ch[ch] = state->channels[ch];
		s->ch[ch].bcd &= 1;
		s->ch[ch].rw_mode &= 3;
		load(s, ch, s->ch[ch].count);
	}
	lodge_spin_unlock(&s->lock, flags);
	return 0;
}

/**
 * pit_init - make a PIT in its power-up state: nothing counts
 * @s: the PIT
 * @ops: callbacks
 * @config_flags: KVM_PIT_SPEAKER_DUMMY: answer port 0x61, too
 */
void pit_init(struct pit *s, const struct pit_ops *ops, u32 config_flags)
{
	u32 ch;

	memset(s, 0, sizeof(*s));
	lodge_spin_init(&s->lock);
	s->ops = ops;
	s->speaker_port = config_flags & KVM_PIT_SPEAKER_DUMMY;
	s->reinject = true;
	lodge_timer_init(&s->timer, expired);
	for (ch = 0; ch < 3; ch++) {
		s->ch[ch].mode = MODE_NONE;
		s->ch[ch].gate = ch != 2;
		load(s, ch, 0);
	}
}

/* Stops the timer; no port may be written any more. */
void pit_destroy(struct pit *s)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	s->running = false;
	lodge_spin_unlock(&s->lock, flags);
	lodge_timer_cancel(&s->timer);
}
