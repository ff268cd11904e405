// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is in VMX operation on a CPU, and which VMCS is current there. Called through the
 * backend's table to take and give back CPUs, and by vmx/ around whatever touches a VMCS.
 * Per-CPU data is touched on its own CPU with interrupts off.
 *
 * A window finds one of three:
 *
 * - The CPU is in VMX operation because of us, from cpu_on() to cpu_off(). Only where the
 *   kernel lets a module tell it that CR4.VMXE is set ("kept"), and not where KVM is
 *   loaded, which would find VMX in use when it wants it for its first VM. A VMCS stays in
 *   the CPU's cache then ("active"), until its vCPU moves: that CPU must write it back by
 *   VMCLEAR before another may load it.
 * - It is in VMX operation because of somebody else. A VMCS of theirs may be current: it
 *   is noted, and made current again at the end ("borrowed"). Theirs stays launched.
 * - It is not: VMXON and VMXOFF are part of the window ("entered"). The kernel does not
 *   know of CR4.VMXE then, so it must be gone before anybody can change CR4.
 *
 * An active VMCS is so on vcpu->cpu.
 *
 * Intel SDM volume 3, "Enabling and Entering VMX Operation" and "Managing VMCS Regions
 * and Pointers".
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <asm/perf_event.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>

#include "../kernel_compat.h"
#include "vmx.h"

DEFINE_PER_CPU(struct vmx_cpu, lodge_vmx_cpu);

#define NO_VMCS		(~0ull)

void vmx_write_failed(enum vmcs_field field, u64 value)
{
	static enum vmcs_field told;

	if (told == field)
		return;
	told = field;
	pr_err("VMWRITE of %#llx to field %#x failed: error %llu\n", value, field,
	       vmx_read(VMCS_INSN_ERROR));
}

/* Switching VMX on must not fail for want of memory: CPUs may come at any time. */
int vmx_alloc_cpus(void)
{
	struct vmx_cpu *vc;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		vc = per_cpu_ptr(&lodge_vmx_cpu, cpu);
		vc->region = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		if (!vc->region)
			return -ENOMEM;
		*(u32 *)page_address(vc->region) = lodge_vmx.revision;
		vc->theirs = NO_VMCS;
		INIT_LIST_HEAD(&vc->active);
	}
	return 0;
}

void vmx_free_cpus(void)
{
	struct vmx_cpu *vc;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		vc = per_cpu_ptr(&lodge_vmx_cpu, cpu);
		if (vc->region)
			__free_page(vc->region);
		vc->region = NULL;
	}
}

/* Not the kernel's: its knowledge of CR4 must not change. */
static void write_cr4(unsigned long cr4)
{
	asm volatile("mov %0, %%cr4" : : "r" (cr4) : "memory");
}

static bool enter_operation(struct vmx_cpu *vc)
{
	unsigned long cr4;

	if (likely(vc->kept))
		return true;
	cr4 = vmx_read_cr4();
	/*
	 * Set, yet not in VMX operation: the instruction faults. Who set it was preempted on
	 * the way in or out, and finds it as it was.
	 */
	if ((cr4 & X86_CR4_VMXE) && vmx_store_ptr(&vc->theirs)) {
		vc->borrowed = true;
		return true;
	}
	vc->cr4 = cr4;
	write_cr4(cr4 | X86_CR4_VMXE);
	vc->entered = vmx_on(page_to_phys(vc->region));
	if (!vc->entered)
		write_cr4(cr4);
	return vc->entered;
}

static void leave_operation(struct vmx_cpu *vc)
{
	if (vc->borrowed) {
		if (vc->theirs != NO_VMCS)
			vmx_load_ptr(vc->theirs);
		vc->theirs = NO_VMCS;
		vc->borrowed = false;
	} else if (vc->entered) {
		vc->entered = false;
		vmx_off();
		write_cr4(vc->cr4);
	}
}

/* On the CPU that has it in its cache. */
static void deactivate(struct vmx_cpu *vc, struct vmx_vcpu *vmx)
{
	vmx_clear_ptr(vmx->vmcs_pa);
	vmx->sw.launched = false;
	list_del(&vmx->active_link);
	WRITE_ONCE(vmx->active_cpu, -1);
	if (vc->loaded == vmx)
		vc->loaded = NULL;
}

