// SPDX-License-Identifier: GPL-2.0-only
/*
 * The runner's virtqueue walker, against drivers that keep the rules and
 * drivers that break them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runner_test.h"
#include "userspace/virtqueue.h"

#define SIZE	8
#define DESC	0x1000
#define AVAIL	0x2000
#define USED	0x3000
#define TABLE	0x4000
#define DATA	0x10000

static struct guest_memory memory;
static struct virtqueue queue;
static struct ring_desc *desc, *table;
static struct ring_avail *avail;
static struct ring_used *used;
static struct chain chain;

static void start(void)
{
	memset(memory.regions[0].hva, 0, 0x20000);
	queue.memory = &memory;
	virtqueue_reset(&queue);
	queue.size = SIZE;
	queue.desc_gpa = DESC;
	queue.avail_gpa = AVAIL;
	queue.used_gpa = USED;
	if (virtqueue_enable(&queue))
		abort();
	desc = memory_at(&memory, DESC, 1);
	table = memory_at(&memory, TABLE, 1);
	avail = memory_at(&memory, AVAIL, 1);
	used = memory_at(&memory, USED, 1);
}

static void offer(u16 head)
{
	avail->ring[avail->idx++ % SIZE] = head;
}

static void set(struct ring_desc *to, u64 addr, u32 len, u16 flags, u16 next)
{
	*to = (struct ring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* Offer descriptor 0 and expect the walker to refuse what it leads to. */
static void refuse(const char *what)
{
	offer(0);
	check(virtqueue_pop(&queue, &chain) == -EINVAL, what);
}

