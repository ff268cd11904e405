// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM: one handler for each reason to leave the guest. Called by kmod/run.c on the
 * vCPU's thread: svm_exit_fast() inside the window, svm_exit() after it. AMD APM
 * volume 2, "Instruction Intercepts" and appendix "SVM Intercept Exit Codes".
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/sched.h>
#include <asm/trapnr.h>
#include <uapi/asm/svm.h>

#include "../kernel_compat.h"
#include "../debug.h"
#include "../exits.h"
#include "../memory.h"
#include "../pv.h"
#include "svm.h"

#ifndef SVM_EXIT_RDPRU
#define SVM_EXIT_RDPRU		0x08e
#endif
#define SVM_EXIT_INVLPGB	0x0a0
#define SVM_EXIT_MCOMMIT	0x0a3
#define SVM_EXIT_TLBSYNC	0x0a4

static int svm_exit_nothing(struct lodge_vcpu *vcpu)
{
	return LODGE_REENTER;
}

static int svm_exit_rdmsr_wrmsr(struct lodge_vcpu *vcpu)
{
	return lodge_exit_msr(vcpu, vcpu->exit.info1 & 1);
}

static int svm_exit_ioio(struct lodge_vcpu *vcpu)
{
	u64 info = vcpu->exit.info1;

	if (info & SVM_IOIO_STRING)
		return lodge_exit_string_pio(vcpu);
	return lodge_exit_pio(vcpu, info >> 16, SVM_IOIO_SIZE(info), info & SVM_IOIO_IN,
			      vcpu->exit.info2);
}

static u32 svm_npf_access(u64 info)
{
	u32 access = 0;

	if (info & SVM_NPF_WRITE)
		access |= LODGE_ACCESS_WRITE;
	if (info & SVM_NPF_EXEC)
		access |= LODGE_ACCESS_EXEC;
	return access;
}

static int svm_exit_npf(struct lodge_vcpu *vcpu)
{
	u64 info = vcpu->exit.info1;

	/* Our own tables are broken: only this VM may suffer for it. */
	if (unlikely(info & SVM_NPF_RESERVED)) {
		lodge_backend->dump(vcpu);
		lodge_vm_kill(vcpu->vm, "reserved bits in a stage-2 entry");
		return -EIO;
	}

	return lodge_exit_stage2(vcpu, vcpu->exit.info2, svm_npf_access(info));
}

/*
 * #DB and #AC exit only so that their delivery cannot loop in microcode for ever, #UD for
 * Intel's hypercalls, and #BP and the others for a debugger: the guest gets them back.
 */
static int svm_exit_exception(struct lodge_vcpu *vcpu, u8 vector)
{
	if (vector == X86_TRAP_DB)
		return svm_exit_db(vcpu);
	if (vector == X86_TRAP_UD)
		return lodge_fix_hypercall(vcpu, MODRM_VMMCALL);
	return lodge_exit_exception(vcpu, vector, vcpu->exit.info1, vcpu->exit.info2);
}

