// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves guest state between vcpu->st and the VMCS. Called by the vCPU's thread: commit
 * inside the window, fetch anywhere. Intel SDM volume 3, "Guest-State Area" and "Checks on
 * the Guest State Area".
 */
#include <linux/irqflags.h>
#include <linux/smp.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

#include "../debug.h"
#include "../kernel_compat.h"
#include "../state.h"
#include "vmx.h"

/* Never loaded by an entry ("Loading Guest Control Registers"): memory types are the host's. */
#define CR0_HIDDEN	(X86_CR0_CD | X86_CR0_NW)

static const u8 segment_index[LODGE_NR_SEGS] = {
	[LODGE_ES] = VMCS_SEG_ES, [LODGE_CS] = VMCS_SEG_CS, [LODGE_SS] = VMCS_SEG_SS,
	[LODGE_DS] = VMCS_SEG_DS, [LODGE_FS] = VMCS_SEG_FS, [LODGE_GS] = VMCS_SEG_GS,
	[LODGE_LDTR] = VMCS_SEG_LDTR, [LODGE_TR] = VMCS_SEG_TR,
};

static void fetch_segment(struct kvm_segment *to, unsigned int i)
{
	u32 ar = vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * i);

	to->base = vmx_read(VMCS_GUEST_BASE + 2 * i);
	to->limit = vmx_read(VMCS_GUEST_LIMIT + 2 * i);
	to->selector = vmx_read(VMCS_GUEST_SELECTOR + 2 * i);
	to->type = ar & VMX_AR_TYPE;
	to->s = !!(ar & VMX_AR_S);
	to->dpl = (ar >> VMX_AR_DPL_SHIFT) & 3;
	to->avl = !!(ar & VMX_AR_AVL);
	to->l = !!(ar & VMX_AR_L);
	to->db = !!(ar & VMX_AR_DB);
	to->g = !!(ar & VMX_AR_G);
	to->unusable = !!(ar & VMX_AR_UNUSABLE);
	/* What is usable is present; some VMMs keep the one and some the other. */
	to->present = !to->unusable;
	to->padding = 0;
}

/*
 * "Checks on Guest Segment Registers" asks for more than other CPUs do: segments that are
 * marked as accessed, a busy TSS, and a G that fits the limit.
 */
static u32 access_rights(const struct kvm_segment *from, enum lodge_seg seg, u8 cpl)
{
	u32 type = from->type & VMX_AR_TYPE;
	bool g = from->g;

	/* CS is what it is, whatever the mark says. */
	if ((from->unusable && seg != LODGE_CS) || !from->present)
		/* SS has the privilege level even then. */
		return VMX_AR_UNUSABLE | (seg == LODGE_SS ? cpl << VMX_AR_DPL_SHIFT : 0);
	if (seg == LODGE_TR)
		type |= 2;
	else if (seg != LODGE_LDTR)
		type |= 1;
	if (from->limit >> 20)
		g = true;
	else if ((from->limit & 0xfff) != 0xfff)
		g = false;
	return type | (from->s ? VMX_AR_S : 0) | (from->dpl & 3) << VMX_AR_DPL_SHIFT |
	       VMX_AR_P | (from->avl ? VMX_AR_AVL : 0) | (from->l ? VMX_AR_L : 0) |
	       (from->db ? VMX_AR_DB : 0) | (g ? VMX_AR_G : 0);
}

static void commit_segment(const struct kvm_segment *from, enum lodge_seg seg, u8 cpl)
{
	unsigned int i = segment_index[seg];

	vmx_write(VMCS_GUEST_ACCESS_RIGHTS + 2 * i, access_rights(from, seg, cpl));
	vmx_write(VMCS_GUEST_BASE + 2 * i, from->base);
	vmx_write(VMCS_GUEST_LIMIT + 2 * i, from->limit);
	vmx_write(VMCS_GUEST_SELECTOR + 2 * i, from->selector);
}

static void fetch_segs(struct lodge_state *st)
{
	int seg;

	for (seg = 0; seg < LODGE_NR_SEGS; seg++)
		fetch_segment(&st->seg[seg], segment_index[seg]);
	st->gdt.base = vmx_read(VMCS_GUEST_GDTR_BASE);
	st->gdt.limit = vmx_read(VMCS_GUEST_GDTR_LIMIT);
	st->idt.base = vmx_read(VMCS_GUEST_IDTR_BASE);
	st->idt.limit = vmx_read(VMCS_GUEST_IDTR_LIMIT);
	/* Also in real and virtual-8086 mode: "Guest Register State". */
	st->cpl = st->seg[LODGE_SS].dpl;
}

