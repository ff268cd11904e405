// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost: the kernel's own devices serve a guest's virtqueues. The guest's kick
 * is an ioeventfd, its interrupt an irqfd; no exit reaches user space. vsock
 * with requests that nobody listens to, and a network card over a tap device.
 */
#include <kselftest_harness.h>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "guest.h"
#include "test_vm.h"

#define VECTOR		0x62
#define GSI		26		/* a route to an MSI */
#define KICK_PORT	0x530		/* of the transmit queue */
#define KICK_MMIO	(GUEST_HOLE + 0x50)	/* of the receive queue */
#define NUM		8		/* entries of a queue */
#define GUEST_CID	0x5e1f7e57
#define ROUNDS		200
#define BUF_SIZE	2048
#define ETHERTYPE	0x88b5		/* for local experiments */
#define NET_HDR		12

enum { RX, TX };

/* As it lies in guest memory, from GUEST_SCRATCH on. */
struct queue {
	struct vring_desc desc[NUM];
	struct {
		u16 flags, idx, ring[NUM];
	} avail;
	struct {
		u16 flags, idx;
		struct vring_used_elem ring[NUM];
	} used __attribute__((aligned(4096)));
	u8 buf[NUM][BUF_SIZE];
} __attribute__((aligned(4096)));

#define QUEUE(n)	((struct queue *)GUEST_SCRATCH + (n))

FIXTURE(vhost) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	int fd, kick[2], call[2];
};

static volatile u64 irqs;

static void count_irq(struct guest_regs *regs __maybe_unused)
{
	irqs++;
	xapic_write(APIC_EOI, 0);
}

/* Opens @path, loading its module if that helps. */
static int open_node(const char *path, const char *module)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char command[64];

	if (fd >= 0)
		return fd;
	snprintf(command, sizeof(command), "modprobe %s 2>/dev/null", module);
	if (system(command))
		return -1;
	return open(path, O_RDWR | O_CLOEXEC);
}

FIXTURE_SETUP(vhost)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routing = {
		.head.nr = 1,
		.entry = {
			.gsi = GSI, .type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = 0xfee00000, .data = VECTOR },
		},
	};
	int i;

	self->fd = -1;
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_irq;
	vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING, &routing);
	for (i = 0; i < 2; i++) {
		self->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		self->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
}

