// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMX: the window and the world switch. Called by kmod/run.c with interrupts off, and
 * vmx_come() with preemption off, on the CPU that runs the guest, by the vCPU's thread.
 */
#include <linux/io.h>
#include <linux/sched.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/spec-ctrl.h>
#include <asm/special_insns.h>
#include <asm/trapnr.h>
#include <uapi/asm/vmx.h>

#include "../kernel_compat.h"
#include "../check.h"
#include "../guest_time.h"
#include "../debug.h"
#include "../events.h"
#include "../exits.h"
#include "../state.h"
#include "vmx.h"

/* vmx/entry.S knows these offsets by number. */
static_assert(offsetof(struct vmx_switch, host_rsp) == 8);
static_assert(offsetof(struct vmx_switch, host_spec_ctrl) == 16);
static_assert(offsetof(struct vmx_switch, guest_spec_ctrl) == 20);
static_assert(offsetof(struct vmx_switch, swap_spec_ctrl) == 24);
static_assert(offsetof(struct vmx_switch, save_spec_ctrl) == 28);
static_assert(offsetof(struct vmx_switch, launched) == 32);
static_assert(offsetof(struct vmx_switch, failed) == 36);
static_assert(offsetof(struct vmx_switch, verw) == 40);

/* Where in the virtual-APIC page the TPR is: Intel SDM volume 3, "Virtual APIC State". */
#define APIC_PAGE_TPR	0x80

#define MAX_VPID	0xffffu

/* Drops all that this CPU has cached of any guest's translations. */
static noinline void flush_all(struct vmx_cpu *vc)
{
	if (lodge_vmx.ept_caps & VMX_EPT_CAP_INVEPT_ALL)
		vmx_invept(VMX_INV_ALL, 0);
	if (lodge_vmx.vpid)
		vmx_invvpid(VMX_INV_ALL, 0);
	vc->vpid_generation++;
	vc->next_vpid = 1;	/* 0 is the host's */
}

/* Drops what is derived from this VM's stage 2, for every VPID. */
static noinline void flush_stage2(struct lodge_vcpu *vcpu)
{
	if (lodge_vmx.ept_caps & VMX_EPT_CAP_INVEPT_SINGLE)
		vmx_invept(VMX_INV_SINGLE, vmx_eptp(vcpu));
	else
		vmx_invept(VMX_INV_ALL, 0);
}

/* Without VPIDs every entry and exit does this. */
static noinline void flush_guest(struct vmx_vcpu *vmx)
{
	if (!lodge_vmx.vpid)
		return;
	if (lodge_vmx.ept_caps & VMX_EPT_CAP_INVVPID_SINGLE)
		vmx_invvpid(VMX_INV_SINGLE, vmx->vpid);
	else
		vmx->vpid_generation = 0;	/* take a new one */
}

/* One that no vCPU has had on this CPU since everything was dropped there. */
static void new_vpid(struct vmx_vcpu *vmx, struct vmx_cpu *vc)
{
	if (vc->next_vpid > MAX_VPID)
		flush_all(vc);
	vmx->vpid_generation = vc->vpid_generation;
	vmx->vpid = vc->next_vpid++;
	if (lodge_vmx.vpid)
		vmx_write(VMCS_VPID, vmx->vpid);
}

/* The guest enabled a breakpoint, or user space did on its behalf. */
static bool drs_in_use(struct lodge_vcpu *vcpu)
{
	u64 dr7 = vcpu->st_dirty & LODGE_ST_DRS ? lodge_effective_dr7(vcpu) :
						  to_vmx(vcpu)->dr7;

	return dr7 & (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK);
}

/* DR0 to DR3 and DR6 are not part of the VMCS. */
static void load_drs(struct lodge_vcpu *vcpu)
{
	const u64 *dr = vcpu->debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->dbg.dr : vcpu->st.dr;
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	lodge_load_breakpoints(dr);
	set_debugreg(vcpu->debug ? DR6_ACTIVE_LOW : vcpu->st.dr6, 6);
	vmx->drs_loaded = true;
	/* Under a debugger the guest's accesses exit, and reach vcpu->st. */
	if (!vcpu->debug)
		vmx_control(vmx, VMX_CPU, VMX_CPU_MOV_DR, false);
}

