/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU: one thread that runs the guest and hands its port and MMIO accesses
 * to the buses.
 */
#ifndef LODGE_VCPU_H
#define LODGE_VCPU_H

#include <pthread.h>

#include "boot.h"
#include "vm.h"

struct vcpu {
	struct vm *vm;
	struct kvm_run *run;
	u32 id;
	int fd;
	pthread_t thread;
};

/*
 * Create vm->vcpus; vCPU 0 starts as @entry says, the others wait for the
 * guest's SIPI.  Any failure ends the program with one line.
 */
void vcpus_create(struct vm *vm, unsigned int cpus, const struct boot_entry *entry);

/* Start the threads; they wait for vcpus_go().  Returns 0 or -errno. */
int vcpus_start(struct vm *vm);
void vcpus_go(void);

/* Bring all threads back and free everything; vm_end() was called. */
void vcpus_stop(struct vm *vm);
void vcpus_destroy(struct vm *vm);

#endif
