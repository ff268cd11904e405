/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A live migration in small: two vCPUs write to memory in slot 1 without a pause,
 * and a copy of it follows by what a dirty log says. Used by dirty_log_test and
 * dirty_ring_test, from one thread.
 *
 * The check is by contents: a page that differs from its copy at a moment before
 * the log was read must be in what was read. (What the kernel writes for the guest it
 * logs right after it, so that may be in the next.)
 */
#ifndef SELFTESTS_LIB_MIGRATE_H
#define SELFTESTS_LIB_MIGRATE_H

#include <pthread.h>
#include <time.h>

#include "test_vm.h"

#define MIGRATE_GPA	0x20000000UL
#define MIGRATE_SIZE	0x800000UL
#define MIGRATE_PAGES	(MIGRATE_SIZE / TEST_PAGE_SIZE)
#define MIGRATE_PORT	0x300
#define MIGRATE_VCPUS	2

struct migrate {
	struct test_vm vm;
	struct test_vcpu vcpu[MIGRATE_VCPUS];
	pthread_t thread[MIGRATE_VCPUS];
	char *mem;
	u64 skew;		/* of slot 1 in mem and MIGRATE_GPA, in pages */
	u64 pages;		/* in slot 1 */
	u64 bitmap[MIGRATE_PAGES / 64];	/* what the log said */
	struct migrate_page {
		u64 v[2];
	} look[MIGRATE_PAGES], copy[MIGRATE_PAGES];
	bool stopped;
	u64 copied;
	time_t begin;
	unsigned int rounds;
	u64 exits;		/* of the kind that exit() is for */
	/* Called in a vCPU's thread for an exit that is not the guest's doing; or NULL. */
	bool (*exit)(struct migrate *m, struct test_vcpu *vcpu);
};

/* MIGRATE_SIZE of zeroes, aligned for big pages. */
char *migrate_memory(void);

/* A VM with slot 1, without log; @tail: pages less at its end. vCPUs: migrate_start(). */
void migrate_setup(struct migrate *m, bool huge, u64 skew, u64 tail);
void migrate_destroy(struct migrate *m);
void migrate_slot(struct migrate *m, u32 flags);
/* Creates the vCPUs if need be, runs them, and returns when all pages were written. */
void migrate_start(struct migrate *m);
/*
 * Is there to be a round number @round of at most @max? Fewer do where all takes long, as
 * on a kernel with checkers.
 */
bool migrate_goes_on(struct migrate *m, unsigned int round, unsigned int max);
/* They stop soon. */
void migrate_ask_stop(struct migrate *m);
/* Asks, and returns when they have stopped. */
void migrate_stop(struct migrate *m);

/* Notes what is in the pages now: before the log is read. */
void migrate_look(struct migrate *m);
/* Ends the test if a page differs from its copy, and is not in m->bitmap. */
void migrate_check(struct migrate *m);
/* Copies the pages in m->bitmap, or all. */
void migrate_copy(struct migrate *m);
void migrate_copy_all(struct migrate *m);
/* There is no copy any more that any page could equal. */
void migrate_forget(struct migrate *m);
/* Ends the test if memory differs from its copy. */
void migrate_compare(struct migrate *m);

#endif
