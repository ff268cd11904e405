// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coalesced MMIO and port I/O: zones, what goes to the ring and in which order,
 * a full ring, and a ring that user space has spoilt.
 */
#include <kselftest_harness.h>

#include <sys/eventfd.h>

#include "guest.h"
#include "test_vm.h"

#define PORT	0x520
#define MMIO	(GUEST_HOLE + 0x100)
#define RING_MAX ((TEST_PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / \
		  sizeof(struct kvm_coalesced_mmio))

FIXTURE(coalesced) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct kvm_coalesced_mmio_ring *ring;
};

FIXTURE_SETUP(coalesced)
{
	int page;

	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	page = vm_cap(&self->vm, KVM_CAP_COALESCED_MMIO);
	ASSERT_LT(0, page);
	ASSERT_EQ(1, vm_cap(&self->vm, KVM_CAP_COALESCED_PIO));
	ASSERT_LT(page * TEST_PAGE_SIZE, self->vcpu.run_size);
	self->ring = (void *)((char *)self->vcpu.run + page * TEST_PAGE_SIZE);
}

FIXTURE_TEARDOWN(coalesced)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int zone(struct test_vm *vm, unsigned long cmd, u64 addr, u32 size, u32 pio)
{
	struct kvm_coalesced_mmio_zone z = {
		.addr = addr,
		.size = size,
		.pio = pio,
	};

	return __fd_ioctl(vm->fd, cmd, (uintptr_t)&z);
}

static int add_zone(struct test_vm *vm, u64 addr, u32 size, u32 pio)
{
	return zone(vm, KVM_REGISTER_COALESCED_MMIO, addr, size, pio);
}

static int drop_zone(struct test_vm *vm, u64 addr, u32 size, u32 pio)
{
	return zone(vm, KVM_UNREGISTER_COALESCED_MMIO, addr, size, pio);
}

/* Takes the oldest entry off the ring: its data; ~0 when it is another one. */
static u64 take(struct kvm_coalesced_mmio_ring *ring, u64 addr, u32 len, u32 pio)
{
	struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[ring->first];
	u64 data = 0;

	if (ring->first == ring->last || e->phys_addr != addr || e->len != len ||
	    e->pio != pio)
		return ~0UL;
	memcpy(&data, e->data, len);
	ring->first = (u32)((ring->first + 1) % RING_MAX);
	return data;
}

static void guest_writes(u64 arg __maybe_unused)
{
	for (;;) {
		VOLATILE(u32, MMIO) = 0x12345678;
		VOLATILE(u8, MMIO + 7) = 0x11;
		VOLATILE(u64, MMIO + 8) = 0x1122334455667788;
		port_out16(PORT, 0xabcd);
		port_out8(PORT + 1, 0x22);
		GUEST_SYNC(1);
	}
}

/* Exits that reach the VMM on the way round the guest's loop. */
static int exits_per_round(struct test_vcpu *vcpu)
{
	struct guest_call *call;
	int n = 0;

	for (;; n++) {
		if (__vcpu_run(vcpu))
			TEST_DIE("run");
		call = vcpu_guest_call(vcpu);
		if (call && call->kind == GUEST_CALL_SYNC)
			return n;
		if (vcpu->run->exit_reason != KVM_EXIT_IO &&
		    vcpu->run->exit_reason != KVM_EXIT_MMIO)
			TEST_DIE("unexpected exit");
	}
}

TEST_F(coalesced, zones)
{
	struct kvm_coalesced_mmio_ring *ring = self->ring;
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;

	vcpu_setup_long(vcpu, guest_writes, 0);
	EXPECT_EQ(5, exits_per_round(vcpu));
	EXPECT_EQ(0, ring->last);

	ASSERT_EQ(0, add_zone(vm, MMIO, 8, 0));
	EXPECT_EQ(3, exits_per_round(vcpu));
	EXPECT_EQ(0x12345678, take(ring, MMIO, 4, 0));
	EXPECT_EQ(0x11, take(ring, MMIO + 7, 1, 0));
	EXPECT_EQ(ring->first, ring->last);

	/* The same numbers on the other bus are others. */
	ASSERT_EQ(0, add_zone(vm, PORT, 2, 1));
	ASSERT_EQ(0, add_zone(vm, MMIO + 8, 7, 0));
	EXPECT_EQ(1, exits_per_round(vcpu));
	EXPECT_EQ(0x12345678, take(ring, MMIO, 4, 0));
	EXPECT_EQ(0x11, take(ring, MMIO + 7, 1, 0));
	EXPECT_EQ(0xabcd, take(ring, PORT, 2, 1));
	EXPECT_EQ(0x22, take(ring, PORT + 1, 1, 1));
	ASSERT_EQ(0, add_zone(vm, MMIO, 16, 0));
	EXPECT_EQ(0, exits_per_round(vcpu));
	take(ring, MMIO, 4, 0);
	take(ring, MMIO + 7, 1, 0);
	EXPECT_EQ(0x1122334455667788, take(ring, MMIO + 8, 8, 0));
	ring->first = ring->last;

	/* Those that contain what is named go; the others stay. */
	ASSERT_EQ(0, drop_zone(vm, MMIO + 15, 1, 0));
	EXPECT_EQ(1, exits_per_round(vcpu));
	ASSERT_EQ(0, drop_zone(vm, MMIO, 8, 0));
	EXPECT_EQ(3, exits_per_round(vcpu));
	ASSERT_EQ(0, drop_zone(vm, PORT, 2, 0));
	EXPECT_EQ(3, exits_per_round(vcpu));
	ASSERT_EQ(0, drop_zone(vm, PORT, 2, 1));
	EXPECT_EQ(5, exits_per_round(vcpu));
	ASSERT_EQ(0, drop_zone(vm, PORT, 2, 1));
}

