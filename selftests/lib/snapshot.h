/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that a VMM can read of a machine with one vCPU, to set it in another one. Used
 * by save_restore_test and carry_vm, from one thread.
 */
#ifndef SELFTESTS_LIB_SNAPSHOT_H
#define SELFTESTS_LIB_SNAPSHOT_H

#include "test_vm.h"

#define SNAPSHOT_MCE_BANKS	10
#define SNAPSHOT_MSRS		200

struct snapshot_msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[SNAPSHOT_MSRS];
};

/* All that there is of a machine with one vCPU, but for its memory and CPUID. */
struct snapshot {
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_lapic_state lapic;
	struct snapshot_msrs msrs;
	u64 tsc_deadline;
	struct kvm_irqchip chip[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
};

enum snapshot_item {
	SREGS, REGS, XSAVE, XCRS, MSRS, EVENTS, MP_STATE, LAPIC, DEADLINE, DEBUGREGS,
	IRQCHIP, PIT, CLOCK, NR_ITEMS
};

/* As QEMU does it. */
extern const enum snapshot_item snapshot_default_order[NR_ITEMS];

/* A VM with memory, an irqchip, a PIT, and a vCPU with machine-check banks. */
void snapshot_make_machine(struct test_vm *vm, struct test_vcpu *vcpu);
void snapshot_save(struct test_vcpu *vcpu, struct snapshot *s);
void snapshot_restore(struct test_vcpu *vcpu, struct snapshot *s, enum snapshot_item item);
/* Prints what differs. Clocks that have gone on are made equal before. */
bool snapshot_same(struct snapshot *old, struct snapshot *new);

#endif
