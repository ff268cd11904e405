/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels lodge builds for, and nothing else. Every choice
 * hangs on a compile probe (probes.list), not on a version: stable kernels
 * backport. Included by any file of the module.
 */
#ifndef LODGE_KERNEL_COMPAT_H
#define LODGE_KERNEL_COMPAT_H

#include <linux/kvm.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/task_work.h>

#include "lodge_probes.h"

/* The CPUID helpers were in asm/processor.h, which any file has through another. */
#if LODGE_HAVE_CPUID_API
#include <asm/cpuid/api.h>
#endif

/* load_gs_index() was in asm/special_insns.h. */
#if LODGE_HAVE_GSSEG
#include <asm/gsseg.h>
#endif

/* The accessors of whole MSRs were renamed from "l" to "q". */
#if LODGE_HAVE_RDMSRQ
#define rdmsrl(msr, value)	rdmsrq(msr, value)
#define rdmsrl_safe(msr, value)	rdmsrq_safe(msr, value)
#define wrmsrl_safe(msr, value)	wrmsrq_safe(msr, value)
#define wrmsrl(msr, value)	wrmsrq(msr, value)
#endif

/* uapi that came after 6.1: the numbers are ABI, so they hold on every kernel. */
#ifndef KVM_SET_USER_MEMORY_REGION2
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

#define KVM_SET_USER_MEMORY_REGION2 \
	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_CAP_USER_MEMORY2 231
#endif
#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS 237
#endif

#ifndef KVM_CAP_VM_TYPES
#define KVM_CAP_VM_TYPES 235
#endif

#ifndef KVM_X86_DEFAULT_VM
#define KVM_X86_DEFAULT_VM 0
#endif

#ifndef KVM_PRE_FAULT_MEMORY
struct kvm_pre_fault_memory {
	__u64 gpa;
	__u64 size;
	__u64 flags;
	__u64 padding[5];
};

#define KVM_PRE_FAULT_MEMORY	_IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif

/* In the union of struct kvm_run, whose 256 bytes all headers have. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT	39
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif

struct lodge_memory_fault {
	__u64 flags;
	__u64 gpa;
	__u64 size;
};

/* Its last member has had several names. */
struct lodge_hypercall_exit {
	__u64 nr;
	__u64 args[6];
	__u64 ret;
	__u64 flags;
};

/* What the accessed/young callbacks of an MMU notifier return. */
#if LODGE_HAVE_NOTIFIER_YOUNG_BOOL
#define lodge_young_t bool
#else
#define lodge_young_t int
#endif

/*
 * The interrupt that ends a guest, from any context. Newer kernels have a macro of this
 * name, with a tracepoint that is not for modules: so not a call by that name.
 */
static inline void lodge_send_reschedule(int cpu)
{
	void (*send)(int cpu) = smp_ops.smp_send_reschedule;

	send(cpu);
}

/*
 * Has the current thread been asked for work on the way to user space, and only because it
 * was preempted and has rseq? That concerns nobody but user space, which does not run.
 * Newer kernels have a flag of its own for it.
 */
static inline bool lodge_only_rseq_is_due(void)
{
#if LODGE_HAVE_RSEQ_EVENT_MASK
#ifdef CONFIG_MEMCG
	if (current->memcg_nr_pages_over_high)
		return false;
#endif
#ifdef CONFIG_BLK_CGROUP
#if LODGE_HAVE_THROTTLE_DISK
	if (current->throttle_disk)
		return false;
#else
	if (current->throttle_queue)
		return false;
#endif
#endif
	return current->rseq && current->rseq_event_mask && !task_work_pending(current);
#else
	return false;
#endif
}

/* What ends a window for the scheduler: with lazy preemption nobody else acts on it here. */
static inline bool lodge_resched_is_due(void)
{
#ifdef TIF_NEED_RESCHED_LAZY
	if (test_thread_flag(TIF_NEED_RESCHED_LAZY))
		return true;
#endif
	return need_resched();
}

/* User space may change it at any time; newer headers say so in the kernel's name of it. */
#if LODGE_HAVE_IMMEDIATE_EXIT_UNSAFE
#define lodge_immediate_exit(run)	READ_ONCE((run)->immediate_exit__unsafe)
#else
#define lodge_immediate_exit(run)	READ_ONCE((run)->immediate_exit)
#endif

#endif
