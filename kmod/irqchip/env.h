/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the interrupt controllers need from their surroundings: integers, one
 * kind of lock, one kind of timer, bit operations, RCU pointers and memory.
 * Included by every file of irqchip/ that also builds in user space.
 *
 * In the kernel all of it is thin inline code. In user space it is a small
 * single-threaded model with a settable clock and a lock-order checker
 * (selftests/unit/env_user.c), so that tests can step time and prove that
 * the locks of this folder form no cycle.
 */
#ifndef LODGE_IRQCHIP_ENV_H
#define LODGE_IRQCHIP_ENV_H

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/kvm.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>

#include "../kernel_compat.h"

/*
 * Raw, because every lock here is taken from hard interrupt context (timer
 * callbacks, eventfd wake-ups) and is held for a bounded, short time.
 */
struct lodge_spinlock {
	raw_spinlock_t raw;
};

#define lodge_spin_init(lock)			raw_spin_lock_init(&(lock)->raw)
#define lodge_spin_lock(lock, flags) \
	raw_spin_lock_irqsave(&(lock)->raw, flags)
#define lodge_spin_unlock(lock, flags) \
	raw_spin_unlock_irqrestore(&(lock)->raw, flags)

struct lodge_timer;

/**
 * lodge_timer_fn - called in hard interrupt context when a timer expires
 * @t: the timer
 *
 * Return: the next expiry in ns of CLOCK_MONOTONIC, or 0 to stay stopped. A
 * callback that finds lodge_timer_queued() true was overtaken by a restart
 * and must return 0.
 */
typedef u64 (*lodge_timer_fn)(struct lodge_timer *t);

struct lodge_timer {
	struct hrtimer hrtimer;
	lodge_timer_fn fn;
};

static inline enum hrtimer_restart lodge_timer_expired(struct hrtimer *hrtimer)
{
	struct lodge_timer *t = container_of(hrtimer, struct lodge_timer, hrtimer);
	u64 next = t->fn(t);

	if (!next)
		return HRTIMER_NORESTART;
	hrtimer_set_expires(hrtimer, ns_to_ktime(next));
	return HRTIMER_RESTART;
}

static inline void lodge_timer_init(struct lodge_timer *t, lodge_timer_fn fn)
{
	t->fn = fn;
#if LODGE_HAVE_HRTIMER_SETUP
	hrtimer_setup(&t->hrtimer, lodge_timer_expired, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_HARD);
#else
	hrtimer_init(&t->hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	t->hrtimer.function = lodge_timer_expired;
#endif
}

/* A guest may name a time that ktime_t, which is signed, cannot. */
static inline ktime_t lodge_expiry(u64 expires)
{
	return ns_to_ktime(min_t(u64, expires, KTIME_MAX));
}

/* Starts or restarts @t for @expires, in ns of CLOCK_MONOTONIC. */
static inline void lodge_timer_start(struct lodge_timer *t, u64 expires)
{
	hrtimer_start(&t->hrtimer, lodge_expiry(expires), HRTIMER_MODE_ABS_HARD);
}

/* The same, and the timer stays on this CPU: for the vCPU that runs here. */
static inline void lodge_timer_start_here(struct lodge_timer *t, u64 expires)
{
	hrtimer_start(&t->hrtimer, lodge_expiry(expires),
		      HRTIMER_MODE_ABS_PINNED_HARD);
}

/* Waits for a running callback: hold no lock that the callback takes. */
static inline void lodge_timer_cancel(struct lodge_timer *t)
{
	hrtimer_cancel(&t->hrtimer);
}

/* Does not wait: a callback may still be about to take the caller's lock. */
static inline void lodge_timer_stop(struct lodge_timer *t)
{
	hrtimer_try_to_cancel(&t->hrtimer);
}

static inline bool lodge_timer_queued(struct lodge_timer *t)
{
	return hrtimer_is_queued(&t->hrtimer);
}

/* Now, in ns of CLOCK_MONOTONIC. */
static inline u64 lodge_now(void)
{
	return ktime_get_ns();
}

static inline void *lodge_zalloc(size_t size)
{
	return kvzalloc(size, GFP_KERNEL_ACCOUNT);
}

#define lodge_free(p)		kvfree(p)
#define lodge_free_rcu(p, head)	kvfree_rcu(p, head)

#else /* !__KERNEL__ */
#include "../../selftests/unit/env_user.h"
#endif

/* The timers of a guest may not fire more often than this (KVM's default). */
#define LODGE_MIN_PERIOD_NS	200000ULL

#endif /* LODGE_IRQCHIP_ENV_H */
