// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC's timer: one-shot, periodic and TSC deadline. Called by
 * lapic.c and the MSR handlers, in the thread of the vCPU that owns it.
 *
 * No lock. The vCPU thread changes the timer's state only while the host
 * timer is stopped (lapic_timer_stop() waits for the callback), but for a TSC
 * deadline. The callback puts the vector straight into IRR, so no tick waits
 * anywhere else and none can be lost between the two.
 *
 * To move the host's timer costs more than all else of writing a deadline. So it stays
 * where it is when it fires early enough for the new one, and then looks again: set_deadline()
 * and serve_deadline() may run at the same time.
 *
 * It fires early by ->advance, about the time that it takes into the guest from there; what
 * is left of it the vCPU waits for when it injects the vector: lodge_await_deadline().
 *
 * A TSC deadline may be left to the vCPU: while ->watched is set there is no host
 * timer, and the guest's CPU ends the guest when the time comes. A vCPU that goes
 * to sleep takes the host's timer after all.
 */
#include "irqchip.h"

#define NEVER	(~0ull)

/* Intel SDM volume 3, "Divide Configuration Register": 2, 4 .. 128, 1. */
static u32 divide(const struct lapic *l)
{
	u32 tdcr = lapic_reg(l, LAPIC_TDCR);

	return BIT(((tdcr & 3) + ((tdcr & 8) >> 1) + 1) & 7);
}

/* 146 years of it: no later, so that adding it to the time of day cannot overflow. */
static u64 count_to_ns(const struct lapic *l, u32 count)
{
	return min((u64)count * divide(l) * l->ic->bus_ns, BIT_ULL(62));
}

static bool periodic(const struct lapic *l)
{
	return ((lapic_reg(l, LAPIC_LVTT) & l->timer_modes) >> 17) == 1;
}

/* The deadline has come, or nearly so. */
static void give_deadline(struct lapic *l, u64 deadline)
{
	/* Before the vector, which the vCPU then looks for. */
	WRITE_ONCE(l->given, deadline);
	lapic_local_deliver(l, LAPIC_LVTT);
}

/* When the host's timer is to fire next. */
static u64 serve_deadline(struct lapic *l, u64 now)
{
	u64 deadline, target;

	do {
		deadline = READ_ONCE(l->tsc_deadline);
		smp_rmb();	/* that one's target, or a later one's */
		target = deadline ? READ_ONCE(l->timer_target) : NEVER;
		if (target <= now) {
			/* If the guest has not moved it just now. */
			if (cmpxchg(&l->tsc_deadline, deadline, 0) == deadline)
				give_deadline(l, deadline);
			target = NEVER;
			deadline = 0;
		}
		WRITE_ONCE(l->armed, target);
		smp_mb();	/* pairs with xchg() in set_deadline() */
	} while (READ_ONCE(l->tsc_deadline) != deadline ||
		 (deadline && READ_ONCE(l->timer_target) != target));
	return target == NEVER ? 0 : target;
}

static u64 expired(struct lodge_timer *t)
{
	struct lapic *l = container_of(t, struct lapic, timer);
	u64 now = lodge_now(), target = l->timer_target;

	if (!l->timer_period)
		return serve_deadline(l, now);
	if (!l->timer_repeats) {
		lapic_local_deliver(l, LAPIC_LVTT);
		return 0;
	}
	/* From the last target, not from now: no drift. */
	target += l->timer_period;
	if (target <= now)
		target += (div64_u64(now - target, l->timer_period) + 1) *
			  l->timer_period;
	WRITE_ONCE(l->timer_target, target);
	lapic_local_deliver(l, LAPIC_LVTT);
	return target;
}

/* Afterwards neither the host nor the vCPU looks at the time. */
static void cancel(struct lapic *l)
{
	l->watched = false;
	lodge_timer_cancel(&l->timer);
	l->armed = NEVER;
}

void lapic_timer_init(struct lapic *l)
{
	lodge_timer_init(&l->timer, expired);
	l->armed = NEVER;
}

