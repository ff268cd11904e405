// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about the whole system: `lodge run` of a Linux kernel, to its power-off.  Called by
 * bench.c in a process of its own, and for its counters by run.c in the machine's process,
 * which passes them on in shared memory.  No lock: one writes, and the other reads when it
 * has ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../run.h"
#include "../vcpu.h"
#include "bench.h"

static const char *boot_kernel, *boot_initrd;

/* The first vCPU's counters, opened before the runner's filter forbids it. */
static struct bench_vcpu counted;
static struct result *shared_result;

void bench_system(const char *kernel, const char *initrd)
{
	boot_kernel = kernel;
	boot_initrd = initrd;
}

static void on_start(struct vm *vm)
{
	counted.fd = vm->vcpus[0].fd;
	bench_open_stats(&counted);
}

static void on_end(struct vm *vm)
{
	(void)vm;
	shared_result->has_exits = counted.stats_fd >= 0;
	shared_result->exits = bench_exits(&counted);
	for (unsigned int i = 0; i < MAX_REASONS; i++)
		shared_result->reasons[i] = bench_exits_for(&counted, i);
}

static void measure_boot(struct bench *bench, const struct row *row)
{
	char *words[7] = { "run", "--memory=256M", "--append=quiet panic=-1" };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	u64 ticks, seed;

	(void)row;
	if (!boot_kernel || !boot_initrd)
		row_skip(bench, "needs --kernel and --initrd");
	if (asprintf(&words[3], "--device=%s", bench->device) < 0 ||
	    asprintf(&words[4], "--kernel=%s", boot_kernel) < 0 ||
	    asprintf(&words[5], "--initrd=%s", boot_initrd) < 0)
		row_fail(bench, "out of memory");
	optind = 0;	/* getopt() has been through our own */
	shared_result = bench->result;
	run_on_start = on_start;
	run_on_end = on_end;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	/* A host that has just booted has to find its entropy first: not a part of this. */
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		row_fail(bench, "getrandom: %m");
	MEASURE_BEGIN();
	ticks = read_tsc();
	status = run_main(ARRAY_SIZE(words) - 1, words);
	ticks = read_tsc() - ticks;
	MEASURE_END();
	if (status)
		row_fail(bench, "'lodge run' ended with status %d, not 0", status);
	row_sample_of(bench, ticks, 1, 1);
}

const struct row system_rows[] = {
	{ "boot", "'lodge run' of --kernel and --initrd, to its power-off", measure_boot, 0, 0,
	  1 },
	{ },
};