static void unload_drs(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (vcpu->debug)
		return;
	vmx_control(vmx, VMX_CPU, VMX_CPU_MOV_DR, true);
	/* Those of an event that was staged but not entered with are newer than the CPU's. */
	if (vcpu->st_dirty & LODGE_ST_DRS)
		return;
	lodge_read_breakpoints(vcpu->st.dr);
	get_debugreg(vcpu->st.dr6, 6);
	vmx->dr7 = vmx_read(VMCS_GUEST_DR7);
}

/* Against what one guest could learn of another, or do to it, by speculation. */
static void open_barriers(struct lodge_vcpu *vcpu, struct vmx_cpu *vc)
{
	lodge_branch_barriers(&vc->last_vcpu, vcpu);

	/* What the host has read since the last window is not for the guest (L1TF). */
	if (lodge_vmx.flush_l1d)
		wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);

	if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL))
		to_vmx(vcpu)->sw.host_spec_ctrl = (u32)this_cpu_read(x86_spec_ctrl_current);
}

/* To another CPU: the one that had it gives the VMCS back first. */
void vmx_come(struct lodge_vcpu *vcpu)
{
	vmx_call_in(to_vmx(vcpu), smp_processor_id());
}

void vmx_window_open(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_cpu *vc = this_cpu_ptr(&lodge_vmx_cpu);

	vmx->lost = !vmx_acquire(vmx);
	if (unlikely(vmx->lost)) {
		lodge_vm_kill(vcpu->vm, "the CPU refuses VMX operation, or the VMCS");
		return;
	}
	vmx->in_window = true;
	if (unlikely(!vmx->filled))
		vmx_fill(vcpu);
	if (unlikely(vc->stale)) {
		vc->stale = false;
		flush_all(vc);
	}

	vmx_host_open(vcpu);
	if (vmx->last_cpu != vcpu->cpu) {
		/* This CPU may have cached what was true when the vCPU, or VM, was here. */
		vmx->last_cpu = vcpu->cpu;
		vmx->vpid_generation = 0;
		flush_stage2(vcpu);
	}
	open_barriers(vcpu, vc);
	if (unlikely(vcpu->dr_touched || drs_in_use(vcpu))) {
		load_drs(vcpu);
		vcpu->dr_touched = false;
	}
}

/*
 * "Page-Modification Logging": the CPU fills its page from the end, and the index is that of
 * the next entry, or wraps when there is none.
 */
static void take_log(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned int next = (u16)vmx_read(VMCS_PML_INDEX), first = 0;

	if (next < VMX_PML_ENTRIES)
		first = next + 1;
	if (likely(first == VMX_PML_ENTRIES))
		return;
	vmx_write(VMCS_PML_INDEX, VMX_PML_ENTRIES - 1);
	lodge_dirty_logged(vcpu, vmx->pml + first, VMX_PML_ENTRIES - first);
}

void vmx_window_close(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (unlikely(vmx->lost))
		return;
	if (unlikely(vmx->drs_loaded))
		unload_drs(vcpu);
	vmx_host_close(vcpu);
	vmx->drs_loaded = false;
	if (vmx->pml)
		take_log(vcpu);

	/*
	 * An event that was staged but not entered with: vcpu->ev still has it for the next
	 * window, unless user space or a reset takes it away before.
	 */
	if (unlikely(vmx->inject)) {
		vmx->inject = 0;
		vmx_write(VMCS_ENTRY_INTERRUPTION, 0);
	}
	vmx->in_window = false;
	vmx_release(vmx, true);

	/* All is the host's again, and interrupts are off, as where the CPU delivers one. */
	if (vmx->host_vector) {
		vmx_host_interrupt(&vmx->host, vmx->host_vector);
		vmx->host_vector = 0;
	}
}

