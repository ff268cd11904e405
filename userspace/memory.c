// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory: anonymous, private, not reserved, and so swappable, mergeable
 * and paid for page by page.  Called by run.c at start and by all devices;
 * constant after set-up, no lock.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "memory.h"

#define HUGE_PAGE	MIB(2)

/*
 * A huge page of the host is one of the guest's only where both begin at such an address.
 * Regions of the guest's memory do; kernels before 6.7 map wherever there is room.
 */
static void *map_aligned(u64 size)
{
	u8 *all, *hva;
	size_t head;

	if (size > SIZE_MAX - HUGE_PAGE)
		return MAP_FAILED;
	all = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (all == MAP_FAILED)
		return MAP_FAILED;
	head = -(uintptr_t)all % HUGE_PAGE;
	hva = all + head;
	if (head)
		munmap(all, head);
	munmap(hva + size, HUGE_PAGE - head);
	return hva;
}

static int map_region(struct guest_memory *memory, u64 gpa, u64 size)
{
	struct memory_region *region = &memory->regions[memory->count];
	void *hva = map_aligned(size);

	if (hva == MAP_FAILED)
		return -ENOMEM;
	/* Both are requests only: a kernel without them runs the guest as well. */
	madvise(hva, size, MADV_HUGEPAGE);
	madvise(hva, size, MADV_DONTDUMP);
	*region = (struct memory_region){ .gpa = gpa, .size = size, .hva = hva };
	memory->count++;
	return 0;
}

int memory_create(struct guest_memory *memory, u64 size)
{
	u64 low = size < LOW_MEMORY_END ? size : LOW_MEMORY_END;
	int error;

	memory->count = 0;
	error = map_region(memory, 0, low);
	if (!error && size > low)
		error = map_region(memory, HIGH_MEMORY, size - low);
	if (error)
		memory_destroy(memory);
	return error;
}

void memory_destroy(struct guest_memory *memory)
{
	for (unsigned int i = 0; i < memory->count; i++)
		munmap(memory->regions[i].hva, memory->regions[i].size);
	memory->count = 0;
}

void *memory_at(const struct guest_memory *memory, u64 gpa, u64 len)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		const struct memory_region *region = &memory->regions[i];

		if (gpa >= region->gpa && gpa - region->gpa < region->size &&
		    len <= region->size - (gpa - region->gpa))
			return region->hva + (gpa - region->gpa);
	}
	return NULL;
}

bool memory_write(const struct guest_memory *memory, u64 gpa, const void *data, size_t len)
{
	void *to = memory_at(memory, gpa, len);

	if (!to)
		return false;
	memcpy(to, data, len);
	return true;
}

u64 memory_low_end(const struct guest_memory *memory)
{
	return memory->regions[0].size;
}
