// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one instruction that nearly all accesses to devices in memory are: a MOV of 64-bit
 * code, executed without the emulator. Called by the backends for a stage-2 fault, in any
 * tier and on the vCPU's thread; whatever is out of the ordinary is left to emulation.c.
 *
 * The CPU has walked the guest's tables and checked the access: its guest-physical address
 * comes with the exit. The code is fetched anew each time, as it may have changed.
 */
#include <linux/hash.h>

#include "kernel_compat.h"
#include "exits.h"
#include "memory.h"
#include "state.h"
#include "trace.h"
#include "vm.h"

/* Are the first @insn->length bytes of @code those that @insn was decoded from? */
static bool is_same_code(const struct emul_insn *insn, const u64 code[2], unsigned int avail)
{
	u64 known[2];

	if (!insn->length || insn->length > avail)
		return false;
	static_assert(offsetof(struct emul_insn, bytes) == 0);
	memcpy(known, insn, sizeof(known));
	if (insn->length <= 8)
		return !((known[0] ^ code[0]) << (64 - 8 * insn->length));
	return known[0] == code[0] && !((known[1] ^ code[1]) << (128 - 8 * insn->length));
}

/* The instruction at RIP, decoded for 64-bit code; NULL when it is not at hand. */
static const struct emul_insn *look(struct lodge_vcpu *vcpu, u64 cr3)
{
	u64 rip = vcpu->st.rip;
	struct emul_insn *insn = &vcpu->code[hash_64(rip, LODGE_KNOWN_INSNS_BITS)];
	unsigned int avail = vcpu->exit.nr_bytes;
	u64 code[2] = {};

	if (avail)
		memcpy(code, vcpu->exit.bytes, sizeof(vcpu->exit.bytes));
	else
		avail = lodge_fetch_quick(vcpu, cr3, rip, code);
	if (is_same_code(insn, code, avail))
		return insn;
	return emul_decode(insn, (const u8 *)code, avail, EMUL_MODE_64) > 0 ? insn : NULL;
}

/* KVM_RUN after a load that user space has answered. */
static int finish_load(struct lodge_vcpu *vcpu)
{
	u64 value = 0;

	memcpy(&value, vcpu->run->mmio.data, vcpu->unfinished.size);
	emul_finish_load(&vcpu->emul.insn, &vcpu->st.regs, value);
	lodge_retire(vcpu, vcpu->unfinished.next_rip);
	return LODGE_REENTER;
}

static enum lodge_next leave(struct lodge_vcpu *vcpu, const struct emul_insn *insn,
			     const struct emul_move *move, u64 gpa)
{
	u64 next_rip = vcpu->st.rip + insn->length;
	struct kvm_run *run = vcpu->run;

	vcpu->stats.mmio_exits++;
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = move->size;
	run->mmio.is_write = move->write;
	if (move->write) {
		/* As in KVM, a write has happened when user space sees it. */
		memcpy(run->mmio.data, &move->value, sizeof(run->mmio.data));
		lodge_retire(vcpu, next_rip);
		return LODGE_TO_USER;
	}
	vcpu->emul.insn = *insn;
	lodge_leave_unfinished(vcpu, finish_load, next_rip);
	vcpu->unfinished.size = move->size;
	return LODGE_TO_USER;
}

enum lodge_next lodge_mmio_fast(struct lodge_vcpu *vcpu, u64 gpa, u32 access, u64 cr3)
{
	const struct lodge_events *ev = &vcpu->ev;
	const struct emul_insn *insn;
	struct emul_move move;
	bool served;

	/* A part of the local APIC may be in guest memory. An event's delivery is no MOV. */
	if (unlikely(vcpu->debug || vcpu->apic_memory) ||
	    ev->ex.injected || ev->irq_injected || ev->nmi_injected)
		return LODGE_SLOW;
	insn = look(vcpu, cr3);
	if (!insn || !emul_is_move(insn, &vcpu->st.regs, &move))
		return LODGE_SLOW;
	/*
	 * It may not be what the CPU has executed, if another vCPU writes to this code. Only
	 * what the CPU has checked may happen: this access, to this page.
	 */
	if (move.write != !!(access & LODGE_ACCESS_WRITE) ||
	    offset_in_page(move.linear) != offset_in_page(gpa) ||
	    offset_in_page(gpa) + move.size > PAGE_SIZE)
		return LODGE_SLOW;
	if (move.write && !lodge_mmio_write_is_fast(vcpu, gpa))
		return LODGE_SLOW;

	vcpu->stats.pf_taken++;
	vcpu->stats.insn_emulation++;
	trace_lodge_fault(vcpu->id, gpa, access, LODGE_FAULT_MMIO);
	trace_lodge_emulate(vcpu->id, vcpu->st.rip, insn->bytes, insn->length, EMUL_DONE);
	if (move.write) {
		served = !lodge_mmio_write(vcpu, gpa, move.size, &move.value);
	} else {
		move.value = 0;
		served = !lodge_mmio_read(vcpu, gpa, move.size, &move.value);
	}
	if (!served)
		return leave(vcpu, insn, &move, gpa);
	if (!move.write)
		emul_finish_load(insn, &vcpu->st.regs, move.value);
	lodge_retire(vcpu, vcpu->st.rip + insn->length);
	return LODGE_REENTER;
}