/* Stops the timer for good: counts read 0, no deadline is armed. */
void lapic_timer_stop(struct lapic *l)
{
	cancel(l);
	l->timer_period = 0;
	WRITE_ONCE(l->tsc_deadline, 0);
	l->given = 0;
}

/*
 * A one-shot that is due already fires here, without a host timer. A guest whose
 * CPU works the LAPIC changes LVTT before we learn of it: what expires is what was begun.
 */
static void arm(struct lapic *l, u64 now)
{
	l->timer_repeats = periodic(l);
	if (l->timer_target > now) {
		lodge_timer_start_here(&l->timer, l->timer_target);
		return;
	}
	lapic_local_deliver(l, LAPIC_LVTT);
}

static u64 period_from_tmict(const struct lapic *l)
{
	u64 period = count_to_ns(l, lapic_reg(l, LAPIC_TMICT));

	/* A guest may not drown the host in timer interrupts. */
	if (period && periodic(l))
		period = max(period, LODGE_MIN_PERIOD_NS);
	return period;
}

/**
 * lapic_timer_start - start counting, in one-shot or periodic mode
 * @l: the LAPIC; TMICT and TDCR say the period, 0 is a stopped timer
 * @count: what TMCCT starts at: TMICT, or a saved TMCCT
 */
void lapic_timer_start(struct lapic *l, u32 count)
{
	u64 now, left;

	cancel(l);
	if (lapic_tsc_deadline_mode(l))
		return;
	l->timer_period = period_from_tmict(l);
	if (!l->timer_period)
		return;
	if (count == lapic_reg(l, LAPIC_TMICT))
		left = l->timer_period;
	else
		left = min(count_to_ns(l, count), l->timer_period);
	if (!left && periodic(l))
		left = l->timer_period;
	now = lodge_now();
	l->timer_target = now + left;
	arm(l, now);
}

/* The current count, as TMCCT reads. */
u32 lapic_timer_count(const struct lapic *l)
{
	u64 now = lodge_now(), target = READ_ONCE(l->timer_target), left;

	if (!l->timer_period || lapic_tsc_deadline_mode(l) || target <= now)
		return 0;
	left = div64_u64(target - now, (u64)divide(l) * l->ic->bus_ns);
	return min_t(u64, left, lapic_reg(l, LAPIC_TMICT));
}

/**
 * lapic_timer_set_lvtt - write to the LVT timer register
 * @l: the LAPIC
 * @lvtt: the value, reserved bits gone
 *
 * A change between TSC deadline and the other modes disarms the timer (Intel
 * SDM volume 3, "TSC-Deadline Mode"). One between one-shot and periodic takes
 * effect on the count that runs.
 */
void lapic_timer_set_lvtt(struct lapic *l, u32 lvtt)
{
	u32 old = lapic_reg(l, LAPIC_LVTT);
	u64 now;

	if (!((old ^ lvtt) & l->timer_modes)) {
		lapic_reg_set(l, LAPIC_LVTT, lvtt);
		return;
	}
	cancel(l);
	lapic_reg_set(l, LAPIC_LVTT, lvtt);
	if ((old ^ lvtt) & BIT(18)) {
		lapic_reg_set(l, LAPIC_TMICT, 0);
		lapic_timer_stop(l);
		return;
	}
	if (!l->timer_period)
		return;
	l->timer_period = period_from_tmict(l);
	/* A one-shot that is over stays over until TMICT is written. */
	now = lodge_now();
	if (l->timer_target > now)
		arm(l, now);
}

/* Write to the divide configuration: the count goes on at the new rate. */
void lapic_timer_set_divide(struct lapic *l, u32 tdcr)
{
	u32 count;

	if (lapic_reg(l, LAPIC_TDCR) == tdcr)
		return;
	/* A deadline is not counted in it. */
	if (lapic_tsc_deadline_mode(l)) {
		lapic_reg_set(l, LAPIC_TDCR, tdcr);
		return;
	}
	cancel(l);
	count = lapic_timer_count(l);
	lapic_reg_set(l, LAPIC_TDCR, tdcr);
	if (count)
		lapic_timer_start(l, count);
}

