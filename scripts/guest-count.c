// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's witness: keeps counting on each CPU and keeps a pattern in memory, so
 * that a tick or a byte that a snapshot or a migration loses is seen.  Started by
 * scripts/guest-init; scripts/in-bed/clients reads what it prints.  Each thread has
 * its own pages; no lock.
 *
 *   count MIB: MIB MiB of pattern, until a line comes in on the standard input.
 *
 * Each thread prints "count: cpu C n N t MS" for N = 1, 2, 3 and so on, "count: bad ..."
 * at the first page that is not as it was left, or when the clock went back; the last
 * line is "count: end, ERRORS errors in PAGES pages".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE_WORDS	512
#define TICK_NS		10000000L
#define TICKS_PER_LINE	10
#define PAGES_WRITTEN	8	/* a tick */
#define PAGES_CHECKED	32

struct worker {
	pthread_t thread;
	unsigned int cpu;
	uint64_t (*pages)[PAGE_WORDS];
	uint32_t *versions;	/* what each page was last written as */
	size_t nr_pages;
	unsigned long errors;
};

static volatile bool ended;

/* Multiplying and folding, as random number generators do: each bit counts. */
static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 32)) * 0x9e3779b97f4a7c15;
	value = (value ^ (value >> 29)) * 0xbf58476d1ce4e5b9;
	return value ^ (value >> 32);
}

static void write_page(struct worker *worker, size_t page)
{
	uint64_t seed = mix(page << 32 | ++worker->versions[page]) | worker->cpu;

	for (size_t i = 0; i < PAGE_WORDS; i++)
		worker->pages[page][i] = seed += 0x9e3779b97f4a7c15;
}

static void check_page(struct worker *worker, size_t page)
{
	uint64_t seed = mix(page << 32 | worker->versions[page]) | worker->cpu;
	uint64_t differ = 0;

	for (size_t i = 0; i < PAGE_WORDS; i++)
		differ |= worker->pages[page][i] ^ (seed += 0x9e3779b97f4a7c15);
	if (differ && !worker->errors++)
		printf("count: bad cpu %u page %zu version %u\n", worker->cpu, page,
		       worker->versions[page]);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void tick(struct worker *worker, unsigned long number, int64_t *last)
{
	int64_t now;

	for (size_t i = 0; i < PAGES_WRITTEN; i++)
		write_page(worker, mix(number * PAGES_WRITTEN + i) % worker->nr_pages);
	for (size_t i = 0; i < PAGES_CHECKED; i++)
		check_page(worker, (number * PAGES_CHECKED + i) % worker->nr_pages);
	now = now_ns();
	if (now < *last && !worker->errors++)
		printf("count: bad cpu %u clock from %lld to %lld ns\n", worker->cpu,
		       (long long)*last, (long long)now);
	*last = now;
}

static void *work(void *arg)
{
	const struct timespec pause = { .tv_nsec = TICK_NS };
	struct worker *worker = arg;
	unsigned long number = 0;
	int64_t last = now_ns();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(worker->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		worker->errors++;
	while (!ended) {
		for (size_t i = 0; i < TICKS_PER_LINE; i++) {
			nanosleep(&pause, NULL);
			tick(worker, number * TICKS_PER_LINE + i, &last);
		}
		printf("count: cpu %u n %lu t %lld\n", worker->cpu, ++number,
		       (long long)last / 1000000);
	}
	for (size_t page = 0; page < worker->nr_pages; page++)
		check_page(worker, page);
	return NULL;
}

static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("count: bad mmap");
		exit(1);
	}
	return memory;
}

int main(int argc, char **argv)
{
	size_t nr_cpus = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
	size_t nr_pages = argc > 1 ? strtoul(argv[1], NULL, 10) * 256 : 0;
	struct worker *workers = calloc(nr_cpus, sizeof(*workers));
	unsigned long errors = 0;
	char line[16];

	if (!workers || nr_pages < nr_cpus)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < nr_cpus; i++) {
		struct worker *worker = &workers[i];

		worker->cpu = i;
		worker->nr_pages = nr_pages / nr_cpus;
		worker->pages = allocate(worker->nr_pages * sizeof(*worker->pages));
		worker->versions = allocate(worker->nr_pages * sizeof(*worker->versions));
		for (size_t page = 0; page < worker->nr_pages; page++)
			write_page(worker, page);
	}
	printf("count: start with %zu CPUs, %zu pages\n", nr_cpus, nr_pages);
	for (size_t i = 0; i < nr_cpus; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			return 1;
	if (!fgets(line, sizeof(line), stdin))
		errors++;
	ended = true;
	for (size_t i = 0; i < nr_cpus; i++) {
		pthread_join(workers[i].thread, NULL);
		errors += workers[i].errors;
	}
	printf("count: end, %lu errors in %zu pages\n", errors, nr_pages);
	return errors > 0;
}