static void deactivate_ipi(void *info)
{
	struct vmx_vcpu *vmx = info;

	/* The CPU may have been taken off line, and on again. */
	if (vmx->active_cpu == smp_processor_id())
		deactivate(this_cpu_ptr(&lodge_vmx_cpu), vmx);
}

void vmx_call_in(struct vmx_vcpu *vmx, int here)
{
	int cpu = READ_ONCE(vmx->active_cpu);

	if (cpu >= 0 && cpu != here)
		smp_call_function_single(cpu, deactivate_ipi, vmx, 1);
}

bool vmx_acquire_anew(struct vmx_vcpu *vmx)
{
	struct vmx_cpu *vc = this_cpu_ptr(&lodge_vmx_cpu);

	if (unlikely(!enter_operation(vc)))
		return false;
	if (vc->loaded == vmx)
		return true;
	/* The first VMCLEAR makes what is but a page a VMCS. */
	if (unlikely(!vmx->cleared))
		vmx->cleared = vmx_clear_ptr(vmx->vmcs_pa);
	if (unlikely(!vmx_load_ptr(vmx->vmcs_pa))) {
		leave_operation(vc);
		return false;
	}
	vc->loaded = vmx;
	if (vmx->active_cpu < 0) {
		vmx->active_cpu = smp_processor_id();
		list_add(&vmx->active_link, &vc->active);
	}
	return true;
}

void vmx_release(struct vmx_vcpu *vmx, bool keep)
{
	struct vmx_cpu *vc = this_cpu_ptr(&lodge_vmx_cpu);

	if (likely(vc->kept && keep))
		return;
	deactivate(vc, vmx);
	leave_operation(vc);
}

#if LODGE_HAVE_CR4_UPDATE
/*
 * Where bit 14 of IA32_VMX_MISC is clear (Broadwell), VMXON faults while Processor Trace is on,
 * and tracing cannot be started afterwards: "Miscellaneous Data". Perf leaves it off
 * meanwhile. Elsewhere this does nothing. Not from an NMI, on the way to a crash kernel.
 */
static void stop_tracing(bool stop)
{
#if LODGE_HAVE_INTEL_PT
	if (!in_nmi())
		intel_pt_handle_vmx(stop);
#endif
}
#endif

int vmx_cpu_on(unsigned int cpu, bool share)
{
	struct vmx_cpu *vc = per_cpu_ptr(&lodge_vmx_cpu, cpu);
	bool lent;

	/* A vCPU may come from any other. */
	if (!vmx_cpu_fits()) {
		pr_err_ratelimited("CPU %u's VMX can less than that of another\n", cpu);
		return -EOPNOTSUPP;
	}

	/* Its caches may hold what another had there, or we before a power-down. */
	vc->stale = true;
	vc->last_vcpu = NULL;

#if LODGE_HAVE_CR4_UPDATE
	if (!share && !(vmx_read_cr4() & X86_CR4_VMXE)) {
		cr4_set_bits_irqsoff(X86_CR4_VMXE);
		stop_tracing(true);
		vc->kept = vmx_on(page_to_phys(vc->region));
		if (!vc->kept) {
			stop_tracing(false);
			cr4_clear_bits_irqsoff(X86_CR4_VMXE);
		}
		return vc->kept ? 0 : -EOPNOTSUPP;
	}
#endif
	/* Can it be had for a window? */
	if (!enter_operation(vc))
		return -EOPNOTSUPP;
	lent = vc->borrowed;
	leave_operation(vc);
	return lent;
}

/* Perhaps from an NMI, in the middle of a window, on the way to a crash kernel. */
void vmx_cpu_off(unsigned int cpu)
{
	struct vmx_cpu *vc = per_cpu_ptr(&lodge_vmx_cpu, cpu);
	struct vmx_vcpu *vmx, *next;

	/* What the CPU has cached of them must not reach memory later on. */
	list_for_each_entry_safe(vmx, next, &vc->active, active_link)
		deactivate(vc, vmx);
	leave_operation(vc);
#if LODGE_HAVE_CR4_UPDATE
	if (vc->kept) {
		vc->kept = false;
		vmx_off();
		cr4_clear_bits_irqsoff(X86_CR4_VMXE);
		stop_tracing(false);
	}
#endif
}
