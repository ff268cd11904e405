// SPDX-License-Identifier: GPL-2.0-only
/*
 * One virtual machine over KVM's ABI.  Created and destroyed by run.c on the
 * main thread; interrupts come from any thread, and need no lock here because
 * the kernel has its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node.h"
#include "vm.h"

/* Three pages for real mode on Intel, and one more, in the hole below the BIOS. */
#define TSS_ADDRESS		0xfffbd000ul
#define IDENTITY_MAP_ADDRESS	0xfffbc000ull

int vm_ioctl(int fd, unsigned long request, void *argument)
{
	int ret;

	do {
		ret = ioctl(fd, request, argument);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

static int must(struct vm *vm, unsigned long request, void *argument, const char *name)
{
	int ret = vm_ioctl(vm->fd, request, argument);

	if (ret < 0) {
		errno = -ret;
		die(STATUS_MODULE_ERROR, "%s failed: %m", name);
	}
	return ret;
}

int vm_capability(const struct vm *vm, int capability)
{
	int ret = ioctl(vm->fd, KVM_CHECK_EXTENSION, capability);

	return ret < 0 ? 0 : ret;
}

static void open_node(struct vm *vm, const char *device)
{
	int size;

	vm->node_fd = node_open(device);
	size = ioctl(vm->node_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		die(STATUS_MODULE_ERROR, "KVM_GET_VCPU_MMAP_SIZE answers %d", size);
	vm->run_size = (size_t)size;
}

static void require_capabilities(const struct vm *vm)
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
		{ KVM_CAP_USER_MEMORY, "USER_MEMORY" },
		{ KVM_CAP_IRQCHIP, "IRQCHIP" },
		{ KVM_CAP_PIT2, "PIT2" },
		{ KVM_CAP_IRQFD, "IRQFD" },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD" },
		{ KVM_CAP_EXT_CPUID, "EXT_CPUID" },
		{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!vm_capability(vm, needed[i].number))
			die(STATUS_MODULE_ERROR, "the module lacks KVM_CAP_%s", needed[i].name);
}

static void add_memory(struct vm *vm, u64 size)
{
	int error = memory_create(&vm->memory, size);

	if (error) {
		errno = -error;
		host_error("cannot map %llu MiB of guest memory: %m", size >> 20);
	}
	for (unsigned int i = 0; i < vm->memory.count; i++) {
		const struct memory_region *region = &vm->memory.regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size,
			.userspace_addr = (uintptr_t)region->hva,
		};

		must(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
	}
}

static void on_ended(struct io_source *source, u32 events)
{
	struct vm *vm = container_of(source, struct vm, ended_source);

	(void)events;
	vm->loop.stop = true;
}

void vm_create(struct vm *vm, const char *device, u64 memory_size)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	u64 identity = IDENTITY_MAP_ADDRESS;
	int error;

	memset(vm, 0, sizeof(*vm));
	open_node(vm, device);
	vm->fd = vm_ioctl(vm->node_fd, KVM_CREATE_VM, NULL);
	if (vm->fd == -EBUSY)
		bad_input("another hypervisor holds the CPU's virtualization; see 'lodge doctor'");
	if (vm->fd < 0) {
		errno = -vm->fd;
		die(STATUS_MODULE_ERROR, "%s: KVM_CREATE_VM failed: %m", device);
	}
	require_capabilities(vm);
	must(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity, "KVM_SET_IDENTITY_MAP_ADDR");
	must(vm, KVM_SET_TSS_ADDR, (void *)TSS_ADDRESS, "KVM_SET_TSS_ADDR");
	must(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	must(vm, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2");
	add_memory(vm, memory_size);

	vm->ended_source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->ended_source.ready = on_ended;
	error = vm->ended_source.fd < 0 ? -errno : io_loop_create(&vm->loop);
	if (!error)
		error = io_loop_add(&vm->loop, &vm->ended_source, EPOLLIN);
	if (error) {
		errno = -error;
		host_error("cannot set up the I/O loop: %m");
	}
}

void vm_destroy(struct vm *vm)
{
	close(vm->fd);
	close(vm->node_fd);
	close(vm->loop.epoll_fd);
	close(vm->ended_source.fd);
	memory_destroy(&vm->memory);
}

void vm_set_irq(struct vm *vm, u32 gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };
	int error = vm_ioctl(vm->fd, KVM_IRQ_LINE, &line);

	if (error < 0)
		vm_end(vm, STATUS_MODULE_ERROR, "module error: KVM_IRQ_LINE failed: %s",
		       strerror(-error));
}

int vm_irqfd(struct vm *vm, u32 gsi)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct kvm_irqfd irqfd = { .gsi = gsi };

	if (fd < 0)
		return -errno;
	irqfd.fd = (u32)fd;
	must(vm, KVM_IRQFD, &irqfd, "KVM_IRQFD");
	return fd;
}

int vm_ioeventfd(struct vm *vm, u64 gpa, u32 value)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = value,
		.addr = gpa,
		.len = sizeof(u32),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	ioeventfd.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ioeventfd.fd < 0)
		return -errno;
	must(vm, KVM_IOEVENTFD, &ioeventfd, "KVM_IOEVENTFD");
	return ioeventfd.fd;
}

void vm_end(struct vm *vm, enum exit_status status, const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&vm->ended, true))
		return;
	vm->status = status;
	va_start(args, format);
	vsnprintf(vm->reason, sizeof(vm->reason), format, args);
	va_end(args);
	/* The write orders the two fields before the I/O thread's read. */
	eventfd_signal(vm->ended_source.fd);
}
