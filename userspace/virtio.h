/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtio device behind the modern MMIO transport.  The device's registers
 * are accessed on vCPU threads, its queues are worked on the I/O thread;
 * device->lock guards both, but for the interrupt status, which is atomic.
 */
#ifndef LODGE_VIRTIO_H
#define LODGE_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>

#include "options.h"
#include "virtqueue.h"
#include "vm.h"

#define VIRTIO_QUEUES	2

struct virtio_device;

struct virtio_ops {
	u32 id;				/* VIRTIO_ID_* */
	unsigned int nr_queues;
	/* Work on queue @index: the guest notified it.  Called with the lock held. */
	void (*notify)(struct virtio_device *device, unsigned int index);
	/* The driver is ready, with device->driver_features agreed on; may be NULL. */
	void (*start)(struct virtio_device *device);
};

struct virtio_notifier {
	struct io_source source;
	struct virtio_device *device;
	unsigned int index;
};

struct virtio_device {
	pthread_mutex_t lock;
	struct vm *vm;
	const struct virtio_ops *ops;
	u64 features;			/* what we offer */
	const void *config;
	size_t config_size;

	u64 driver_features;
	u32 features_page;
	u32 driver_features_page;
	u32 queue;			/* selected */
	u32 status;
	u32 generation;
	atomic_uint interrupt_status;
	int irqfd;
	struct virtqueue queues[VIRTIO_QUEUES];
	struct virtio_notifier notifiers[VIRTIO_QUEUES];
	struct chain chain;		/* scratch for notify() */
};

/*
 * Attach @device, whose ops, features and config are set, as number @index.
 * Ends the program with one line on failure.
 */
void virtio_attach(struct virtio_device *device, struct vm *vm, unsigned int index);

/* Whether queue @index may be worked on now.  Called with the lock held. */
bool virtio_queue_ready(const struct virtio_device *device, unsigned int index);

/* Interrupt the guest if it wants to know of what was pushed. */
void virtio_interrupt(struct virtio_device *device, struct virtqueue *queue);

/*
 * Requests that one notification may serve.  A guest that adds new ones as fast
 * as they are served must not keep the I/O thread from the console.
 */
#define VIRTIO_BUDGET	QUEUE_SIZE

/* Work on queue @index again soon: its budget was used up. */
void virtio_again(struct virtio_device *device, unsigned int index);

/* The guest broke the rules: stop until it resets the device. */
void virtio_break(struct virtio_device *device);

/*
 * The devices.  disk_open() and tap_open() check their input and end the
 * program with one line; the others attach.
 */
struct virtio_device *virtio_blk_open(const struct disk_option *option);
struct virtio_device *virtio_net_open(const char *tap);
struct virtio_device *virtio_rng_open(void);

/* The tap is watched on the I/O loop; called after virtio_attach(). */
void virtio_net_watch(struct virtio_device *device);

#endif