static void write_controls(struct vmx_vcpu *vmx)
{
	static const enum vmcs_field fields[VMX_NR_CONTROLS] = {
		[VMX_PIN]	 = VMCS_PIN_CONTROLS,
		[VMX_CPU]	 = VMCS_CPU_CONTROLS,
		[VMX_CPU2]	 = VMCS_CPU_CONTROLS2,
		[VMX_EXIT]	 = VMCS_EXIT_CONTROLS,
		[VMX_ENTRY]	 = VMCS_ENTRY_CONTROLS,
		[VMX_EXCEPTIONS] = VMCS_EXCEPTION_BITMAP,
	};
	unsigned int i;

	for (i = 0; i < VMX_NR_CONTROLS; i++) {
		if (vmx->control[i] == vmx->written[i])
			continue;
		vmx->written[i] = vmx->control[i];
		vmx_write(fields[i], vmx->written[i]);
	}
	vmx->control_changed = false;
}

/*
 * What holds interrupts and NMIs back. Intel SDM volume 3, "Checks on Guest Non-Register
 * State": not by STI and MOV SS at once, by STI only with IF, and not by an NMI when one
 * is injected: the injection blocks further ones itself. The delivery of an exception ends
 * the shadows; and if it is the trap of TF, after STI, no other one can be said to wait.
 */
static u32 interruptibility(const struct lodge_vcpu *vcpu)
{
	const struct lodge_events *ev = &vcpu->ev;
	u32 state = 0;

	if (unlikely(ev->shadow) && !ev->ex.injected) {
		if (ev->shadow & KVM_X86_SHADOW_INT_MOV_SS)
			state = VMX_BLOCKED_BY_MOV_SS;
		else if (vcpu->st.rflags & X86_EFLAGS_IF)
			state = VMX_BLOCKED_BY_STI;
	}
	if (unlikely(ev->nmi_masked) && !ev->nmi_injected)
		state |= VMX_BLOCKED_BY_NMI;
	return state;
}

/*
 * Where HLT does not exit, an exit finds the guest still halted, and the next entry goes on
 * with that: until an event is injected, or user space has the guest do something else.
 */
static void wake(struct vmx_vcpu *vmx)
{
	if (likely(!vmx->halted))
		return;
	vmx->halted = false;
	vmx_write(VMCS_GUEST_ACTIVITY, VMX_ACTIVE);
}

/*
 * What blocks, and with it the debug exceptions that waited: they belonged to the instruction
 * before. Where something is blocked, the trap flag's must be there or not as TF is: "Checks
 * on Guest Non-Register State".
 */
static noinline void write_blocking(struct lodge_vcpu *vcpu, u32 blocked)
{
	u64 pending = 0;

	if ((blocked & (VMX_BLOCKED_BY_STI | VMX_BLOCKED_BY_MOV_SS)) &&
	    (vcpu->st.rflags & X86_EFLAGS_TF))
		pending = VMX_PENDING_BS;
	to_vmx(vcpu)->interruptibility = blocked;
	vmx_write(VMCS_GUEST_INTERRUPTIBILITY, blocked);
	vmx_write(VMCS_GUEST_PENDING_DEBUG, pending);
}

/* Registers that changed since the last exit. */
static void write_registers(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	const struct lodge_state *st = &vcpu->st;
	u64 rip = vcpu->ev.soft_injected ? vcpu->ev.soft_from : st->rip;
	u32 blocked = interruptibility(vcpu);
	u64 flags = st->rflags ^ vmx->rflags;

	if (rip != vmx->rip || blocked != vmx->interruptibility ||
	    unlikely(flags & X86_EFLAGS_TF)) {
		vmx->rip = rip;
		wake(vmx);
		vmx_write(VMCS_GUEST_RIP, rip);
		if (unlikely(blocked || vmx->interruptibility || !vmx->exit_was_fault_like))
			write_blocking(vcpu, blocked);
	}
	if (st->gpr[4] != vmx->rsp) {
		vmx->rsp = st->gpr[4];
		vmx_write(VMCS_GUEST_RSP, vmx->rsp);
	}
	if (flags) {
		vmx->rflags = st->rflags;
		vmx_write(VMCS_GUEST_RFLAGS, vmx->rflags);
	}
}

static noinline void write_threshold(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 threshold = vmx->tpr_window ? vcpu->cr8 : 0;

	if (threshold != vmx->tpr_threshold) {
		vmx->tpr_threshold = threshold;
		vmx_write(VMCS_TPR_THRESHOLD, threshold);
	}
}

