// SPDX-License-Identifier: GPL-2.0-only
/*
 * The `lodge bench` command: finds the rows, measures each on each device, in a process of
 * its own, and has the results reported.  Called by lodge.c; one thread, no lock: the child
 * that measures is the only writer of what it shares with us, and we read when it is gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../node.h"
#include "../options.h"
#include "../run.h"
#include "bench.h"

#define ROW_SECONDS	300	/* a row that takes longer hangs */

static const struct {
	const char *name;
	const struct row *rows;
} groups[] = {
	{ "floor", floor_rows },
	{ "user", user_rows },
	{ "kernel", kernel_rows },
	{ "interrupts", interrupt_rows },
	{ "memory", memory_rows },
	{ "objects", object_rows },
	{ "state", state_rows },
	{ "system", system_rows },
};

/* Ends the row's process. */
static noreturn __printf(3, 0) void end_row(struct bench *bench, unsigned int state,
					    const char *format, va_list args)
{
	vsnprintf(bench->result->reason, sizeof(bench->result->reason), format, args);
	bench->result->state = state;
	_exit(0);
}

void row_skip(struct bench *bench, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	end_row(bench, SKIPPED, format, args);
}

void row_fail(struct bench *bench, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	end_row(bench, FAILED, format, args);
}

bool row_sample_of(struct bench *bench, u64 ticks, u64 count, unsigned int samples)
{
	struct result *result = bench->result;

	if (bench->watched)
		result->exits += bench_exits(bench->watched) - bench->watched_exits -
				 bench->own_exits;
	if (bench->watched)
		result->has_exits = true;
	result->count = count;
	result->samples[result->nr_samples++] = ticks;
	if (bench->watched)
		bench->watched_exits = bench_exits(bench->watched);
	return result->nr_samples < samples;
}

bool row_sample(struct bench *bench, u64 ticks, u64 count)
{
	static unsigned int warm_up = WARM_UP;

	if (warm_up) {
		warm_up--;
		if (bench->watched)
			bench->watched_exits = bench_exits(bench->watched);
		return true;
	}
	return row_sample_of(bench, ticks, count, MAX_SAMPLES);
}

int row_ioctl(struct bench *bench, int fd, unsigned long request, void *argument, const char *name)
{
	int ret = ioctl(fd, request, argument);

	if (ret < 0 && errno == EBUSY && request == KVM_CREATE_VM)
		row_skip(bench, "another hypervisor holds the CPU's virtualization");
	if (ret < 0)
		row_fail(bench, "%s: %m", name);
	return ret;
}

int has_capability(int fd, int capability)
{
	int ret = ioctl(fd, KVM_CHECK_EXTENSION, capability);

	return ret < 0 ? 0 : ret;
}

/* The child. */
static noreturn void measure(const char *device, const struct row *row, struct result *result)
{
	struct bench bench = { .device = device, .result = result };
	int size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(ROW_SECONDS);
	if (!stay_on_cpu(0))
		row_fail(&bench, "cannot stay on one CPU: %m");
	bench.node = node_open(device);
	size = ioctl(bench.node, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		row_fail(&bench, "KVM_GET_VCPU_MMAP_SIZE answers %d", size);
	bench.run_size = (size_t)size;
	row->measure(&bench, row);
	result->state = MEASURED;
	_exit(0);
}

static void measure_apart(const char *device, const struct row *row, struct result *result)
{
	pid_t child;
	int status;

	memset(result, 0, sizeof(*result));
	fflush(stdout);
	child = fork();
	if (child < 0)
		host_error("cannot start a process: %m");
	if (!child)
		measure(device, row, result);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			host_error("cannot wait for a process: %m");
	if (result->state != NOT_MEASURED)
		return;
	result->state = FAILED;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(result->reason, sizeof(result->reason), "no end in %d s", ROW_SECONDS);
	else if (WIFSIGNALED(status))
		snprintf(result->reason, sizeof(result->reason), "ended by signal %d",
			 WTERMSIG(status));
	else
		snprintf(result->reason, sizeof(result->reason), "ended early");
}

/* A line on the terminal that the next one replaces; none of it stays. */
static void progress(unsigned int done, unsigned int all, const char *row, const char *device)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K");
	if (row)
		fprintf(stderr, "%u of %u: %s on %s", done + 1, all, row, device);
	fflush(stderr);
}

static bool is_wanted(const struct bench_options *options, const char *group, const char *row)
{
	for (unsigned int i = 0; options->rows[i]; i++)
		if (!strcmp(options->rows[i], group) || !fnmatch(options->rows[i], row, 0))
			return true;
	return !options->rows[0];
}

/* The rows that are wanted, ended by NULL. */
static const struct row **find_rows(const struct bench_options *options, unsigned int *count)
{
	const struct row **rows = calloc(256, sizeof(const struct row *));

	if (!rows)
		host_error("out of memory");
	*count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		for (const struct row *row = groups[i].rows; row->name; row++)
			if (is_wanted(options, groups[i].name, row->name))
				rows[(*count)++] = row;
	return rows;
}

/* Each name given has to mean something. */
static void check_names(const struct bench_options *options)
{
	for (unsigned int i = 0; options->rows[i]; i++) {
		struct bench_options one = *options;
		char *names[2] = { options->rows[i], NULL };
		unsigned int count;

		one.rows = names;
		free(find_rows(&one, &count));
		if (!count)
			bad_input("no row is named '%s'; 'lodge bench --list' lists the rows, and a row, a group or a pattern is expected",
				  options->rows[i]);
	}
}

static void list_rows(const struct bench_options *options)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		for (const struct row *row = groups[i].rows; row->name; row++)
			if (is_wanted(options, groups[i].name, row->name))
				printf("%-11s %-24s %s\n", groups[i].name, row->name, row->what);
}

static int measure_all(const struct bench_options *options, const struct report *report,
		       const struct row **rows, unsigned int count)
{
	size_t size = options->nr_devices * sizeof(struct result);
	struct result *results = mmap(NULL, size, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int failed = 0;

	if (results == MAP_FAILED)
		host_error("out of memory");
	for (unsigned int i = 0; i < count; i++) {
		for (unsigned int j = 0; j < options->nr_devices; j++) {
			progress(i, count, rows[i]->name, options->devices[j]);
			measure_apart(options->devices[j], rows[i], &results[j]);
			failed += results[j].state == FAILED;
		}
		progress(0, 0, NULL, NULL);
		report_row(report, rows[i], results);
	}
	return failed ? STATUS_HOST_ERROR : STATUS_POWER_OFF;
}

int bench_main(int argc, char **argv)
{
	struct bench_options options;
	const struct row **rows;
	struct report report;
	unsigned int count;
	int status;

	parse_bench_options(argc, argv, &options);
	check_names(&options);
	if (options.list) {
		list_rows(&options);
		if (fflush(stdout))
			host_error("cannot write to the standard output: %m");
		return STATUS_POWER_OFF;
	}
	for (unsigned int i = 0; i < options.nr_devices; i++)
		close(node_open(options.devices[i]));
	bench_system(options.kernel, options.initrd);
	rows = find_rows(&options, &count);
	report = (struct report){
		.devices = options.devices,
		.nr_devices = options.nr_devices,
		.json = options.json,
		.instructions = clock_counts_instructions(),
		.ticks_per_us = clock_ticks_per_us(),
	};
	report_begin(&report);
	status = measure_all(&options, &report, rows, count);
	report_end(&report);
	free(rows);
	return status;
}
