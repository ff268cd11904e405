// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM: steps of one instruction by RFLAGS.TF, which nobody but the CPU is to see. Called
 * by svm/run.c around an entry, with interrupts off, and by svm/exit.c after the window,
 * on the vCPU's thread.
 *
 * AMD APM volume 2, "Single Stepping": #DB is raised after an instruction that began
 * with TF set. PUSHF shows TF, POPF and IRET replace it; SYSCALL and SYSRET take it from
 * SFMASK and R11, and the value that they leave decides.
 */
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include <uapi/asm/svm.h>

#include "../kernel_compat.h"
#include "../debug.h"
#include "svm.h"

#define TF	((u64)X86_EFLAGS_TF)

/* What this step goes over. A step for an NMI alone has looked at IRET only. */
static enum lodge_step_insn step_insn(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->step & SVM_STEP_DEBUG)
		return vcpu->dbg.insn;
	return svm->nmi_after_iret ? LODGE_STEP_LOADS_FLAGS : LODGE_STEP_PLAIN;
}

/*
 * The TF for this entry. Not together with an event, whose delivery would push it where
 * the guest finds it: then an interrupt to this CPU ends the guest right after the
 * delivery.
 */
u64 svm_begin_step(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_save *save = &svm->vmcb->save;

	svm->stepped = false;
	svm->step_event = svm->vmcb->control.event_inject & SVM_EVENT_VALID;
	if (svm->step_event) {
		lodge_send_reschedule(smp_processor_id());
		return 0;
	}
	svm->stepped = true;
	svm->step_nmi = svm->step & SVM_STEP_NMI;
	svm->step_own = vcpu->st.rflags & TF;
	svm->step_dr6 = save->dr6;
	save->dr6 = DR6_ACTIVE_LOW;
	svm_touch(svm, SVM_CLEAN_DR);
	svm->step_insn = step_insn(vcpu);
	switch (svm->step_insn) {
	case LODGE_STEP_SYSCALL:
		svm->step_saved = save->sfmask;
		save->sfmask &= ~TF;
		break;
	case LODGE_STEP_SYSRET:
		svm->step_saved = vcpu->st.gpr[EMUL_R11];
		vcpu->st.gpr[EMUL_R11] |= TF;
		break;
	default:
		break;
	}
	return TF;
}

/* Takes our TF back from wherever it got to. */
static void take_tf_back(struct lodge_vcpu *vcpu, bool done)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct lodge_state *st = &vcpu->st;
	u64 tf = svm->step_own ? TF : 0;

	switch (svm->step_insn) {
	case LODGE_STEP_SYSCALL:
		svm->vmcb->save.sfmask = svm->step_saved;
		if (done) {
			st->gpr[EMUL_R11] = (st->gpr[EMUL_R11] & ~TF) | tf;
			tf &= ~svm->step_saved;
			svm->step_own = tf;
		}
		break;
	case LODGE_STEP_SYSRET:
		st->gpr[EMUL_R11] = svm->step_saved;
		if (done) {
			tf = svm->step_saved & TF;
			svm->step_own = tf;
		}
		break;
	case LODGE_STEP_LOADS_FLAGS:
		if (done)
			return;
		break;
	default:
		break;
	}
	st->rflags = (st->rflags & ~TF) | tf;
}

/*
 * After the exit, with vcpu->st and vcpu->ev up to date. An NMI that still waits asks for
 * another step.
 */
void svm_end_step(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_save *save = &svm->vmcb->save;
	struct lodge_events *ev = &vcpu->ev;

	if (svm->stepped) {
		svm->step_bits = (save->dr6 ^ DR6_ACTIVE_LOW) & U32_MAX;
		save->dr6 = svm->step_dr6;
		/* The CPU still has what lodge_restore_host_drs() can no longer see here. */
		set_debugreg((unsigned long)DR6_RESERVED, 6);
		svm_touch(svm, SVM_CLEAN_DR);
		svm->stepped = vcpu->exit.code == SVM_EXIT_EXCP_BASE + X86_TRAP_DB;
		take_tf_back(vcpu, svm->stepped && (svm->step_bits & DR_STEP));
	} else if (svm->step_event && (svm->step & SVM_STEP_DEBUG) && !ev->ex.injected &&
		   !ev->irq_injected && !ev->nmi_injected) {
		lodge_stepped(vcpu, false);
	}
	if (svm->step & SVM_STEP_NMI) {
		svm->step &= ~SVM_STEP_NMI;
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
	}
}

int svm_exit_db(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	bool stepped = svm->stepped;
	u64 bits;

	svm->stepped = false;
	if (!stepped && !vcpu->debug) {
		/* DR6 in the VMCB already tells the guest why. */
		lodge_queue_exception(vcpu, X86_TRAP_DB);
		return LODGE_REENTER;
	}
	if (stepped) {
		bits = svm->step_bits;
		if (svm->step_nmi) {
			vcpu->ev.nmi_masked = false;
			lodge_make_request(vcpu, LODGE_REQ_EVENT);
		}
	} else {
		bits = (svm->vmcb->save.dr6 ^ DR6_ACTIVE_LOW) & U32_MAX;
		vcpu->st_dirty |= LODGE_ST_DRS;	/* DR6 starts over */
	}
	return lodge_exit_db(vcpu, bits, !stepped || svm->step_own);
}
