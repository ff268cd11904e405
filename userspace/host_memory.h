/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a guest's memory fits into the host's.  Called by run.c before a
 * guest is made; the first two are pure, for the unit tests.
 */
#ifndef LODGE_HOST_MEMORY_H
#define LODGE_HOST_MEMORY_H

#include "types.h"

/* In bytes. */
struct host_memory {
	u64 total;
	u64 available;	/* without swapping */
	u64 swap;
};

enum memory_fit {
	MEMORY_FITS,
	MEMORY_CROWDS,	/* the host would have to swap, or to kill */
	MEMORY_EXCEEDS,	/* it can never be there as a whole */
};

/* From the text of /proc/meminfo.  Returns false when something is missing. */
bool host_memory_parse(const char *text, struct host_memory *host);

enum memory_fit host_memory_fit(const struct host_memory *host, u64 size);

/* Warns when @size bytes crowd this host; ends the program when they exceed it. */
void host_memory_check(u64 size);

#endif
