// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-rng: the host's entropy.  Worked on the I/O thread under the device's
 * lock.
 */
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "virtio.h"

#define MOST_PER_REQUEST	4096	/* so that no guest keeps the I/O thread for long */

static void rng_notify(struct virtio_device *device, unsigned int index)
{
	struct virtqueue *queue = &device->queues[index];
	struct chain *chain = &device->chain;
	u8 bytes[MOST_PER_REQUEST];
	unsigned int budget = VIRTIO_BUDGET;
	int got = 0;

	while (budget && (got = virtqueue_pop(queue, chain)) > 0) {
		const struct iovec *in = chain->iov + chain->nr_out;
		size_t size = iov_size(in, chain->nr_in);
		ssize_t have;

		/* It never fails nor blocks: the pool was ready before we started. */
		have = getrandom(bytes, size < sizeof(bytes) ? size : sizeof(bytes), 0);
		size = iov_write(in, chain->nr_in, 0, bytes, have > 0 ? (size_t)have : 0);
		virtqueue_push(queue, chain->head, (u32)size);
		budget--;
	}
	virtio_interrupt(device, queue);
	if (!budget)
		virtio_again(device, index);
	if (got < 0)
		virtio_break(device);
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.nr_queues = 1,
	.notify = rng_notify,
};

struct virtio_device *virtio_rng_open(void)
{
	struct virtio_device *device = calloc(1, sizeof(*device));

	if (!device)
		host_error("out of memory");
	device->ops = &rng_ops;
	return device;
}
