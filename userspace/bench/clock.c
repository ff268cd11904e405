// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the benchmark measures with: the TSC, and what it counts; how long the CPUs were
 * idle; and which CPU to be on.  Called by bench.c and the rows; no lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* Ticks for @count times around a loop of two instructions. */
static u64 loop_ticks(u64 count)
{
	u64 start = read_tsc();

	asm volatile("1: decq %0; jnz 1b" : "+r"(count) : : "cc");
	return read_tsc() - start;
}

/*
 * No processor takes exactly two ticks for each time around, and for one time more exactly
 * two more, at twenty lengths.  An interrupt of the host's may spoil two.
 */
bool clock_counts_instructions(void)
{
	unsigned int exact = 0;

	for (u64 count = 1000; count < 1020; count++)
		exact += loop_ticks(count + 500) - loop_ticks(count) == 1000;
	return exact >= 18;
}

static u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000000000 + (u64)now.tv_nsec;
}

u64 clock_ticks_per_us(void)
{
	u64 start = now_ns(), ticks = read_tsc(), ns;

	do {
		ns = now_ns() - start;
	} while (ns < 20000000);
	return (read_tsc() - ticks) * 1000 / ns;
}

/* The kernel's own account: to the nanosecond, and without interrupts during idleness. */
static u64 idle_ns(struct bench *bench)
{
	static const char name[] = ".idle_sleeptime";
	FILE *file = fopen("/proc/timer_list", "re");
	char line[256];
	bool found = false;
	u64 ns = 0;

	if (!file)
		row_skip(bench, "idle time is told to root only, in /proc/timer_list (%m)");
	while (fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, name);

		if (!at)
			continue;
		at += strcspn(at, "0123456789");
		ns += strtoull(at, NULL, 10);
		found = true;
	}
	fclose(file);
	if (!found)
		row_skip(bench, "/proc/timer_list does not tell how long a CPU was idle");
	return ns;
}

u64 clock_busy_ticks(struct bench *bench)
{
	static u64 ticks_per_us;
	u64 ticks = read_tsc(), idle = idle_ns(bench);

	if (!ticks_per_us)
		ticks_per_us = clock_counts_instructions() ? 1000 : clock_ticks_per_us();
	return ticks * (u64)sysconf(_SC_NPROCESSORS_ONLN) - idle * ticks_per_us / 1000;
}

/* Which CPUs this process was given, before it chose one of them. */
static const cpu_set_t *given_cpus(void)
{
	static cpu_set_t given;
	static bool known;

	if (!known && sched_getaffinity(0, sizeof(given), &given))
		CPU_ZERO(&given);
	known = true;
	return &given;
}

bool stay_on_cpu(unsigned int index)
{
	const cpu_set_t *given = given_cpus();
	cpu_set_t one;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, given) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		return !sched_setaffinity(0, sizeof(one), &one);
	}
	return false;
}

void sleep_us(unsigned int us)
{
	struct timespec left = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}
