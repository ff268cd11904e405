/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What common code does for an exit, whichever backend reports it (exits.c, msr_filter.c, io.c,
 * task_switch.c, emulation.c). Called by the backends' exit handlers after the window unless a
 * comment says "any tier". All return LODGE_REENTER, LODGE_TO_USER or an errno.
 */
#ifndef LODGE_EXITS_H
#define LODGE_EXITS_H

#include <asm/processor-flags.h>

#include "backend.h"
#include "debug.h"
#include "vcpu.h"

/* vcpu->st.gpr[]: the numbers that instructions have for them. */
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSI = 6 };

/*
 * The address of the next instruction into *next: from the backend, or by decoding
 * at RIP. False when the code cannot be read any more: enter the guest again, which
 * then faults by itself.
 */
bool lodge_next_rip(struct lodge_vcpu *vcpu, u64 *next);

/* The instruction at RIP has retired: RIP, interrupt shadow, single-step trap. Any tier. */
static inline void lodge_retire(struct lodge_vcpu *vcpu, u64 next_rip)
{
	vcpu->st.rip = next_rip;
	vcpu->ev.shadow = 0;
	vcpu->st.rflags &= ~(u64)X86_EFLAGS_RF;
	if (unlikely((vcpu->st.rflags & X86_EFLAGS_TF) || vcpu->debug))
		lodge_stepped(vcpu, vcpu->st.rflags & X86_EFLAGS_TF);
}

/*
 * User space has a part in the instruction at RIP: the next KVM_RUN calls @finish, which
 * retires it to @next_rip or does as an exit handler does. It is forgotten when user space
 * moves the vCPU elsewhere (a reset, a restored snapshot). LODGE_TO_USER.
 */
static inline int lodge_leave_unfinished(struct lodge_vcpu *vcpu,
					 int (*finish)(struct lodge_vcpu *vcpu), u64 next_rip)
{
	vcpu->unfinished.finish = finish;
	vcpu->unfinished.rip = vcpu->st.rip;
	vcpu->unfinished.next_rip = next_rip;
	return LODGE_TO_USER;
}

/* KVM_RUN begins. */
int lodge_finish_exit(struct lodge_vcpu *vcpu);

/*
 * Fetches and decodes the instruction at RIP: LODGE_SLOW to go on, else what to return.
 */
int lodge_decode(struct lodge_vcpu *vcpu, struct emul_insn *insn);

/* cpuid.c: any tier, with the next RIP known */
void lodge_do_cpuid(struct lodge_vcpu *vcpu, u64 next_rip);

int lodge_exit_cpuid(struct lodge_vcpu *vcpu);
int lodge_exit_hlt(struct lodge_vcpu *vcpu);
int lodge_exit_nop(struct lodge_vcpu *vcpu);	/* INVD, WBINVD */
int lodge_exit_mwait(struct lodge_vcpu *vcpu);	/* MONITOR, too */
int lodge_exit_pause(struct lodge_vcpu *vcpu);
/* Lends this CPU's time to @vcpu if that waits for a CPU; true when it did. */
bool lodge_yield_to(struct lodge_vcpu *vcpu);
int lodge_exit_ud(struct lodge_vcpu *vcpu);	/* what this CPU does not have */
int lodge_exit_rdpmc(struct lodge_vcpu *vcpu);
int lodge_exit_xsetbv(struct lodge_vcpu *vcpu);
int lodge_exit_cr_access(struct lodge_vcpu *vcpu);	/* decodes MOV CR, LMSW, SMSW, CLTS */
int lodge_exit_stage2(struct lodge_vcpu *vcpu, u64 gpa, u32 access);
/* An access to what is no memory, at @gpa. */
int lodge_exit_mmio(struct lodge_vcpu *vcpu, u64 gpa);
/*
 * A machine check of the host ended the guest. On the CPU that had it, interrupts off:
 * its banks are that CPU's.
 */
void lodge_host_machine_check(void);
int lodge_exit_shutdown(struct lodge_vcpu *vcpu);
/* KVM_EXIT_INTERNAL_ERROR with @suberror and up to 2 words of data. */
int lodge_exit_internal_error(struct lodge_vcpu *vcpu, u32 suberror, u64 d0, u64 d1);

/* msr_filter.c: RDMSR and WRMSR; the fast one in any tier, false: not by that way */
bool lodge_do_msr_fast(struct lodge_vcpu *vcpu, bool write, u64 next_rip);
int lodge_exit_msr(struct lodge_vcpu *vcpu, bool write);

/* io.c */
int lodge_exit_pio(struct lodge_vcpu *vcpu, u16 port, unsigned int size, bool in,
		   u64 next_rip);
int lodge_exit_string_pio(struct lodge_vcpu *vcpu);
/* The same in the window, as far as it may be. */
enum lodge_next lodge_pio_fast(struct lodge_vcpu *vcpu, u16 port, unsigned int size, bool in,
			       u64 next_rip);
/* In-kernel devices: 0 when one answered, -ENODEV when none is there. */
int lodge_port_read(struct lodge_vcpu *vcpu, u16 port, unsigned int size, void *data);
int lodge_port_write(struct lodge_vcpu *vcpu, u16 port, unsigned int size, u32 value);
int lodge_mmio_read(struct lodge_vcpu *vcpu, u64 gpa, unsigned int len, void *data);
int lodge_mmio_write(struct lodge_vcpu *vcpu, u64 gpa, unsigned int len, const void *data);

/* May that be called in the window? For all but some writes to the local APIC. */
bool lodge_mmio_write_is_fast(const struct lodge_vcpu *vcpu, u64 gpa);

/*
 * mmio.c: an access of 64-bit code with @cr3 to @gpa, which no slot has and which is the
 * instruction's own, not one of the walk to it. Any tier; LODGE_SLOW: nothing was done.
 */
enum lodge_next lodge_mmio_fast(struct lodge_vcpu *vcpu, u64 gpa, u32 access, u64 cr3);

/* task_switch.c: what made the CPU want one, in the order that it gives them numbers */
enum lodge_switch_source {
	LODGE_SWITCH_CALL, LODGE_SWITCH_IRET, LODGE_SWITCH_JMP,
	LODGE_SWITCH_GATE,	/* an event, by a task gate in the IDT */
};

struct lodge_task_switch {
	u16 selector;		/* of the new TSS */
	enum lodge_switch_source source;
	bool external;		/* no instruction asked for the event */
	bool has_error;
	u32 error;
	u32 next_rip;		/* where the old task goes on */
};

/* Switches, or queues the exception that comes of it. As an exit handler. */
int lodge_task_switch(struct lodge_vcpu *vcpu, const struct lodge_task_switch *cause);

/* emulation.c: executes the instruction at RIP in software */
int lodge_emulate(struct lodge_vcpu *vcpu);
void lodge_emul_ctxt(struct lodge_vcpu *vcpu, struct emul_ctxt *ctxt);

#endif
