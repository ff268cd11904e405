// SPDX-License-Identifier: GPL-2.0-only
/*
 * Debugging a guest from user space: KVM_SET_GUEST_DEBUG and KVM_EXIT_DEBUG. Called by
 * vcpu.c, run.c and the exit handlers on the vCPU's thread; vcpu->mutex guards all of it.
 *
 * vcpu->st always has the guest's own debug registers and its own TF. What the debugger
 * wants instead is in vcpu->dbg; the backend shows the CPU one or the other.
 *
 * A step is one instruction, or the delivery of one event: it ends at the first
 * instruction of the handler, so that a debugger misses none.
 */
#include <linux/nospec.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kernel_compat.h"
#include "backend.h"
#include "debug.h"
#include "events.h"
#include "exits.h"
#include "memory.h"
#include "state.h"
#include "vm.h"

/* Intel SDM volume 3, "Debug Registers": what is not fixed. */
#define DR6_WRITABLE	0x0000e00full
#define DR7_WRITABLE	0xffff2bffull
#define DR7_FIXED	0x400ull

u64 lodge_linear_rip(struct lodge_vcpu *vcpu)
{
	lodge_state_get(vcpu, LODGE_ST_SEGS);
	if (lodge_is_64bit(vcpu))
		return vcpu->st.rip;
	return (u32)(vcpu->st.seg[LODGE_CS].base + vcpu->st.rip);
}

int lodge_set_guest_debug(struct lodge_vcpu *vcpu, const struct kvm_guest_debug *dbg)
{
	u32 inject = dbg->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP);

	if (inject) {
		if (vcpu->ev.ex.pending || lodge_test_request(vcpu, LODGE_REQ_TRIPLE_FAULT))
			return -EBUSY;
		lodge_queue_exception(vcpu, inject & KVM_GUESTDBG_INJECT_DB ? X86_TRAP_DB :
									      X86_TRAP_BP);
		lodge_debug_soft_event(vcpu);
	}

	/* From now on, or from now on no longer, the CPU has others than st says. */
	lodge_state_edit(vcpu, LODGE_ST_DRS);
	vcpu->debug = dbg->control & KVM_GUESTDBG_ENABLE ? dbg->control & LODGE_GUEST_DEBUG : 0;
	if (vcpu->debug & KVM_GUESTDBG_USE_HW_BP) {
		memcpy(vcpu->dbg.dr, dbg->arch.debugreg, sizeof(vcpu->dbg.dr));
		/* No CPU has more of it. */
		vcpu->dbg.dr7 = (u32)dbg->arch.debugreg[7];
	}
	vcpu->dbg.insn = LODGE_STEP_PLAIN;
	clear_bit(LODGE_REQ_DEBUG, &vcpu->requests);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	lodge_backend->update_intercepts(vcpu);
	return 0;
}

void lodge_debug_soft_event(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;
	bool ex = (ev->ex.pending || ev->ex.injected) &&
		  (ev->ex.vector == X86_TRAP_BP || ev->ex.vector == X86_TRAP_OF);

	ev->soft = ex || (ev->irq_injected && ev->irq_soft);
	ev->soft_sized = false;
}

/* The instruction at RIP, if there is one that can be read. It may queue a #PF. */
static bool fetch(struct lodge_vcpu *vcpu, struct emul_ctxt *ctxt, struct emul_insn *insn)
{
	lodge_emul_ctxt(vcpu, ctxt);
	return emul_fetch(ctxt, insn) == EMUL_DONE;
}

/* Some instructions show TF to the guest, or take it from somewhere else than RFLAGS. */
static void classify(struct lodge_vcpu *vcpu)
{
	struct emul_ctxt ctxt;
	struct emul_insn insn;

	if (!fetch(vcpu, &ctxt, &insn))
		return;
	if (insn.map == EMUL_MAP_1) {
		switch (insn.opcode) {
		case 0x9c:
			vcpu->dbg.insn = LODGE_STEP_PUSHF;
			break;
		case 0x9d:
		case 0xcf:
			vcpu->dbg.insn = LODGE_STEP_LOADS_FLAGS;
			break;
		}
	} else if (insn.map == EMUL_MAP_0F && insn.encoding == EMUL_LEGACY) {
		if (insn.opcode == 0x05)
			vcpu->dbg.insn = LODGE_STEP_SYSCALL;
		else if (insn.opcode == 0x07)
			vcpu->dbg.insn = LODGE_STEP_SYSRET;
	}
}

