// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clock, timers, allocation and lock-order checker of env_user.h.
 * Linked into each unit test of the interrupt controllers. Single-threaded.
 */
#include <stdio.h>

#include "env_user.h"

#define MAX_CLASSES	16
#define MAX_HELD	8

static const char *classes[MAX_CLASSES];
static bool before[MAX_CLASSES][MAX_CLASSES];	/* [a][b]: b taken under a */
static int held_stack[MAX_HELD];
static int nr_held;

static struct lodge_timer *timers;
static u64 now = 1000000000ULL;

int env_fail_alloc;

static void die(const char *what, const char *class)
{
	fprintf(stderr, "env_user: %s: %s\n", what, class ? class : "(none)");
	abort();
}

static int class_index(const char *class)
{
	int i;

	if (!class)
		die("lock was never initialized", class);
	for (i = 0; i < MAX_CLASSES; i++) {
		if (!classes[i])
			classes[i] = class;
		if (!strcmp(classes[i], class))
			return i;
	}
	die("too many lock classes", class);
	return -1;
}

static bool reaches(int from, int to, int depth)
{
	int i;

	if (from == to)
		return true;
	if (depth == MAX_CLASSES)
		return false;
	for (i = 0; i < MAX_CLASSES; i++) {
		if (before[from][i] && reaches(i, to, depth + 1))
			return true;
	}
	return false;
}

void env_lock(const char *class, bool *held)
{
	int c = class_index(class), i;

	if (*held)
		die("lock taken twice", class);
	if (nr_held == MAX_HELD)
		die("too many locks held", class);
	for (i = 0; i < nr_held; i++) {
		if (reaches(c, held_stack[i], 0))
			die("lock order cycle", class);
		before[held_stack[i]][c] = true;
	}
	held_stack[nr_held++] = c;
	*held = true;
}

void env_unlock(const char *class, bool *held)
{
	if (!*held || held_stack[nr_held - 1] != class_index(class))
		die("unlock out of order", class);
	nr_held--;
	*held = false;
}

int env_locks_held(void)
{
	return nr_held;
}

void lodge_timer_init(struct lodge_timer *t, lodge_timer_fn fn)
{
	*t = (struct lodge_timer){ .fn = fn };
}

void lodge_timer_cancel(struct lodge_timer *t)
{
	struct lodge_timer **p;

	if (!t->queued)
		return;
	for (p = &timers; *p != t; p = &(*p)->next)
		;
	*p = t->next;
	t->queued = false;
}

void lodge_timer_start(struct lodge_timer *t, u64 expires)
{
	struct lodge_timer **p;

	if (!t->fn)
		die("timer was never initialized", NULL);
	lodge_timer_cancel(t);
	for (p = &timers; *p && (*p)->expires <= expires; p = &(*p)->next)
		;
	t->next = *p;
	t->expires = expires;
	t->queued = true;
	*p = t;
}

u64 lodge_now(void)
{
	return now;
}

void env_set_time(u64 ns)
{
	while (timers && timers->expires <= ns) {
		struct lodge_timer *t = timers;
		u64 next;

		timers = t->next;
		t->queued = false;
		if (t->expires > now)
			now = t->expires;
		next = t->fn(t);
		if (nr_held)
			die("timer callback kept a lock", classes[held_stack[0]]);
		if (next && !t->queued)
			lodge_timer_start(t, next);
	}
	now = ns;
}

void env_advance(u64 ns)
{
	env_set_time(now + ns);
}

int env_timers_queued(void)
{
	struct lodge_timer *t;
	int n = 0;

	for (t = timers; t; t = t->next)
		n++;
	return n;
}

void *lodge_zalloc(size_t size)
{
	if (env_fail_alloc && !--env_fail_alloc)
		return NULL;
	return calloc(1, size);
}
