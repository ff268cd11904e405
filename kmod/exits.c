// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an exit means, apart from the vendor that reports it: CPUID, HLT, control
 * registers, stage-2 faults, errors. Called by the backends on the vCPU's
 * thread, after the window unless exits.h says "any tier".
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/kvm_para.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <asm/debugreg.h>
#include <asm/mce.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kernel_compat.h"
#include "check.h"
#include "debug.h"
#include "exits.h"
#include "memory.h"
#include "state.h"
#include "trace.h"
#include "vm.h"

int lodge_finish_exit(struct lodge_vcpu *vcpu)
{
	struct lodge_unfinished *u = &vcpu->unfinished;
	int (*finish)(struct lodge_vcpu *vcpu) = u->finish;

	u->finish = NULL;
	if (!finish || vcpu->st.rip != u->rip)
		return LODGE_REENTER;
	return finish(vcpu);
}

int lodge_decode(struct lodge_vcpu *vcpu, struct emul_insn *insn)
{
	struct emul_ctxt ctxt;

	lodge_emul_ctxt(vcpu, &ctxt);
	switch (emul_fetch(&ctxt, insn)) {
	case EMUL_DONE:
		return LODGE_SLOW;
	case EMUL_EXCEPTION:
		lodge_queue_emul_exception(vcpu, &ctxt.exception);
		return LODGE_REENTER;
	case EMUL_FAULT:
	case EMUL_AGAIN:
		return LODGE_REENTER;
	default:
		return lodge_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION, 0, 0);
	}
}

bool lodge_next_rip(struct lodge_vcpu *vcpu, u64 *next)
{
	struct emul_ctxt ctxt;
	struct emul_insn insn;

	if (vcpu->exit.next_rip) {
		*next = vcpu->exit.next_rip;
		return true;
	}
	lodge_emul_ctxt(vcpu, &ctxt);
	if (emul_fetch(&ctxt, &insn) != EMUL_DONE)
		return false;
	*next = emul_next_rip(&ctxt, &insn);
	return true;
}

int lodge_exit_cpuid(struct lodge_vcpu *vcpu)
{
	u64 next;

	if (lodge_next_rip(vcpu, &next))
		lodge_do_cpuid(vcpu, next);
	return LODGE_REENTER;
}

int lodge_exit_hlt(struct lodge_vcpu *vcpu)
{
	u64 next;

	if (!lodge_next_rip(vcpu, &next))
		return LODGE_REENTER;
	lodge_retire(vcpu, next);
	vcpu->stats.halt_exits++;
	if (vcpu->lapic) {
		vcpu->mp_state = KVM_MP_STATE_HALTED;
		return LODGE_REENTER;
	}
	vcpu->run->exit_reason = KVM_EXIT_HLT;
	return LODGE_TO_USER;
}

/* Caches are coherent with the guest's devices. */
int lodge_exit_nop(struct lodge_vcpu *vcpu)
{
	u64 next;

	if (lodge_next_rip(vcpu, &next))
		lodge_retire(vcpu, next);
	return LODGE_REENTER;
}

/* The guest sees no wake-up missed, only no sleep. */
int lodge_exit_mwait(struct lodge_vcpu *vcpu)
{
	struct lodge_vm *vm = vcpu->vm;
	bool has = lodge_has_quirk(vm, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT) ?
		   lodge_guest_has(vcpu, X86_FEATURE_MWAIT) :
		   vcpu->msr_misc_enable & MSR_IA32_MISC_ENABLE_MWAIT;

	if (!has && !lodge_has_quirk(vm, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS))
		return lodge_exit_ud(vcpu);
	return lodge_exit_nop(vcpu);
}

bool lodge_yield_to(struct lodge_vcpu *vcpu)
{
	struct task_struct *task;
	bool yielded;

	if (READ_ONCE(vcpu->mode) != LODGE_OUTSIDE ||
	    READ_ONCE(vcpu->mp_state) != KVM_MP_STATE_RUNNABLE)
		return false;
	/* In KVM_RUN the task cannot end; after that it lives for a grace period. */
	rcu_read_lock();
	task = READ_ONCE(vcpu->task);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return false;
	yielded = yield_to(task, true) > 0;
	put_task_struct(task);
	return yielded;
}

