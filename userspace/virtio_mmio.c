// SPDX-License-Identifier: GPL-2.0-only
/*
 * The modern virtio-mmio transport (Virtual I/O Device 1.2, 4.2).  Registers
 * are accessed on vCPU threads; notifications come to the I/O thread through
 * ioeventfds, interrupts leave through an irqfd, as edges: a handler
 * acknowledges before it looks into the rings, so none is lost.
 * device->lock guards all but the atomic interrupt status.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/epoll.h>

#include "layout.h"
#include "virtio.h"

#define MMIO_MAGIC	0x74726976	/* "virt" */
#define MMIO_VERSION	2
#define VENDOR		0x4744454c	/* "LEDG"; the spec leaves it free */

bool virtio_queue_ready(const struct virtio_device *device, unsigned int index)
{
	return device->status & VIRTIO_CONFIG_S_DRIVER_OK &&
	       !(device->status & VIRTIO_CONFIG_S_NEEDS_RESET) && device->queues[index].ready;
}

static void raise_interrupt(struct virtio_device *device, unsigned int cause)
{
	atomic_fetch_or(&device->interrupt_status, cause);
	eventfd_signal(device->irqfd);
}

void virtio_interrupt(struct virtio_device *device, struct virtqueue *queue)
{
	if (virtqueue_wants_interrupt(queue))
		raise_interrupt(device, VIRTIO_MMIO_INT_VRING);
}

void virtio_again(struct virtio_device *device, unsigned int index)
{
	eventfd_signal(device->notifiers[index].source.fd);
}

void virtio_break(struct virtio_device *device)
{
	device->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	raise_interrupt(device, VIRTIO_MMIO_INT_CONFIG);
}

static void reset(struct virtio_device *device)
{
	device->driver_features = 0;
	device->features_page = 0;
	device->driver_features_page = 0;
	device->queue = 0;
	device->status = 0;
	atomic_store(&device->interrupt_status, 0);
	for (unsigned int i = 0; i < device->ops->nr_queues; i++)
		virtqueue_reset(&device->queues[i]);
}

static void set_status(struct virtio_device *device, u32 status)
{
	u32 added = status & ~device->status;

	if (!status) {
		reset(device);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (device->driver_features & ~device->features ||
	     !(device->driver_features & BIT_ULL(VIRTIO_F_VERSION_1))))
		status &= ~(u32)VIRTIO_CONFIG_S_FEATURES_OK;
	/* Only a reset clears bits. */
	device->status |= status;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK && device->ops->start)
		device->ops->start(device);
}

static void set_half(u64 *value, bool high, u32 half)
{
	if (high)
		*value = (*value & 0xffffffff) | (u64)half << 32;
	else
		*value = (*value & ~0xffffffffull) | half;
}

static void set_ready(struct virtio_device *device, struct virtqueue *queue, u32 value)
{
	if (!value) {
		queue->ready = false;
		return;
	}
	queue->event_idx = device->driver_features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	if (!queue->ready && virtqueue_enable(queue))
		virtio_break(device);
}

static void write_queue(struct virtio_device *device, u64 offset, u32 value)
{
	struct virtqueue *queue;

	if (device->queue >= device->ops->nr_queues)
		return;
	queue = &device->queues[device->queue];
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		set_ready(device, queue, value);
		return;
	}
	/* While a queue is live its geometry stands. */
	if (queue->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		queue->size = value <= QUEUE_SIZE ? (u16)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&queue->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&queue->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&queue->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static void write_register(struct virtio_device *device, u64 offset, u32 value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		device->features_page = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (device->driver_features_page < 2 &&
		    !(device->status & VIRTIO_CONFIG_S_FEATURES_OK))
			set_half(&device->driver_features, device->driver_features_page, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		device->driver_features_page = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		device->queue = value;
		break;
	case VIRTIO_MMIO_STATUS:
		set_status(device, value);
		break;
	default:
		write_queue(device, offset, value);
	}
}

static u32 read_register(struct virtio_device *device, u64 offset)
{
	bool valid = device->queue < device->ops->nr_queues;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return device->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		if (device->features_page > 1)
			return 0;
		return (u32)(device->features >> 32 * device->features_page);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return valid ? QUEUE_SIZE : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return valid && device->queues[device->queue].ready;
	case VIRTIO_MMIO_STATUS:
		return device->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return device->generation;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
		return 0xffffffff;	/* there is no shared memory region */
	default:
		return 0;
	}
}

static void read_config(const struct virtio_device *device, u64 offset, void *data,
			unsigned int len)
{
	memset(data, 0, len);
	if (offset < device->config_size && len <= device->config_size - offset)
		memcpy(data, (const u8 *)device->config + offset, len);
}

/* Both registers of each interrupt: kept off the lock, which block I/O holds for long. */
static bool access_interrupt(struct virtio_device *device, u64 offset, u32 *value, bool is_write)
{
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS && !is_write)
		*value = atomic_load(&device->interrupt_status);
	else if (offset == VIRTIO_MMIO_INTERRUPT_ACK && is_write)
		atomic_fetch_and(&device->interrupt_status, ~*value);
	else
		return false;
	return true;
}

static void mmio_access(void *opaque, u64 offset, void *data, unsigned int len, bool is_write)
{
	struct virtio_device *device = opaque;
	u32 value = 0;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		/* No device here has a configuration field to write. */
		if (!is_write)
			read_config(device, offset - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	if (len != sizeof(value) || offset % sizeof(value)) {
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	memcpy(&value, data, sizeof(value));
	if (!access_interrupt(device, offset, &value, is_write)) {
		pthread_mutex_lock(&device->lock);
		if (is_write)
			write_register(device, offset, value);
		else
			value = read_register(device, offset);
		pthread_mutex_unlock(&device->lock);
	}
	if (!is_write)
		memcpy(data, &value, sizeof(value));
}

static void on_notify(struct io_source *source, u32 events)
{
	struct virtio_notifier *notifier = container_of(source, struct virtio_notifier, source);
	struct virtio_device *device = notifier->device;

	(void)events;
	if (!eventfd_take(source->fd))
		return;
	pthread_mutex_lock(&device->lock);
	if (virtio_queue_ready(device, notifier->index))
		device->ops->notify(device, notifier->index);
	pthread_mutex_unlock(&device->lock);
}

static void check(int result)
{
	if (result < 0) {
		errno = -result;
		host_error("cannot set up a virtio device: %m");
	}
}

void virtio_attach(struct virtio_device *device, struct vm *vm, unsigned int index)
{
	u64 base = VIRTIO_ADDRESS + index * VIRTIO_STRIDE;

	pthread_mutex_init(&device->lock, NULL);
	device->vm = vm;
	device->features |= BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
			    BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	device->irqfd = vm_irqfd(vm, VIRTIO_IRQ + index);
	check(device->irqfd);
	for (unsigned int i = 0; i < device->ops->nr_queues; i++) {
		struct virtio_notifier *notifier = &device->notifiers[i];

		device->queues[i].memory = &vm->memory;
		notifier->device = device;
		notifier->index = i;
		notifier->source.ready = on_notify;
		notifier->source.fd = vm_ioeventfd(vm, base + VIRTIO_MMIO_QUEUE_NOTIFY, i);
		check(notifier->source.fd);
		check(io_loop_add(&vm->loop, &notifier->source, EPOLLIN));
	}
	reset(device);
	bus_add(&vm->mmio, &(struct bus_device){
		.base = base, .size = VIRTIO_STRIDE, .access = mmio_access, .opaque = device,
	});
}
