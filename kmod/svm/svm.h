/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SVM backend's private state. Everything here belongs to the vCPU's thread
 * (vcpu->mutex) or, per CPU, to code with interrupts off on that CPU.
 */
#ifndef LODGE_SVM_H
#define LODGE_SVM_H

#include "../backend.h"
#include "../host_cpu.h"
#include "../vcpu.h"
#include "../vm.h"
#include "vmcb.h"

/* What svm/entry.S needs for one world switch; offsets are checked in svm/run.c. */
struct svm_switch {
	u64 *gpr;		/* 0: vcpu->st.gpr */
	u64 guest_pa;		/* 8: the guest's VMCB */
	u64 host_pa;		/* 16: where VMSAVE put the host's state */
	u32 host_spec_ctrl;	/* 24 */
	u32 guest_spec_ctrl;	/* 28 */
	u32 swap_spec_ctrl;	/* 32: the guest may write it: moved on the way in and out */
};

struct svm_vcpu {
	struct vmcb *vmcb;
	struct svm_switch sw;
	void *msrpm;
	u64 asid_generation;	/* of the CPU it was taken on; 0: take a new one */
	int last_cpu;		/* the clean bits and the ASID hold on this CPU only */
	u64 cr0_hidden;		/* CR0.CD and NW of the guest, kept out of the VMCB */

	bool drs_loaded;	/* the guest's DR0-3 are in the CPU, DRs not intercepted */
	struct lodge_host_drs host_drs;
	bool tsc_aux_loaded;	/* the CPU has the guest's TSC_AUX */

	bool irq_window;	/* V_IRQ is armed to get an exit */
	bool tpr_window;	/* CR8 writes exit */
	bool nmi_iret;		/* IRET is intercepted: an NMI handler runs */
	bool nmi_after_iret;	/* that IRET is about to execute, at nmi_iret_rip */
	u64 nmi_iret_rip;

	/* svm/step.c: TF is ours for the next instruction */
	u8 step;		/* SVM_STEP_*: who wants it */
	bool stepped;		/* the last entry had it */
	bool step_event;	/* the last entry delivered an event instead */
	bool step_nmi;		/* SVM_STEP_NMI was among them */
	enum lodge_step_insn step_insn;
	bool step_own;		/* the guest had TF set, too */
	u64 step_dr6;		/* the guest's DR6 meanwhile */
	u64 step_saved;		/* what else was changed for it: SFMASK or R11 */
	u64 step_bits;		/* of DR6 after it, active high */

	bool state_lost;	/* a refused entry left the host's state in the VMCB */
};

#define SVM_STEP_NMI	BIT(0)	/* over what holds an NMI back */
#define SVM_STEP_DEBUG	BIT(1)	/* KVM_GUESTDBG_SINGLESTEP */

struct svm_cpu {
	struct page *hsave;	/* VM_HSAVE_PA */
	struct page *host_vmcb;	/* VMSAVE of the host, at each window */
	phys_addr_t host_pa;	/* the same, encryption bit included */
	u64 asid_generation;
	u32 next_asid;
	bool on;
	bool has_tsc_aux;
	u64 host_tsc_aux;	/* constant for a CPU */
	u64 tsc_ratio;		/* in the CPU's MSR; 0: none there */
	const struct lodge_vcpu *last_vcpu;	/* IBPB when another one comes */
};

DECLARE_PER_CPU(struct svm_cpu, lodge_svm_cpu);

/* Filled once by probe. */
struct svm_features {
	u32 nr_asids;
	bool nrip_save;
	bool flush_by_asid;
	bool decode_assists;
	bool vmcb_clean;
	bool pause_filter;
	bool v_spec_ctrl;
	bool tsc_ratio;
	unsigned long host_mce;	/* CR4.MCE as the host has it */
};

/* The ratio 1: AMD APM volume 2, "TSC Ratio MSR (C000_0104h)", 8 bits before the point. */
#define SVM_TSC_RATIO_BITS	32
#define SVM_TSC_RATIO_ONE	BIT_ULL(SVM_TSC_RATIO_BITS)
#define SVM_TSC_RATIO_MAX	GENMASK_ULL(39, 0)

extern struct svm_features lodge_svm_features __ro_after_init;

static inline struct svm_vcpu *to_svm(struct lodge_vcpu *vcpu)
{
	return (struct svm_vcpu *)vcpu->backend;
}

/* The CPU must reload what @bits cover from the VMCB. */
static inline void svm_touch(struct svm_vcpu *svm, u32 bits)
{
	svm->vmcb->control.clean &= ~bits;
}

static inline bool svm_intercepted(const struct svm_vcpu *svm, unsigned int icpt)
{
	return svm->vmcb->control.intercepts[icpt / 32] & BIT(icpt % 32);
}

static inline void svm_intercept(struct svm_vcpu *svm, unsigned int icpt, bool on)
{
	u32 *word = &svm->vmcb->control.intercepts[icpt / 32];

	if (on)
		*word |= BIT(icpt % 32);
	else
		*word &= ~BIT(icpt % 32);
	svm_touch(svm, SVM_CLEAN_INTERCEPTS);
}

/* svm/entry.S: IRQs off; returns with IRQs off and GIF set. */
asmlinkage void lodge_svm_switch(struct svm_switch *sw);

/* svm/run.c */
void svm_window_open(struct lodge_vcpu *vcpu);
void svm_window_close(struct lodge_vcpu *vcpu);
void svm_enter(struct lodge_vcpu *vcpu);
void svm_inject(struct lodge_vcpu *vcpu);
void svm_open_irq_window(struct lodge_vcpu *vcpu);
void svm_close_irq_window(struct lodge_vcpu *vcpu);
void svm_open_nmi_window(struct lodge_vcpu *vcpu);
void svm_tpr_window(struct lodge_vcpu *vcpu, bool on);

/* svm/step.c; the first two in the window, around an entry while svm->step is set */
u64 svm_begin_step(struct lodge_vcpu *vcpu);
void svm_end_step(struct lodge_vcpu *vcpu);
int svm_exit_db(struct lodge_vcpu *vcpu);

/* svm/state.c */
void svm_fetch(struct lodge_vcpu *vcpu, u32 groups);
void svm_commit(struct lodge_vcpu *vcpu);

/* svm/exit.c */
enum lodge_next svm_exit_fast(struct lodge_vcpu *vcpu);
int svm_exit(struct lodge_vcpu *vcpu);

/* svm/check.c: the log says which rules the VMCB breaks */
void svm_explain_failed_entry(struct lodge_vcpu *vcpu);
/* How many rules the VMCB breaks. */
unsigned int svm_check_entry(struct lodge_vcpu *vcpu);

/* svm/svm.c */
void svm_intercept_drs(struct svm_vcpu *svm, bool on);
void svm_update_intercepts(struct lodge_vcpu *vcpu);

#endif
