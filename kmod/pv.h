/* SPDX-License-Identifier: GPL-2.0-only */
/* pv.c: what a guest that knows it is one asks of the host, and is told by it. */
#ifndef LODGE_PV_H
#define LODGE_PV_H

#include <linux/kvm_para.h>
#include <linux/sched.h>

#include "backend.h"
#include "vcpu.h"

/* The KVM_FEATURE_* that work on this kernel, as leaf KVM_CPUID_FEATURES has them. */
u32 lodge_pv_features(void);

/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID: without it a guest may use what it was not shown. */
static inline bool lodge_pv_has(const struct lodge_vcpu *vcpu, unsigned int feature)
{
	return !vcpu->pv.enforce || vcpu->pv.features & BIT(feature);
}

/* Bits KVM_HC_*: those that can be an exit to user space, KVM_CAP_EXIT_HYPERCALL. */
#define LODGE_HYPERCALL_EXITS	BIT(KVM_HC_MAP_GPA_RANGE)

/* Power-up and INIT. */
void lodge_pv_reset(struct lodge_vcpu *vcpu);

/* MSR_KVM_STEAL_TIME, for msr.c: 0, or 1 for #GP. */
int lodge_steal_time_set_msr(struct lodge_vcpu *vcpu, u64 data);

#ifdef CONFIG_SCHED_INFO
static inline u64 lodge_run_delay(void)
{
	return current->sched_info.run_delay;
}
#else
static inline u64 lodge_run_delay(void)
{
	return 0;
}
#endif

/*
 * Must the guest's steal-time page be written before the next entry? Before each
 * window; a page that says "preempted" must not say so in the guest.
 */
static inline bool lodge_steal_time_due(const struct lodge_vcpu *vcpu)
{
	return unlikely(vcpu->pv.steal_msr & KVM_MSR_ENABLED) &&
	       (vcpu->pv.preempted || vcpu->pv.run_delay != lodge_run_delay());
}

/* Brings the page up to date. May sleep. */
void lodge_steal_time_update(struct lodge_vcpu *vcpu);

void __lodge_tell_preempted(struct lodge_vcpu *vcpu);

/*
 * The vCPU gives up its CPU for a while: others need not wait for it. Does not sleep.
 * Not while an instruction is being emulated.
 */
static inline void lodge_tell_preempted(struct lodge_vcpu *vcpu)
{
	if (unlikely(vcpu->pv.steal_msr) && !vcpu->pv.preempted)
		__lodge_tell_preempted(vcpu);
}

/* VMCALL or VMMCALL. After the window. */
int lodge_exit_hypercall(struct lodge_vcpu *vcpu);
/* The same in the window, of 64-bit code at CPL 0; LODGE_SLOW: nothing was done. */
enum lodge_next lodge_hypercall_fast(struct lodge_vcpu *vcpu, u64 next_rip);

/*
 * #UD, perhaps because the guest used the other vendor's hypercall: with
 * KVM_X86_QUIRK_FIX_HYPERCALL_INSN the instruction becomes this CPU's, whose last byte is
 * @own, and is done again. Else the guest gets its #UD, or the #PF of that write.
 */
#define MODRM_VMCALL	0xc1
#define MODRM_VMMCALL	0xd9
int lodge_fix_hypercall(struct lodge_vcpu *vcpu, u8 own);

#endif
