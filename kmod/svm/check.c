// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why VMRUN refused a VMCB: the rules of AMD APM volume 2, "Canonicalization and
 * Consistency Checks", each violated one named in the log. Called by svm/exit.c on the
 * vCPU's thread, after a failed entry; by svm/run.c before each, in a debug build. Changes
 * nothing.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/printk.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "../kernel_compat.h"
#include "../check.h"
#include "../state.h"
#include "svm.h"

#define EFER_DEFINED	(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX | EFER_SVME | EFER_FFXSR)

static unsigned int check_save(struct lodge_vcpu *vcpu)
{
	const struct vmcb_save *s = &to_svm(vcpu)->vmcb->save;
	bool paging_long = (s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG);
	unsigned int broken = 0;

	RULE(s->efer & EFER_SVME, "EFER.SVME is clear");
	RULE(!(s->efer & ~(u64)EFER_DEFINED), "reserved bits of EFER");
	RULE((s->cr0 & X86_CR0_CD) || !(s->cr0 & X86_CR0_NW), "CR0.NW without CD");
	RULE(!(s->cr0 >> 32), "upper half of CR0");
	RULE(!(s->cr0 & X86_CR0_PG) || !(s->efer & EFER_LMA) || !(s->cr3 & vcpu->phys_reserved),
	     "reserved bits of CR3");
	RULE(!(s->cr4 & vcpu->cr4_reserved), "reserved bits of CR4");
	RULE(!(s->dr6 >> 32), "upper half of DR6");
	RULE(!(s->dr7 >> 32), "upper half of DR7");
	RULE(!paging_long || (s->cr4 & X86_CR4_PAE), "long mode without CR4.PAE");
	RULE(!paging_long || (s->cr0 & X86_CR0_PE), "long mode without CR0.PE");
	/* L and D in the VMCB's form: bits 9 and 10. */
	RULE(!paging_long || !(s->cr4 & X86_CR4_PAE) || (s->cs.attributes & 0x600) != 0x600,
	     "CS with L and D in long mode");
	RULE(pat_valid(s->g_pat), "PAT");
	return broken;
}

static unsigned int check_control(struct lodge_vcpu *vcpu)
{
	const struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control *c = &svm->vmcb->control;
	u32 event = c->event_inject, type = SVM_EVENT_TYPE_OF(event);
	unsigned int broken = 0;

	RULE(svm_intercepted(svm, SVM_ICPT_VMRUN), "VMRUN is not intercepted");
	RULE(within_maxphyaddr(c->iopm_pa), "address of the I/O map");
	RULE(within_maxphyaddr(c->msrpm_pa), "address of the MSR map");
	RULE(c->asid && c->asid < lodge_svm_features.nr_asids, "ASID");
	RULE(within_maxphyaddr(c->nested_cr3) && !(c->nested_cr3 & 0xfff), "nested CR3");
	if (!(event & SVM_EVENT_VALID))
		return broken;
	RULE(type == SVM_EVENT_TYPE_INTR || (type >= SVM_EVENT_TYPE_NMI &&
					     type <= SVM_EVENT_TYPE_SOFT),
	     "event of a reserved type");
	RULE(type != SVM_EVENT_TYPE_EXCEPTION ||
	     ((event & SVM_EVENT_VECTOR) < 32 && (event & SVM_EVENT_VECTOR) != 2),
	     "vector that no exception has");
	return broken;
}

unsigned int svm_check_entry(struct lodge_vcpu *vcpu)
{
	return check_save(vcpu) + check_control(vcpu);
}

void svm_explain_failed_entry(struct lodge_vcpu *vcpu)
{
	if (!svm_check_entry(vcpu))
		pr_err_ratelimited("vCPU %u: VMRUN failed, but breaks no rule that is known here\n",
				   vcpu->id);
}