/*
 * The guest spins on what another vCPU may hold that has no CPU to run on: lend it this
 * one's time, each in turn.
 */
int lodge_exit_pause(struct lodge_vcpu *vcpu)
{
	struct lodge_vm *vm = vcpu->vm;
	struct lodge_vcpu *other;
	unsigned int i, n;
	u64 next;

	if (lodge_next_rip(vcpu, &next))
		lodge_retire(vcpu, next);
	n = smp_load_acquire(&vm->nr_vcpus);	/* pairs with create_vcpu() */
	for (i = 1; i <= n; i++) {
		other = lodge_vm_vcpu(vm, (vcpu->yielded_to + i) % n);
		if (other == vcpu)
			continue;
		if (lodge_yield_to(other)) {
			vcpu->yielded_to = other->index;
			break;
		}
	}
	return LODGE_REENTER;
}

int lodge_exit_ud(struct lodge_vcpu *vcpu)
{
	lodge_queue_exception(vcpu, X86_TRAP_UD);
	return LODGE_REENTER;
}

/* No performance counters are virtualized: every index is out of range. */
int lodge_exit_rdpmc(struct lodge_vcpu *vcpu)
{
	lodge_queue_gp(vcpu);
	return LODGE_REENTER;
}

int lodge_exit_xsetbv(struct lodge_vcpu *vcpu)
{
	const u64 *gpr = vcpu->st.gpr;
	u64 next;

	if (!lodge_next_rip(vcpu, &next))
		return LODGE_REENTER;
	lodge_state_get(vcpu, LODGE_ST_SEGS);
	if (vcpu->st.cpl ||
	    lodge_set_xcr(vcpu, gpr[GPR_RCX], (u32)gpr[GPR_RAX] | gpr[GPR_RDX] << 32))
		lodge_queue_gp(vcpu);
	else
		lodge_retire(vcpu, next);
	return LODGE_REENTER;
}

/* 0, 1 for #GP, or 2 for #UD. */
static int mov_cr(struct lodge_vcpu *vcpu, const struct emul_insn *insn, bool write)
{
	u64 *reg = &vcpu->st.gpr[emul_rm(insn)];
	unsigned int n = emul_reg(insn);
	bool long64 = lodge_is_64bit(vcpu);

	/* AMD: LOCK MOV CR0 is MOV CR8 outside 64-bit mode. */
	if (insn->lock && n == 0)
		n = 8;
	if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
		return 2;
	if (!write) {
		u64 value = lodge_get_cr(vcpu, n);

		*reg = long64 ? value : (u32)value;
		return 0;
	}
	return lodge_set_cr(vcpu, n, long64 ? *reg : (u32)*reg);
}

static int smsw_lmsw(struct lodge_vcpu *vcpu, const struct emul_insn *insn, bool *redo)
{
	struct emul_ctxt ctxt;
	unsigned int size = emul_is_mem(insn) ? 2 : insn->op_bytes;
	enum emul_result r;
	u64 value;

	lodge_emul_ctxt(vcpu, &ctxt);
	if (((insn->modrm >> 3) & 7) == 4) {
		r = emul_write_rm(&ctxt, insn, size, lodge_get_cr(vcpu, 0));
		*redo = r != EMUL_DONE;
		return 0;
	}
	r = emul_read_rm(&ctxt, insn, 2, &value);
	*redo = r != EMUL_DONE;
	return *redo ? 0 : lodge_lmsw(vcpu, value);
}