/* IA32_TSC_DEADLINE as RDMSR gives it: 0 once it has fired. */
u64 lapic_get_tsc_deadline(struct lapic *l)
{
	if (!lapic_hw_enabled(l) || !lapic_tsc_deadline_mode(l))
		return 0;
	return READ_ONCE(l->tsc_deadline);
}

/* @target: when the host's timer is to fire for it, at the latest. */
static void set_deadline(struct lapic *l, u64 deadline, u64 target, u64 now)
{
	WRITE_ONCE(l->timer_target, target);
	/* A full barrier: serve_deadline() has written ->armed, or sees this. */
	xchg(&l->tsc_deadline, deadline);
	if (target >= READ_ONCE(l->armed))
		return;

	cancel(l);
	if (!l->tsc_deadline)
		return;		/* the host's timer was there just now */
	if (target <= now) {
		l->tsc_deadline = 0;
		give_deadline(l, deadline);
		return;
	}
	l->armed = target;
	lodge_timer_start_here(&l->timer, target);
}

static void set_host_deadline(struct lapic *l, u64 deadline)
{
	/* In this order it cannot be early but on purpose. */
	u64 left = l->ic->ops->ns_until(l, deadline);
	u64 now = lodge_now();

	/* A CPU that delivers it by itself would do so early. */
	if (!l->direct)
		left -= min_t(u64, left, l->advance);
	set_deadline(l, deadline, now + left, now);
}

/**
 * lapic_set_tsc_deadline - write to IA32_TSC_DEADLINE
 * @l: the LAPIC
 * @guest_tsc: when to fire; 0 disarms; ignored in other timer modes
 */
void lapic_set_tsc_deadline(struct lapic *l, u64 guest_tsc)
{
	if (!lapic_hw_enabled(l) || !lapic_tsc_deadline_mode(l))
		return;
	l->watched = guest_tsc && l->ic->ops->watches_deadline &&
		     l->ic->ops->watches_deadline(l);
	if (guest_tsc && !l->watched)
		set_host_deadline(l, guest_tsc);
	else
		set_deadline(l, guest_tsc, NEVER, 0);
}

/* The vCPU will not be in its guest, where it watches the time: it is going to sleep. */
void lapic_deadline_to_host(struct lapic *l)
{
	if (!l->watched)
		return;
	l->watched = false;
	set_host_deadline(l, l->tsc_deadline);
}

/**
 * lapic_given_deadline - the deadline whose interrupt is going into the guest, if any
 * @l: the LAPIC
 * @vector: what is going in
 *
 * Return: a guest's TSC, which may not have been reached yet; or 0.
 */
u64 lapic_given_deadline(struct lapic *l, u8 vector)
{
	if (vector != (u8)lapic_reg(l, LAPIC_LVTT))
		return 0;
	/* Another one may be given now: it is waited for in its turn. */
	return xchg(&l->given, 0);
}

/**
 * lapic_deadline_was - learn from when a deadline's interrupt could go into the guest
 * @l: the LAPIC
 * @ns: how much later than the deadline; or less than 0
 */
void lapic_deadline_was(struct lapic *l, s64 ns)
{
	/* What it is due to is not the way into the guest. */
	if (ns > 2 * LAPIC_MAX_ADVANCE_NS)
		return;
	l->advance = clamp_t(s64, l->advance + ns / 4, 0, LAPIC_MAX_ADVANCE_NS);
}

/* The vCPU saw the time come. Any tier. */
void lapic_deadline_reached(struct lapic *l)
{
	l->watched = false;
	WRITE_ONCE(l->tsc_deadline, 0);
	lapic_local_deliver(l, LAPIC_LVTT);
}

/* The guest's TSC was set or changed its rate: an armed deadline moves. */
void lapic_tsc_changed(struct lapic *l)
{
	u64 deadline = lapic_get_tsc_deadline(l);

	if (!deadline)
		return;
	cancel(l);
	if (l->tsc_deadline)
		lapic_set_tsc_deadline(l, deadline);
}
