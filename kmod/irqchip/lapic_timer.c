// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC's timer: one-shot, periodic and TSC deadline. Called by
 * lapic.c and the MSR handlers, in the thread of the vCPU that owns it.
 *
 * No lock. The vCPU thread changes the timer's state only while the host
 * timer is stopped (lapic_timer_stop() waits for the callback). The callback
 * puts the vector straight into IRR, so no tick waits anywhere else and none
 * can be lost between the two.
 *
 * A TSC deadline may be left to the vCPU: while ->watched is set there is no host
 * timer, and the guest's CPU ends the guest when the time comes. A vCPU that goes
 * to sleep takes the host's timer after all.
 */
#include "irqchip.h"

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

static u64 expired(struct lodge_timer *t)
{
	struct lapic *l = container_of(t, struct lapic, timer);
	u64 now = lodge_now(), target = l->timer_target;

	if (!periodic(l)) {
		WRITE_ONCE(l->tsc_deadline, 0);
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
}

void lapic_timer_init(struct lapic *l)
{
	lodge_timer_init(&l->timer, expired);
}

/* Stops the timer for good: counts read 0, no deadline is armed. */
void lapic_timer_stop(struct lapic *l)
{
	cancel(l);
	l->timer_period = 0;
	WRITE_ONCE(l->tsc_deadline, 0);
}

/* A one-shot or deadline that is due already fires here, without a host timer. */
static void arm(struct lapic *l)
{
	if (l->timer_target > lodge_now()) {
		lodge_timer_start_here(&l->timer, l->timer_target);
		return;
	}
	WRITE_ONCE(l->tsc_deadline, 0);
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
	u64 left;

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
	l->timer_target = lodge_now() + left;
	arm(l);
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
	if (l->timer_target > lodge_now())
		arm(l);
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

static void start_deadline(struct lapic *l)
{
	l->timer_target = l->ic->ops->tsc_to_ns(l, l->tsc_deadline);
	arm(l);
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
	cancel(l);
	WRITE_ONCE(l->tsc_deadline, guest_tsc);
	if (!guest_tsc)
		return;
	if (l->ic->ops->watches_deadline && l->ic->ops->watches_deadline(l))
		l->watched = true;
	else
		start_deadline(l);
}

/* The vCPU will not be in its guest, where it watches the time: it is going to sleep. */
void lapic_deadline_to_host(struct lapic *l)
{
	if (!l->watched)
		return;
	l->watched = false;
	start_deadline(l);
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

	if (deadline)
		lapic_set_tsc_deadline(l, deadline);
}
