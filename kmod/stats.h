/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is counted, for KVM_GET_STATS_FD (stats.c). A vCPU's counters are written by its
 * thread alone, and read by anybody at any time.
 */
#ifndef LODGE_STATS_H
#define LODGE_STATS_H

#include <linux/types.h>

struct lodge_vcpu;
struct lodge_vm;

/* The names are KVM's, where KVM counts the same. */
struct lodge_vcpu_stats {
	u64 exits;			/* of the guest, for whatever reason */
	u64 host_state_reload;		/* windows: with the guest's FPU and MSRs */
	u64 signal_exits;		/* to user space, for a signal */
	u64 io_exits;			/* IN and OUT */
	u64 mmio_exits;			/* KVM_EXIT_MMIO */
	u64 halt_exits;			/* HLT */
	u64 halt_wakeup;		/* from a halt that slept */
	u64 hypercalls;
	u64 pf_taken;			/* stage-2 faults */
	u64 tlb_flush;			/* of the guest's whole address space */
	u64 insn_emulation;
	u64 insn_emulation_fail;
	u64 irq_injections;
	u64 nmi_injections;
	u64 directed_yield_attempted;	/* by hypercalls, not by PAUSE */
	u64 directed_yield_successful;
};

/* KVM_GET_STATS_FD of a VM, or of one of its vCPUs: a descriptor or an errno. */
int lodge_stats_fd(struct lodge_vm *vm, struct lodge_vcpu *vcpu);

#endif