void lodge_debug_prepare(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;
	struct emul_ctxt ctxt;
	struct emul_insn insn;

	vcpu->dbg.insn = LODGE_STEP_PLAIN;
	if (ev->soft && !ev->soft_sized && fetch(vcpu, &ctxt, &insn)) {
		ev->soft_sized = true;
		ev->soft_rip = emul_next_rip(&ctxt, &insn);
	}
	/* An event on its way comes first, and is a step of its own. */
	if ((vcpu->debug & KVM_GUESTDBG_SINGLESTEP) && !ev->ex.pending && !ev->ex.injected &&
	    !ev->irq_injected && !ev->nmi_injected)
		classify(vcpu);
}

void lodge_stepped(struct lodge_vcpu *vcpu, bool own)
{
	if (own)
		lodge_queue_debug(vcpu, DR_STEP);
	if (vcpu->debug & KVM_GUESTDBG_SINGLESTEP) {
		vcpu->dbg.done_rip = vcpu->st.rip;
		lodge_make_request(vcpu, LODGE_REQ_DEBUG);
	}
}

int lodge_exit_debug(struct lodge_vcpu *vcpu, u8 vector, u64 dr6)
{
	struct kvm_run *run = vcpu->run;

	lodge_state_get(vcpu, LODGE_ST_DRS);
	clear_bit(LODGE_REQ_DEBUG, &vcpu->requests);
	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch = (struct kvm_debug_exit_arch) {
		.exception = vector,
		.pc = lodge_linear_rip(vcpu),
		.dr6 = dr6,
		.dr7 = lodge_effective_dr7(vcpu),
	};
	return LODGE_TO_USER;
}

int lodge_exit_step(struct lodge_vcpu *vcpu)
{
	return lodge_exit_debug(vcpu, X86_TRAP_DB, DR6_ACTIVE_LOW | DR_STEP);
}

bool lodge_step_reported(struct lodge_vcpu *vcpu)
{
	lodge_take_request(vcpu, LODGE_REQ_DEBUG);
	/* User space moved the vCPU elsewhere. */
	if (vcpu->st.rip != vcpu->dbg.done_rip)
		return false;
	lodge_exit_step(vcpu);
	return true;
}

/* PUSHF has just pushed a TF that is not the guest's: bit 0 of the image's second byte. */
static void hide_pushed_tf(struct lodge_vcpu *vcpu)
{
	const struct kvm_segment *ss = &vcpu->st.seg[LODGE_SS];
	u32 access = LODGE_WALK_WRITE, error;
	u64 addr = vcpu->st.gpr[EMUL_RSP], gpa;
	u8 byte;

	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	addr = lodge_is_64bit(vcpu) ? addr + 1 :
	       (u32)(ss->base + (ss->db ? (u32)addr : (u16)addr) + 1);
	if (vcpu->st.cpl == 3)
		access |= LODGE_WALK_USER;
	if (lodge_walk(vcpu, addr, access, &gpa, &error) ||
	    lodge_read_gpa(vcpu->vm, gpa, &byte, 1))
		return;
	byte &= ~BIT(0);
	lodge_write_gpa(vcpu, gpa, &byte, 1);
}

int lodge_exit_db(struct lodge_vcpu *vcpu, u64 bits, bool own)
{
	bool step = vcpu->debug & KVM_GUESTDBG_SINGLESTEP;

	if ((bits & DR_STEP) && !own) {
		if (vcpu->dbg.insn == LODGE_STEP_PUSHF)
			hide_pushed_tf(vcpu);
		/* A step of the backend's own: nobody's business. */
		if (!step)
			bits &= ~(u64)DR_STEP;
		if (!bits)
			return LODGE_REENTER;
	}
	if (step && (bits & DR_STEP) && own)
		lodge_queue_debug(vcpu, DR_STEP);
	if (vcpu->debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP))
		return lodge_exit_debug(vcpu, X86_TRAP_DB, bits ^ DR6_ACTIVE_LOW);
	lodge_queue_debug(vcpu, bits);
	return LODGE_REENTER;
}

