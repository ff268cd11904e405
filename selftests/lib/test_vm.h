/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every test program needs on the host's side: the device, VMs, memory
 * slots, vCPUs, their first state, and running them. Called by the tests and
 * by lib/ itself; no locks, a struct belongs to the thread that uses it.
 *
 * ioctl wrappers come in pairs: __x_ioctl() returns what the kernel returned
 * (a value, or -errno), x_ioctl() ends the test unless that is >= 0.
 */
#ifndef SELFTESTS_LIB_TEST_VM_H
#define SELFTESTS_LIB_TEST_VM_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "types.h"

/* Newer than the headers may be. */
#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY	236
struct kvm_pre_fault_memory {
	__u64 gpa;
	__u64 size;
	__u64 flags;
	__u64 padding[5];
};

#define KVM_PRE_FAULT_MEMORY	_IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#endif

/*
 * The guest's physical memory. Slot 0 holds all of this; the test program's
 * own image (code and data, linked at fixed addresses) is copied to the same
 * guest-physical addresses, and the first 4 GiB are mapped one to one, so that
 * a pointer means the same on both sides.
 */
#define GUEST_IVT		0x0000UL
#define GUEST_GDT		0x1000UL
#define GUEST_IDT		0x2000UL
#define GUEST_TSS		0x3000UL
#define GUEST_PML4		0x4000UL
#define GUEST_PDPT		0x5000UL
#define GUEST_PD		0x6000UL	/* four pages */
#define GUEST_FREE		0xb000UL	/* the test's own, to 0x10000 */
#define GUEST_BLOB		0x10000UL	/* 16- and 32-bit code, to 0x20000 */
#define GUEST_SCRATCH		0x100000UL	/* the test's own, 1 MiB */
#define GUEST_STACKS		0x300000UL	/* grows down, 64 KiB a vCPU */
#define GUEST_STACK_SIZE	0x10000UL
#define GUEST_MEM_SIZE		0x1000000UL
#define GUEST_HOLE		0x10000000UL	/* no memory here: MMIO */

/* Segment selectors of the GDT that vm_create() writes. */
#define GUEST_CODE64		0x08
#define GUEST_DATA		0x10
#define GUEST_CODE32		0x18
#define GUEST_USER_DATA		0x20
#define GUEST_USER_CODE64	0x28
#define GUEST_TSS_SEL		0x30
#define GUEST_CODE16		0x40

#define TEST_PAGE_SIZE		4096UL

struct test_vm {
	int fd;
	void *mem;		/* of slot 0, NULL for a bare VM */
	size_t mem_size;
};

struct test_vcpu {
	int fd;
	unsigned int id;
	struct test_vm *vm;
	struct kvm_run *run;
	size_t run_size;
};

__noreturn __printf(3, 4)
void test_die(const char *file, int line, const char *fmt, ...);

#define TEST_DIE(fmt, ...) test_die(__FILE__, __LINE__, fmt, ##__VA_ARGS__)

/* The device. */
const char *test_device(void);
bool test_device_is_kvm(void);
/* LODGE_SLOW: how many times slower than usual all is here. */
unsigned int test_slowness(void);
extern bool test_cpu_has_vmcall;
int device_open(void);
int device_cap(int device_fd, long cap);