/* The TPR shadow: the guest's CR8, and below which value it exits. */
static void write_tpr(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	((u8 *)vmx->apic_page)[APIC_PAGE_TPR] = vcpu->cr8 << 4;
	if (unlikely(vmx->tpr_window || vmx->tpr_threshold))
		write_threshold(vcpu);
}

/*
 * Intel SDM volume 3, "APIC Virtualization and Virtual Interrupts": the CPU itself takes
 * vectors from IRR to ISR and ends them, in the LAPIC's own page.
 */
static noinline void write_direct(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lapic *l = vcpu->lapic;
	u8 requested, in_service;
	u64 exits[4];
	unsigned int i;

	memcpy(exits, vmx->eoi_exits, sizeof(exits));
	lapic_give_direct(l, &requested, &in_service, exits);
	vmx_write(VMCS_GUEST_INTERRUPT_STATUS, VMX_STATUS(requested, in_service));
	for (i = 0; i < ARRAY_SIZE(exits); i++) {
		if (exits[i] == vmx->eoi_exits[i])
			continue;
		vmx->eoi_exits[i] = exits[i];
		vmx_write(VMCS_EOI_EXIT_BITMAP0 + 2 * i, exits[i]);
	}
}

/* The LAPIC has come into the CPU's hands, or has left them. */
static void switch_direct(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->direct = vcpu->lapic->direct;
	vmx->tpr_threshold = 0;
	vmx_write(VMCS_TPR_THRESHOLD, 0);
	vmx_write(VMCS_VIRTUAL_APIC_ADDR,
		  virt_to_phys(vmx->direct ? vcpu->lapic->regs : vmx->apic_page));
	vcpu->lapic->direct_stale = true;
}

static void write_lapic(struct lodge_vcpu *vcpu)
{
	struct lapic *l = vcpu->lapic;

	if (unlikely(to_vmx(vcpu)->direct != l->direct))
		switch_direct(vcpu);
	if (!l->direct) {
		write_tpr(vcpu);
		return;
	}
	lapic_remember(l);
	lapic_collect(l);
	if (l->direct_stale)
		write_direct(vcpu);
}

static void take_lapic(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 status;

	if (!vmx->direct) {
		lodge_take_cr8(vcpu, ((u8 *)vmx->apic_page)[APIC_PAGE_TPR] >> 4);
		return;
	}
	status = vmx_read(VMCS_GUEST_INTERRUPT_STATUS);
	lapic_take_direct(vcpu->lapic, VMX_STATUS_REQUESTED(status),
			  VMX_STATUS_IN_SERVICE(status));
	vcpu->cr8 = lapic_get_cr8(vcpu->lapic);
}

/*
 * Intel SDM volume 3, "VMX-Preemption Timer". The first tick may come at once: two more
 * than there are steps until the deadline are not too early. One too far away for the timer
 * takes an exit on the way.
 */
static void set_timer(struct lodge_vcpu *vcpu, u64 deadline)
{
	u64 now = lodge_read_guest_tsc(vcpu), ticks = 0;

	if (deadline > now)
		ticks = ((deadline - now) >> lodge_vmx.timer_rate) + 2;
	vmx_write(VMCS_PREEMPTION_TIMER, min_t(u64, ticks, U32_MAX));
}

/*
 * The entry itself, where nothing may be traced: RCU and lockdep think "guest". An NMI
 * that ended the guest keeps further ones blocked until an IRET: the host's handler, by
 * way of its gate in the IDT, has one. Intel SDM volume 3, "Handling of VM Exits Due to
 * Exceptions" and "Information for VM Exits Due to Vectored Events".
 */
static noinstr void switch_noinstr(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 info;

	lodge_guest_state_enter();
	if (vcpu->st.cr2 != native_read_cr2())
		native_write_cr2(vcpu->st.cr2);
	lodge_vmx_switch(&vmx->sw);
	vcpu->st.cr2 = native_read_cr2();
	lodge_guest_state_exit();

	if (unlikely(vmx->sw.failed))
		return;
	/* Of the bits above the reason ("enclave mode") only this one changes what it is. */
	vcpu->exit.code = (u32)vmx_read(VMCS_EXIT_REASON) &
			  (u32)(VMX_EXIT_REASON_MASK | VMX_EXIT_ENTRY_FAILED);
	if (vcpu->exit.code != EXIT_REASON_EXCEPTION_NMI)
		return;
	info = vmx_read(VMCS_EXIT_INTERRUPTION);
	vmx->exit_interruption = info;
	if (VMX_EVENT_TYPE_OF(info) == VMX_TYPE_NMI)
		asm volatile("int $2" : : : "memory");
}

