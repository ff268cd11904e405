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

/* The kernel serves what arrived as soon as it has its interrupts on again. */
static int svm_exit_host_event(struct lodge_vcpu *vcpu)
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

	/* "Decode Assists": bytes of a data access; none for a fetch. */
	if (lodge_svm_features.decode_assists && !(info & SVM_NPF_EXEC)) {
		const struct vmcb_control *c = &to_svm(vcpu)->vmcb->control;

		vcpu->exit.nr_bytes = c->insn_len & 15;
		memcpy(vcpu->exit.bytes, c->insn_bytes, sizeof(vcpu->exit.bytes));
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
	[SVM_EXIT_WRITE_CR0]		= lodge_exit_cr_access,
	[SVM_EXIT_WRITE_CR4]		= lodge_exit_cr_access,
	[SVM_EXIT_WRITE_CR8]		= svm_exit_cr8_write,
	[SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR0 + 15] = svm_exit_dr,
	[SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR0 + 15] = svm_exit_dr,
	[SVM_EXIT_INTR]			= svm_exit_host_event,
	[SVM_EXIT_NMI]			= svm_exit_host_event,
	[SVM_EXIT_SMI]			= svm_exit_host_event,
	[SVM_EXIT_INIT]			= svm_exit_host_event,
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
	[SVM_EXIT_FERR_FREEZE]		= svm_exit_host_event,
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

/*
 * What needs neither sleep nor guest memory. Without NRIP save the length of an
 * instruction is only known by fetching it, which may sleep: not here.
 */
enum lodge_next svm_exit_fast(struct lodge_vcpu *vcpu)
{
	u64 next = vcpu->exit.next_rip;

	switch (vcpu->exit.code) {
	case SVM_EXIT_CPUID:
		if (!next)
			return LODGE_SLOW;
		lodge_do_cpuid(vcpu, next);
		return LODGE_REENTER;
	case SVM_EXIT_MSR:
		if (next && lodge_do_msr_fast(vcpu, vcpu->exit.info1 & 1, next))
			return LODGE_REENTER;
		return LODGE_SLOW;
	case SVM_EXIT_IOIO:
		if ((vcpu->exit.info1 & (SVM_IOIO_STRING | SVM_IOIO_IN)) == 0 &&
		    lodge_pio_fast(vcpu, vcpu->exit.info1 >> 16,
				   SVM_IOIO_SIZE(vcpu->exit.info1), vcpu->exit.info2))
			return LODGE_REENTER;
		return LODGE_SLOW;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		lodge_host_machine_check();
		return LODGE_REENTER;
	case SVM_EXIT_NPF:
		if (!(vcpu->exit.info1 & SVM_NPF_RESERVED) &&
		    !lodge_stage2_fault_fast(vcpu, vcpu->exit.info2,
					     svm_npf_access(vcpu->exit.info1)))
			return LODGE_REENTER;
		return LODGE_SLOW;
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
