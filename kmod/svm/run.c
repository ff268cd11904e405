// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM: the window and the world switch. Called by kmod/run.c with interrupts off on
 * the CPU that runs the guest, by the vCPU's thread.
 */
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/spec-ctrl.h>
#include <uapi/asm/svm.h>

#include "../kernel_compat.h"
#include "../check.h"
#include "../guest_time.h"
#include "../debug.h"
#include "../events.h"
#include "../state.h"
#include "svm.h"

/* svm/entry.S knows these offsets by number. */
static_assert(offsetof(struct svm_switch, guest_pa) == 8);
static_assert(offsetof(struct svm_switch, host_pa) == 16);
static_assert(offsetof(struct svm_switch, host_spec_ctrl) == 24);
static_assert(offsetof(struct svm_switch, guest_spec_ctrl) == 28);
static_assert(offsetof(struct svm_switch, swap_spec_ctrl) == 32);

/* A fresh ASID holds no translations: AMD APM volume 2, "TLB Control". */
static void svm_new_asid(struct lodge_vcpu *vcpu, struct svm_cpu *sc)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control *c = &svm->vmcb->control;

	if (sc->next_asid >= lodge_svm_features.nr_asids) {
		sc->asid_generation++;
		sc->next_asid = 1;	/* 0 is the host's */
		c->tlb_control = SVM_TLB_FLUSH_ALL;
	}
	svm->asid_generation = sc->asid_generation;
	c->asid = sc->next_asid++;
	svm_touch(svm, SVM_CLEAN_ASID);
}

/*
 * Makes stale translations of this vCPU unusable, the guest's own and those of stage
 * 2. The caller has decided that it is needed.
 */
static void svm_flush(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (lodge_svm_features.flush_by_asid)
		svm->vmcb->control.tlb_control = SVM_TLB_FLUSH_ASID;
	else
		svm->asid_generation = 0;	/* take a new ASID */
}

/* Debug registers DR0 to DR3 are not part of the VMCB. */
static void svm_load_drs(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	const u64 *dr = vcpu->debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->dbg.dr : vcpu->st.dr;

	lodge_load_breakpoints(dr);
	svm->drs_loaded = true;
	/* Under a debugger the guest's accesses exit, and reach vcpu->st. */
	if (!vcpu->debug)
		svm_intercept_drs(svm, false);
}

static void svm_unload_drs(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->drs_loaded = false;
	if (vcpu->debug)
		return;
	lodge_read_breakpoints(vcpu->st.dr);
	svm_intercept_drs(svm, true);
}

/* The guest enabled a breakpoint, or user space did on its behalf. */
static bool svm_drs_in_use(struct lodge_vcpu *vcpu)
{
	u64 dr7 = vcpu->st_dirty & LODGE_ST_DRS ? lodge_effective_dr7(vcpu) :
						  to_svm(vcpu)->vmcb->save.dr7;

	return dr7 & DR_GLOBAL_ENABLE_MASK || dr7 & DR_LOCAL_ENABLE_MASK;
}

void svm_window_open(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *sc = this_cpu_ptr(&lodge_svm_cpu);
	struct vmcb_control *c = &svm->vmcb->control;

	if (svm->last_cpu != vcpu->cpu) {
		/* Other CPUs may have used this ASID number and cached this VMCB. */
		svm->last_cpu = vcpu->cpu;
		svm->asid_generation = 0;
		c->clean = 0;
	}

	/*
	 * The host's FS, GS, TR, LDTR and SYSCALL MSRs, for entry.S to load after each
	 * exit. FS and GS bases change with every task, so once a window.
	 */
	svm->sw.host_pa = sc->host_pa;
	asm volatile("vmsave %0" :: "a" (svm->sw.host_pa) : "memory");

	lodge_branch_barriers(&sc->last_vcpu, vcpu);
	lodge_save_host_drs(&svm->host_drs);
	if (unlikely(vcpu->dr_touched || svm_drs_in_use(vcpu))) {
		svm_load_drs(vcpu);
		vcpu->dr_touched = false;
	}

	/* It means nothing outside the guest: written when another vCPU's differs. */
	if (sc->tsc_ratio) {
		u64 ratio = vcpu->tsc_ratio ?: SVM_TSC_RATIO_ONE;

		if (unlikely(sc->tsc_ratio != ratio)) {
			sc->tsc_ratio = ratio;
			wrmsrl(MSR_AMD64_TSC_RATIO, ratio);
		}
	}

	/* RDTSCP and RDPID read TSC_AUX, which is not part of the VMCB. */
	svm->tsc_aux_loaded = vcpu->st.tsc_aux != sc->host_tsc_aux && sc->has_tsc_aux;
	if (svm->tsc_aux_loaded)
		wrmsrl(MSR_TSC_AUX, vcpu->st.tsc_aux);

	if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL) && !lodge_svm_features.v_spec_ctrl)
		svm->sw.host_spec_ctrl = (u32)this_cpu_read(x86_spec_ctrl_current);
}