/* MOV CR, CLTS, LMSW and SMSW, told apart by decoding them. */
int lodge_exit_cr_access(struct lodge_vcpu *vcpu)
{
	struct emul_ctxt ctxt;
	struct emul_insn insn;
	u8 cr8 = vcpu->cr8;
	bool redo = false;
	int r;

	r = lodge_decode(vcpu, &insn);
	if (r != LODGE_SLOW)
		return r;
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);

	switch (insn.map == EMUL_MAP_0F ? insn.opcode : 0) {
	case 0x20:
	case 0x22:
		r = mov_cr(vcpu, &insn, insn.opcode == 0x22);
		break;
	case 0x06:
		r = lodge_clts(vcpu);
		break;
	case 0x01:
		r = smsw_lmsw(vcpu, &insn, &redo);
		break;
	default:
		/*
		 * Another vCPU has put this here since the exit. The CPU looks again: what
		 * is emulated might have changed once more, to what the emulator leaves to it.
		 */
		return LODGE_REENTER;
	}
	if (redo)
		return LODGE_REENTER;	/* a fault is queued, or memory came and went */
	if (r == 1) {
		lodge_queue_gp(vcpu);
	} else if (r == 2) {
		lodge_queue_exception(vcpu, X86_TRAP_UD);
	} else {
		lodge_emul_ctxt(vcpu, &ctxt);
		lodge_retire(vcpu, emul_next_rip(&ctxt, &insn));
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
		/* User space's local APIC may have an interrupt that can go in now. */
		if (!vcpu->lapic && vcpu->cr8 < cr8) {
			vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
			return LODGE_TO_USER;
		}
	}
	return LODGE_REENTER;
}

/* KVM_CAP_MEMORY_FAULT_INFO: what KVM_RUN's EFAULT is about. */
static int fail_memory_fault(struct lodge_vcpu *vcpu, u64 gpa, int r)
{
	const struct lodge_memory_fault fault = {
		.gpa = gpa & PAGE_MASK,
		.size = PAGE_SIZE,
	};

	if (r == -EFAULT) {
		vcpu->run->exit_reason = KVM_EXIT_MEMORY_FAULT;
		memcpy(vcpu->run->padding, &fault, sizeof(fault));
	}
	return r;
}

int lodge_exit_mmio(struct lodge_vcpu *vcpu, u64 gpa)
{
	/*
	 * The access belonged to the delivery of an event (its stack or descriptor is no
	 * memory), not to the instruction at RIP: there is nothing to emulate.
	 */
	if (vcpu->ev.ex.injected || vcpu->ev.irq_injected || vcpu->ev.nmi_injected)
		return lodge_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV,
						 vcpu->exit.code, gpa);
	return lodge_emulate(vcpu);
}

int lodge_exit_stage2(struct lodge_vcpu *vcpu, u64 gpa, u32 access)
{
	int r = lodge_stage2_fault(vcpu, gpa, access);

	vcpu->stats.pf_taken++;
	trace_lodge_fault(vcpu->id, gpa, access, r);
	if (r == LODGE_FAULT_MAPPED)
		return LODGE_REENTER;
	if (r != LODGE_FAULT_MMIO)
		return fail_memory_fault(vcpu, gpa, r);
	if (lodge_lapic_page_map(vcpu, gpa))
		return LODGE_REENTER;
	return lodge_exit_mmio(vcpu, gpa);
}

/* From user mode, for its severity: poison that a guest consumes must not end the host. */
void lodge_host_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = {
		.cs = 3,
		.flags = X86_EFLAGS_IF,
	};

	do_machine_check(&regs);
#endif
}

int lodge_exit_shutdown(struct lodge_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return LODGE_TO_USER;
}

void lodge_rule_broken(struct lodge_vcpu *vcpu, const char *rule)
{
	trace_lodge_rule_broken(vcpu->id, rule);
	pr_err_ratelimited("vCPU %u: entry: %s\n", vcpu->id, rule);
}

int lodge_exit_internal_error(struct lodge_vcpu *vcpu, u32 suberror, u64 d0, u64 d1)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = suberror;
	run->internal.ndata = 2;
	run->internal.data[0] = d0;
	run->internal.data[1] = d1;
	return LODGE_TO_USER;
}
