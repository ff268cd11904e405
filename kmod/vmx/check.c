// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a VM entry failed: the rules of Intel SDM volume 3, "VM Entries", applied to what
 * the VMCS has, each violated one named in the log. Called by vmx/run.c after a failed
 * entry, and before each in a debug build: in the window, with interrupts off and the VMCS
 * current. Changes nothing.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/printk.h>
#include <linux/sched.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "../kernel_compat.h"
#include "../check.h"
#include "../events.h"
#include "../state.h"
#include "vmx.h"

/* The bits above the @more lowest ones beyond the linear address are alike. */
static bool extended(u64 va, unsigned int more)
{
	unsigned int unused = (boot_cpu_has(X86_FEATURE_LA57) ? 7 : 16) - more;

	return (u64)((s64)(va << unused) >> unused) == va;
}

static bool canonical(u64 va)
{
	return extended(va, 0);
}

static bool control_valid(enum vmx_control which, u64 value)
{
	return !(value & ~(u64)lodge_vmx.allowed1[which]) &&
	       !(lodge_vmx.allowed0[which] & ~value);
}

/* "Checks on VM-Execution Control Fields" and the two sections that follow it. */
static unsigned int check_controls(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 cpu = vmx_read(VMCS_CPU_CONTROLS), cpu2 = vmx_read(VMCS_CPU_CONTROLS2);
	u32 pin = vmx_read(VMCS_PIN_CONTROLS);
	u64 eptp = vmx_read(VMCS_EPT_POINTER);
	unsigned int broken = 0;

	RULE(control_valid(VMX_PIN, pin), "pin-based controls that the CPU does not have");
	RULE(control_valid(VMX_CPU, cpu), "processor-based controls that the CPU does not have");
	RULE(control_valid(VMX_CPU2, cpu2), "secondary controls that the CPU does not have");
	RULE(control_valid(VMX_EXIT, vmx_read(VMCS_EXIT_CONTROLS)),
	     "VM-exit controls that the CPU does not have");
	RULE(control_valid(VMX_ENTRY, vmx_read(VMCS_ENTRY_CONTROLS)),
	     "VM-entry controls that the CPU does not have");
	RULE(vmx_read(VMCS_CR3_TARGET_COUNT) <= 4, "CR3-target count above 4");
	RULE(!(vmx_read(VMCS_MSR_BITMAP) & 0xfff), "MSR bitmap not on a page");
	RULE(!(cpu & VMX_CPU_TPR_SHADOW) || !(vmx_read(VMCS_VIRTUAL_APIC_ADDR) & 0xfff),
	     "virtual-APIC page not on a page");
	RULE(!(cpu & VMX_CPU_TPR_SHADOW) || vmx_read(VMCS_TPR_THRESHOLD) <= vcpu->cr8,
	     "TPR threshold above the TPR");
	RULE(!(cpu2 & (VMX_CPU2_DIRECT | VMX_CPU2_X2APIC)) || (cpu & VMX_CPU_TPR_SHADOW),
	     "APIC virtualization without the TPR shadow");
	RULE((cpu2 & VMX_CPU2_DIRECT_MODE) != VMX_CPU2_DIRECT_MODE,
	     "APIC accesses virtualized together with x2APIC mode");
	RULE(!(cpu2 & VMX_CPU2_APIC_ACCESSES) || !(vmx_read(VMCS_APIC_ACCESS_ADDR) & 0xfff),
	     "APIC-access page not on a page");
	RULE(!(cpu2 & VMX_CPU2_INTERRUPT_DELIVERY) || (pin & VMX_PIN_EXTERNAL_INTERRUPT),
	     "virtual-interrupt delivery without external-interrupt exiting");
	RULE(!(pin & VMX_PIN_POSTED_INTERRUPTS) ||
	     ((cpu2 & VMX_CPU2_INTERRUPT_DELIVERY) &&
	      (vmx_read(VMCS_EXIT_CONTROLS) & VMX_EXIT_ACK_INTERRUPT) &&
	      !(vmx_read(VMCS_POSTED_ADDR) & 0x3f) && vmx_read(VMCS_NOTIFICATION_VECTOR) < 256),
	     "posted interrupts without what they need");
	RULE(!(pin & VMX_PIN_VIRTUAL_NMI) || (pin & VMX_PIN_NMI),
	     "virtual NMIs without NMI exiting");
	RULE(!(cpu & VMX_CPU_NMI_WINDOW) || (pin & VMX_PIN_VIRTUAL_NMI),
	     "NMI-window exiting without virtual NMIs");
	RULE(!(cpu2 & VMX_CPU2_PML) || !(vmx_read(VMCS_PML_ADDRESS) & 0xfff),
	     "page-modification log not on a page");
	RULE(!(cpu2 & VMX_CPU2_VPID) || vmx_read(VMCS_VPID), "VPID 0");
	RULE(within_maxphyaddr(eptp) && (eptp & 0xfbf) == (VMX_EPTP_WB | VMX_EPTP_4_LEVELS) &&
	     (!(eptp & VMX_EPTP_AD) || lodge_vmx.ept_ad), "EPT pointer");
	RULE(vmx->sw.launched <= 1, "launch state");
	return broken;
}

