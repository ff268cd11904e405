// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMX: one handler for each reason to leave the guest. Called by kmod/run.c on the
 * vCPU's thread: vmx_exit_fast() inside the window, vmx_exit() after it. Intel SDM volume
 * 3, "Instructions That Cause VM Exits" and appendix "VMX Basic Exit Reasons".
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/jiffies.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include <uapi/asm/vmx.h>

#include "../kernel_compat.h"
#include "../debug.h"
#include "../events.h"
#include "../exits.h"
#include "../memory.h"
#include "../pv.h"
#include "../state.h"
#include "vmx.h"

#define SPLIT_LOCK_MS	10	/* before each window that lets a guest take split locks */

/*
 * The host's split-lock detection is nothing that the guest's CPUID tells of. The guest's own
 * alignment check wants all three of these.
 */
static bool is_split_lock(struct lodge_vcpu *vcpu)
{
	if (!lodge_vmx.split_lock)
		return false;
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	return vcpu->st.cpl < 3 || !(vcpu->st.cr0 & X86_CR0_AM) ||
	       !(vcpu->st.rflags & X86_EFLAGS_AC);
}

/*
 * What the kernel does to a process: it warns, makes it slow, as the bus lock makes everybody,
 * and lets it go on. That somebody wants it killed (split_lock_detect=fatal) cannot be known.
 */
static int exit_split_lock(struct lodge_vcpu *vcpu)
{
	pr_warn_ratelimited("%s/%d: the guest takes a split lock at %#llx\n", current->comm,
			    current->pid, vcpu->st.rip);
	schedule_timeout_interruptible(msecs_to_jiffies(SPLIT_LOCK_MS));
	to_vmx(vcpu)->split_lock = true;
	return LODGE_REENTER;
}

/* An NMI of the host's was served where it was found; exceptions are the guest's. */
static int vmx_exit_exception_nmi(struct lodge_vcpu *vcpu)
{
	u32 info = to_vmx(vcpu)->exit_interruption;
	u8 vector = info & VMX_EVENT_VECTOR;

	if (VMX_EVENT_TYPE_OF(info) == VMX_TYPE_NMI)
		return LODGE_REENTER;
	if (vector == X86_TRAP_UD)
		return lodge_fix_hypercall(vcpu, MODRM_VMCALL);
	if (vector == X86_TRAP_AC && is_split_lock(vcpu))
		return exit_split_lock(vcpu);
	if (vector != X86_TRAP_DB)
		return lodge_exit_exception(vcpu, vector, vcpu->exit.info2,
					    vcpu->exit.info1);
	/* INT1 has retired: its exception is a trap, but one that DR6 does not explain. */
	if (VMX_EVENT_TYPE_OF(info) == VMX_TYPE_INT1)
		vcpu->st.rip = vcpu->exit.next_rip;
	/* Only the guest's own TF traps: steps of a debugger have the monitor trap flag. */
	return lodge_exit_db(vcpu, vcpu->exit.info1, true);
}

