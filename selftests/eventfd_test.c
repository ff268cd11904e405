// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfd and ioeventfd: interrupts from an eventfd, resampling of levels, and
 * eventfds from the guest's port and memory writes.
 */
#include <kselftest_harness.h>

#include <poll.h>
#include <sys/eventfd.h>

#include "guest.h"
#include "test_vm.h"

#define IOAPIC_BASE	0xfec00000UL
#define VECTOR		0x62
#define GSI		21
#define PORT		0x520
#define MMIO		(GUEST_HOLE + 0x100)

FIXTURE(eventfd) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	int fd;
};

static volatile u64 count;

static void count_irq(struct guest_regs *regs __maybe_unused)
{
	count++;
	xapic_write(APIC_EOI, 0);
}

FIXTURE_SETUP(eventfd)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_irq;
	self->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(eventfd)
{
	close(self->fd);
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void signal_fd(int fd)
{
	u64 one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		TEST_DIE("write to an eventfd: %m");
}

/* What was counted, waiting up to @ms for it; 0: nothing. */
static u64 take_fd(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	u64 v = 0;

	if (poll(&p, 1, ms) == 1 && read(fd, &v, sizeof(v)) != sizeof(v))
		TEST_DIE("read of an eventfd: %m");
	return v;
}

static int irqfd(struct test_vm *vm, int fd, u32 gsi, u32 flags, int resample)
{
	struct kvm_irqfd args = {
		.fd = (u32)fd,
		.gsi = gsi,
		.flags = flags,
		.resamplefd = (u32)resample,
	};

	return __vm_ioctl(vm, KVM_IRQFD, &args);
}

static int ioeventfd(struct test_vm *vm, int fd, u64 addr, u32 len, u32 flags,
		     u64 datamatch)
{
	struct kvm_ioeventfd args = {
		.datamatch = datamatch,
		.addr = addr,
		.len = len,
		.fd = fd,
		.flags = flags,
	};

	return __vm_ioctl(vm, KVM_IOEVENTFD, &args);
}

static void guest_counts(u64 redirection)
{
	xapic_write(APIC_SPIV, 0x1ff);
	VOLATILE(u32, IOAPIC_BASE) = 0x11 + 2 * GSI;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = 0;
	VOLATILE(u32, IOAPIC_BASE) = 0x10 + 2 * GSI;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = (u32)redirection;
	for (;;) {
		GUEST_SYNC(count);
		guest_irq_window();
	}
}

/* Injection may take a worker thread: give it time to arrive. */
static u64 run_to_count(struct test_vcpu *vcpu, u64 want)
{
	u64 n = 0;
	int i;

	for (i = 0; i < 500; i++) {
		n = vcpu_run_to_sync(vcpu);
		if (n >= want)
			break;
		usleep(1000);
	}
	return n;
}

TEST_F(eventfd, irqfd)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, irqfd(&self->vm, self->fd, GSI, 0, 0));
	signal_fd(self->fd);
	ASSERT_EQ(1, run_to_count(vcpu, 1));
	signal_fd(self->fd);
	ASSERT_EQ(2, run_to_count(vcpu, 2));
	/* The kernel has read it empty. */
	ASSERT_EQ(0, take_fd(self->fd, 0));
	ASSERT_EQ(0, irqfd(&self->vm, self->fd, GSI, KVM_IRQFD_FLAG_DEASSIGN,
			   0));
	signal_fd(self->fd);
	usleep(2000);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	/* Signalled before it is assigned: it is not lost. */
	ASSERT_EQ(0, irqfd(&self->vm, self->fd, GSI, 0, 0));
	ASSERT_EQ(3, run_to_count(vcpu, 3));
}