int lodge_exit_exception(struct lodge_vcpu *vcpu, u8 vector, u32 error, u64 addr)
{
	/* ... and #CP, #VC and #SX. */
	const u32 has_error = LODGE_HAVE_ERROR_CODE | BIT(21) | BIT(29) | BIT(30);
	u64 next;

	switch (vector) {
	case X86_TRAP_BP:
		if (vcpu->debug & KVM_GUESTDBG_USE_SW_BP)
			return lodge_exit_debug(vcpu, vector, DR6_ACTIVE_LOW);
		fallthrough;
	case X86_TRAP_OF:
		if (lodge_next_rip(vcpu, &next))
			lodge_queue_soft(vcpu, vector, false, next);
		break;
	case X86_TRAP_PF:
		lodge_queue_page_fault(vcpu, addr, error);
		break;
	default:
		if (has_error & BIT(vector))
			lodge_queue_exception_error(vcpu, vector, error);
		else
			lodge_queue_exception(vcpu, vector);
	}
	return LODGE_REENTER;
}

int lodge_exit_software_interrupt(struct lodge_vcpu *vcpu)
{
	struct emul_ctxt ctxt;
	struct emul_insn insn;
	int r;

	r = lodge_decode(vcpu, &insn);
	if (r != LODGE_SLOW)
		return r;
	lodge_emul_ctxt(vcpu, &ctxt);
	switch (insn.opcode) {
	case 0xcc:
		return lodge_exit_exception(vcpu, X86_TRAP_BP, 0, 0);
	case 0xce:
		return lodge_exit_exception(vcpu, X86_TRAP_OF, 0, 0);
	case 0xcd:
		lodge_queue_soft(vcpu, insn.imm, true, emul_next_rip(&ctxt, &insn));
		break;
	}
	return LODGE_REENTER;
}

/* 0; 1 for #GP. DR4 and DR5 have become DR6 and DR7. */
static int write_dr(struct lodge_vcpu *vcpu, unsigned int n, u64 value)
{
	struct lodge_state *st = &vcpu->st;

	if (n < 4) {
		st->dr[array_index_nospec(n, 4)] = value;
		return 0;
	}
	if (value >> 32)
		return 1;
	if (n == 6)
		st->dr6 = (value & DR6_WRITABLE) | DR6_ACTIVE_LOW;
	else
		st->dr7 = (value & DR7_WRITABLE) | DR7_FIXED;
	return 0;
}

static u64 read_dr(const struct lodge_vcpu *vcpu, unsigned int n)
{
	if (n < 4)
		return vcpu->st.dr[array_index_nospec(n, 4)];
	return n == 6 ? vcpu->st.dr6 : vcpu->st.dr7;
}

int lodge_exit_dr_access(struct lodge_vcpu *vcpu)
{
	bool long64, write;
	struct emul_ctxt ctxt;
	struct emul_insn insn;
	unsigned int n;
	u64 *reg;
	int r;

	r = lodge_decode(vcpu, &insn);
	if (r != LODGE_SLOW)
		return r;
	if (insn.map != EMUL_MAP_0F || (insn.opcode != 0x21 && insn.opcode != 0x23))
		return LODGE_REENTER;	/* another vCPU changed the code meanwhile */
	lodge_state_edit(vcpu, LODGE_ST_DRS);
	long64 = lodge_is_64bit(vcpu);
	write = insn.opcode == 0x23;
	reg = &vcpu->st.gpr[emul_rm(&insn)];
	n = emul_reg(&insn);

	if (n > 7 || ((n == 4 || n == 5) && (vcpu->st.cr4 & X86_CR4_DE)))
		return lodge_exit_ud(vcpu);
	if (vcpu->st.cpl) {
		lodge_queue_gp(vcpu);
		return LODGE_REENTER;
	}
	if (lodge_effective_dr7(vcpu) & DR7_GD) {
		if (vcpu->debug & KVM_GUESTDBG_USE_HW_BP)
			return lodge_exit_debug(vcpu, X86_TRAP_DB, DR6_ACTIVE_LOW | BIT(13));
		lodge_queue_debug(vcpu, BIT(13));	/* BD */
		return LODGE_REENTER;
	}
	if (n == 4 || n == 5)
		n += 2;
	if (!write) {
		*reg = long64 ? read_dr(vcpu, n) : (u32)read_dr(vcpu, n);
	} else if (write_dr(vcpu, n, long64 ? *reg : (u32)*reg)) {
		lodge_queue_gp(vcpu);
		return LODGE_REENTER;
	}
	lodge_emul_ctxt(vcpu, &ctxt);
	lodge_retire(vcpu, emul_next_rip(&ctxt, &insn));
	return LODGE_REENTER;
}