/* "VM-Entry Control Fields": the event to be injected. */
static unsigned int check_event(struct lodge_vcpu *vcpu)
{
	u32 event = vmx_read(VMCS_ENTRY_INTERRUPTION);
	u32 blocked = vmx_read(VMCS_GUEST_INTERRUPTIBILITY);
	u32 type = VMX_EVENT_TYPE_OF(event), vector = event & VMX_EVENT_VECTOR;
	u64 len = vmx_read(VMCS_ENTRY_INSN_LENGTH);
	bool wants_error, soft = type >= VMX_TYPE_SOFT_INTERRUPT;
	unsigned int broken = 0;

	if (!(event & VMX_EVENT_VALID))
		return 0;
	wants_error = type == VMX_TYPE_EXCEPTION && vector < 32 &&
		      (LODGE_HAVE_ERROR_CODE & BIT(vector)) &&
		      (vmx_read(VMCS_GUEST_CR0) & X86_CR0_PE);
	RULE(type != 1 && type != 7, "event of a reserved type");
	RULE(type != VMX_TYPE_NMI || vector == X86_TRAP_NMI, "NMI with another vector");
	RULE(type != VMX_TYPE_EXCEPTION || vector < 32, "exception with a vector above 31");
	RULE(wants_error == !!(event & VMX_EVENT_ERROR),
	     "event with an error code that it should not have, or without one");
	RULE(!(event & VMX_EVENT_ERROR) || !(vmx_read(VMCS_ENTRY_ERROR_CODE) >> 16),
	     "error code of more than 16 bits");
	RULE(!soft || (len <= 15 && (len || lodge_vmx.empty_soft_event)),
	     "length of the instruction that an event belongs to");
	RULE(type != VMX_TYPE_INTERRUPT || (vmx_read(VMCS_GUEST_RFLAGS) & X86_EFLAGS_IF),
	     "interrupt while RFLAGS.IF is clear");
	RULE(type != VMX_TYPE_INTERRUPT ||
	     !(blocked & (VMX_BLOCKED_BY_STI | VMX_BLOCKED_BY_MOV_SS)),
	     "interrupt in an interrupt shadow");
	RULE(type != VMX_TYPE_NMI || !(blocked & VMX_BLOCKED_BY_MOV_SS),
	     "NMI in the shadow of MOV SS");
	RULE(type != VMX_TYPE_NMI || !(blocked & VMX_BLOCKED_BY_NMI),
	     "NMI while NMIs are blocked");
	return broken;
}