/* What delivery the exit interrupted must be repeated: "IDT-Vectoring Information". */
static void take_idt_vectoring(struct lodge_vcpu *vcpu, u32 info)
{
	struct lodge_events *ev = &vcpu->ev;
	u8 vector = info & VMX_EVENT_VECTOR;

	switch (VMX_EVENT_TYPE_OF(info)) {
	case VMX_TYPE_NMI:
		ev->nmi_injected = true;
		ev->nmi_masked = true;
		break;
	case VMX_TYPE_INTERRUPT:
		ev->irq_injected = true;
		ev->irq_soft = false;
		ev->irq_vector = vector;
		break;
	case VMX_TYPE_EXCEPTION:
		ev->ex.injected = true;
		ev->ex.vector = vector;
		ev->ex.has_error = info & VMX_EVENT_ERROR;
		ev->ex.error = ev->ex.has_error ? vmx_read(VMCS_IDT_ERROR_CODE) : 0;
		break;
	default:
		/*
		 * INTn, INT3, INTO and INT1: RIP is at the instruction, which does it again
		 * by itself, unless the event was injected in place of it.
		 */
		if (!ev->soft_injected)
			break;
		lodge_unretire_soft(vcpu);
		if (VMX_EVENT_TYPE_OF(info) == VMX_TYPE_SOFT_INTERRUPT) {
			ev->irq_injected = true;
			ev->irq_soft = true;
			ev->irq_vector = vector;
		} else {
			ev->ex.injected = true;
			ev->ex.vector = vector;
			ev->ex.has_error = false;
		}
		break;
	}
}

/* What an exit says about itself, by its reason. */
#define LENGTH		BIT(0)	/* an instruction caused it, and has one: "Instruction Length" */
#define FAULT_LIKE	BIT(1)	/* no debug exception waits: "Saving Non-Register State" */
#define QUALIFIED	BIT(2)	/* "Exit Qualification" */
#define DETAILED	BIT(3)	/* take_details() */
#define UNBLOCKED	BIT(4)	/* iret_was_undone() */
#define INSN		(LENGTH | FAULT_LIKE)

static const u8 exit_says[] = {
	[EXIT_REASON_EXCEPTION_NMI]		= QUALIFIED | DETAILED | UNBLOCKED,
	[EXIT_REASON_EXTERNAL_INTERRUPT]	= DETAILED,
	[EXIT_REASON_TASK_SWITCH]		= QUALIFIED | DETAILED,
	[EXIT_REASON_CPUID]			= INSN,
	[EXIT_REASON_HLT]			= INSN,
	[EXIT_REASON_INVD]			= INSN,
	[EXIT_REASON_INVLPG]			= INSN,
	[EXIT_REASON_RDPMC]			= INSN,
	[EXIT_REASON_RDTSC]			= INSN,
	[EXIT_REASON_VMCALL]			= INSN,
	[EXIT_REASON_VMCLEAR]			= INSN,
	[EXIT_REASON_VMLAUNCH]			= INSN,
	[EXIT_REASON_VMPTRLD]			= INSN,
	[EXIT_REASON_VMPTRST]			= INSN,
	[EXIT_REASON_VMREAD]			= INSN,
	[EXIT_REASON_VMRESUME]			= INSN,
	[EXIT_REASON_VMWRITE]			= INSN,
	[EXIT_REASON_VMOFF]			= INSN,
	[EXIT_REASON_VMON]			= INSN,
	[EXIT_REASON_CR_ACCESS]			= INSN | QUALIFIED,
	[EXIT_REASON_DR_ACCESS]			= INSN | QUALIFIED,
	[EXIT_REASON_IO_INSTRUCTION]		= INSN | QUALIFIED | DETAILED,
	[EXIT_REASON_MSR_READ]			= INSN,
	[EXIT_REASON_MSR_WRITE]			= INSN,
	[EXIT_REASON_MWAIT_INSTRUCTION]		= INSN,
	[EXIT_REASON_MONITOR_TRAP_FLAG]		= DETAILED,
	[EXIT_REASON_MONITOR_INSTRUCTION]	= INSN,
	[EXIT_REASON_PAUSE_INSTRUCTION]		= INSN,
	[EXIT_REASON_APIC_ACCESS]		= FAULT_LIKE | QUALIFIED,
	[EXIT_REASON_EOI_INDUCED]		= QUALIFIED,
	[EXIT_REASON_EPT_VIOLATION]		= FAULT_LIKE | QUALIFIED | DETAILED | UNBLOCKED,
	[EXIT_REASON_EPT_MISCONFIG]		= DETAILED,
	[EXIT_REASON_INVEPT]			= INSN,
	[EXIT_REASON_INVVPID]			= INSN,
	[EXIT_REASON_WBINVD]			= INSN,
	[EXIT_REASON_XSETBV]			= INSN,
	[EXIT_REASON_APIC_WRITE]		= QUALIFIED,
	[EXIT_REASON_PML_FULL]			= QUALIFIED | UNBLOCKED,
};

