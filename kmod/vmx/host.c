// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an exit does to the host's own state, and what of it the VMCS cannot restore.
 * Called by vmx/run.c at both ends of a window, with interrupts off and the VMCS current.
 *
 * Intel SDM volume 3, "Loading Host State": control registers, SYSENTER, PAT, EFER and
 * the bases of FS, GS, TR, GDTR and IDTR come from the VMCS. Selectors must have RPL and
 * TI 0, all segments get fixed limits and rights, LDTR becomes null, the limits of GDTR
 * and IDTR FFFFH, that of TR 67H, DR7 400H, and IA32_DEBUGCTL 0.
 */
#include <linux/irqflags.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/fsgsbase.h>
#include <asm/msr.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "../kernel_compat.h"
#include "../debug.h"
#include "vmx.h"

/* These MSRs are there, and nobody but the CPU is behind them: no need for paravirt's calls. */
static u64 read_msr(u32 msr)
{
	return __rdmsr(msr);
}

static void write_msr(u32 msr, u64 value)
{
	native_wrmsr(msr, (u32)value, (u32)(value >> 32));
}

/* What is the same whichever thread runs, but not on every CPU. */
static void write_cpu_fields(struct vmx_host *h, int cpu)
{
	vmx_write(VMCS_HOST_TR_BASE,
		  (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmx_write(VMCS_HOST_GS_BASE, read_msr(MSR_GS_BASE));
	vmx_write(VMCS_HOST_GDTR_BASE, h->gdt.address);
	vmx_write(VMCS_HOST_IDTR_BASE, h->idt.address);
	vmx_write(VMCS_HOST_SYSENTER_CS, (u32)read_msr(MSR_IA32_SYSENTER_CS));
	vmx_write(VMCS_HOST_SYSENTER_ESP, read_msr(MSR_IA32_SYSENTER_ESP));
	vmx_write(VMCS_HOST_SYSENTER_EIP, read_msr(MSR_IA32_SYSENTER_EIP));
	vmx_write(VMCS_HOST_CR0, read_cr0());
	vmx_write(VMCS_HOST_PAT, read_msr(MSR_IA32_CR_PAT));
	vmx_write(VMCS_HOST_EFER, read_msr(MSR_EFER));
}

static u64 read_fs_base(void)
{
	return boot_cpu_has(X86_FEATURE_FSGSBASE) ? rdfsbase() : read_msr(MSR_FS_BASE);
}

/* What depends on the thread. A field is written when it differs from the last window's. */
static void write_thread_fields(struct vmx_host *h, bool all)
{
	u64 cr3 = __read_cr3(), cr4 = vmx_read_cr4(), fs_base = read_fs_base();

	if (all || cr3 != h->cr3)
		vmx_write(VMCS_HOST_CR3, cr3);
	if (all || cr4 != h->cr4)
		vmx_write(VMCS_HOST_CR4, cr4);
	if (all || fs_base != h->fs_base)
		vmx_write(VMCS_HOST_FS_BASE, fs_base);
	h->cr3 = cr3;
	h->cr4 = cr4;
	h->fs_base = fs_base;

	savesegment(ds, h->ds);
	savesegment(es, h->es);
	savesegment(fs, h->fs);
	savesegment(gs, h->gs);
	store_ldt(h->ldt);
}

static void restore_segments(const struct vmx_host *h)
{
	/* First: the others may be from it. */
	if (unlikely(h->ldt))
		asm volatile("lldt %0" : : "rm" (h->ldt));
	if (unlikely(h->ds))
		loadsegment(ds, h->ds);
	if (unlikely(h->es))
		loadsegment(es, h->es);
	if (unlikely(h->fs)) {
		loadsegment(fs, h->fs);
		write_msr(MSR_FS_BASE, h->fs_base);
	}
	if (unlikely(h->gs))
		load_gs_index(h->gs);
	native_load_gdt(&h->gdt);
	native_load_idt(&h->idt);
	/* The I/O bitmap is beyond the limit that TR has now: reloaded when it is needed. */
	invalidate_tss_limit();
}

/*
 * Whatever is in these MSRs now must be there again: another hypervisor may have left a
 * guest's values in them until this CPU returns to user space.
 */
static void save_msrs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_host *h = &vmx->host;

	/* Often both are 0, and the question costs less than the write. */
	h->kernel_gs_base = read_msr(MSR_KERNEL_GS_BASE);
	if (h->kernel_gs_base != vmx->kernel_gs_base)
		write_msr(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
	vmx->msrs_changed = true;

	h->tsc_aux_saved = vmx->control[VMX_CPU2] & VMX_CPU2_RDTSCP;
	if (h->tsc_aux_saved) {
		h->tsc_aux = read_msr(MSR_TSC_AUX);
		if (h->tsc_aux != vcpu->st.tsc_aux)
			write_msr(MSR_TSC_AUX, vcpu->st.tsc_aux);
	}
}

void vmx_load_msrs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_host *h = &vmx->host;
	const struct lodge_state *st = &vcpu->st;

	vmx->msrs_changed = false;
	/* Without SYSCALL the guest has no use for them. */
	if (!h->syscall_saved) {
		if (!(st->efer & EFER_SCE))
			return;
		h->star = read_msr(MSR_STAR);
		h->lstar = read_msr(MSR_LSTAR);
		h->sfmask = read_msr(MSR_SYSCALL_MASK);
		h->syscall_saved = true;
	}
	write_msr(MSR_STAR, st->star);
	write_msr(MSR_LSTAR, st->lstar);
	write_msr(MSR_SYSCALL_MASK, st->sfmask);
}

static void restore_msrs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_host *h = &vmx->host;

	/* Loading GS has changed it. */
	if (vmx->kernel_gs_base != h->kernel_gs_base || unlikely(h->gs))
		write_msr(MSR_KERNEL_GS_BASE, h->kernel_gs_base);
	if (h->syscall_saved) {
		h->syscall_saved = false;
		write_msr(MSR_STAR, h->star);
		write_msr(MSR_LSTAR, h->lstar);
		write_msr(MSR_SYSCALL_MASK, h->sfmask);
	}
	if (h->tsc_aux_saved && h->tsc_aux != vcpu->st.tsc_aux)
		write_msr(MSR_TSC_AUX, h->tsc_aux);
}

