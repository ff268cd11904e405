/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debugging a guest from user space (KVM_SET_GUEST_DEBUG), and what TF and the debug
 * registers mean where the CPU does not look at them itself: debug.c. All on the
 * vCPU's thread, its mutex held; not in the window unless it says "any tier".
 */
#ifndef LODGE_DEBUG_H
#define LODGE_DEBUG_H

#include <asm/processor-flags.h>

#include "vcpu.h"

/* KVM_CAP_SET_GUEST_DEBUG2 */
#define LODGE_GUEST_DEBUG	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | \
				 KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP | \
				 KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | \
				 KVM_GUESTDBG_BLOCKIRQ)

#define DR7_GD		BIT_ULL(13)	/* general detect: any MOV DR raises #DB */

/* DR6 bits that read as 1 unless what they stand for happened. */
#define DR6_ACTIVE_LOW	0xffff0ff0ull

/* KVM_SET_GUEST_DEBUG: 0, or -EBUSY: an exception to be injected finds one pending. */
int lodge_set_guest_debug(struct lodge_vcpu *vcpu, const struct kvm_guest_debug *dbg);

/* RIP as a linear address. */
u64 lodge_linear_rip(struct lodge_vcpu *vcpu);

/* Before the first entry of KVM_RUN: looks at the instruction that is next. */
void lodge_debug_prepare(struct lodge_vcpu *vcpu);

/* User space gave an event that may belong to an instruction: its length is to be found. */
void lodge_debug_soft_event(struct lodge_vcpu *vcpu);

/*
 * An instruction has retired without the CPU, or an event was delivered, while TF was
 * set or user space debugs: @own: the guest had TF set. Any tier.
 */
void lodge_stepped(struct lodge_vcpu *vcpu, bool own);

/* KVM_EXIT_DEBUG with what the CPU, or its stand-in, has in DR6. LODGE_TO_USER. */
int lodge_exit_debug(struct lodge_vcpu *vcpu, u8 vector, u64 dr6);

/* Serves LODGE_REQ_DEBUG: LODGE_TO_USER. The other: is it still true after a stay there? */
int lodge_exit_step(struct lodge_vcpu *vcpu);
bool lodge_step_reported(struct lodge_vcpu *vcpu);

/*
 * The CPU raised #DB while user space debugs, or a step of ours ended in it. @bits: what
 * it says in DR6, active high; BS only if it is somebody's; @own: it is the guest's TF.
 */
int lodge_exit_db(struct lodge_vcpu *vcpu, u64 bits, bool own);

/* The exception @vector, INT3's and INTO's among them, exits because of a debugger. */
int lodge_exit_exception(struct lodge_vcpu *vcpu, u8 vector, u32 error, u64 addr);

/* INTn, or INT3 and INTO where the CPU calls them that: their frames must not show TF. */
int lodge_exit_software_interrupt(struct lodge_vcpu *vcpu);

/* MOV to or from a debug register, which is intercepted. */
int lodge_exit_dr_access(struct lodge_vcpu *vcpu);

/* DR7 that the CPU is to work with. Needs LODGE_ST_DRS. Any tier. */
static inline u64 lodge_effective_dr7(const struct lodge_vcpu *vcpu)
{
	return vcpu->debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->dbg.dr7 : vcpu->st.dr7;
}

static inline bool lodge_is_stepped(const struct lodge_vcpu *vcpu)
{
	return (vcpu->st.rflags & X86_EFLAGS_TF) || (vcpu->debug & KVM_GUESTDBG_SINGLESTEP);
}

#endif