/* An IRET had unblocked NMIs when it met a fault that the guest never sees. */
static bool iret_was_undone(const struct lodge_vcpu *vcpu, u32 reason, u32 vectoring)
{
	u32 info;

	if (vectoring & VMX_EVENT_VALID)
		return false;
	if (reason != EXIT_REASON_EXCEPTION_NMI)
		return vcpu->exit.info1 & VMX_EVENT_NMI_UNBLOCKED;
	info = to_vmx((struct lodge_vcpu *)vcpu)->exit_interruption;
	return (info & VMX_EVENT_NMI_UNBLOCKED) && (info & VMX_EVENT_VECTOR) != X86_TRAP_DF;
}

/* The rarer kinds of exit have more to say. */
static void take_details(struct lodge_vcpu *vcpu, u32 reason)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lodge_exit *exit = &vcpu->exit;
	u32 type;

	switch (reason) {
	case EXIT_REASON_EXTERNAL_INTERRUPT:
		if (lodge_vmx.posts)
			vmx->host_vector = vmx_read(VMCS_EXIT_INTERRUPTION) & VMX_EVENT_VECTOR;
		break;
	case EXIT_REASON_EPT_VIOLATION:
	case EXIT_REASON_EPT_MISCONFIG:
		exit->info2 = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS);
		break;
	case EXIT_REASON_EXCEPTION_NMI:
		type = VMX_EVENT_TYPE_OF(vmx->exit_interruption);
		if (vmx->exit_interruption & VMX_EVENT_ERROR)
			exit->info2 = vmx_read(VMCS_EXIT_ERROR_CODE);
		if (type == VMX_TYPE_SOFT_EXCEPTION || type == VMX_TYPE_INT1)
			exit->next_rip = vmx_next_rip(vcpu, vmx_read(VMCS_EXIT_INSN_LENGTH));
		break;
	case EXIT_REASON_TASK_SWITCH:
		exit->info2 = vmx_read(VMCS_IDT_VECTORING);
		if (VMX_TASK_SOURCE(exit->info1) != LODGE_SWITCH_GATE || vmx_is_soft(exit->info2))
			exit->next_rip = vmx_next_rip(vcpu, vmx_read(VMCS_EXIT_INSN_LENGTH));
		break;
	case EXIT_REASON_IO_INSTRUCTION:
		if ((exit->info1 & VMX_IO_STRING) && lodge_vmx.io_info)
			exit->info2 = vmx_read(VMCS_EXIT_INSN_INFO);
		break;
	case EXIT_REASON_MONITOR_TRAP_FLAG:
		/*
		 * The guest's own trap waits behind ours: common code queues it. After
		 * MOV SS it waits for one instruction more.
		 */
		if (vmx->interruptibility & VMX_BLOCKED_BY_MOV_SS)
			break;
		exit->info1 = vmx_read(VMCS_GUEST_PENDING_DEBUG);
		if (exit->info1)
			vmx_write(VMCS_GUEST_PENDING_DEBUG, 0);
		break;
	}
}

