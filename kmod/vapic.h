/* SPDX-License-Identifier: GPL-2.0-only */
/* vapic.c: the local APIC in guest memory, for run.c, events.c, msr.c and vcpu.c. */
#ifndef LODGE_VAPIC_H
#define LODGE_VAPIC_H

#include <linux/kvm_para.h>

#include "backend.h"
#include "vcpu.h"

int lodge_set_vapic_addr(struct lodge_vcpu *vcpu, u64 addr);

/*
 * Before and after a window while vcpu->apic_memory is not 0. Both may sleep, so a window
 * has one entry then.
 */
void lodge_apic_to_guest(struct lodge_vcpu *vcpu);
void lodge_apic_from_guest(struct lodge_vcpu *vcpu);

/* MSR_KVM_PV_EOI_EN, for msr.c: 0, or 1 for #GP. */
int lodge_pv_eoi_set_msr(struct lodge_vcpu *vcpu, u64 data);

/*
 * Inside the window, an interrupt is about to go in: lets the guest end it by clearing a
 * bit, if the guest wants that and nobody else has to know of it.
 */
static inline bool lodge_wants_pv_eoi(const struct lodge_vcpu *vcpu)
{
	return vcpu->pv.eoi_msr & KVM_MSR_ENABLED;
}

void lodge_pv_eoi_offer(struct lodge_vcpu *vcpu);

/*
 * Inside the window, right after each exit while LODGE_APIC_EOI is set: takes the offer
 * back, and does the EOI if the guest made use of it. Where the memory is not at hand,
 * LODGE_APIC_EOI stays; lodge_apic_from_guest() does it then, and until then nobody may
 * look at the local APIC.
 */
void lodge_pv_eoi_take(struct lodge_vcpu *vcpu);

/* Any tier: asks for lodge_exit_tpr_access(). */
void lodge_tpr_access(struct lodge_vcpu *vcpu, bool write);
int lodge_exit_tpr_access(struct lodge_vcpu *vcpu);

#endif
