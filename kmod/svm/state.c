// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves guest state between vcpu->st and the VMCB. Called by the vCPU's thread: fetch
 * outside or inside the window, commit inside it. AMD APM volume 2, appendix "Layout of
 * VMCB": segment attributes are bits 55:52 and 47:40 of the descriptor, side by side.
 */
#include <asm/processor-flags.h>
#include <asm/msr-index.h>

#include "../debug.h"
#include "svm.h"

#define ATTR_TYPE	0x000f
#define ATTR_S		BIT(4)
#define ATTR_DPL_SHIFT	5
#define ATTR_P		BIT(7)
#define ATTR_AVL	BIT(8)
#define ATTR_DB		BIT(10)
#define ATTR_G		BIT(11)

/* Where in the save area segment @seg is. */
static struct vmcb_segment *svm_segment(struct vmcb_save *s, enum lodge_seg seg)
{
	switch (seg) {
	case LODGE_ES:		return &s->es;
	case LODGE_CS:		return &s->cs;
	case LODGE_SS:		return &s->ss;
	case LODGE_DS:		return &s->ds;
	case LODGE_FS:		return &s->fs;
	case LODGE_GS:		return &s->gs;
	case LODGE_LDTR:	return &s->ldtr;
	default:		return &s->tr;
	}
}

static void svm_fetch_segment(struct kvm_segment *to, const struct vmcb_segment *from,
			      enum lodge_seg seg, u8 cpl)
{
	u16 a = from->attributes;

	to->base = from->base;
	to->limit = from->limit;
	to->selector = from->selector;
	to->type = a & ATTR_TYPE;
	to->s = !!(a & ATTR_S);
	to->dpl = (a >> ATTR_DPL_SHIFT) & 3;
	to->present = !!(a & ATTR_P);
	to->avl = !!(a & ATTR_AVL);
	to->l = !!(a & SVM_ATTR_L);
	to->db = !!(a & ATTR_DB);
	/* Some CPUs do not keep G of CS; the limit tells what it must have been. */
	to->g = to->limit > 0xfffff;
	to->unusable = !to->present;
	to->padding = 0;

	switch (seg) {
	case LODGE_TR:
		/* A TSS that is loaded is busy; the VMCB may not say so. */
		to->type |= 2;
		break;
	case LODGE_DS:
	case LODGE_ES:
	case LODGE_FS:
	case LODGE_GS:
		/* The accessed bit is not set by every CPU; VMX wants it for migration. */
		if (!to->unusable)
			to->type |= 1;
		break;
	case LODGE_SS:
		/* In 64-bit mode SS may be null, with stale attributes; B means nothing. */
		if (to->unusable)
			to->db = 0;
		to->dpl = cpl;
		break;
	default:
		break;
	}
}

static void svm_commit_segment(struct vmcb_segment *to, const struct kvm_segment *from,
			       enum lodge_seg seg)
{
	/* CS is what it is: VMRUN asks D, L and R of it ("Segment State in the VMCB"). */
	bool present = from->present && (!from->unusable || seg == LODGE_CS);

	to->base = from->base;
	to->limit = from->limit;
	to->selector = from->selector;
	to->attributes = (from->type & ATTR_TYPE) |
			 (from->s ? ATTR_S : 0) |
			 (from->dpl & 3) << ATTR_DPL_SHIFT |
			 (present ? ATTR_P : 0) |
			 (from->avl ? ATTR_AVL : 0) |
			 (from->l ? SVM_ATTR_L : 0) |
			 (from->db ? ATTR_DB : 0) |
			 (from->g ? ATTR_G : 0);
}

void svm_fetch(struct lodge_vcpu *vcpu, u32 groups)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_save *s = &svm->vmcb->save;
	struct lodge_state *st = &vcpu->st;
	int seg;

	if (groups & LODGE_ST_SEGS) {
		for (seg = 0; seg < LODGE_NR_SEGS; seg++)
			svm_fetch_segment(&st->seg[seg], svm_segment(s, seg), seg, s->cpl);
		st->gdt.base = s->gdtr.base;
		st->gdt.limit = s->gdtr.limit;
		st->idt.base = s->idtr.base;
		st->idt.limit = s->idtr.limit;
		st->cpl = s->cpl;
	}
	if (groups & LODGE_ST_CRS) {
		st->cr0 = s->cr0 | svm->cr0_hidden;
		st->cr2 = s->cr2;
		st->cr3 = s->cr3;
		/* cr4 and efer only change through exits: st has them. */
	}
	if ((groups & LODGE_ST_DRS) && !vcpu->debug) {
		/* dr[] was read from the CPU when the window closed, if it was loaded. */
		st->dr6 = s->dr6;
		st->dr7 = s->dr7;
	}
	if (groups & LODGE_ST_MSRS) {
		st->star = s->star;
		st->lstar = s->lstar;
		st->cstar = s->cstar;
		st->sfmask = s->sfmask;
		st->kernel_gs_base = s->kernel_gs_base;
		st->sysenter_cs = s->sysenter_cs;
		st->sysenter_esp = s->sysenter_esp;
		st->sysenter_eip = s->sysenter_eip;
		st->spec_ctrl = lodge_svm_features.v_spec_ctrl ? s->spec_ctrl :
							svm->sw.guest_spec_ctrl;
	}
}

