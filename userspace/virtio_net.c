// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-net over a tap interface, with checksum and segmentation offloads.
 * The tap carries the virtio header itself, so packets go between it and guest
 * memory in one system call.  Worked on the I/O thread under the device's lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "virtio.h"

enum { RECEIVE, TRANSMIT };

struct net {
	struct virtio_device device;
	struct virtio_net_config config;
	struct io_source tap;
	bool watching;		/* the loop waits for the tap to become readable */
};

static void watch(struct net *net, bool on)
{
	if (net->watching == on)
		return;
	net->watching = on;
	io_loop_watch(&net->device.vm->loop, &net->tap, on ? EPOLLIN : 0);
}

/* From the tap to the guest, until one of them has no more. */
static void receive(struct net *net)
{
	struct virtio_device *device = &net->device;
	struct virtqueue *queue = &device->queues[RECEIVE];
	struct chain *chain = &device->chain;
	unsigned int budget = VIRTIO_BUDGET;
	int got = 0;

	while (budget && (got = virtqueue_pop(queue, chain)) > 0) {
		ssize_t len = readv(net->tap.fd, chain->iov + chain->nr_out, (int)chain->nr_in);

		budget--;
		if (len < 0) {
			virtqueue_unpop(queue);
			if (errno == EINTR)
				continue;
			break;
		}
		virtqueue_push(queue, chain->head, (u32)len);
	}
	virtio_interrupt(device, queue);
	if (got < 0)
		virtio_break(device);
	/* Without buffers the tap stays readable: wait for the guest instead. */
	watch(net, got > 0);
}

static void transmit(struct net *net)
{
	struct virtio_device *device = &net->device;
	struct virtqueue *queue = &device->queues[TRANSMIT];
	struct chain *chain = &device->chain;
	unsigned int budget = VIRTIO_BUDGET;
	ssize_t len;
	int got = 0;

	while (budget && (got = virtqueue_pop(queue, chain)) > 0) {
		do {
			len = writev(net->tap.fd, chain->iov, (int)chain->nr_out);
		} while (len < 0 && errno == EINTR);
		/* Whatever the tap refuses is lost, as packets may be. */
		virtqueue_push(queue, chain->head, 0);
		budget--;
	}
	virtio_interrupt(device, queue);
	if (!budget)
		virtio_again(device, TRANSMIT);
	if (got < 0)
		virtio_break(device);
}

static void net_notify(struct virtio_device *device, unsigned int index)
{
	struct net *net = container_of(device, struct net, device);

	if (index == RECEIVE)
		receive(net);
	else
		transmit(net);
}

static void on_tap(struct io_source *source, u32 events)
{
	struct net *net = container_of(source, struct net, tap);

	/* Reported even when not watched for: the interface was deleted. */
	if (events & (EPOLLERR | EPOLLHUP)) {
		message("the tap interface is gone; the guest's network is dead");
		io_loop_remove(&net->device.vm->loop, source);
		return;
	}
	pthread_mutex_lock(&net->device.lock);
	if (virtio_queue_ready(&net->device, RECEIVE))
		receive(net);
	else
		watch(net, false);
	pthread_mutex_unlock(&net->device.lock);
}

/* The host may hand over only what the driver said it understands. */
static void net_start(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);
	unsigned long offload = 0;

	if (device->driver_features & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM))
		offload |= TUN_F_CSUM;
	if (device->driver_features & BIT_ULL(VIRTIO_NET_F_GUEST_TSO4))
		offload |= TUN_F_TSO4;
	if (device->driver_features & BIT_ULL(VIRTIO_NET_F_GUEST_TSO6))
		offload |= TUN_F_TSO6;
	ioctl(net->tap.fd, TUNSETOFFLOAD, offload);
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.nr_queues = 2,
	.notify = net_notify,
	.start = net_start,
};

static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = sizeof(struct virtio_net_hdr_v1);
	int fd;

	/* TUNSETIFF would make a new interface, which nobody has configured. */
	if (!if_nametoindex(name))
		bad_input("--net tap=%s: no such interface; 'ip tuntap add %s mode tap', or 'tunctl -t %s' of busybox, makes it",
			  name, name, name);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		bad_input("--net tap=%s: cannot open /dev/net/tun: %m", name);
	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(fd, TUNSETIFF, &request))
		bad_input("--net tap=%s: %s", name,
			  errno == EBUSY ? "another program uses it" :
			  errno == EPERM ? "no permission; run as root, or make it yours ('user')" :
			  errno == EINVAL ? "it is no tap interface of one queue" :
			  strerror(errno));
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) || ioctl(fd, TUNSETOFFLOAD, 0))
		host_error("cannot set up %s: %m", name);
	return fd;
}

struct virtio_device *virtio_net_open(const char *tap)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		host_error("out of memory");
	net->tap.fd = open_tap(tap);
	net->tap.ready = on_tap;
	/* A random address, unicast and locally administered. */
	if (getrandom(net->config.mac, sizeof(net->config.mac), 0) < 0)
		host_error("cannot make up a MAC address: %m");
	net->config.mac[0] = (net->config.mac[0] & 0xfe) | 0x02;
	net->device.ops = &net_ops;
	net->device.config = &net->config;
	net->device.config_size = sizeof(net->config);
	net->device.features = BIT_ULL(VIRTIO_NET_F_MAC) |
		BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |
		BIT_ULL(VIRTIO_NET_F_HOST_TSO4) | BIT_ULL(VIRTIO_NET_F_HOST_TSO6) |
		BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO6);
	return &net->device;
}

void virtio_net_watch(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);
	int error = io_loop_add(&device->vm->loop, &net->tap, 0);

	if (error < 0) {
		errno = -error;
		host_error("cannot watch the tap: %m");
	}
}
