/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One virtual machine over KVM's ABI: the node, the VM, its memory slots and
 * interrupt lines, and how it ends.
 */
#ifndef LODGE_VM_H
#define LODGE_VM_H

#include <stdatomic.h>

#include "bus.h"
#include "error.h"
#include "io_loop.h"
#include "memory.h"
#include "types.h"

struct vcpu;

struct vm {
	int node_fd;
	int fd;
	size_t run_size;		/* bytes of a vCPU's mapping */
	struct guest_memory memory;
	struct bus ports;
	struct bus mmio;
	struct io_loop loop;
	unsigned int nr_vcpus;
	struct vcpu *vcpus;

	struct io_source ended_source;	/* wakes the I/O thread at the end */
	atomic_bool ended;		/* set once; the winner writes the next two */
	enum exit_status status;
	char reason[256];
};

/*
 * Open @device and create a VM with @memory_size bytes, interrupt chips and a
 * PIT.  Any failure ends the program with one line.
 */
void vm_create(struct vm *vm, const char *device, u64 memory_size);
void vm_destroy(struct vm *vm);

/* An ioctl that is repeated when a signal interrupts it.  Returns -errno on failure. */
int vm_ioctl(int fd, unsigned long request, void *argument);

/* What KVM_CHECK_EXTENSION says of @capability; 0 when it is unknown. */
int vm_capability(const struct vm *vm, int capability);

/* Set the level of interrupt line @gsi. */
void vm_set_irq(struct vm *vm, u32 gsi, bool level);

/* An eventfd whose signal is an edge on @gsi. Returns it, or -errno. */
int vm_irqfd(struct vm *vm, u32 gsi);

/* An eventfd that is signalled when the guest writes @value (32 bits) at @gpa. */
int vm_ioeventfd(struct vm *vm, u64 gpa, u32 value);

/* End the guest; only the first call counts.  May be called on any thread. */
__printf(3, 4) void vm_end(struct vm *vm, enum exit_status status, const char *format, ...);

#endif