static int svm_exit_vintr(struct lodge_vcpu *vcpu)
{
	svm_close_irq_window(vcpu);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

/* An NMI handler is about to end: NMIs stay blocked until the IRET has retired. */
static int svm_exit_iret(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm_intercept(svm, SVM_ICPT_IRET, false);
	svm->nmi_iret = false;
	svm->nmi_after_iret = true;
	svm->nmi_iret_rip = vcpu->st.rip;
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return LODGE_REENTER;
}

/*
 * The guest may know its debug registers from now on: they are loaded in the next
 * window and the access runs there without an exit.
 */
static int svm_exit_dr(struct lodge_vcpu *vcpu)
{
	if (vcpu->debug)
		return lodge_exit_dr_access(vcpu);
	vcpu->dr_touched = true;
	return LODGE_REENTER;
}

static int svm_exit_cr8_write(struct lodge_vcpu *vcpu)
{
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return lodge_exit_cr_access(vcpu);
}

static int svm_exit_shutdown(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	/*
	 * "Shutdown": the VMCB's state is undefined after it. Keep what common code has
	 * fetched before away from it: start over as INIT would, as KVM does.
	 */
	svm->vmcb->control.clean = 0;
	svm_close_irq_window(vcpu);
	lodge_vcpu_reset(vcpu, true);
	return lodge_exit_shutdown(vcpu);
}

/* VMRUN refused the VMCB: "Canonicalization and Consistency Checks". */
static int svm_exit_invalid(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->vmcb->control.clean = 0;
	if (svm->state_lost) {
		/* Neither user space nor the log may see the host's: start over, as above. */
		svm->state_lost = false;
		lodge_vcpu_reset(vcpu, true);
		memset(&svm->vmcb->save, 0, sizeof(svm->vmcb->save));
	} else {
		svm_explain_failed_entry(vcpu);
	}
	lodge_backend->dump(vcpu);
	vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	vcpu->run->fail_entry.hardware_entry_failure_reason = vcpu->exit.code;
	vcpu->run->fail_entry.cpu = vcpu->cpu;
	return LODGE_TO_USER;
}

static int (*const svm_exits[])(struct lodge_vcpu *vcpu) = {
	[SVM_EXIT_READ_CR0]		= lodge_exit_cr_access,
	[SVM_EXIT_READ_CR4]		= lodge_exit_cr_access,
	[SVM_EXIT_WRITE_CR0]		= lodge_exit_cr_access,
	[SVM_EXIT_WRITE_CR4]		= lodge_exit_cr_access,
	[SVM_EXIT_WRITE_CR8]		= svm_exit_cr8_write,
	[SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR0 + 15] = svm_exit_dr,
	[SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR0 + 15] = svm_exit_dr,
	[SVM_EXIT_VINTR]		= svm_exit_vintr,
	[SVM_EXIT_CR0_SEL_WRITE]	= lodge_exit_cr_access,
	[SVM_EXIT_RDPMC]		= lodge_exit_rdpmc,
	[SVM_EXIT_CPUID]		= lodge_exit_cpuid,
	[SVM_EXIT_RSM]			= lodge_exit_ud,
	[SVM_EXIT_IRET]			= svm_exit_iret,
	[SVM_EXIT_SWINT]		= lodge_exit_software_interrupt,
	[SVM_EXIT_INVD]			= lodge_exit_nop,
	[SVM_EXIT_PAUSE]		= lodge_exit_pause,
	[SVM_EXIT_HLT]			= lodge_exit_hlt,
	[SVM_EXIT_INVLPGA]		= lodge_exit_ud,
	[SVM_EXIT_IOIO]			= svm_exit_ioio,
	[SVM_EXIT_MSR]			= svm_exit_rdmsr_wrmsr,
	[SVM_EXIT_FERR_FREEZE]		= svm_exit_nothing,
	[SVM_EXIT_SHUTDOWN]		= svm_exit_shutdown,
	[SVM_EXIT_VMRUN]		= lodge_exit_ud,
	[SVM_EXIT_VMMCALL]		= lodge_exit_hypercall,
	[SVM_EXIT_VMLOAD]		= lodge_exit_ud,
	[SVM_EXIT_VMSAVE]		= lodge_exit_ud,
	[SVM_EXIT_STGI]			= lodge_exit_ud,
	[SVM_EXIT_CLGI]			= lodge_exit_ud,
	[SVM_EXIT_SKINIT]		= lodge_exit_ud,
	[SVM_EXIT_WBINVD]		= lodge_exit_nop,
	[SVM_EXIT_MONITOR]		= lodge_exit_mwait,
	[SVM_EXIT_MWAIT]		= lodge_exit_mwait,
	[SVM_EXIT_XSETBV]		= lodge_exit_xsetbv,
	[SVM_EXIT_RDPRU]		= lodge_exit_ud,
	[SVM_EXIT_INVLPGB]		= lodge_exit_ud,
	[SVM_EXIT_MCOMMIT]		= lodge_exit_ud,
	[SVM_EXIT_TLBSYNC]		= lodge_exit_ud,
};

/* CS.L counts only with EFER.LMA. */
static bool svm_is_64bit(struct lodge_vcpu *vcpu)
{
	return (to_svm(vcpu)->vmcb->save.cs.attributes & SVM_ATTR_L) &&
	       (vcpu->st.efer & EFER_LMA);
}

/*
 * Without NRIP save: what is behind the instruction that exited, if it is there as every
 * compiler writes it and can be looked at without sleep; else 0. 64-bit code only.
 */
static noinline u64 svm_next_rip(struct lodge_vcpu *vcpu)
{
	const struct vmcb_save *s = &to_svm(vcpu)->vmcb->save;
	unsigned int length = 2;
	u64 bytes[2];
	u32 opcode;

	switch (vcpu->exit.code) {
	case SVM_EXIT_CPUID:
		opcode = 0xa20f;
		break;
	case SVM_EXIT_MSR:
		opcode = vcpu->exit.info1 & 1 ? 0x300f : 0x320f;
		break;
	case SVM_EXIT_HLT:
		opcode = 0xf4;
		length = 1;
		break;
	case SVM_EXIT_VMMCALL:
		opcode = 0xd9010f;
		length = 3;
		break;
	case SVM_EXIT_PAUSE:
		opcode = 0x90f3;
		break;
	default:
		return 0;
	}
	if (!svm_is_64bit(vcpu) || lodge_fetch_quick(vcpu, s->cr3, s->rip, bytes) < length ||
	    (bytes[0] ^ opcode) << (64 - 8 * length))
		return 0;
	return s->rip + length;
}

static bool svm_find_next_rip(struct lodge_vcpu *vcpu)
{
	if (!lodge_svm_features.nrip_save)
		vcpu->exit.next_rip = svm_next_rip(vcpu);
	return vcpu->exit.next_rip;
}

/* Of an access, not of the walk to it: "Nested versus Guest Page Faults, Fault Ordering". */
static bool svm_is_mmio(struct lodge_vcpu *vcpu, u64 info, u64 gpa)
{
	return (info & (SVM_NPF_FINAL | SVM_NPF_EXEC)) == SVM_NPF_FINAL &&
	       lodge_has_no_slot(vcpu, gpa >> PAGE_SHIFT) && svm_is_64bit(vcpu);
}

/* "Decode Assists": bytes of a data access; none for a fetch. */
static void svm_take_bytes(struct lodge_vcpu *vcpu)
{
	const struct vmcb_control *c = &to_svm(vcpu)->vmcb->control;

	if (!lodge_svm_features.decode_assists || (vcpu->exit.info1 & SVM_NPF_EXEC))
		return;
	vcpu->exit.nr_bytes = c->insn_len & 15;
	memcpy(vcpu->exit.bytes, c->insn_bytes, sizeof(vcpu->exit.bytes));
}

static enum lodge_next svm_npf_fast(struct lodge_vcpu *vcpu)
{
	u64 info = vcpu->exit.info1, gpa = vcpu->exit.info2;

	if (unlikely(info & SVM_NPF_RESERVED))
		return LODGE_SLOW;
	if (svm_is_mmio(vcpu, info, gpa)) {
		svm_take_bytes(vcpu);
		return lodge_mmio_fast(vcpu, gpa, svm_npf_access(info),
				       to_svm(vcpu)->vmcb->save.cr3);
	}
	if (!lodge_stage2_fault_fast(vcpu, gpa, svm_npf_access(info)))
		return LODGE_REENTER;
	svm_take_bytes(vcpu);
	return LODGE_SLOW;
}

/* What needs no sleep, and of guest memory only what is at hand. */
enum lodge_next svm_exit_fast(struct lodge_vcpu *vcpu)
{
	u64 info = vcpu->exit.info1;

	switch (vcpu->exit.code) {
	case SVM_EXIT_CPUID:
		if (!svm_find_next_rip(vcpu))
			return LODGE_SLOW;
		lodge_do_cpuid(vcpu, vcpu->exit.next_rip);
		return LODGE_REENTER;
	case SVM_EXIT_MSR:
		if (svm_find_next_rip(vcpu) &&
		    lodge_do_msr_fast(vcpu, info & 1, vcpu->exit.next_rip))
			return LODGE_REENTER;
		return LODGE_SLOW;
	case SVM_EXIT_HLT:
		if (svm_find_next_rip(vcpu) && !vcpu->lapic)
			return lodge_exit_hlt(vcpu);
		return LODGE_SLOW;
	case SVM_EXIT_VMMCALL:
		if (svm_find_next_rip(vcpu) && svm_is_64bit(vcpu) &&
		    !to_svm(vcpu)->vmcb->save.cpl)
			return lodge_hypercall_fast(vcpu, vcpu->exit.next_rip);
		return LODGE_SLOW;
	case SVM_EXIT_PAUSE:
		svm_find_next_rip(vcpu);
		return LODGE_SLOW;
	case SVM_EXIT_IOIO:
		if (info & SVM_IOIO_STRING)
			return LODGE_SLOW;
		return lodge_pio_fast(vcpu, info >> 16, SVM_IOIO_SIZE(info), info & SVM_IOIO_IN,
				      vcpu->exit.info2);
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		lodge_host_machine_check();
		return LODGE_REENTER;
	case SVM_EXIT_NPF:
		return svm_npf_fast(vcpu);
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
		/* The kernel serves it as soon as it has its interrupts on again. */
		return LODGE_ENDED;
	default:
		return LODGE_SLOW;
	}
}

int svm_exit(struct lodge_vcpu *vcpu)
{
	u64 code = vcpu->exit.code;

	if (code == SVM_EXIT_NPF)
		return svm_exit_npf(vcpu);
	if (code >= SVM_EXIT_EXCP_BASE && code < SVM_EXIT_EXCP_BASE + 32)
		return svm_exit_exception(vcpu, code - SVM_EXIT_EXCP_BASE);
	if (code < ARRAY_SIZE(svm_exits)) {
		code = array_index_nospec(code, ARRAY_SIZE(svm_exits));
		if (svm_exits[code])
			return svm_exits[code](vcpu);
	} else if (code == (u64)SVM_EXIT_ERR || code == (u32)SVM_EXIT_ERR) {
		return svm_exit_invalid(vcpu);
	}
	return lodge_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
					 code, vcpu->cpu);
}