void svm_window_close(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (unlikely(svm->drs_loaded))
		svm_unload_drs(vcpu);
	/* #VMEXIT leaves DR7 disabled and DR6 as the guest had it. */
	lodge_restore_host_drs(&svm->host_drs, svm->vmcb->save.dr6 != DR6_RESERVED);
	if (svm->tsc_aux_loaded)
		wrmsrl(MSR_TSC_AUX, this_cpu_ptr(&lodge_svm_cpu)->host_tsc_aux);

	/*
	 * An event that was staged but not entered with: vcpu->ev still has it for the next
	 * window, unless user space or a reset takes it away before.
	 */
	svm->vmcb->control.event_inject = 0;
}

/* Without virtual NMIs the end of an NMI's handler shows by its IRET alone. */
static void svm_watch_iret(struct svm_vcpu *svm)
{
	svm_intercept(svm, SVM_ICPT_IRET, true);
	svm->nmi_iret = true;
	svm->nmi_after_iret = false;
}

/* The mask changed other than by the guest: a reset, or KVM_SET_VCPU_EVENTS. */
static void svm_track_nmi_mask(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (vcpu->ev.nmi_masked) {
		svm_watch_iret(svm);
		return;
	}
	svm_intercept(svm, SVM_ICPT_IRET, false);
	svm->nmi_iret = false;
	svm->nmi_after_iret = false;
}

/*
 * The delivery of INTn, INT3 or INTO failed. True when it was injected in place of the
 * instruction and must be again; else that raises it by itself.
 */
static bool svm_repeats_soft(struct lodge_vcpu *vcpu)
{
	if (!vcpu->ev.soft_injected)
		return false;
	lodge_unretire_soft(vcpu);
	return true;
}

/* What delivery the exit interrupted must be repeated: "Event Injection". */
static void svm_take_exit_int_info(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct lodge_events *ev = &vcpu->ev;
	u64 info = svm->vmcb->control.exit_int_info;
	u8 vector = info & SVM_EVENT_VECTOR;

	switch (SVM_EVENT_TYPE_OF(info)) {
	case SVM_EVENT_TYPE_NMI:
		ev->nmi_injected = true;
		break;
	case SVM_EVENT_TYPE_EXCEPTION:
		/*
		 * #BP and #OF came from INT3 and INTO: RIP is still at the instruction,
		 * which raises them again by itself.
		 */
		if ((vector == 3 || vector == 4) && !svm_repeats_soft(vcpu))
			break;
		/* QEMU's SVM reports an interrupt that V_IRQ delivered as this type. */
		if (vector >= 32) {
			ev->irq_injected = true;
			ev->irq_soft = false;
			ev->irq_vector = vector;
			break;
		}
		ev->ex.injected = true;
		ev->ex.vector = vector;
		ev->ex.has_error = info & SVM_EVENT_ERROR;
		ev->ex.error = info >> 32;
		break;
	case SVM_EVENT_TYPE_INTR:
		ev->irq_injected = true;
		ev->irq_soft = false;
		ev->irq_vector = vector;
		break;
	case SVM_EVENT_TYPE_SOFT:
		/* INTn: RIP is at the instruction, which is executed again. */
		ev->irq_injected = svm_repeats_soft(vcpu);
		ev->irq_soft = true;
		ev->irq_vector = vector;
		break;
	}
}

/* Bits of the interrupt control while the window of svm_open_irq_window() is armed. */
#define V_IRQ_WINDOW	(SVM_V_IRQ | SVM_V_INTR_PRIO(0xf) | SVM_V_IGN_TPR)