static void test_good(void)
{
	start();
	check(virtqueue_pop(&queue, &chain) == 0, "an empty ring has no request");
	set(&desc[0], DATA, 16, VRING_DESC_F_NEXT, 3);
	set(&desc[3], DATA + 0x100, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	set(&desc[1], DATA + 0x400, 1, VRING_DESC_F_WRITE, 0);
	offer(0);
	check(virtqueue_pop(&queue, &chain) == 1, "a chain is taken");
	check(chain.head == 0 && chain.nr_out == 1 && chain.nr_in == 2, "its buffers are counted");
	check(chain.iov[0].iov_base == memory_at(&memory, DATA, 16) && chain.iov[0].iov_len == 16,
	      "a buffer is found in guest memory");
	virtqueue_unpop(&queue);
	check(virtqueue_pop(&queue, &chain) == 1, "a request given back is taken again");
	virtqueue_push(&queue, chain.head, 513);
	check(used->idx == 1 && used->ring[0].id == 0 && used->ring[0].len == 513,
	      "a request is returned");
	check(virtqueue_wants_interrupt(&queue), "the driver is interrupted");
	check(!virtqueue_wants_interrupt(&queue), "but once only");
	virtqueue_push(&queue, 0, 0);
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	check(!virtqueue_wants_interrupt(&queue), "and not when it does not want to");

	start();
	set(&table[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set(&table[1], DATA, 16, VRING_DESC_F_WRITE, 0);
	set(&desc[0], TABLE, 2 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
	offer(0);
	check(virtqueue_pop(&queue, &chain) == 1 && chain.nr_out == 1 && chain.nr_in == 1,
	      "an indirect chain is taken");
}

static void test_event_index(void)
{
	u16 *used_event, *avail_event;

	start();
	queue.event_idx = true;
	used_event = &avail->ring[SIZE];
	avail_event = (u16 *)&used->ring[SIZE];
	set(&desc[0], DATA, 16, 0, 0);
	*used_event = 1;
	for (int i = 0; i < 3; i++) {
		offer(0);
		check(virtqueue_pop(&queue, &chain) == 1, "a request is taken");
		virtqueue_push(&queue, 0, 0);
		check(virtqueue_wants_interrupt(&queue) == (i == 1),
		      "an interrupt comes at the event index only");
	}
	check(virtqueue_pop(&queue, &chain) == 0 && *avail_event == 3,
	      "an empty ring asks to be notified of the next request");
}

static void test_bad_chains(void)
{
	start();
	offer(SIZE);
	check(virtqueue_pop(&queue, &chain) == -EINVAL, "a head outside the table is refused");
	start();
	avail->idx = SIZE + 1;
	check(virtqueue_pop(&queue, &chain) == -EINVAL, "more requests than entries are refused");
	start();
	set(&desc[0], DATA, 16, VRING_DESC_F_NEXT, 0);
	refuse("a descriptor that follows itself is refused");
	start();
	set(&desc[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set(&desc[1], DATA, 16, VRING_DESC_F_NEXT, 0);
	refuse("a circle of descriptors is refused");
	start();
	set(&desc[0], DATA, 16, VRING_DESC_F_NEXT, 0xffff);
	refuse("a link outside the table is refused");
	start();
	set(&desc[0], memory.regions[0].size - 8, 16, 0, 0);
	refuse("a buffer across the end of memory is refused");
	start();
	set(&desc[0], UINT64_MAX - 8, 16, 0, 0);
	refuse("a buffer that wraps around is refused");
	start();
	set(&desc[0], DATA, UINT32_MAX, 0, 0);
	refuse("a buffer larger than memory is refused");
	start();
	set(&desc[0], DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	set(&desc[1], DATA, 1, 0, 0);
	refuse("a buffer to read after one to fill is refused");
}

static void test_bad_tables(void)
{
	start();
	set(&table[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	set(&desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	refuse("a table within a table is refused");
	start();
	set(&desc[0], TABLE, 24, VRING_DESC_F_INDIRECT, 0);
	refuse("a table of one and a half descriptors is refused");
	start();
	set(&desc[0], TABLE, 0, VRING_DESC_F_INDIRECT, 0);
	refuse("an empty table is refused");
	start();
	set(&desc[0], TABLE, (QUEUE_SIZE + 1) * 16, VRING_DESC_F_INDIRECT, 0);
	refuse("a table of too many descriptors is refused");
	start();
	set(&desc[0], memory.regions[0].size - 16, 32, VRING_DESC_F_INDIRECT, 0);
	refuse("a table across the end of memory is refused");
	start();
	set(&desc[0], TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 0);
	refuse("a table with a successor is refused");
	start();
	set(&table[0], DATA, 1, VRING_DESC_F_NEXT, 1);
	set(&desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	refuse("a link outside the inner table is refused");
}

static bool enables(u16 size, u64 desc_gpa, u64 avail_gpa, u64 used_gpa)
{
	start();
	queue.ready = false;
	queue.size = size;
	queue.desc_gpa = desc_gpa;
	queue.avail_gpa = avail_gpa;
	queue.used_gpa = used_gpa;
	return !virtqueue_enable(&queue);
}

static void test_bad_rings(void)
{
	u64 end = memory.regions[0].size;

	check(enables(QUEUE_SIZE, DESC, AVAIL, USED), "a ring of the full size is taken");
	check(!enables(0, DESC, AVAIL, USED), "a ring of no size is refused");
	check(!enables(6, DESC, AVAIL, USED), "a ring of an odd size is refused");
	check(!enables(QUEUE_SIZE * 2, DESC, AVAIL, USED), "a ring too large is refused");
	check(!enables(SIZE, end - 16, AVAIL, USED), "a table across the end is refused");
	check(!enables(SIZE, DESC, end - 16, USED), "an avail ring across the end is refused");
	check(!enables(SIZE, DESC, AVAIL, end - 64), "a used ring across the end is refused");
	check(!enables(SIZE, DESC + 8, AVAIL, USED), "a crooked table is refused");
	check(!enables(SIZE, UINT64_MAX - 15, AVAIL, USED), "a table that wraps is refused");
}

static void test_iov(void)
{
	u8 bytes[10], out[10] = "";
	struct iovec iov[] = {
		{ bytes, 3 }, { bytes + 3, 0 }, { bytes + 3, 7 },
	};
	struct iovec part[3];

	memcpy(bytes, "0123456789", 10);
	check(iov_size(iov, 3) == 10, "an iovec is measured");
	check(iov_read(iov, 3, 2, out, 4) == 4 && !memcmp(out, "2345", 4),
	      "bytes across two entries are read");
	check(iov_read(iov, 3, 8, out, 10) == 2, "a read past the end is cut");
	check(iov_read(iov, 3, 10, out, 1) == 0, "a read at the end has nothing");
	check(iov_write(iov, 3, 9, "x", 1) == 1 && bytes[9] == 'x', "the last byte is written");
	check(iov_slice(iov, 3, 1, 3, part) == 2 && part[0].iov_len == 2 && part[1].iov_len == 1,
	      "a slice has the parts it touches");
	check(iov_slice(iov, 3, 0, 0, part) == 0, "an empty slice has no parts");
}

/* A driver that writes noise: the walker must always end, inside memory. */
static void test_noise(void)
{
	bool inside = true;
	int taken = 0;

	srand(1);
	for (int round = 0; round < 200000; round++) {
		start();
		for (int i = 0; i < SIZE; i++) {
			set(&desc[i], (u64)rand() % 0x12000 << (rand() % 40 ? 0 : 20),
			    (u32)rand() % 600, (u16)(rand() % 8), (u16)(rand() % (SIZE + 1)));
			set(&table[i], (u64)rand() % 0x20000, (u32)rand() % 600,
			    (u16)(rand() % 4), (u16)(rand() % (SIZE + 1)));
		}
		offer((u16)(rand() % SIZE));
		if (virtqueue_pop(&queue, &chain) != 1)
			continue;
		taken++;
		for (unsigned int i = 0; i < chain.nr_out + chain.nr_in; i++) {
			u8 *base = chain.iov[i].iov_base;

			inside = inside && base >= memory.regions[0].hva &&
				 base + chain.iov[i].iov_len <=
				 memory.regions[0].hva + memory.regions[0].size;
		}
	}
	check(inside && taken > 1000, "200,000 rings of noise harm nothing");
}

/* Of a size, and so at places, that no kernel rounds by itself. */
static void test_huge_pages(void)
{
	struct guest_memory odd[8];
	bool aligned = true;

	for (int i = 0; i < 8; i++) {
		if (memory_create(&odd[i], MIB(17) + 4096))
			abort();
		aligned = aligned && (uintptr_t)odd[i].regions[0].hva % MIB(2) == 0;
	}
	check(aligned, "memory begins where a huge page may");
	for (int i = 0; i < 8; i++)
		memory_destroy(&odd[i]);
}

static void test_memory(void)
{
	struct guest_memory large;

	check(memory_at(&memory, 0, memory.regions[0].size), "all of memory is one piece");
	check(!memory_at(&memory, 0, memory.regions[0].size + 1), "and no more");
	check(!memory_at(&memory, memory.regions[0].size, 0), "the end is outside");
	if (memory_create(&large, GIB(5)))
		abort();
	check(memory_at(&large, HIGH_MEMORY, GIB(2)), "memory above 3 GiB is found at 4 GiB");
	check(!memory_at(&large, LOW_MEMORY_END - 1, 2), "the device hole is not memory");
	check(!memory_at(&large, HIGH_MEMORY - 1, 2), "up to its end");
	memory_destroy(&large);
}

int main(void)
{
	if (memory_create(&memory, MIB(1)))
		abort();
	test_good();
	test_event_index();
	test_bad_chains();
	test_bad_tables();
	test_bad_rings();
	test_iov();
	test_noise();
	test_memory();
	test_huge_pages();
	memory_destroy(&memory);
	return finish();
}