/* "Checks on the Host State Area" */
static unsigned int check_host(struct lodge_vcpu *vcpu)
{
	u64 cr4 = vmx_read(VMCS_HOST_CR4);
	unsigned int broken = 0;

	RULE(!(vmx_read(VMCS_HOST_CR0) & ~lodge_vmx.cr0_fixed1), "host CR0");
	RULE((cr4 & lodge_vmx.cr4_fixed0) == lodge_vmx.cr4_fixed0 &&
	     !(cr4 & ~lodge_vmx.cr4_fixed1), "host CR4");
	RULE(within_maxphyaddr(vmx_read(VMCS_HOST_CR3)), "host CR3");
	RULE(pat_valid(vmx_read(VMCS_HOST_PAT)), "host PAT");
	RULE((vmx_read(VMCS_HOST_EFER) & (EFER_LMA | EFER_LME)) == (EFER_LMA | EFER_LME),
	     "host EFER");
	RULE(vmx_read(VMCS_HOST_CS_SELECTOR) && !(vmx_read(VMCS_HOST_CS_SELECTOR) & 7),
	     "host CS");
	RULE(vmx_read(VMCS_HOST_TR_SELECTOR) && !(vmx_read(VMCS_HOST_TR_SELECTOR) & 7),
	     "host TR");
	RULE(!(vmx_read(VMCS_HOST_SS_SELECTOR) & 7), "host SS");
	RULE(canonical(vmx_read(VMCS_HOST_FS_BASE)), "host FS base");
	RULE(canonical(vmx_read(VMCS_HOST_GS_BASE)), "host GS base");
	RULE(canonical(vmx_read(VMCS_HOST_TR_BASE)), "host TR base");
	RULE(canonical(vmx_read(VMCS_HOST_GDTR_BASE)), "host GDTR base");
	RULE(canonical(vmx_read(VMCS_HOST_IDTR_BASE)), "host IDTR base");
	RULE(canonical(vmx_read(VMCS_HOST_SYSENTER_ESP)), "host SYSENTER_ESP");
	RULE(canonical(vmx_read(VMCS_HOST_SYSENTER_EIP)), "host SYSENTER_EIP");
	RULE(canonical(vmx_read(VMCS_HOST_RIP)), "host RIP");
	return broken;
}

/* "Checks on Guest Control Registers, Debug Registers, and MSRs" */
static unsigned int check_guest_registers(struct lodge_vcpu *vcpu)
{
	u64 cr0 = vmx_read(VMCS_GUEST_CR0), cr4 = vmx_read(VMCS_GUEST_CR4);
	u64 efer = vmx_read(VMCS_GUEST_EFER);
	bool long_mode = vmx_read(VMCS_ENTRY_CONTROLS) & VMX_ENTRY_GUEST_64;
	unsigned int broken = 0;

	RULE(!(cr0 & ~lodge_vmx.cr0_fixed1) && (cr0 & X86_CR0_NE), "fixed bits of CR0");
	RULE(!(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE), "CR0.PG without PE");
	RULE((cr4 & lodge_vmx.cr4_fixed0) == lodge_vmx.cr4_fixed0 &&
	     !(cr4 & ~lodge_vmx.cr4_fixed1), "fixed bits of CR4");
	RULE(!long_mode || ((cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE)),
	     "long mode without paging, or without CR4.PAE");
	RULE(long_mode || !(cr4 & X86_CR4_PCIDE), "CR4.PCIDE outside of long mode");
	RULE(within_maxphyaddr(vmx_read(VMCS_GUEST_CR3)), "CR3");
	RULE(!(vmx_read(VMCS_GUEST_DR7) >> 32), "DR7");
	RULE(canonical(vmx_read(VMCS_GUEST_SYSENTER_ESP)), "SYSENTER_ESP");
	RULE(canonical(vmx_read(VMCS_GUEST_SYSENTER_EIP)), "SYSENTER_EIP");
	RULE(pat_valid(vmx_read(VMCS_GUEST_PAT)), "PAT");
	RULE(!(efer & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX)), "reserved bits of EFER");
	RULE(!!(efer & EFER_LMA) == long_mode, "EFER.LMA and the VM-entry control differ");
	RULE(!(cr0 & X86_CR0_PG) || !(efer & EFER_LMA) == !(efer & EFER_LME),
	     "EFER.LMA and LME differ with paging");
	return broken;
}

struct segment {
	u64 base;
	u32 limit, ar;
	u16 selector;
	u8 type, dpl;
	bool usable;
};