static void svm_commit_segs(struct svm_vcpu *svm, const struct lodge_state *st)
{
	struct vmcb_save *s = &svm->vmcb->save;
	int seg;

	for (seg = 0; seg < LODGE_NR_SEGS; seg++)
		svm_commit_segment(svm_segment(s, seg), &st->seg[seg], seg);
	s->gdtr.base = st->gdt.base;
	s->gdtr.limit = st->gdt.limit;
	s->idtr.base = st->idt.base;
	s->idtr.limit = st->idt.limit;
	s->cpl = st->cpl;
	svm_touch(svm, SVM_CLEAN_SEG | SVM_CLEAN_DT);
}

static void svm_commit_crs(struct svm_vcpu *svm, const struct lodge_vm *vm,
			   const struct lodge_state *st)
{
	struct vmcb_save *s = &svm->vmcb->save;
	bool differs;

	/*
	 * CR0.CD would slow the physical CPU down, and firmware runs with it set. Memory
	 * types are the host's business: hide the bits, and intercept what could show it,
	 * unless a VMM wants them to count.
	 */
	svm->cr0_hidden = lodge_has_quirk(vm, KVM_X86_QUIRK_CD_NW_CLEARED) ?
			  st->cr0 & (X86_CR0_CD | X86_CR0_NW) : 0;
	if (svm_intercepted(svm, SVM_ICPT_CR0_READ) != !!svm->cr0_hidden) {
		svm_intercept(svm, SVM_ICPT_CR0_READ, svm->cr0_hidden);
		svm_intercept(svm, SVM_ICPT_CR0_WRITE, svm->cr0_hidden);
	}
	s->cr0 = st->cr0 & ~svm->cr0_hidden;
	s->cr2 = st->cr2;
	s->cr3 = st->cr3;
	/*
	 * With MCE clear a machine check is a shutdown ("Machine Check Architecture"), of which
	 * the host would learn nothing more: a guest that has it clear runs with it set.
	 */
	s->cr4 = st->cr4 | lodge_svm_features.host_mce;
	differs = s->cr4 != st->cr4;
	if (svm_intercepted(svm, SVM_ICPT_CR4_READ) != differs)
		svm_intercept(svm, SVM_ICPT_CR4_READ, differs);
	/* VMRUN demands SVME; the guest does not see it (AMD APM, "Canonicalization"). */
	s->efer = st->efer | EFER_SVME;
	svm_touch(svm, SVM_CLEAN_CR | SVM_CLEAN_CR2);
}

static void svm_commit_msrs(struct svm_vcpu *svm, const struct lodge_state *st)
{
	struct vmcb_save *s = &svm->vmcb->save;

	s->star = st->star;
	s->lstar = st->lstar;
	s->cstar = st->cstar;
	s->sfmask = st->sfmask;
	s->kernel_gs_base = st->kernel_gs_base;
	s->sysenter_cs = st->sysenter_cs;
	s->sysenter_esp = st->sysenter_esp;
	s->sysenter_eip = st->sysenter_eip;
	s->g_pat = st->pat;
	s->spec_ctrl = st->spec_ctrl;
	svm->sw.guest_spec_ctrl = st->spec_ctrl;
	svm_touch(svm, SVM_CLEAN_NP);
}

/* Gives the VMCB every group that changed since the last entry. */
void svm_commit(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct lodge_state *st = &vcpu->st;
	u32 dirty = vcpu->st_dirty;

	if (dirty & LODGE_ST_SEGS)
		svm_commit_segs(svm, st);
	if (dirty & LODGE_ST_CRS)
		svm_commit_crs(svm, vcpu->vm, st);
	if (dirty & LODGE_ST_DRS) {
		/* A debugger wants to know what is new, not what the guest has there. */
		svm->vmcb->save.dr6 = vcpu->debug ? DR6_ACTIVE_LOW : st->dr6;
		svm->vmcb->save.dr7 = lodge_effective_dr7(vcpu);
		svm_touch(svm, SVM_CLEAN_DR);
	}
	if (dirty & LODGE_ST_MSRS)
		svm_commit_msrs(svm, st);
	if (dirty & LODGE_ST_TSC) {
		svm->vmcb->control.tsc_offset = st->tsc_offset;
		svm_touch(svm, SVM_CLEAN_INTERCEPTS);
	}
	vcpu->st_dirty = 0;
}