TEST_F(eventfd, irqfd_refused)
{
	int pipefd[2], bare_fd = eventfd(0, 0);
	struct test_vm bare;

	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, irqfd(&self->vm, self->fd, GSI, 1U << 31, 0));
	EXPECT_EQ(-EBADF, irqfd(&self->vm, 1000, GSI, 0, 0));
	EXPECT_EQ(-EINVAL, irqfd(&self->vm, pipefd[0], GSI, 0, 0));
	EXPECT_EQ(-EBADF, irqfd(&self->vm, self->fd, GSI,
				KVM_IRQFD_FLAG_RESAMPLE, 1000));
	EXPECT_EQ(0, irqfd(&self->vm, self->fd, GSI, 0, 0));
	EXPECT_EQ(-EBUSY, irqfd(&self->vm, self->fd, GSI + 1, 0, 0));
	EXPECT_EQ(0, irqfd(&self->vm, self->fd, GSI, KVM_IRQFD_FLAG_DEASSIGN,
			   0));
	/* Nothing to take away is no error. */
	EXPECT_EQ(0, irqfd(&self->vm, self->fd, GSI, KVM_IRQFD_FLAG_DEASSIGN,
			   0));
	vm_create_bare(&bare);
	EXPECT_EQ(-EINVAL, irqfd(&bare, bare_fd, GSI, 0, 0));
	vm_destroy(&bare);
	close(bare_fd);
	close(pipefd[0]);
	close(pipefd[1]);
}

/* A level stays up until the guest's EOI, which signals the resampler. */
TEST_F(eventfd, resample)
{
	int resample = eventfd(0, EFD_NONBLOCK);
	struct test_vcpu *vcpu = &self->vcpu;
	u64 n;

	vcpu_setup_long(vcpu, guest_counts, VECTOR | 1 << 15);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, irqfd(&self->vm, self->fd, GSI, KVM_IRQFD_FLAG_RESAMPLE,
			   resample));
	ASSERT_EQ(0, take_fd(resample, 0));
	signal_fd(self->fd);
	n = run_to_count(vcpu, 1);
	ASSERT_EQ(1, n);
	ASSERT_EQ(1, take_fd(resample, 1000));
	/* The EOI has lowered it. */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	signal_fd(self->fd);
	ASSERT_EQ(2, run_to_count(vcpu, 2));
	ASSERT_EQ(1, take_fd(resample, 1000));
	close(resample);
}

static void guest_writes(u64 arg __maybe_unused)
{
	for (;;) {
		port_out8(PORT, 1);
		port_out16(PORT, 2);
		port_out32(PORT, 0x12345678);
		VOLATILE(u8, MMIO) = 1;
		VOLATILE(u32, MMIO) = 0x12345678;
		VOLATILE(u64, MMIO) = 0x1234567890;
		GUEST_SYNC(1);
	}
}

/* Count the exits that reach the VMM on the way round the guest's loop. */
static int exits_per_round(struct test_vcpu *vcpu)
{
	struct guest_call *call;
	int n = 0;

	for (;;) {
		if (__vcpu_run(vcpu))
			TEST_DIE("run");
		call = vcpu_guest_call(vcpu);
		if (call && call->kind == GUEST_CALL_SYNC)
			return n;
		if (vcpu->run->exit_reason != KVM_EXIT_IO &&
		    vcpu->run->exit_reason != KVM_EXIT_MMIO) {
			dump_exit(vcpu);
			TEST_DIE("unexpected exit");
		}
		n++;
	}
}