/* cr2 is always there, cr4 and efer change through exits only: st has them. */
static void fetch_crs(struct lodge_vcpu *vcpu)
{
	struct lodge_state *st = &vcpu->st;
	unsigned int i;

	st->cr0 = (vmx_read(VMCS_GUEST_CR0) & CR0_GUEST_OWNED) |
		  (vmx_read(VMCS_CR0_SHADOW) & ~CR0_GUEST_OWNED);
	st->cr3 = vmx_read(VMCS_GUEST_CR3);
	if (lodge_is_pae(vcpu))
		for (i = 0; i < ARRAY_SIZE(st->pdptr); i++)
			st->pdptr[i] = vmx_read(VMCS_GUEST_PDPTE0 + 2 * i);
}

static void fetch_drs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lodge_state *st = &vcpu->st;

	if (vcpu->debug)
		return;		/* every access exits: st has them */
	st->dr7 = vmx_read(VMCS_GUEST_DR7);
	if (!vmx->drs_loaded)
		return;		/* st has the others */
	lodge_read_breakpoints(st->dr);
	get_debugreg(st->dr6, 6);
}

/* Writes to star, lstar, cstar and sfmask exit: st has them. */
static void fetch_msrs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lodge_state *st = &vcpu->st;

	if (vmx->in_window)
		rdmsrl(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
	st->kernel_gs_base = vmx->kernel_gs_base;
	st->sysenter_cs = vmx_read(VMCS_GUEST_SYSENTER_CS);
	st->sysenter_esp = vmx_read(VMCS_GUEST_SYSENTER_ESP);
	st->sysenter_eip = vmx_read(VMCS_GUEST_SYSENTER_EIP);
	st->spec_ctrl = vmx->sw.guest_spec_ctrl;
}

void vmx_fetch(struct lodge_vcpu *vcpu, u32 groups)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	bool inside = vmx->in_window;
	unsigned long flags;
	int cpu = -1;

	if (!inside) {
		cpu = get_cpu();
		vmx_call_in(vmx, cpu);
		local_irq_save(flags);
		if (unlikely(!vmx_acquire(vmx))) {
			local_irq_restore(flags);
			put_cpu();
			lodge_vm_kill(vcpu->vm, "the CPU refuses VMX operation, or the VMCS");
			return;
		}
	}
	if (groups & LODGE_ST_SEGS)
		fetch_segs(&vcpu->st);
	if (groups & LODGE_ST_CRS)
		fetch_crs(vcpu);
	if (groups & LODGE_ST_DRS)
		fetch_drs(vcpu);
	if (groups & LODGE_ST_MSRS)
		fetch_msrs(vcpu);
	if (!inside) {
		vmx_release(vmx, cpu == vcpu->cpu);
		local_irq_restore(flags);
		put_cpu();
	}
}

static void commit_segs(const struct lodge_state *st)
{
	int seg;

	for (seg = 0; seg < LODGE_NR_SEGS; seg++)
		commit_segment(&st->seg[seg], seg, st->cpl);
	vmx_write(VMCS_GUEST_GDTR_BASE, st->gdt.base);
	vmx_write(VMCS_GUEST_GDTR_LIMIT, st->gdt.limit);
	vmx_write(VMCS_GUEST_IDTR_BASE, st->idt.base);
	vmx_write(VMCS_GUEST_IDTR_LIMIT, st->idt.limit);
}

/*
 * A guest may enter long mode with a 16-bit TSS in TR, and load another there. No VM entry
 * takes that ("Checks on Guest Segment Registers"): it becomes a 64-bit one, as in KVM.
 */
static void fix_tss(void)
{
	const enum vmcs_field field = VMCS_GUEST_ACCESS_RIGHTS + 2 * VMCS_SEG_TR;
	u32 ar = vmx_read(field);

	if (!(ar & VMX_AR_TSS_WIDE))
		vmx_write(field, ar | VMX_AR_TSS_WIDE);
}