/* The MSR is the whole core's: the kernel, too, lets a sibling go unwatched meanwhile. */
static void allow_split_lock(struct vmx_host *h)
{
	h->test_ctrl = read_msr(MSR_TEST_CTRL);
	write_msr(MSR_TEST_CTRL, h->test_ctrl & ~(u64)MSR_TEST_CTRL_SPLIT_LOCK_DETECT);
}

void vmx_host_open(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_host *h = &vmx->host;
	bool moved = vmx->last_cpu != vcpu->cpu;
	u64 perf = ~0ull;

	native_store_gdt(&h->gdt);
	store_idt(&h->idt);
	if (moved)
		write_cpu_fields(h, vcpu->cpu);
	write_thread_fields(h, moved);
	lodge_save_host_drs(&h->drs);
	save_msrs(vcpu);
	h->debugctl = read_msr(MSR_IA32_DEBUGCTLMSR);
	if (unlikely(vmx->split_lock))
		allow_split_lock(h);

	/* Counters stand still in the guest: what they count there belongs to nobody. */
	if (lodge_vmx.perf_global) {
		perf = read_msr(MSR_CORE_PERF_GLOBAL_CTRL);
		if (moved || perf != h->perf_global)
			vmx_write(VMCS_HOST_PERF_GLOBAL_CTRL, perf);
		h->perf_global = perf;
	}
	/*
	 * PEBS finishes a record after its counter has stopped, at an address that would
	 * then be the guest's: it wants to be off for a while before.
	 */
	h->pebs = 0;
	if (lodge_vmx.pebs && perf) {
		h->pebs = read_msr(MSR_IA32_PEBS_ENABLE);
		if (unlikely(h->pebs))
			write_msr(MSR_IA32_PEBS_ENABLE, 0);
	}
}

void vmx_host_close(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_host *h = &vmx->host;

	/*
	 * To load GS, the kernel makes what is in the MSR the base for a moment, in which an NMI
	 * takes any high address for its own: it must be the host's. The load changes it, too.
	 */
	vmx->kernel_gs_base = read_msr(MSR_KERNEL_GS_BASE);
	if (unlikely(h->gs))
		write_msr(MSR_KERNEL_GS_BASE, h->kernel_gs_base);
	restore_segments(h);
	restore_msrs(vcpu);
	lodge_restore_host_drs(&h->drs, vmx->drs_loaded);
	if (unlikely(h->debugctl))
		write_msr(MSR_IA32_DEBUGCTLMSR, h->debugctl);
	if (unlikely(h->pebs))
		write_msr(MSR_IA32_PEBS_ENABLE, h->pebs);
	if (unlikely(vmx->split_lock)) {
		vmx->split_lock = false;
		write_msr(MSR_TEST_CTRL, h->test_ctrl);
	}
}

/*
 * "Acknowledge interrupt on exit": the local APIC has the vector in service, but the CPU has
 * not gone through its gate. Gates of interrupts have no stack of their own.
 */
void vmx_host_interrupt(struct vmx_host *h, u8 vector)
{
	const gate_desc *gates = (const gate_desc *)h->idt.address;

	lodge_vmx_host_interrupt(gate_offset(&gates[vector]));
	local_irq_disable();
}