static struct segment read_segment(enum vmcs_segment i)
{
	u32 ar = vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * i);

	return (struct segment) {
		.base = vmx_read(VMCS_GUEST_BASE + 2 * i),
		.limit = vmx_read(VMCS_GUEST_LIMIT + 2 * i),
		.selector = vmx_read(VMCS_GUEST_SELECTOR + 2 * i),
		.ar = ar,
		.type = ar & VMX_AR_TYPE,
		.dpl = (ar >> 5) & 3,
		.usable = !(ar & VMX_AR_UNUSABLE),
	};
}

/* P, the reserved bits, and a G that fits the limit. */
static bool common_rights(const struct segment *s)
{
	bool g = s->ar & VMX_AR_G;

	return (s->ar & VMX_AR_P) && !(s->ar & 0xfffe0f00) &&
	       ((s->limit & 0xfff) == 0xfff || !g) && (!(s->limit >> 20) || g);
}

static unsigned int check_v8086(struct lodge_vcpu *vcpu)
{
	unsigned int broken = 0, i;
	struct segment s;

	for (i = VMCS_SEG_ES; i <= VMCS_SEG_GS; i++) {
		s = read_segment(i);
		RULE(s.base == (u64)s.selector << 4 && s.limit == 0xffff && s.ar == 0xf3,
		     "segment in virtual-8086 mode");
	}
	return broken;
}

static unsigned int check_code_and_stack(struct lodge_vcpu *vcpu, bool long_mode)
{
	struct segment cs = read_segment(VMCS_SEG_CS), ss = read_segment(VMCS_SEG_SS);
	bool real = !(vmx_read(VMCS_GUEST_CR0) & X86_CR0_PE);
	unsigned int broken = 0;

	RULE(cs.type == 3 || (cs.type & 9) == 9, "type of CS");
	RULE(cs.ar & VMX_AR_S, "CS is a system segment");
	RULE(cs.type != 3 || !cs.dpl, "DPL of a CS that is data");
	RULE((cs.type & 0xd) != 9 || cs.dpl == ss.dpl, "DPL of CS is not that of SS");
	RULE((cs.type & 0xd) != 0xd || cs.dpl <= ss.dpl, "DPL of CS above that of SS");
	RULE(common_rights(&cs), "P, G or reserved bits of CS");
	RULE(!long_mode || !(cs.ar & VMX_AR_L) || !(cs.ar & VMX_AR_DB), "CS with L and D");
	RULE(!(cs.base >> 32), "base of CS");
	RULE(!(real || cs.type == 3) || !ss.dpl, "DPL of SS in real mode");
	if (!ss.usable)
		return broken;
	RULE(ss.type == 3 || ss.type == 7, "type of SS");
	RULE(ss.ar & VMX_AR_S, "SS is a system segment");
	RULE(common_rights(&ss), "P, G or reserved bits of SS");
	RULE(!(ss.base >> 32), "base of SS");
	return broken;
}

static unsigned int check_data(struct lodge_vcpu *vcpu)
{
	static const enum vmcs_segment data[] = {
		VMCS_SEG_DS, VMCS_SEG_ES, VMCS_SEG_FS, VMCS_SEG_GS
	};
	unsigned int broken = 0, i;
	struct segment s;

	for (i = 0; i < ARRAY_SIZE(data); i++) {
		s = read_segment(data[i]);
		if (data[i] == VMCS_SEG_FS || data[i] == VMCS_SEG_GS)
			RULE(canonical(s.base), "base of FS or GS");
		else
			RULE(!s.usable || !(s.base >> 32), "base of DS or ES");
		RULE(!s.usable || ((s.type & 1) && (s.type & 10) != 8),
		     "type of DS, ES, FS or GS");
		RULE(!s.usable || (s.ar & VMX_AR_S), "DS, ES, FS or GS is a system segment");
		RULE(!s.usable || common_rights(&s), "P, G or reserved bits of DS, ES, FS or GS");
	}
	return broken;
}