static bool svm_entry_refused(const struct vmcb_control *c)
{
	/* -1, of 32 or of 64 bits. */
	return (u32)c->exit_code == (u32)SVM_EXIT_ERR;
}

/*
 * VMRUN refused the VMCB, and nothing of the guest ran. QEMU's CPU fills the VMCB all the
 * same, with the host's registers and with an interrupt control that may lack
 * V_INTR_MASKING: the next guest could keep interrupts from the host for ever. Sets the
 * latter right, and notes the former for svm_exit_invalid().
 */
static void svm_after_refusal(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb *v = svm->vmcb;

	v->control.vintr = SVM_V_INTR_MASKING | vcpu->cr8 | (svm->irq_window ? V_IRQ_WINDOW : 0);
	svm->state_lost = v->save.rip != vcpu->st.rip;
}

/* The VMRUN itself, where nothing may be traced: RCU and lockdep think "guest". */
static noinstr void svm_switch_noinstr(struct svm_switch *sw)
{
	lodge_guest_state_enter();
	lodge_svm_switch(sw);
	lodge_guest_state_exit();
}

/* What the guest left behind: its registers, why it ended, what was not delivered. */
static void svm_take_exit(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb *v = svm->vmcb;
	struct vmcb_control *c = &v->control;
	struct lodge_state *st = &vcpu->st;

	if (unlikely(svm_entry_refused(c)))
		svm_after_refusal(vcpu);
	st->gpr[0] = v->save.rax;
	st->gpr[4] = v->save.rsp;
	st->rip = v->save.rip;
	st->rflags = v->save.rflags;
	vcpu->ev.shadow = c->interrupt_shadow & SVM_SHADOW ?
			  KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
	vcpu->st_valid = 0;
	lodge_take_cr8(vcpu, c->vintr & SVM_V_TPR_MASK);

	if (unlikely(svm->nmi_after_iret && st->rip != svm->nmi_iret_rip)) {
		svm->nmi_after_iret = false;
		vcpu->ev.nmi_masked = false;
	}

	/*
	 * From here the CPU may keep what it cached of this VMCB; whoever changes a
	 * field takes its bit away. Not ASID and TLB control, which is set above.
	 */
	if (lodge_svm_features.vmcb_clean)
		c->clean = SVM_CLEAN_INTERCEPTS | SVM_CLEAN_PERMISSIONS | SVM_CLEAN_ASID |
			   SVM_CLEAN_TPR | SVM_CLEAN_NP | SVM_CLEAN_CR | SVM_CLEAN_DR |
			   SVM_CLEAN_DT | SVM_CLEAN_SEG | SVM_CLEAN_CR2 | SVM_CLEAN_LBR;

	vcpu->exit.code = c->exit_code;
	vcpu->exit.info1 = c->exit_info1;
	vcpu->exit.info2 = c->exit_info2;
	vcpu->exit.next_rip = lodge_svm_features.nrip_save ? c->next_rip : 0;
	vcpu->exit.nr_bytes = 0;

	/* What was injected is delivered, unless EXITINTINFO says otherwise. */
	vcpu->ev.ex.injected = false;
	vcpu->ev.irq_injected = false;
	vcpu->ev.nmi_injected = false;
	c->event_inject = 0;
	if (unlikely(c->exit_int_info & SVM_EVENT_VALID))
		svm_take_exit_int_info(vcpu);
	vcpu->ev.soft_injected = false;
	if (unlikely(svm->step))
		svm_end_step(vcpu);
}