/* What the guest left behind: its registers, why it ended, what was not delivered. */
static void take_exit(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lodge_state *st = &vcpu->st;
	struct lodge_events *ev = &vcpu->ev;
	u32 reason = vcpu->exit.code, vectoring, blocked;
	u8 says = reason < ARRAY_SIZE(exit_says) ? exit_says[reason] : 0;

	vmx->rip = vmx_read(VMCS_GUEST_RIP);
	vmx->rsp = vmx_read(VMCS_GUEST_RSP);
	vmx->rflags = vmx_read(VMCS_GUEST_RFLAGS);
	st->rip = vmx->rip;
	st->gpr[4] = vmx->rsp;
	st->rflags = vmx->rflags;
	blocked = vmx_read(VMCS_GUEST_INTERRUPTIBILITY);
	vmx->interruptibility = blocked;
	if (unlikely(!(vmx->control[VMX_CPU] & VMX_CPU_HLT)))
		vmx->halted = vmx_read(VMCS_GUEST_ACTIVITY) == VMX_HALTED;
	vectoring = vmx_read(VMCS_IDT_VECTORING);
	vcpu->st_valid = 0;
	if (vcpu->lapic)
		take_lapic(vcpu);

	ev->shadow = 0;
	if (unlikely(blocked & VMX_BLOCKED_BY_STI))
		ev->shadow = KVM_X86_SHADOW_INT_STI;
	if (unlikely(blocked & VMX_BLOCKED_BY_MOV_SS))
		ev->shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	ev->nmi_masked = blocked & VMX_BLOCKED_BY_NMI;

	vmx->exit_was_fault_like = says & FAULT_LIKE;
	vcpu->exit.info1 = says & QUALIFIED ? vmx_read(VMCS_EXIT_QUALIFICATION) : 0;
	vcpu->exit.info2 = 0;
	vcpu->exit.nr_bytes = 0;
	vcpu->exit.next_rip = says & LENGTH ?
			      vmx_next_rip(vcpu, vmx_read(VMCS_EXIT_INSN_LENGTH)) : 0;
	if (says & DETAILED)
		take_details(vcpu, reason);

	/* What was injected is delivered, unless it says otherwise. */
	ev->ex.injected = false;
	ev->irq_injected = false;
	ev->nmi_injected = false;
	vmx->inject = 0;
	if (unlikely(says & UNBLOCKED) && iret_was_undone(vcpu, reason, vectoring))
		ev->nmi_masked = true;
	if (unlikely(vectoring & VMX_EVENT_VALID))
		take_idt_vectoring(vcpu, vectoring);
	ev->soft_injected = false;
}

void vmx_enter(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_cpu *vc = this_cpu_ptr(&lodge_vmx_cpu);
	u64 flush_gen;
	bool watched;

	if (unlikely(vmx->lost)) {
		vcpu->exit.code = VMX_EXIT_VMFAIL;
		return;
	}
	if (vcpu->st_dirty) {
		wake(vmx);
		vmx_commit(vcpu);
	}
	if (vmx->msrs_changed)
		vmx_load_msrs(vcpu);

	if (unlikely(vmx->vpid_generation != vc->vpid_generation))
		new_vpid(vmx, vc);
	flush_gen = READ_ONCE(vcpu->vm->mem.flush_gen);
	if (unlikely(flush_gen != vcpu->stage2_flushed)) {
		vcpu->stage2_flushed = flush_gen;
		vcpu->stats.tlb_flush++;
		flush_stage2(vcpu);
	}
	if (unlikely(vcpu->flush_tlb)) {
		vcpu->flush_tlb = false;
		vcpu->stats.tlb_flush++;
		flush_guest(vmx);
		if (vmx->vpid_generation != vc->vpid_generation)
			new_vpid(vmx, vc);
	}

	write_registers(vcpu);
	if (vcpu->lapic)
		write_lapic(vcpu);
	watched = vcpu->lapic && vcpu->lapic->watched;
	vmx_control(vmx, VMX_PIN, VMX_PIN_PREEMPTION_TIMER, watched);
	if (unlikely(vmx->control_changed))
		write_controls(vmx);
	if (watched)
		set_timer(vcpu, vcpu->lapic->tsc_deadline);

	if (LODGE_CHECK_ENTRIES)
		vmx_check_entry(vcpu);
	switch_noinstr(vcpu);

	if (unlikely(vmx->sw.failed)) {
		vcpu->exit.code = VMX_EXIT_VMFAIL | (u32)vmx_read(VMCS_INSN_ERROR);
		vmx_explain_failed_entry(vcpu);
		return;
	}
	if (unlikely(vcpu->exit.code & VMX_EXIT_ENTRY_FAILED)) {
		/* Nothing of the guest ran, and no event went in. */
		vcpu->exit.info1 = vmx_read(VMCS_EXIT_QUALIFICATION);
		if (vcpu->exit.code != (VMX_EXIT_ENTRY_FAILED | EXIT_REASON_MCE_DURING_VMENTRY))
			vmx_explain_failed_entry(vcpu);
		return;
	}
	vmx->sw.launched = true;
	take_exit(vcpu);
}