/* "Checks on Guest Segment Registers", and on the descriptor-table registers */
static unsigned int check_guest_segments(struct lodge_vcpu *vcpu)
{
	bool long_mode = vmx_read(VMCS_ENTRY_CONTROLS) & VMX_ENTRY_GUEST_64;
	struct segment tr = read_segment(VMCS_SEG_TR), ldtr = read_segment(VMCS_SEG_LDTR);
	unsigned int broken = 0;

	if (vmx_read(VMCS_GUEST_RFLAGS) & X86_EFLAGS_VM)
		broken += check_v8086(vcpu);
	else
		broken += check_code_and_stack(vcpu, long_mode) + check_data(vcpu);
	RULE(tr.usable && !(tr.selector & 4) && canonical(tr.base), "TR");
	RULE(tr.type == 11 || (!long_mode && tr.type == 3), "type of TR");
	RULE(!(tr.ar & VMX_AR_S) && common_rights(&tr), "S, P, G or reserved bits of TR");
	RULE(!ldtr.usable || (!(ldtr.selector & 4) && canonical(ldtr.base)), "LDTR");
	RULE(!ldtr.usable || (ldtr.type == 2 && !(ldtr.ar & VMX_AR_S) && common_rights(&ldtr)),
	     "rights of LDTR");
	RULE(canonical(vmx_read(VMCS_GUEST_GDTR_BASE)) &&
	     !(vmx_read(VMCS_GUEST_GDTR_LIMIT) >> 16), "GDTR");
	RULE(canonical(vmx_read(VMCS_GUEST_IDTR_BASE)) &&
	     !(vmx_read(VMCS_GUEST_IDTR_LIMIT) >> 16), "IDTR");
	return broken;
}

/* "Checks on Guest RIP, RFLAGS, and SSP" and "on Guest Non-Register State" */
static unsigned int check_guest_rest(struct lodge_vcpu *vcpu)
{
	bool long_mode = vmx_read(VMCS_ENTRY_CONTROLS) & VMX_ENTRY_GUEST_64;
	bool long64 = long_mode &&
		      (vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * VMCS_SEG_CS) & VMX_AR_L);
	u64 rip = vmx_read(VMCS_GUEST_RIP), rflags = vmx_read(VMCS_GUEST_RFLAGS);
	u32 blocked = vmx_read(VMCS_GUEST_INTERRUPTIBILITY);
	u32 activity = vmx_read(VMCS_GUEST_ACTIVITY);
	u64 pending = vmx_read(VMCS_GUEST_PENDING_DEBUG);
	unsigned int broken = 0;

	/* It may be just behind the last canonical address. */
	RULE(long64 ? extended(rip, 1) : !(rip >> 32), "RIP");
	RULE(!(rflags & ~0x3f7fd7ull) && (rflags & X86_EFLAGS_FIXED), "reserved bits of RFLAGS");
	RULE(!(rflags & X86_EFLAGS_VM) ||
	     (!long_mode && (vmx_read(VMCS_GUEST_CR0) & X86_CR0_PE)),
	     "RFLAGS.VM in long or real mode");
	RULE(!(blocked >> 5), "reserved bits of the interruptibility state");
	RULE((blocked & 3) != 3, "blocking by STI and MOV SS at once");
	RULE(!(blocked & VMX_BLOCKED_BY_STI) || (rflags & X86_EFLAGS_IF),
	     "blocking by STI with RFLAGS.IF clear");
	RULE(!(blocked & 3) || !(pending & VMX_PENDING_BS) == !(rflags & X86_EFLAGS_TF),
	     "pending single-step trap that RFLAGS.TF does not explain");
	RULE(activity == VMX_ACTIVE || (activity == VMX_HALTED && !(blocked & 3)),
	     "activity state");
	RULE(vmx_read(VMCS_LINK_POINTER) == ~0ull, "VMCS link pointer");
	return broken;
}

unsigned int vmx_check_entry(struct lodge_vcpu *vcpu)
{
	return check_controls(vcpu) + check_event(vcpu) + check_host(vcpu) +
	       check_guest_registers(vcpu) + check_guest_segments(vcpu) +
	       check_guest_rest(vcpu);
}

void vmx_explain_failed_entry(struct lodge_vcpu *vcpu)
{
	if (!vmx_check_entry(vcpu))
		pr_err_ratelimited("vCPU %u: VM entry failed, but breaks no rule that is known here\n",
				   vcpu->id);
}
