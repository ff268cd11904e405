/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The surroundings of the interrupt controllers in user space, for unit
 * tests and fuzzers: included through kmod/irqchip/env.h in place of the
 * kernel's headers. Single-threaded; time stands still until a test moves it.
 *
 * A lock aborts the program when it is taken twice, or in an order that,
 * together with any order seen before, makes a cycle: env_user.c.
 */
#ifndef LODGE_ENV_USER_H
#define LODGE_ENV_USER_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define __rcu
#define U8_MAX			0xffU
#define U32_MAX			0xffffffffU
#define BIT(n)			(1UL << (n))
#define BIT_ULL(n)		(1ULL << (n))
#define GENMASK(h, l)		((~0UL >> (63 - (h))) & (~0UL << (l)))
#define GENMASK_ULL(h, l)	((~0ULL >> (63 - (h))) & (~0ULL << (l)))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define fallthrough		__attribute__((__fallthrough__))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define struct_size(p, member, n) \
	(sizeof(*(p)) + sizeof((p)->member[0]) * (n))
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min_t(type, a, b)	min((type)(a), (type)(b))
#define clamp_t(type, v, a, b)	min(max((type)(v), (type)(a)), (type)(b))
#define max_t(type, a, b)	max((type)(a), (type)(b))
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define smp_mb__after_atomic()	__sync_synchronize()
#define smp_mb()		__sync_synchronize()
#define smp_rmb()		__sync_synchronize()
#define xchg(p, v)		__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define cmpxchg(p, old, new)	__sync_val_compare_and_swap(p, old, new)

/* Keeps the index's range check honest: an index out of range aborts. */
#define array_index_nospec(index, size) ({		\
	__typeof__(index) _i = (index);			\
							\
	if ((u64)_i >= (u64)(size))			\
		abort();				\
	_i; })

static inline u64 div64_u64(u64 a, u64 b)
{
	return a / b;
}

static inline u64 div64_u64_rem(u64 a, u64 b, u64 *rem)
{
	*rem = a % b;
	return a / b;
}

static inline u64 mul_u64_u64_div_u64(u64 a, u64 b, u64 c)
{
	return (unsigned __int128)a * b / c;
}

static inline int fls(unsigned int x)
{
	return x ? 32 - __builtin_clz(x) : 0;
}

static inline unsigned long __ffs(unsigned long x)
{
	return __builtin_ctzl(x);
}

/* Bitmaps */
#define BITS_TO_LONGS(n)	(((n) + 63) / 64)
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline bool test_bit(long nr, const unsigned long *map)
{
	return map[nr / 64] >> (nr % 64) & 1;
}

static inline void __set_bit(long nr, unsigned long *map)
{
	map[nr / 64] |= 1UL << (nr % 64);
}

static inline void __clear_bit(long nr, unsigned long *map)
{
	map[nr / 64] &= ~(1UL << (nr % 64));
}

#define set_bit(nr, map)	__set_bit(nr, map)
#define clear_bit(nr, map)	__clear_bit(nr, map)

/* Atomics */
typedef struct {
	int counter;
} atomic_t;

static inline int atomic_read(const atomic_t *v)
{
	return v->counter;
}

static inline void atomic_set(atomic_t *v, int i)
{
	v->counter = i;
}

static inline void atomic_inc(atomic_t *v)
{
	v->counter++;
}

static inline void atomic_dec(atomic_t *v)
{
	v->counter--;
}

static inline void atomic_or(int i, atomic_t *v)
{
	v->counter |= i;
}

static inline int atomic_xchg(atomic_t *v, int i)
{
	int old = v->counter;

	v->counter = i;
	return old;
}

/* RCU: one thread, so a grace period is always over. */
struct rcu_head {
	void *unused;
};

#define rcu_read_lock()			do { } while (0)
#define rcu_read_unlock()		do { } while (0)
#define rcu_dereference(p)		(p)
#define rcu_assign_pointer(p, v)	((p) = (v))
#define rcu_dereference_protected(p, c)	((void)(c), (p))
#define lockdep_is_held(lock)		((lock)->held)

/* Locks */
struct lodge_spinlock {
	const char *class;
	bool held;
};

struct mutex {
	const char *class;
	bool held;
};

void env_lock(const char *class, bool *held);
void env_unlock(const char *class, bool *held);
int env_locks_held(void);

#define lodge_spin_init(l)		(*(l) = (struct lodge_spinlock){ #l, false })
#define lodge_spin_lock(l, flags) \
	((flags) = 0, env_lock((l)->class, &(l)->held))
#define lodge_spin_unlock(l, flags) \
	((void)(flags), env_unlock((l)->class, &(l)->held))
#define mutex_init(l)			(*(l) = (struct mutex){ #l, false })
#define mutex_lock(l)			env_lock((l)->class, &(l)->held)
#define mutex_unlock(l)			env_unlock((l)->class, &(l)->held)

/* Timers */
struct lodge_timer;
typedef u64 (*lodge_timer_fn)(struct lodge_timer *t);

struct lodge_timer {
	lodge_timer_fn fn;
	u64 expires;
	bool queued;
	struct lodge_timer *next;
};

void lodge_timer_init(struct lodge_timer *t, lodge_timer_fn fn);
void lodge_timer_start(struct lodge_timer *t, u64 expires);
void lodge_timer_cancel(struct lodge_timer *t);

#define lodge_timer_start_here(t, e)	lodge_timer_start(t, e)
#define lodge_timer_stop(t)		lodge_timer_cancel(t)

static inline bool lodge_timer_queued(struct lodge_timer *t)
{
	return t->queued;
}

u64 lodge_now(void);

/* Tests move time by these: every timer due until then runs, in order. */
void env_set_time(u64 ns);
void env_advance(u64 ns);
int env_timers_queued(void);

/* Memory; a test may let the n-th allocation from now fail. */
extern int env_fail_alloc;

void *lodge_zalloc(size_t size);

#define lodge_free(p)		free(p)
#define lodge_free_rcu(p, head)	free(p)

#endif /* LODGE_ENV_USER_H */
