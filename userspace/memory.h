/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's memory as the runner sees it.  Set up before any vCPU runs and
 * constant from then on, so it is read without a lock.
 */
#ifndef LODGE_MEMORY_H
#define LODGE_MEMORY_H

#include "types.h"

#define LOW_MEMORY_END	GIB(3)	/* devices live between here and 4 GiB */
#define HIGH_MEMORY	GIB(4)

struct memory_region {
	u64 gpa;
	u64 size;
	u8 *hva;
};

struct guest_memory {
	struct memory_region regions[2];	/* below the device hole, above 4 GiB */
	unsigned int count;
};

/* Map @size bytes, a multiple of the page size.  Returns 0 or -errno. */
int memory_create(struct guest_memory *memory, u64 size);
void memory_destroy(struct guest_memory *memory);

/*
 * The host address of the @len bytes from @gpa on, or NULL when they are not
 * all in one region.  Every address that a guest supplies goes through here.
 */
void *memory_at(const struct guest_memory *memory, u64 gpa, u64 len);

/* Copy into the guest.  Returns false, and copies nothing, outside memory. */
bool memory_write(const struct guest_memory *memory, u64 gpa, const void *data, size_t len);

/* The first address after the memory below the device hole. */
u64 memory_low_end(const struct guest_memory *memory);

#endif
