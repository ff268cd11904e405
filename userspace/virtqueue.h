/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A split virtqueue, seen from the device.  Everything in it is written by the
 * guest while we look, so each field is read once and checked.
 */
#ifndef LODGE_VIRTQUEUE_H
#define LODGE_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "memory.h"
#include "types.h"

#define QUEUE_SIZE	256	/* descriptors, and buffers in one chain */

/* As <linux/virtio_ring.h> has them, but plainly little-endian, as we and the guest are. */
struct ring_desc {
	u64 addr;
	u32 len;
	u16 flags;		/* VRING_DESC_F_* */
	u16 next;
};

struct ring_avail {
	u16 flags;
	u16 idx;
	u16 ring[];
};

struct ring_used_element {
	u32 id;
	u32 len;
};

struct ring_used {
	u16 flags;
	u16 idx;
	struct ring_used_element ring[];
};

struct virtqueue {
	const struct guest_memory *memory;
	u16 size;
	bool ready;
	bool event_idx;		/* VIRTIO_RING_F_EVENT_IDX was agreed on */
	u64 desc_gpa;
	u64 avail_gpa;
	u64 used_gpa;
	/* set by virtqueue_enable() */
	struct ring_desc *desc;
	struct ring_avail *avail;
	struct ring_used *used;
	u16 next_avail;		/* the next entry we take */
	u16 next_used;
	u16 signalled;		/* next_used when the guest was last told */
};

/* Buffers of one request: first those to read, then those to fill. */
struct chain {
	u16 head;
	unsigned int nr_out;
	unsigned int nr_in;
	struct iovec iov[QUEUE_SIZE];
};

/* Check the ring addresses and begin.  Returns 0, or -EINVAL for bad ones. */
int virtqueue_enable(struct virtqueue *queue);
void virtqueue_reset(struct virtqueue *queue);

/*
 * Take the next request.  Returns 1 with @chain filled, 0 when there is none
 * (then the guest will notify for the next one), or -EINVAL when the guest
 * broke the ring: the device must stop.
 */
int virtqueue_pop(struct virtqueue *queue, struct chain *chain);

/* Give the last popped request back, to be popped again later. */
void virtqueue_unpop(struct virtqueue *queue);

/* Return a request of which @written bytes were filled. */
void virtqueue_push(struct virtqueue *queue, u16 head, u32 written);

/* Whether the guest wants an interrupt for what was pushed since the last call. */
bool virtqueue_wants_interrupt(struct virtqueue *queue);

size_t iov_size(const struct iovec *iov, unsigned int count);

/* Copy between a flat buffer and an iovec from byte @offset on; returns the bytes copied. */
size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len);

/*
 * The part of @iov from byte @offset for @len bytes as an iovec of its own;
 * returns its number of entries.  @part has room for @count.
 */
unsigned int iov_slice(const struct iovec *iov, unsigned int count, size_t offset, size_t len,
		       struct iovec *part);

#endif