TEST_F(coalesced, refused)
{
	struct test_vm *vm = &self->vm;
	int i;

	EXPECT_EQ(-EINVAL, add_zone(vm, PORT, 2, 2));
	EXPECT_EQ(-EINVAL, drop_zone(vm, PORT, 2, 2));
	EXPECT_EQ(-EFAULT, __vm_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, 1));
	EXPECT_EQ(-EFAULT, __vm_ioctl(vm, KVM_UNREGISTER_COALESCED_MMIO, 1));
	/* There is an end to it, and what was taken stays. */
	for (i = 0; i < 1001; i++)
		if (add_zone(vm, MMIO + 16 * (u64)i, 8, 0))
			break;
	EXPECT_GT(1001, i);
	EXPECT_EQ(-ENOSPC, add_zone(vm, MMIO, 8, 0));
	vcpu_setup_long(&self->vcpu, guest_writes, 0);
	EXPECT_EQ(3, exits_per_round(&self->vcpu));
}

static void guest_fills(u64 arg __maybe_unused)
{
	u32 i;

	for (i = 0;; i++)
		VOLATILE(u32, MMIO) = i;
}

/* A full ring: the write is an exit of its own, and order is kept. */
TEST_F(coalesced, full)
{
	struct kvm_coalesced_mmio_ring *ring = self->ring;
	struct test_vcpu *vcpu = &self->vcpu;
	u32 i, round, n = 0;

	ASSERT_EQ(0, add_zone(&self->vm, MMIO, 4, 0));
	vcpu_setup_long(vcpu, guest_fills, 0);
	for (round = 0; round < 3; round++) {
		vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
		for (i = 0; ring->first != ring->last; i++)
			ASSERT_EQ(n++, take(ring, MMIO, 4, 0));
		/* KVM of Linux 6.1 counts the room wrongly. */
		if (!test_device_is_kvm())
			EXPECT_EQ(RING_MAX - 1, i);
		ASSERT_EQ(n++, *(u32 *)vcpu->run->mmio.data);
	}
}

static void guest_outs(u64 n)
{
	u64 i, addr = GUEST_SCRATCH;

	for (i = 0; i < n; i++)
		VOLATILE(u8, GUEST_SCRATCH + i) = (u8)i;
	asm volatile("rep outsb" : "+S"(addr), "+c"(n) : "d"(PORT) : "memory");
	GUEST_SYNC(addr - GUEST_SCRATCH);
}

/* Where it fills up within a string instruction, user space gets the rest. */
TEST_F(coalesced, string)
{
	struct kvm_coalesced_mmio_ring *ring = self->ring;
	struct kvm_run *run = self->vcpu.run;
	u32 i, n = 0;

	if (test_device_is_kvm())
		SKIP(return, "KVM drops the rest");
	ASSERT_EQ(0, add_zone(&self->vm, PORT, 1, 1));
	vcpu_setup_long(&self->vcpu, guest_outs, 250);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	while (ring->first != ring->last)
		ASSERT_EQ(n++, take(ring, PORT, 1, 1));
	ASSERT_EQ(RING_MAX - 1, n);
	ASSERT_EQ(250, n + run->io.count);
	for (i = 0; i < run->io.count; i++)
		ASSERT_EQ(n++, ((u8 *)io_data(&self->vcpu))[i]);
	ASSERT_EQ(250, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(ring->first, ring->last);
}

/* The ring is user space's memory: nothing in it can be believed. */
TEST_F(coalesced, spoilt)
{
	struct kvm_coalesced_mmio_ring *ring = self->ring;
	struct test_vcpu *vcpu = &self->vcpu;

	ASSERT_EQ(0, add_zone(&self->vm, MMIO, 4, 0));
	vcpu_setup_long(vcpu, guest_fills, 0);
	ring->last = (u32)RING_MAX;
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	EXPECT_EQ(RING_MAX, ring->last);
	ring->last = ~0U;
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	EXPECT_EQ(~0U, ring->last);
	ring->last = 0;
	ring->first = 1;
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	EXPECT_EQ(2, *(u32 *)vcpu->run->mmio.data);
}

/* One ring for all vCPUs of a VM, and an eventfd goes before it. */
TEST_F(coalesced, shared)
{
	int page = vm_cap(&self->vm, KVM_CAP_COALESCED_MMIO);
	struct kvm_coalesced_mmio_ring *ring;
	struct kvm_ioeventfd ioeventfd = {
		.addr = MMIO, .len = 4, .fd = eventfd(0, EFD_NONBLOCK),
	};
	struct test_vcpu other;
	u64 count = 0;

	vcpu_create(&self->vm, &other, 1);
	ring = (void *)((char *)other.run + page * TEST_PAGE_SIZE);
	ASSERT_EQ(0, add_zone(&self->vm, MMIO, 8, 0));
	vcpu_setup_long(&self->vcpu, guest_writes, 0);
	EXPECT_EQ(3, exits_per_round(&self->vcpu));
	EXPECT_EQ(0x12345678, take(ring, MMIO, 4, 0));
	EXPECT_EQ(0x11, take(ring, MMIO + 7, 1, 0));
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_IOEVENTFD, &ioeventfd));
	EXPECT_EQ(3, exits_per_round(&self->vcpu));
	EXPECT_EQ(8, read(ioeventfd.fd, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	EXPECT_EQ(0x11, take(ring, MMIO + 7, 1, 0));
	vcpu_destroy(&other);
	close(ioeventfd.fd);
}

TEST_HARNESS_MAIN
