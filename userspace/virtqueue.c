// SPDX-License-Identifier: GPL-2.0-only
/*
 * A split virtqueue, seen from the device (Virtual I/O Device 1.2, 2.7).
 * Called by the virtio devices under their device's lock.  The guest may
 * change descriptors and indices at any moment: they are read once.
 */
#include <errno.h>
#include <string.h>

#include "virtqueue.h"

static u16 load16(const u16 *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* The event words behind the two rings. */
static u16 *used_event(struct virtqueue *queue)
{
	return &queue->avail->ring[queue->size];
}

static u16 *avail_event(struct virtqueue *queue)
{
	return (u16 *)&queue->used->ring[queue->size];
}

int virtqueue_enable(struct virtqueue *queue)
{
	u64 n = queue->size;

	if (!n || n > QUEUE_SIZE || n & (n - 1))
		return -EINVAL;
	if (queue->desc_gpa % 16 || queue->avail_gpa % 2 || queue->used_gpa % 4)
		return -EINVAL;
	queue->desc = memory_at(queue->memory, queue->desc_gpa, n * sizeof(struct ring_desc));
	/* Both rings end with an event word. */
	queue->avail = memory_at(queue->memory, queue->avail_gpa, 4 + n * sizeof(u16) + 2);
	queue->used = memory_at(queue->memory, queue->used_gpa,
				4 + n * sizeof(struct ring_used_element) + 2);
	if (!queue->desc || !queue->avail || !queue->used)
		return -EINVAL;
	queue->next_avail = 0;
	queue->next_used = 0;
	queue->signalled = 0;
	queue->ready = true;
	return 0;
}

void virtqueue_reset(struct virtqueue *queue)
{
	const struct guest_memory *memory = queue->memory;

	memset(queue, 0, sizeof(*queue));
	queue->memory = memory;
	queue->size = QUEUE_SIZE;
}

/* Append the buffer of @desc to @chain. */
static int add_buffer(struct virtqueue *queue, struct chain *chain, const struct ring_desc *desc)
{
	unsigned int n = chain->nr_out + chain->nr_in;
	void *hva;

	if (n == QUEUE_SIZE)
		return -EINVAL;
	/* All to read must come first. */
	if (chain->nr_in && !(desc->flags & VRING_DESC_F_WRITE))
		return -EINVAL;
	if (desc->flags & VRING_DESC_F_WRITE)
		chain->nr_in++;
	else
		chain->nr_out++;
	hva = memory_at(queue->memory, desc->addr, desc->len);
	if (!hva)
		return -EINVAL;
	chain->iov[n] = (struct iovec){ .iov_base = hva, .iov_len = desc->len };
	return 0;
}

/* Copied first: the guest may change it between a check and its use. */
static void read_descriptor(const struct ring_desc *table, u16 index, struct ring_desc *desc)
{
	memcpy(desc, (const void *)&table[index], sizeof(*desc));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Walk from @index through @table of @size descriptors.  A chain has at most
 * @size links, whatever the guest wrote into it: that ends every loop.
 */
static int walk(struct virtqueue *queue, struct chain *chain, const struct ring_desc *table,
		u32 size, u16 index, bool indirect)
{
	for (u32 links = 0; links < size; links++) {
		struct ring_desc desc;
		int error;

		if (index >= size)
			return -EINVAL;
		read_descriptor(table, index, &desc);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			u32 count = desc.len / sizeof(desc);
			const struct ring_desc *inner;

			if (indirect || desc.flags & VRING_DESC_F_NEXT || !count ||
			    count > QUEUE_SIZE || desc.len % sizeof(desc))
				return -EINVAL;
			inner = memory_at(queue->memory, desc.addr, desc.len);
			if (!inner)
				return -EINVAL;
			return walk(queue, chain, inner, count, 0, true);
		}
		error = add_buffer(queue, chain, &desc);
		if (error)
			return error;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		index = desc.next;
	}
	return -EINVAL;
}

int virtqueue_pop(struct virtqueue *queue, struct chain *chain)
{
	u16 avail = load16(&queue->avail->idx);
	int error;

	if (avail == queue->next_avail && queue->event_idx) {
		/* Ask for a notification, then look again: one may have just come. */
		__atomic_store_n(avail_event(queue), queue->next_avail, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		avail = load16(&queue->avail->idx);
	}
	if (avail == queue->next_avail)
		return 0;
	if ((u16)(avail - queue->next_avail) > queue->size)
		return -EINVAL;

	chain->head = load16(&queue->avail->ring[queue->next_avail % queue->size]);
	chain->nr_out = 0;
	chain->nr_in = 0;
	error = walk(queue, chain, queue->desc, queue->size, chain->head, false);
	if (error)
		return error;
	queue->next_avail++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *queue)
{
	queue->next_avail--;
}

void virtqueue_push(struct virtqueue *queue, u16 head, u32 written)
{
	struct ring_used_element *element = &queue->used->ring[queue->next_used % queue->size];

	element->id = head;
	element->len = written;
	queue->next_used++;
	__atomic_store_n(&queue->used->idx, queue->next_used, __ATOMIC_RELEASE);
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
	u16 before = queue->signalled;
	u16 event;

	if (queue->next_used == before)
		return false;
	/* The guest's flag or event must not be read before idx is visible. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue->signalled = queue->next_used;
	if (!queue->event_idx)
		return !(load16(&queue->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	event = load16(used_event(queue));
	return vring_need_event(event, queue->next_used, before);
}

size_t iov_size(const struct iovec *iov, unsigned int count)
{
	size_t size = 0;

	for (unsigned int i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

unsigned int iov_slice(const struct iovec *iov, unsigned int count, size_t offset, size_t len,
		       struct iovec *part)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < count && len; i++) {
		size_t here = iov[i].iov_len;

		if (offset >= here) {
			offset -= here;
			continue;
		}
		here -= offset;
		if (here > len)
			here = len;
		part[n].iov_base = (u8 *)iov[i].iov_base + offset;
		part[n++].iov_len = here;
		len -= here;
		offset = 0;
	}
	return n;
}

size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len)
{
	struct iovec part[QUEUE_SIZE];
	unsigned int n = iov_slice(iov, count, offset, len, part);
	size_t done = 0;

	for (unsigned int i = 0; i < n; i++) {
		memcpy((u8 *)to + done, part[i].iov_base, part[i].iov_len);
		done += part[i].iov_len;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len)
{
	struct iovec part[QUEUE_SIZE];
	unsigned int n = iov_slice(iov, count, offset, len, part);
	size_t done = 0;

	for (unsigned int i = 0; i < n; i++) {
		memcpy(part[i].iov_base, (const u8 *)from + done, part[i].iov_len);
		done += part[i].iov_len;
	}
	return done;
}
