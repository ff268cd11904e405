// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lifetimes: closing node, VM, vCPU and eventfds in every order, a vCPU that
 * outlives its VM's descriptor, other processes' descriptors, killed processes.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "guest.h"
#include "test_vm.h"

enum { NODE, VM, VCPU, IRQFD, IOEVENTFD, RUN, NR };

static void guest_syncs(u64 arg __maybe_unused)
{
	for (;;)
		GUEST_SYNC(7);
}

static void drop(int what, int *device, struct test_vm *vm,
		 struct test_vcpu *vcpu, int *irqfd, int *ioeventfd)
{
	switch (what) {
	case NODE:
		close(*device);
		break;
	case VM:
		close(vm->fd);
		vm->fd = -1;
		break;
	case VCPU:
		close(vcpu->fd);
		vcpu->fd = -1;
		break;
	case IRQFD:
		close(*irqfd);
		break;
	case IOEVENTFD:
		close(*ioeventfd);
		break;
	case RUN:
		munmap(vcpu->run, vcpu->run_size);
		vcpu->run = NULL;
		break;
	}
}

/* Create all there is, run it once, and let go in this order. */
static void one_order(const int *order)
{
	struct kvm_irqfd irqfd = { .gsi = 4 };
	struct kvm_ioeventfd io = { .addr = 0x700, .len = 4,
				    .flags = KVM_IOEVENTFD_FLAG_PIO };
	int device = device_open(), i;
	struct test_vcpu vcpu;
	struct test_vm vm;
	int fds[2];

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	fds[0] = eventfd(0, 0);
	fds[1] = eventfd(0, 0);
	irqfd.fd = (u32)fds[0];
	io.fd = fds[1];
	vm_ioctl(&vm, KVM_IRQFD, &irqfd);
	vm_ioctl(&vm, KVM_IOEVENTFD, &io);
	vcpu_setup_long(&vcpu, guest_syncs, 0);
	if (vcpu_run_to_sync(&vcpu) != 7)
		TEST_DIE("sync");
	for (i = 0; i < NR; i++) {
		drop(order[i], &device, &vm, &vcpu, &fds[0], &fds[1]);
		if (vcpu.fd >= 0 && vcpu.run && vcpu_run_to_sync(&vcpu) != 7)
			TEST_DIE("sync after closing %d", order[i]);
	}
	munmap(vm.mem, vm.mem_size);
}

/* Each of the four that hold one another, in each of their 24 orders. */
TEST(every_order)
{
	static const int who[] = { VM, VCPU, IRQFD, RUN };
	int order[NR] = { NODE }, a, b, c, d;

	order[NR - 1] = IOEVENTFD;
	for (a = 0; a < 4; a++)
		for (b = 0; b < 4; b++)
			for (c = 0; c < 4; c++) {
				if (a == b || a == c || b == c)
					continue;
				d = 6 - a - b - c;
				order[1] = who[a];
				order[2] = who[b];
				order[3] = who[c];
				order[4] = who[d];
				one_order(order);
			}
	/* And the other way round at the ends. */
	order[0] = IOEVENTFD;
	order[NR - 1] = NODE;
	one_order(order);
}