void svm_enter(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *sc = this_cpu_ptr(&lodge_svm_cpu);
	struct vmcb *v = svm->vmcb;
	struct vmcb_control *c = &v->control;
	struct lodge_state *st = &vcpu->st;
	u64 flush_gen;

	if (vcpu->st_dirty)
		svm_commit(vcpu);

	c->tlb_control = SVM_TLB_NOTHING;
	flush_gen = READ_ONCE(vcpu->vm->mem.flush_gen);
	if (unlikely(vcpu->flush_tlb || flush_gen != vcpu->stage2_flushed)) {
		vcpu->flush_tlb = false;
		vcpu->stage2_flushed = flush_gen;
		vcpu->stats.tlb_flush++;
		svm_flush(vcpu);
	}
	if (unlikely(svm->asid_generation != sc->asid_generation))
		svm_new_asid(vcpu, sc);

	/* NMIs are blocked by an injection, or by a VMM that restored such a state. */
	if (unlikely(vcpu->ev.nmi_masked != (svm->nmi_iret || svm->nmi_after_iret)))
		svm_track_nmi_mask(vcpu);

	v->save.rax = st->gpr[0];
	v->save.rsp = st->gpr[4];
	v->save.rip = st->rip;
	v->save.rflags = st->rflags;
	if (unlikely(svm->step))
		v->save.rflags |= svm_begin_step(vcpu);
	c->interrupt_shadow = vcpu->ev.shadow ? SVM_SHADOW : 0;
	if ((c->vintr & SVM_V_TPR_MASK) != vcpu->cr8) {
		c->vintr = (c->vintr & ~SVM_V_TPR_MASK) | vcpu->cr8;
		svm_touch(svm, SVM_CLEAN_TPR);
	}

	if (LODGE_CHECK_ENTRIES)
		svm_check_entry(vcpu);
	svm_switch_noinstr(&svm->sw);
	svm_take_exit(vcpu);
}

/* Common code marked one event in vcpu->ev as injected: put it into EVENTINJ. */
void svm_inject(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct lodge_events *ev = &vcpu->ev;
	u64 inject = SVM_EVENT_VALID;

	if (ev->ex.injected) {
		inject |= ev->ex.vector | SVM_EVENT_TYPE(SVM_EVENT_TYPE_EXCEPTION);
		if (ev->ex.has_error)
			inject |= SVM_EVENT_ERROR | (u64)ev->ex.error << 32;
	} else if (ev->nmi_injected) {
		inject |= 2 | SVM_EVENT_TYPE(SVM_EVENT_TYPE_NMI);
		svm_watch_iret(svm);
	} else {
		inject |= ev->irq_vector | SVM_EVENT_TYPE(ev->irq_soft ? SVM_EVENT_TYPE_SOFT :
								      SVM_EVENT_TYPE_INTR);
		/* What the window was for goes in now; the caller opens it for what is left. */
		svm_close_irq_window(vcpu);
	}
	svm->vmcb->control.event_inject = inject;
	/* "Event Injection": with NRIP save it is what a software event's frame shows. */
	svm->vmcb->control.next_rip = vcpu->st.rip;
}

/* Either reason to watch the guest's TPR. */
static void svm_update_cr8(struct svm_vcpu *svm)
{
	svm_intercept(svm, SVM_ICPT_CR8_WRITE, svm->irq_window || svm->tpr_window);
}

/*
 * A virtual interrupt of top priority that is intercepted at the moment the guest
 * could take it: "Virtual Interrupt Intercept". The interrupt itself goes through
 * EVENTINJ. While it is armed CR8 writes exit, since the TPR decides what is next
 * (and QEMU up to 11.1 aborts when a guest writes CR8 with V_IRQ pending).
 */
void svm_open_irq_window(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control *c = &svm->vmcb->control;

	if (svm->irq_window)
		return;
	svm->irq_window = true;
	c->vintr |= V_IRQ_WINDOW;
	c->vintr_vector = 0;
	svm_touch(svm, SVM_CLEAN_TPR);
	svm_intercept(svm, SVM_ICPT_VINTR, true);
	svm_update_cr8(svm);
}

void svm_close_irq_window(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (!svm->irq_window)
		return;
	svm->irq_window = false;
	svm->vmcb->control.vintr &= ~V_IRQ_WINDOW;
	svm_touch(svm, SVM_CLEAN_TPR);
	svm_intercept(svm, SVM_ICPT_VINTR, false);
	svm_update_cr8(svm);
}

void svm_tpr_window(struct lodge_vcpu *vcpu, bool on)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->tpr_window = on;
	svm_update_cr8(svm);
}

/*
 * An NMI waits. Inside a handler whose IRET is intercepted there is nothing to do
 * until that exit. Otherwise an IRET that is about to retire, or an interrupt shadow,
 * is in the way: both last one instruction, so step over it.
 */
void svm_open_nmi_window(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->step & SVM_STEP_NMI)
		return;
	/* A VMM may have set the mask since the last entry. */
	if (vcpu->ev.nmi_masked && !svm->nmi_after_iret) {
		if (!svm->nmi_iret)
			svm_watch_iret(svm);
		return;
	}
	svm->step |= SVM_STEP_NMI;
}