TEST_F(eventfd, ioeventfd_port)
{
	const u32 pio = KVM_IOEVENTFD_FLAG_PIO;
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;

	vcpu_setup_long(vcpu, guest_writes, 0);
	ASSERT_EQ(6, exits_per_round(vcpu));
	/* This length, any value. */
	ASSERT_EQ(0, ioeventfd(vm, self->fd, PORT, 2, pio, 0));
	ASSERT_EQ(5, exits_per_round(vcpu));
	ASSERT_EQ(1, take_fd(self->fd, 0));
	ASSERT_EQ(0, ioeventfd(vm, self->fd, PORT, 2,
			       pio | KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	ASSERT_EQ(6, exits_per_round(vcpu));
	ASSERT_EQ(0, take_fd(self->fd, 0));
	/* One value only. */
	ASSERT_EQ(0, ioeventfd(vm, self->fd, PORT, 4,
			       pio | KVM_IOEVENTFD_FLAG_DATAMATCH, 7));
	ASSERT_EQ(6, exits_per_round(vcpu));
	ASSERT_EQ(0, ioeventfd(vm, self->fd, PORT, 4,
			       pio | KVM_IOEVENTFD_FLAG_DATAMATCH,
			       0x12345678));
	ASSERT_EQ(5, exits_per_round(vcpu));
	ASSERT_EQ(1, take_fd(self->fd, 0));
}

TEST_F(eventfd, ioeventfd_any_length)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;

	vcpu_setup_long(vcpu, guest_writes, 0);
	ASSERT_EQ(0, ioeventfd(vm, self->fd, PORT, 0, KVM_IOEVENTFD_FLAG_PIO,
			       0));
	ASSERT_EQ(3, exits_per_round(vcpu));
	ASSERT_EQ(3, take_fd(self->fd, 0));
	ASSERT_EQ(0, ioeventfd(vm, self->fd, MMIO, 0, 0, 0));
	ASSERT_EQ(0, exits_per_round(vcpu));
	ASSERT_EQ(6, take_fd(self->fd, 0));
	ASSERT_EQ(0, ioeventfd(vm, self->fd, MMIO, 0,
			       KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	ASSERT_EQ(3, exits_per_round(vcpu));
}

TEST_F(eventfd, ioeventfd_mmio)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;

	vcpu_setup_long(vcpu, guest_writes, 0);
	ASSERT_EQ(0, ioeventfd(vm, self->fd, MMIO, 8,
			       KVM_IOEVENTFD_FLAG_DATAMATCH, 0x1234567890));
	ASSERT_EQ(5, exits_per_round(vcpu));
	ASSERT_EQ(1, take_fd(self->fd, 0));
	ASSERT_EQ(0, ioeventfd(vm, self->fd, MMIO, 1, 0, 0));
	ASSERT_EQ(4, exits_per_round(vcpu));
	ASSERT_EQ(2, take_fd(self->fd, 0));
}

TEST_F(eventfd, ioeventfd_refused)
{
	const u32 match = KVM_IOEVENTFD_FLAG_DATAMATCH;
	struct test_vm *vm = &self->vm;

	EXPECT_EQ(-EINVAL, ioeventfd(vm, self->fd, MMIO, 3, 0, 0));
	EXPECT_EQ(-EINVAL, ioeventfd(vm, self->fd, MMIO, 16, 0, 0));
	EXPECT_EQ(-EINVAL, ioeventfd(vm, self->fd, MMIO, 4, 1U << 30, 0));
	EXPECT_EQ(-EINVAL, ioeventfd(vm, self->fd, MMIO, 0, match, 0));
	EXPECT_EQ(-EINVAL, ioeventfd(vm, self->fd, ~0UL - 1, 4, 0, 0));
	EXPECT_EQ(-EBADF, ioeventfd(vm, 1000, MMIO, 4, 0, 0));
	EXPECT_EQ(-ENOENT, ioeventfd(vm, self->fd, MMIO, 4,
				     KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	/* What could not be assigned is not there either; the descriptor comes first. */
	EXPECT_EQ(-ENOENT, ioeventfd(vm, self->fd, MMIO, 3, KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	EXPECT_EQ(-ENOENT, ioeventfd(vm, self->fd, MMIO, 4,
				     1U << 30 | KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	EXPECT_EQ(-EBADF, ioeventfd(vm, 1000, MMIO, 3, KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	EXPECT_EQ(0, ioeventfd(vm, self->fd, MMIO, 4, 0, 0));
	EXPECT_EQ(-EEXIST, ioeventfd(vm, self->fd, MMIO, 4, 0, 0));
	EXPECT_EQ(-EEXIST, ioeventfd(vm, self->fd, MMIO, 4, match, 5));
	EXPECT_EQ(-ENOENT, ioeventfd(vm, self->fd, MMIO, 4,
				     match | KVM_IOEVENTFD_FLAG_DEASSIGN, 5));
	EXPECT_EQ(0, ioeventfd(vm, self->fd, MMIO, 4,
			       KVM_IOEVENTFD_FLAG_DEASSIGN, 0));
	EXPECT_EQ(0, ioeventfd(vm, self->fd, MMIO, 4, match, 5));
	EXPECT_EQ(0, ioeventfd(vm, self->fd, MMIO, 4, match, 6));
	EXPECT_EQ(-EEXIST, ioeventfd(vm, self->fd, MMIO, 4, match, 6));
}

/* The eventfd's last close, or the VM's, ends the tie. */
TEST_F(eventfd, closed_first)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	vcpu_setup_long(&self->vcpu, guest_counts, VECTOR);
	ASSERT_EQ(0, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, irqfd(&self->vm, fd, GSI, 0, 0));
	close(fd);
	ASSERT_EQ(0, irqfd(&self->vm, self->fd, GSI, 0, 0));
	signal_fd(self->fd);
	ASSERT_EQ(1, run_to_count(&self->vcpu, 1));
}

TEST_HARNESS_MAIN