static inline int __fd_ioctl(int fd, unsigned long cmd, uintptr_t arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

int fd_ioctl_check(int ret, const char *cmd, const char *file, int line);

#define __dev_ioctl(fd, cmd, arg) __fd_ioctl(fd, cmd, (uintptr_t)(arg))
#define dev_ioctl(fd, cmd, arg) \
	fd_ioctl_check(__dev_ioctl(fd, cmd, arg), #cmd, __FILE__, __LINE__)
#define __vm_ioctl(vm, cmd, arg) __fd_ioctl((vm)->fd, cmd, (uintptr_t)(arg))
#define vm_ioctl(vm, cmd, arg) \
	fd_ioctl_check(__vm_ioctl(vm, cmd, arg), #cmd, __FILE__, __LINE__)
#define __vcpu_ioctl(vcpu, cmd, arg) \
	__fd_ioctl((vcpu)->fd, cmd, (uintptr_t)(arg))
#define vcpu_ioctl(vcpu, cmd, arg) \
	fd_ioctl_check(__vcpu_ioctl(vcpu, cmd, arg), #cmd, __FILE__, __LINE__)

/* VMs. */
void vm_create_bare(struct test_vm *vm);
void vm_create(struct test_vm *vm);
void vm_destroy(struct test_vm *vm);
int vm_cap(struct test_vm *vm, long cap);
int __vm_set_slot(struct test_vm *vm, u32 slot, u32 flags,
		  u64 gpa, u64 size, void *hva);
void vm_set_slot(struct test_vm *vm, u32 slot, u32 flags,
		 u64 gpa, u64 size, void *hva);
void vm_create_irqchip(struct test_vm *vm);
void vm_irq_line(struct test_vm *vm, u32 gsi, u32 level);

/* The host's address of guest-physical @gpa, which must lie in slot 0. */
static inline void *vm_ptr(struct test_vm *vm, u64 gpa)
{
	return (char *)vm->mem + gpa;
}

/* The guest's copy of one of the program's own variables. */
#define guest_var(vm, var) \
	(*(typeof(var) *)vm_ptr(vm, (uintptr_t)&(var)))

/* vCPUs. */
int __vcpu_create(struct test_vm *vm, struct test_vcpu *vcpu, unsigned int id);
void vcpu_create(struct test_vm *vm, struct test_vcpu *vcpu, unsigned int id);
void vcpu_destroy(struct test_vcpu *vcpu);
struct kvm_cpuid2 *cpuid_supported(int device_fd);
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, u32 leaf,
				    u32 index);
void vcpu_set_supported_cpuid(struct test_vcpu *vcpu);
/* The same, and the LAPIC's timer has deadlines: KVM_CAP_TSC_DEADLINE_TIMER. */
void vcpu_offer_deadline(struct test_vcpu *vcpu);
int __vcpu_get_msr(struct test_vcpu *vcpu, u32 index, u64 *value);
int __vcpu_set_msr(struct test_vcpu *vcpu, u32 index, u64 value);
u64 vcpu_get_msr(struct test_vcpu *vcpu, u32 index);
void vcpu_set_msr(struct test_vcpu *vcpu, u32 index, u64 value);

/* First states: all of them reset the segments, CR0, CR3, CR4 and EFER. */
void vcpu_setup_real(struct test_vcpu *vcpu, u16 cs, u16 ip);
void vcpu_setup_prot32(struct test_vcpu *vcpu, u32 eip);
void vcpu_setup_long(struct test_vcpu *vcpu, void (*fn)(u64),
		     u64 arg);
void vcpu_setup_long_stack(struct test_vcpu *vcpu, void (*fn)(u64), u64 arg,
			   u64 stack);
/* Out of stage 2 and back with its old content, on another page; up to two pages. */
void vm_drop(struct test_vm *vm, u64 gpa, size_t size);
void vm_place(struct test_vm *vm, u64 gpa, const void *start,
	      const void *end);

/* Create all at once: a VM with memory, vCPU 0 about to call @fn(@arg). */
void vm_with_vcpu(struct test_vm *vm, struct test_vcpu *vcpu,
		  void (*fn)(u64), u64 arg);

/* Running. */
#define __vcpu_run(vcpu) __vcpu_ioctl(vcpu, KVM_RUN, 0)

void vcpu_run_expect_at(struct test_vcpu *vcpu, u32 reason,
			const char *file, int line);
#define vcpu_run_expect(vcpu, reason) \
	vcpu_run_expect_at(vcpu, reason, __FILE__, __LINE__)
/* To an OUT of 4 bytes to @port, or the test dies: what it wrote. */
u32 vcpu_run_to_out32(struct test_vcpu *vcpu, u16 port);

struct guest_call;
struct guest_call *vcpu_guest_call(struct test_vcpu *vcpu);
u64 vcpu_run_to_sync_at(struct test_vcpu *vcpu, const char *file,
			int line);
/* Run to the guest's next GUEST_SYNC() and return its value. */
#define vcpu_run_to_sync(vcpu) vcpu_run_to_sync_at(vcpu, __FILE__, __LINE__)
void vcpu_run_to_done_at(struct test_vcpu *vcpu, const char *file, int line);
/* Run until the guest's function returns; syncs on the way are ignored. */
#define vcpu_run_to_done(vcpu) vcpu_run_to_done_at(vcpu, __FILE__, __LINE__)

void *io_data(struct test_vcpu *vcpu);
/* Where the file @fd of KVM_GET_STATS_FD has the counter @name, or false. */
bool stat_find(int fd, const char *name, long *at);
/* A counter of the VM; ~0 if there is none. */
u64 vm_stat(struct test_vm *vm, const char *name);
/* A counter of the vCPU. */
u64 vcpu_stat(struct test_vcpu *vcpu, const char *name);
/* The file that has it as eight bytes at offset *@at, for who must be quick. */
int vcpu_stat_open(struct test_vcpu *vcpu, const char *name, long *at);
const char *exit_name(u32 reason);
void dump_exit(struct test_vcpu *vcpu);
void host_signal_noop(int sig);
/* Of the CPUs that this thread, and those that it makes, may use. 0, or -1 and errno. */
int host_stay_on_first_cpu(void);

#ifdef TEST_HARNESS_MAIN
/* The harness's limits are for a kernel without checkers. After its own constructors. */
__constructor
static void stretch_timeouts(void)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next)
		for (t = f->tests; t; t = t->next)
			t->timeout *= (int)test_slowness();
}
#endif

#endif