/* The vCPU keeps the VM: its memory slots, its irqchip, everything. */
TEST(vcpu_outlives_vm)
{
	struct test_vcpu vcpu;
	struct kvm_regs regs;
	struct test_vm vm;

	vm_with_vcpu(&vm, &vcpu, guest_syncs, 0);
	close(vm.fd);
	vm.fd = -1;
	ASSERT_EQ(7, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(0, __vcpu_ioctl(&vcpu, KVM_GET_REGS, &regs));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* The guest's memory may be gone before the VM is. */
TEST(memory_goes_first)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_with_vcpu(&vm, &vcpu, guest_syncs, 0);
	ASSERT_EQ(7, vcpu_run_to_sync(&vcpu));
	ASSERT_EQ(0, munmap(vm.mem, vm.mem_size));
	vm.mem = NULL;
	/* No memory, no progress: -EFAULT, and the host goes on. */
	ASSERT_EQ(-EFAULT, __vcpu_run(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static int status_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		TEST_DIE("waitpid: %m");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A forked child has the descriptors, but not the VM's address space. */
TEST(other_mm)
{
	struct kvm_irq_level level = { .irq = 1 };
	struct test_vcpu vcpu;
	struct kvm_regs regs;
	struct test_vm vm;
	int bad = 0;
	pid_t pid;

	vm_with_vcpu(&vm, &vcpu, guest_syncs, 0);
	ASSERT_EQ(7, vcpu_run_to_sync(&vcpu));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bad |= (__vcpu_run(&vcpu) != -EIO) << 0;
		bad |= (__vcpu_ioctl(&vcpu, KVM_GET_REGS, &regs) != -EIO) << 1;
		bad |= (__vm_ioctl(&vm, KVM_IRQ_LINE, &level) != -EIO) << 2;
		bad |= (__vm_ioctl(&vm, KVM_CREATE_VCPU, 1) != -EIO) << 3;
		bad |= (__vm_ioctl(&vm, KVM_CHECK_EXTENSION,
				   KVM_CAP_IRQCHIP) != -EIO) << 4;
		_exit(bad);
	}
	ASSERT_EQ(0, status_of(pid));
	ASSERT_EQ(7, vcpu_run_to_sync(&vcpu));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* The child's copies of the descriptors keep the VM after the parent's death. */
TEST(creator_dies_first)
{
	int to_child[2], from_child[2];
	struct test_vcpu vcpu;
	struct test_vm vm;
	pid_t creator;
	char c = 'x';

	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(from_child));
	creator = fork();
	ASSERT_LE(0, creator);
	if (!creator) {
		vm_with_vcpu(&vm, &vcpu, guest_syncs, 0);
		if (vcpu_run_to_sync(&vcpu) != 7)
			_exit(1);
		if (fork() == 0) {
			/* Until the creator's memory is gone. */
			close(to_child[1]);
			if (read(to_child[0], &c, 1) != 1)
				_exit(1);
			c = __vcpu_run(&vcpu) == -EIO ? 'y' : 'n';
			close(vm.fd);
			close(vcpu.fd);
			if (write(from_child[1], &c, 1) != 1)
				_exit(1);
			_exit(0);
		}
		_exit(0);
	}
	ASSERT_EQ(0, status_of(creator));
	ASSERT_EQ(1, write(to_child[1], &c, 1));
	ASSERT_EQ(1, read(from_child[0], &c, 1));
	ASSERT_EQ('y', c);
}

static void guest_spins(u64 arg __maybe_unused)
{
	u64 i;

	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	asm volatile("sti");
	for (i = 0;; i++)
		VOLATILE(u64, GUEST_SCRATCH + (i & 0xff) * TEST_PAGE_SIZE) = i;
}

static void *run_thread(void *arg)
{
	__vcpu_run((struct test_vcpu *)arg);
	return NULL;
}

/* SIGKILL in the middle of KVM_RUN, of one thread and of several. */
TEST(killed_while_running)
{
	struct test_vcpu vcpus[3];
	pthread_t threads[3];
	struct test_vm vm;
	int i, n, round;
	pid_t pid;

	for (round = 0; round < 6; round++) {
		n = round % 3 + 1;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			vm_create(&vm);
			for (i = 0; i < n; i++) {
				vcpu_create(&vm, &vcpus[i], (unsigned int)i);
				vcpu_setup_long(&vcpus[i], guest_spins, 0);
				pthread_create(&threads[i], NULL, run_thread,
					       &vcpus[i]);
			}
			pause();
		}
		usleep(60000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(-SIGKILL, status_of(pid));
	}
	/* And the device still works. */
	vm_with_vcpu(&vm, &vcpus[0], guest_syncs, 0);
	ASSERT_EQ(7, vcpu_run_to_sync(&vcpus[0]));
	vcpu_destroy(&vcpus[0]);
	vm_destroy(&vm);
}

TEST(many_vms)
{
	struct test_vm vms[20];
	struct test_vcpu vcpus[20];
	int i;

	for (i = 0; i < 20; i++)
		vm_with_vcpu(&vms[i], &vcpus[i], guest_syncs, 0);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(7, vcpu_run_to_sync(&vcpus[i]));
	for (i = 0; i < 20; i += 2) {
		vm_destroy(&vms[i]);
		vcpu_destroy(&vcpus[i]);
	}
	for (i = 1; i < 20; i += 2) {
		ASSERT_EQ(7, vcpu_run_to_sync(&vcpus[i]));
		vcpu_destroy(&vcpus[i]);
		vm_destroy(&vms[i]);
	}
}

TEST_HARNESS_MAIN