/*
 * Common code marked one event in vcpu->ev as injected. "Checks on VM-Execution Control
 * Fields": an exception that has an error code must be given one in protected mode, and
 * no other may.
 */
void vmx_inject(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lodge_events *ev = &vcpu->ev;
	bool soft = ev->soft_injected;
	u32 inject = VMX_EVENT_VALID;

	if (unlikely(vmx->lost))
		return;
	if (ev->ex.injected) {
		inject |= ev->ex.vector;
		if (soft) {
			inject |= VMX_EVENT_TYPE(VMX_TYPE_SOFT_EXCEPTION);
		} else {
			inject |= VMX_EVENT_TYPE(VMX_TYPE_EXCEPTION);
			if ((BIT(ev->ex.vector) & LODGE_HAVE_ERROR_CODE) &&
			    (vcpu->st.cr0 & X86_CR0_PE)) {
				inject |= VMX_EVENT_ERROR;
				vmx_write(VMCS_ENTRY_ERROR_CODE,
					  ev->ex.has_error ? ev->ex.error & 0xffff : 0);
			}
		}
	} else if (ev->nmi_injected) {
		inject |= X86_TRAP_NMI | VMX_EVENT_TYPE(VMX_TYPE_NMI);
	} else {
		inject |= ev->irq_vector;
		soft |= ev->irq_soft && lodge_vmx.empty_soft_event;
		if (soft)
			inject |= VMX_EVENT_TYPE(VMX_TYPE_SOFT_INTERRUPT);
		/* What the window was for goes in now; the caller opens it for what is left. */
		vmx_control(vmx, VMX_CPU, VMX_CPU_INTERRUPT_WINDOW, false);
	}
	/* The frame shows RIP plus this; vmx_enter() has RIP at the instruction. */
	if (unlikely(soft))
		vmx_write(VMCS_ENTRY_INSN_LENGTH,
			  ev->soft_injected ? ev->soft_rip - ev->soft_from : 0);
	vmx->inject = inject;
	vmx_write(VMCS_ENTRY_INTERRUPTION, inject);
	wake(vmx);
}

void vmx_open_irq_window(struct lodge_vcpu *vcpu)
{
	vmx_control(to_vmx(vcpu), VMX_CPU, VMX_CPU_INTERRUPT_WINDOW, true);
}

/*
 * Blocking by STI does not keep this exit away, but does keep the NMI: then the guest
 * would never get further. The interrupt window opens one instruction later.
 */
void vmx_open_nmi_window(struct lodge_vcpu *vcpu)
{
	if (vcpu->ev.shadow & KVM_X86_SHADOW_INT_STI)
		vmx_open_irq_window(vcpu);
	else
		vmx_control(to_vmx(vcpu), VMX_CPU, VMX_CPU_NMI_WINDOW, true);
}

/* With the TPR shadow; without an in-kernel local APIC every access to CR8 exits. */
void vmx_tpr_window(struct lodge_vcpu *vcpu, bool on)
{
	to_vmx(vcpu)->tpr_window = on;
}