static int vmx_exit_interrupt_window(struct lodge_vcpu *vcpu)
{
	vmx_control(to_vmx(vcpu), VMX_CPU, VMX_CPU_INTERRUPT_WINDOW, false);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

static int vmx_exit_nmi_window(struct lodge_vcpu *vcpu)
{
	vmx_control(to_vmx(vcpu), VMX_CPU, VMX_CPU_NMI_WINDOW, false);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

/* It may have been but the first part of a long time. */
static int vmx_exit_timer(struct lodge_vcpu *vcpu)
{
	struct lapic *l = vcpu->lapic;

	if (l && l->watched && lodge_read_guest_tsc(vcpu) >= l->tsc_deadline)
		lapic_deadline_reached(l);
	return LODGE_REENTER;
}

/* The CPU has done the EOI; who is told of it may have to be called outside of the window. */
static int vmx_exit_eoi(struct lodge_vcpu *vcpu)
{
	if (vcpu->lapic)
		lapic_direct_eoi(vcpu->lapic, vcpu->exit.info1);
	return LODGE_REENTER;
}

/* The guest has written to a register of its LAPIC, and is behind the instruction. */
static int vmx_exit_apic_write(struct lodge_vcpu *vcpu)
{
	if (vcpu->lapic)
		lapic_direct_write(vcpu->lapic, vcpu->exit.info1 & 0xff0);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

/*
 * "APIC-Access VM Exits": the LAPIC's page is where the CPU found the address, but what is
 * to be done there it does not do: a register without a plain value, or a crooked access.
 */
static int vmx_exit_apic_access(struct lodge_vcpu *vcpu)
{
	return lodge_exit_mmio(vcpu, LAPIC_DEFAULT_BASE | (vcpu->exit.info1 & VMX_APIC_OFFSET));
}

/* The guest lowered its TPR, and an interrupt waits for that. */
static int vmx_exit_tpr(struct lodge_vcpu *vcpu)
{
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

/*
 * A step of the debugger's has ended. The guest's own traps, if any, come after it; where
 * the breakpoints are the debugger's, what they met is part of the report. "Guest
 * Non-Register State": B0 to B3 mean nothing unless one of them was enabled.
 */
static int vmx_exit_monitor_trap(struct lodge_vcpu *vcpu)
{
	u64 pending = vcpu->exit.info1, own, met = 0;

	if (pending & VMX_PENDING_BREAKPOINT)
		met = pending & DR_TRAP_BITS;
	own = pending & DR_STEP;
	if (!(vcpu->debug & KVM_GUESTDBG_USE_HW_BP)) {
		own |= met;
		met = 0;
	}
	if (own)
		lodge_queue_debug(vcpu, own);
	if (vcpu->debug & KVM_GUESTDBG_SINGLESTEP)
		met |= DR_STEP;
	if (!met)
		return LODGE_REENTER;
	return lodge_exit_debug(vcpu, X86_TRAP_DB, met ^ DR6_ACTIVE_LOW);
}

/* What an access to a control register came to: as lodge_exit_cr_access() has it. */
static int finish_cr(struct lodge_vcpu *vcpu, int refused, u8 cr8)
{
	if (refused) {
		lodge_queue_gp(vcpu);
		return LODGE_REENTER;
	}
	lodge_retire(vcpu, vcpu->exit.next_rip);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	/* User space's local APIC may have an interrupt that can go in now. */
	if (!vcpu->lapic && vcpu->cr8 < cr8) {
		vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
		return LODGE_TO_USER;
	}
	return LODGE_REENTER;
}

/* "Exit Qualification for Control-Register Accesses" saves the decoding. */
static int vmx_exit_cr(struct lodge_vcpu *vcpu)
{
	u64 q = vcpu->exit.info1;
	u64 *reg = &vcpu->st.gpr[array_index_nospec(VMX_CR_GPR(q), 16)];
	unsigned int n = VMX_CR_NUMBER(q);
	u8 cr8 = vcpu->cr8;
	bool long64;
	int r = 0;

	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	long64 = lodge_is_64bit(vcpu);
	switch (VMX_CR_ACCESS(q)) {
	case VMX_CR_ACCESS_WRITE:
		r = lodge_set_cr(vcpu, n, long64 ? *reg : (u32)*reg);
		break;
	case VMX_CR_ACCESS_READ:
		*reg = long64 ? lodge_get_cr(vcpu, n) : (u32)lodge_get_cr(vcpu, n);
		break;
	case VMX_CR_ACCESS_CLTS:
		r = lodge_clts(vcpu);
		break;
	case VMX_CR_ACCESS_LMSW:
		r = lodge_lmsw(vcpu, VMX_CR_LMSW_SOURCE(q));
		break;
	}
	return finish_cr(vcpu, r, cr8);
}

/*
 * The guest may know its debug registers from now on: they are loaded in the next
 * window and the access runs there without an exit.
 */
static int vmx_exit_dr(struct lodge_vcpu *vcpu)
{
	if (vcpu->debug)
		return lodge_exit_dr_access(vcpu);
	vcpu->dr_touched = true;
	return LODGE_REENTER;
}

/*
 * "VM-Exit Instruction-Information Field": an instruction that does what the INS or OUTS at
 * RIP does, and is as long as that by prefixes that say nothing new. So that one need not
 * be read from guest memory, where it may no longer be.
 */
static void make_string_insn(struct lodge_vcpu *vcpu)
{
	static const u8 overrides[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	static const u8 address_size[] = {
		[EMUL_MODE_16] = 0, [EMUL_MODE_32] = 1, [EMUL_MODE_64] = 2,
	};
	u64 q = vcpu->exit.info1, info = vcpu->exit.info2;
	unsigned int len = (u8)(vcpu->exit.next_rip - vcpu->st.rip), n = 0;
	bool in = q & VMX_IO_IN, byte = VMX_IO_SIZE(q) == 1;
	unsigned int segment = VMX_IO_SEGMENT(info);
	u8 insn[5];
	struct emul_ctxt ctxt;

	lodge_emul_ctxt(vcpu, &ctxt);
	if (!in && segment != VMCS_SEG_DS && segment < ARRAY_SIZE(overrides))
		insn[n++] = overrides[array_index_nospec(segment, ARRAY_SIZE(overrides))];
	if (VMX_IO_ADDRESS_SIZE(info) != address_size[ctxt.mode])
		insn[n++] = 0x67;
	if (!byte && VMX_IO_SIZE(q) != (ctxt.mode == EMUL_MODE_16 ? 2 : 4))
		insn[n++] = 0x66;
	if (q & VMX_IO_REP)
		insn[n++] = 0xf3;
	insn[n++] = (in ? 0x6c : 0x6e) + (byte ? 0 : 1);
	if (len < n || len > sizeof(vcpu->exit.bytes))
		return;

	memset(vcpu->exit.bytes, 0x3e, len - n);
	memcpy(vcpu->exit.bytes + len - n, insn, n);
	vcpu->exit.nr_bytes = len;
}

static int vmx_exit_io(struct lodge_vcpu *vcpu)
{
	u64 q = vcpu->exit.info1;

	if (q & VMX_IO_STRING) {
		if (lodge_vmx.io_info)
			make_string_insn(vcpu);
		return lodge_exit_string_pio(vcpu);
	}
	return lodge_exit_pio(vcpu, VMX_IO_PORT(q), VMX_IO_SIZE(q), q & VMX_IO_IN,
			      vcpu->exit.next_rip);
}

static int vmx_exit_rdmsr(struct lodge_vcpu *vcpu)
{
	return lodge_exit_msr(vcpu, false);
}

static int vmx_exit_wrmsr(struct lodge_vcpu *vcpu)
{
	return lodge_exit_msr(vcpu, true);
}

static u32 ept_access(u64 q)
{
	u32 access = 0;

	if (q & VMX_EPT_WRITE)
		access |= LODGE_ACCESS_WRITE;
	if (q & VMX_EPT_EXEC)
		access |= LODGE_ACCESS_EXEC;
	return access;
}

static int vmx_exit_ept_violation(struct lodge_vcpu *vcpu)
{
	return lodge_exit_stage2(vcpu, vcpu->exit.info2, ept_access(vcpu->exit.info1));
}

/* Our own tables are broken: only this VM may suffer for it. */
static int vmx_exit_ept_misconfig(struct lodge_vcpu *vcpu)
{
	lodge_backend->dump(vcpu);
	lodge_vm_kill(vcpu->vm, "an EPT entry that makes no sense");
	return -EIO;
}

/*
 * "Exit Qualification for Task Switches". A task gate's event is in the IDT-vectoring
 * information: RIP counts, unless it came from an instruction.
 */
static int vmx_exit_task_switch(struct lodge_vcpu *vcpu)
{
	u64 q = vcpu->exit.info1;
	u32 event = vcpu->exit.info2;
	struct lodge_task_switch cause = {
		.selector = VMX_TASK_SELECTOR(q),
		.source = VMX_TASK_SOURCE(q),
		.next_rip = vcpu->exit.next_rip ?: vcpu->st.rip,
	};

	if (cause.source == LODGE_SWITCH_GATE && (event & VMX_EVENT_VALID)) {
		cause.external = !vmx_is_soft(event) || VMX_EVENT_TYPE_OF(event) == VMX_TYPE_INT1;
		cause.has_error = event & VMX_EVENT_ERROR;
		cause.error = vcpu->ev.ex.error;
	}
	return lodge_task_switch(vcpu, &cause);
}

/* The CPU did not enter: vcpu->st is as it was, and user space may set it right. */
static int vmx_exit_failed_entry(struct lodge_vcpu *vcpu)
{
	u64 code = vcpu->exit.code;

	if (code & VMX_EXIT_VMFAIL)
		code &= ~VMX_EXIT_VMFAIL;
	lodge_backend->dump(vcpu);
	vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	vcpu->run->fail_entry.hardware_entry_failure_reason = code;
	vcpu->run->fail_entry.cpu = vcpu->cpu;
	return LODGE_TO_USER;
}

static int (*const vmx_exits[])(struct lodge_vcpu *vcpu) = {
	[EXIT_REASON_EXCEPTION_NMI]		= vmx_exit_exception_nmi,
	[EXIT_REASON_TRIPLE_FAULT]		= lodge_exit_shutdown,
	[EXIT_REASON_INTERRUPT_WINDOW]		= vmx_exit_interrupt_window,
	[EXIT_REASON_NMI_WINDOW]		= vmx_exit_nmi_window,
	[EXIT_REASON_TASK_SWITCH]		= vmx_exit_task_switch,
	[EXIT_REASON_CPUID]			= lodge_exit_cpuid,
	[EXIT_REASON_HLT]			= lodge_exit_hlt,
	[EXIT_REASON_INVD]			= lodge_exit_nop,
	[EXIT_REASON_RDPMC]			= lodge_exit_rdpmc,
	[EXIT_REASON_VMCALL]			= lodge_exit_hypercall,
	[EXIT_REASON_VMCLEAR]			= lodge_exit_ud,
	[EXIT_REASON_VMLAUNCH]			= lodge_exit_ud,
	[EXIT_REASON_VMPTRLD]			= lodge_exit_ud,
	[EXIT_REASON_VMPTRST]			= lodge_exit_ud,
	[EXIT_REASON_VMREAD]			= lodge_exit_ud,
	[EXIT_REASON_VMRESUME]			= lodge_exit_ud,
	[EXIT_REASON_VMWRITE]			= lodge_exit_ud,
	[EXIT_REASON_VMOFF]			= lodge_exit_ud,
	[EXIT_REASON_VMON]			= lodge_exit_ud,
	[EXIT_REASON_CR_ACCESS]			= vmx_exit_cr,
	[EXIT_REASON_DR_ACCESS]			= vmx_exit_dr,
	[EXIT_REASON_IO_INSTRUCTION]		= vmx_exit_io,
	[EXIT_REASON_MSR_READ]			= vmx_exit_rdmsr,
	[EXIT_REASON_MSR_WRITE]			= vmx_exit_wrmsr,
	[EXIT_REASON_MWAIT_INSTRUCTION]		= lodge_exit_mwait,
	[EXIT_REASON_MONITOR_TRAP_FLAG]		= vmx_exit_monitor_trap,
	[EXIT_REASON_MONITOR_INSTRUCTION]	= lodge_exit_mwait,
	[EXIT_REASON_PAUSE_INSTRUCTION]		= lodge_exit_pause,
	[EXIT_REASON_TPR_BELOW_THRESHOLD]	= vmx_exit_tpr,
	[EXIT_REASON_APIC_ACCESS]		= vmx_exit_apic_access,
	[EXIT_REASON_EOI_INDUCED]		= vmx_exit_eoi,
	[EXIT_REASON_EPT_VIOLATION]		= vmx_exit_ept_violation,
	[EXIT_REASON_EPT_MISCONFIG]		= vmx_exit_ept_misconfig,
	[EXIT_REASON_INVEPT]			= lodge_exit_ud,
	[EXIT_REASON_PREEMPTION_TIMER]		= vmx_exit_timer,
	[EXIT_REASON_INVVPID]			= lodge_exit_ud,
	[EXIT_REASON_WBINVD]			= lodge_exit_nop,
	[EXIT_REASON_XSETBV]			= lodge_exit_xsetbv,
	[EXIT_REASON_APIC_WRITE]		= vmx_exit_apic_write,
	[EXIT_REASON_ENCLS]			= lodge_exit_ud,
	[VMX_EXIT_SEAMCALL]			= lodge_exit_ud,
	[VMX_EXIT_TDCALL]			= lodge_exit_ud,
};

/*
 * An instruction that may have to be decoded after the window. Where the VMCS does not stay
 * with the CPU, to take it up again for that costs more than to read all of it now.
 */
static enum lodge_next leave_for_decoding(struct lodge_vcpu *vcpu)
{
	if (!this_cpu_read(lodge_vmx_cpu.kept))
		lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	return LODGE_SLOW;
}

/* CS.L counts only with EFER.LMA. */
static bool is_64bit(const struct lodge_vcpu *vcpu)
{
	return (vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * VMCS_SEG_CS) & VMX_AR_L) &&
	       (vcpu->st.efer & EFER_LMA);
}

/* Intel SDM volume 3, "Guest Segment Registers": the CPL is SS.DPL. */
static bool is_at_cpl0(void)
{
	return !(vmx_read(VMCS_GUEST_ACCESS_RIGHTS + 2 * VMCS_SEG_SS) >> VMX_AR_DPL_SHIFT & 3);
}

static enum lodge_next mmio_fast(struct lodge_vcpu *vcpu, u64 gpa, u32 access)
{
	enum lodge_next next = LODGE_SLOW;

	if (is_64bit(vcpu))
		next = lodge_mmio_fast(vcpu, gpa, access, vmx_read(VMCS_GUEST_CR3));
	return next == LODGE_SLOW ? leave_for_decoding(vcpu) : next;
}

/*
 * Of an access, not of the walk to it: "Exit Qualification for EPT Violations". Where the
 * LAPIC is the CPU's, a fault there may ask for its page.
 */
static bool is_mmio(const struct lodge_vcpu *vcpu, u64 q, u64 gpa)
{
	const u64 access = VMX_EPT_LINEAR | VMX_EPT_FINAL;

	return (q & (access | VMX_EPT_EXEC)) == access &&
	       lodge_has_no_slot(vcpu, gpa >> PAGE_SHIFT) &&
	       !(vcpu->uses_lapic_page && (gpa & PAGE_MASK) == LAPIC_DEFAULT_BASE);
}

static enum lodge_next ept_violation_fast(struct lodge_vcpu *vcpu)
{
	u64 q = vcpu->exit.info1, gpa = vcpu->exit.info2;

	if (is_mmio(vcpu, q, gpa))
		return mmio_fast(vcpu, gpa, ept_access(q));
	if (!lodge_stage2_fault_fast(vcpu, gpa, ept_access(q)))
		return LODGE_REENTER;
	return leave_for_decoding(vcpu);
}

static enum lodge_next apic_access_fast(struct lodge_vcpu *vcpu)
{
	u64 q = vcpu->exit.info1, gpa = LAPIC_DEFAULT_BASE | (q & VMX_APIC_OFFSET);

	switch (VMX_APIC_ACCESS(q)) {
	case VMX_APIC_ACCESS_READ:
		return mmio_fast(vcpu, gpa, 0);
	case VMX_APIC_ACCESS_WRITE:
		return mmio_fast(vcpu, gpa, LODGE_ACCESS_WRITE);
	default:
		return leave_for_decoding(vcpu);
	}
}

static enum lodge_next vmcall_fast(struct lodge_vcpu *vcpu)
{
	if (!is_64bit(vcpu) || !is_at_cpl0())
		return LODGE_SLOW;
	return lodge_hypercall_fast(vcpu, vcpu->exit.next_rip);
}

/* The kernel builds a switch without a table: what is rare would be in the way of the rest. */
static noinline enum lodge_next rare_exit_fast(struct lodge_vcpu *vcpu)
{
	switch (vcpu->exit.code) {
	case EXIT_REASON_INIT_SIGNAL:
		/* As with interrupts, the kernel serves it. */
	case EXIT_REASON_PML_FULL:
		/* What the CPU noted of written pages is taken as the window ends. */
		return LODGE_ENDED;
	case EXIT_REASON_EXCEPTION_NMI:
		if ((to_vmx(vcpu)->exit_interruption & VMX_EVENT_VECTOR) != X86_TRAP_MC)
			return LODGE_SLOW;
		lodge_host_machine_check();
		return LODGE_REENTER;
	case EXIT_REASON_MCE_DURING_VMENTRY | VMX_EXIT_ENTRY_FAILED:
		lodge_host_machine_check();
		return LODGE_REENTER;
	case EXIT_REASON_INTERRUPT_WINDOW:
		/* User space waits for it: what follows the window tells it. */
		if (unlikely(lodge_wants_irq_window(vcpu)))
			return LODGE_SLOW;
		return vmx_exit_interrupt_window(vcpu);
	case EXIT_REASON_NMI_WINDOW:
		return vmx_exit_nmi_window(vcpu);
	case EXIT_REASON_TPR_BELOW_THRESHOLD:
		return vmx_exit_tpr(vcpu);
	case EXIT_REASON_PREEMPTION_TIMER:
		return vmx_exit_timer(vcpu);
	case EXIT_REASON_VMCALL:
		return vmcall_fast(vcpu);
	case EXIT_REASON_APIC_ACCESS:
		return apic_access_fast(vcpu);
	case EXIT_REASON_CR_ACCESS:
		return leave_for_decoding(vcpu);
	default:
		return LODGE_SLOW;
	}
}

/* What needs no sleep, and of guest memory only what is at hand. */
enum lodge_next vmx_exit_fast(struct lodge_vcpu *vcpu)
{
	u64 next = vcpu->exit.next_rip, q = vcpu->exit.info1;

	switch (vcpu->exit.code) {
	case EXIT_REASON_CPUID:
		lodge_do_cpuid(vcpu, next);
		return LODGE_REENTER;
	case EXIT_REASON_MSR_READ:
	case EXIT_REASON_MSR_WRITE:
		if (lodge_do_msr_fast(vcpu, vcpu->exit.code == EXIT_REASON_MSR_WRITE, next))
			return LODGE_REENTER;
		return LODGE_SLOW;
	case EXIT_REASON_HLT:
		/* With a local APIC it sleeps. */
		return vcpu->lapic ? LODGE_SLOW : lodge_exit_hlt(vcpu);
	case EXIT_REASON_IO_INSTRUCTION:
		if (q & VMX_IO_STRING)
			return leave_for_decoding(vcpu);
		return lodge_pio_fast(vcpu, VMX_IO_PORT(q), VMX_IO_SIZE(q), q & VMX_IO_IN, next);
	case EXIT_REASON_EPT_VIOLATION:
		return ept_violation_fast(vcpu);
	case EXIT_REASON_EXTERNAL_INTERRUPT:
		/* The kernel serves it as soon as it has its interrupts on again. */
		return LODGE_ENDED;
	default:
		return rare_exit_fast(vcpu);
	}
}

int vmx_exit(struct lodge_vcpu *vcpu)
{
	u64 code = vcpu->exit.code;

	if (unlikely(code & (VMX_EXIT_VMFAIL | VMX_EXIT_ENTRY_FAILED)))
		return vmx_exit_failed_entry(vcpu);
	if (code < ARRAY_SIZE(vmx_exits)) {
		code = array_index_nospec(code, ARRAY_SIZE(vmx_exits));
		if (vmx_exits[code])
			return vmx_exits[code](vcpu);
	}
	return lodge_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
					 code, vcpu->cpu);
}