FIXTURE_TEARDOWN(vhost)
{
	int i;

	if (self->fd >= 0)
		close(self->fd);
	for (i = 0; i < 2; i++) {
		close(self->kick[i]);
		close(self->call[i]);
	}
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void must(int ret, const char *what)
{
	if (ret < 0)
		TEST_DIE("%s: %m", what);
}

/* Gives vhost the guest's memory, its queues, and the two eventfds of each. */
static void connect_queues(FIXTURE_DATA(vhost) * self)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region;
	} mem = {
		.head.nregions = 1,
		.region = {
			.memory_size = GUEST_MEM_SIZE,
			.userspace_addr = (uintptr_t)self->vm.mem,
		},
	};
	struct kvm_ioeventfd pio = {
		.addr = KICK_PORT, .len = 2, .fd = self->kick[TX], .datamatch = TX,
		.flags = KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	struct kvm_ioeventfd mmio = {
		.addr = KICK_MMIO, .len = 4, .fd = self->kick[RX], .datamatch = RX,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	struct kvm_irqfd irqfd = { .fd = (u32)self->call[RX], .gsi = GSI };
	u64 features = 1ULL << VIRTIO_F_VERSION_1;
	unsigned int i;

	must(ioctl(self->fd, VHOST_SET_OWNER, 0), "SET_OWNER");
	must(ioctl(self->fd, VHOST_SET_FEATURES, &features), "SET_FEATURES");
	must(ioctl(self->fd, VHOST_SET_MEM_TABLE, &mem), "SET_MEM_TABLE");
	for (i = 0; i < 2; i++) {
		struct queue *q = vm_ptr(&self->vm, (uintptr_t)QUEUE(i));
		struct vhost_vring_state num = { .index = i, .num = NUM };
		struct vhost_vring_state base = { .index = i };
		struct vhost_vring_addr addr = {
			.index = i,
			.desc_user_addr = (uintptr_t)q->desc,
			.avail_user_addr = (uintptr_t)&q->avail,
			.used_user_addr = (uintptr_t)&q->used,
		};
		struct vhost_vring_file kick = { .index = i, .fd = self->kick[i] };
		struct vhost_vring_file call = { .index = i, .fd = self->call[i] };

		must(ioctl(self->fd, VHOST_SET_VRING_NUM, &num), "VRING_NUM");
		must(ioctl(self->fd, VHOST_SET_VRING_BASE, &base), "VRING_BASE");
		must(ioctl(self->fd, VHOST_SET_VRING_ADDR, &addr), "VRING_ADDR");
		must(ioctl(self->fd, VHOST_SET_VRING_KICK, &kick), "VRING_KICK");
		must(ioctl(self->fd, VHOST_SET_VRING_CALL, &call), "VRING_CALL");
	}
	vm_ioctl(&self->vm, KVM_IOEVENTFD, &pio);
	vm_ioctl(&self->vm, KVM_IOEVENTFD, &mmio);
	vm_ioctl(&self->vm, KVM_IRQFD, &irqfd);
}

/* The guest */

/* Puts buffer @i of the queue where the device finds it. */
static void offer(unsigned int queue, u16 i, u32 len)
{
	struct queue *q = QUEUE(queue);

	q->desc[i].addr = (uintptr_t)q->buf[i];
	q->desc[i].len = len;
	q->desc[i].flags = queue == RX ? VRING_DESC_F_WRITE : 0;
	q->avail.ring[q->avail.idx % NUM] = i;
	__sync_synchronize();
	*(volatile u16 *)&q->avail.idx = (u16)(q->avail.idx + 1);
	__sync_synchronize();
}

static void kick(unsigned int queue)
{
	if (queue == RX)
		VOLATILE(u32, KICK_MMIO) = RX;
	else
		port_out16(KICK_PORT, TX);
}

static u16 used_idx(unsigned int queue)
{
	u16 idx = *(volatile u16 *)&QUEUE(queue)->used.idx;

	__sync_synchronize();
	return idx;
}

/* Halts until the receive queue has more than @seen, and says in which buffer. */
static u16 receive(u16 seen)
{
	while (used_idx(RX) == seen)
		guest_sti_halt_cli();
	return (u16)QUEUE(RX)->used.ring[seen % NUM].id;
}

/*
 * A fast device answers before the guest halts. Its interrupt then waits in the LAPIC, or
 * comes in a moment.
 */
static void take_last_irq(void)
{
	u32 i;

	for (i = 0; i < 1000000 && !irqs; i++)
		guest_irq_window();
	GUEST_SYNC(irqs);
}

static void guest_vsock(u64 arg __maybe_unused)
{
	struct virtio_vsock_hdr *hdr;
	u16 i, n;

	xapic_write(APIC_SPIV, 0x1ff);
	for (n = 0; n < ROUNDS; n++) {
		hdr = (void *)QUEUE(TX)->buf[n % NUM];
		*hdr = (struct virtio_vsock_hdr) {
			.src_cid = GUEST_CID,
			.dst_cid = 2,
			.src_port = 1000U + n,
			.dst_port = 0x7fff0000,
			.type = VIRTIO_VSOCK_TYPE_STREAM,
			.op = VIRTIO_VSOCK_OP_REQUEST,
			.buf_alloc = 4096,
		};
		offer(RX, n % NUM, BUF_SIZE);
		kick(RX);
		offer(TX, n % NUM, sizeof(*hdr));
		kick(TX);
		i = receive(n);
		hdr = (void *)QUEUE(RX)->buf[i];
		GUEST_ASSERT_EQ(hdr->op, VIRTIO_VSOCK_OP_RST);
		GUEST_ASSERT_EQ(hdr->src_cid, 2);
		GUEST_ASSERT_EQ(hdr->dst_cid, GUEST_CID);
		GUEST_ASSERT_EQ(hdr->dst_port, 1000U + n);
	}
	take_last_irq();
}

/* Nobody listens there: each request is answered by a reset. */
TEST_F(vhost, vsock)
{
	u64 cid = GUEST_CID;
	int on = 1;

	self->fd = open_node("/dev/vhost-vsock", "vhost_vsock");
	if (self->fd < 0)
		SKIP(return, "no /dev/vhost-vsock");
	connect_queues(self);
	must(ioctl(self->fd, VHOST_VSOCK_SET_GUEST_CID, &cid), "GUEST_CID");
	must(ioctl(self->fd, VHOST_VSOCK_SET_RUNNING, &on), "SET_RUNNING");
	vcpu_setup_long(&self->vcpu, guest_vsock, 0);
	EXPECT_LE(1, vcpu_run_to_sync(&self->vcpu));
	on = 0;
	must(ioctl(self->fd, VHOST_VSOCK_SET_RUNNING, &on), "SET_RUNNING");
}

/* Sends a frame with a number in it, and waits for one with the next number. */
static void guest_net(u64 arg __maybe_unused)
{
	u16 seen = 0, n = 0, i;
	u8 *frame;

	xapic_write(APIC_SPIV, 0x1ff);
	for (i = 0; i < NUM; i++)
		offer(RX, i, BUF_SIZE);
	kick(RX);
	while (n < ROUNDS) {
		frame = QUEUE(TX)->buf[(n / 2) % NUM] + NET_HDR;
		for (i = 0; i < 12; i++)
			frame[i] = i < 6 ? 0xff : (u8)(0x50 + i);
		frame[12] = ETHERTYPE >> 8;
		frame[13] = ETHERTYPE & 0xff;
		frame[14] = (u8)n;
		offer(TX, (n / 2) % NUM, NET_HDR + 60);
		kick(TX);
		for (;;) {
			i = receive(seen++);
			frame = QUEUE(RX)->buf[i] + NET_HDR;
			/* The host's own, such as router solicitations, come too. */
			if (frame[12] == ETHERTYPE >> 8 && frame[13] == (ETHERTYPE & 0xff))
				break;
			offer(RX, i, BUF_SIZE);
			kick(RX);
		}
		GUEST_ASSERT_EQ(frame[14], (u8)(n + 1));
		offer(RX, i, BUF_SIZE);
		kick(RX);
		n += 2;
	}
	take_last_irq();
}

/* The host's end of the tap: sends back what comes, with the next number. */
static int start_echo(const char *name)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	struct ifreq ifr = { .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));
	u8 frame[64];
	pid_t pid;

	must(s, "packet socket");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	must(ioctl(s, SIOCSIFFLAGS, &ifr), "SIOCSIFFLAGS");
	must(bind(s, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	pid = fork();
	must(pid, "fork");
	if (pid) {
		close(s);
		return pid;
	}
	for (;;) {
		if (recv(s, frame, sizeof(frame), 0) < 60)
			continue;
		frame[14]++;
		if (send(s, frame, 60, 0) != 60)
			_exit(1);
	}
}

TEST_F(vhost, net)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int i, size = NET_HDR, tap, echo;

	self->fd = open_node("/dev/vhost-net", "vhost_net");
	tap = open_node("/dev/net/tun", "tun");
	if (self->fd < 0 || tap < 0)
		SKIP(return, "no /dev/vhost-net, or no /dev/net/tun");
	must(ioctl(tap, TUNSETIFF, &ifr), "TUNSETIFF");
	must(ioctl(tap, TUNSETVNETHDRSZ, &size), "TUNSETVNETHDRSZ");
	echo = start_echo(ifr.ifr_name);
	connect_queues(self);
	for (i = 0; i < 2; i++) {
		struct vhost_vring_file backend = { .index = (u32)i, .fd = tap };

		must(ioctl(self->fd, VHOST_NET_SET_BACKEND, &backend), "SET_BACKEND");
	}
	vcpu_setup_long(&self->vcpu, guest_net, 0);
	EXPECT_LE(1, vcpu_run_to_sync(&self->vcpu));
	kill(echo, SIGKILL);
	close(tap);
}

TEST_HARNESS_MAIN