static void commit_crs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	const struct lodge_state *st = &vcpu->st;
	unsigned int i;
	u64 cr4;

	/* NE is fixed to 1 (IA32_VMX_CR0_FIXED0); PE and PG are not, by unrestricted guest. */
	vmx_write(VMCS_GUEST_CR0, ((st->cr0 & ~CR0_HIDDEN) | X86_CR0_NE | X86_CR0_ET) &
				  lodge_vmx.cr0_fixed1);
	vmx_write(VMCS_CR0_SHADOW, st->cr0);

	/* A machine check of the host with MCE clear would be a shutdown of the host. */
	cr4 = (st->cr4 & ~X86_CR4_MCE) | (vmx->host.cr4 & X86_CR4_MCE);
	vmx_write(VMCS_GUEST_CR4, (cr4 | lodge_vmx.cr4_fixed0) & lodge_vmx.cr4_fixed1);
	vmx_write(VMCS_CR4_SHADOW, st->cr4);

	vmx_write(VMCS_GUEST_CR3, st->cr3);
	if (lodge_is_pae(vcpu))
		for (i = 0; i < ARRAY_SIZE(st->pdptr); i++)
			vmx_write(VMCS_GUEST_PDPTE0 + 2 * i, st->pdptr[i]);
	vmx_write(VMCS_GUEST_EFER, st->efer);
	if ((st->efer & EFER_LMA) && !(vmx->control[VMX_ENTRY] & VMX_ENTRY_GUEST_64))
		fix_tss();
	vmx_control(vmx, VMX_ENTRY, VMX_ENTRY_GUEST_64, st->efer & EFER_LMA);
	vmx->msrs_changed = true;	/* EFER.SCE says whether they matter */
}

static void commit_drs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	const struct lodge_state *st = &vcpu->st;

	vmx->dr7 = lodge_effective_dr7(vcpu);
	vmx_write(VMCS_GUEST_DR7, vmx->dr7);
	if (!vmx->drs_loaded || vcpu->debug)
		return;
	lodge_load_breakpoints(st->dr);
	set_debugreg(st->dr6, 6);
}

static void commit_msrs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	const struct lodge_state *st = &vcpu->st;

	vmx->msrs_changed = true;
	vmx->kernel_gs_base = st->kernel_gs_base;
	wrmsrl(MSR_KERNEL_GS_BASE, st->kernel_gs_base);
	if (vmx->host.tsc_aux_saved)
		wrmsrl(MSR_TSC_AUX, st->tsc_aux);
	vmx_write(VMCS_GUEST_SYSENTER_CS, (u32)st->sysenter_cs);
	vmx_write(VMCS_GUEST_SYSENTER_ESP, st->sysenter_esp);
	vmx_write(VMCS_GUEST_SYSENTER_EIP, st->sysenter_eip);
	vmx_write(VMCS_GUEST_PAT, st->pat);
	vmx->sw.guest_spec_ctrl = st->spec_ctrl;
}

/* Gives the VMCS every group that changed since the last entry. */
void vmx_commit(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 dirty = vcpu->st_dirty;
	u64 ratio;

	if (dirty & LODGE_ST_SEGS)
		commit_segs(&vcpu->st);
	if (dirty & LODGE_ST_CRS)
		commit_crs(vcpu);
	if (dirty & LODGE_ST_DRS)
		commit_drs(vcpu);
	if (dirty & LODGE_ST_MSRS)
		commit_msrs(vcpu);
	if (dirty & LODGE_ST_TSC) {
		vmx_write(VMCS_TSC_OFFSET, vcpu->st.tsc_offset);
		ratio = vcpu->tsc_ratio ?: VMX_TSC_RATIO_ONE;
		if (lodge_vmx.tsc_scaling && ratio != vmx->tsc_ratio) {
			vmx->tsc_ratio = ratio;
			vmx_write(VMCS_TSC_MULTIPLIER, ratio);
		}
	}
	vcpu->st_dirty = 0;
}

u64 vmx_wrapped_rip(struct lodge_vcpu *vcpu, u64 next)
{
	u32 cs = vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * VMCS_SEG_CS);

	if (lodge_is_long_mode(vcpu) && (cs & VMX_AR_L))
		return next;
	return cs & VMX_AR_DB ? (u32)next : (u16)next;
}
