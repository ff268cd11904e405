/* SPDX-License-Identifier: GPL-2.0-only */
/* What run.c asks of events.c; the functions that queue events are in vcpu.h. */
#ifndef LODGE_EVENTS_H
#define LODGE_EVENTS_H

#include <linux/bits.h>
#include <asm/trapnr.h>

#include "vcpu.h"

/*
 * The exceptions that push an error code and that a guest can meet by itself: Intel SDM
 * volume 3, "Exception and Interrupt Reference".
 */
#define LODGE_HAVE_ERROR_CODE \
	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | BIT(X86_TRAP_SS) | \
	 BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC))

/* Something is to be injected or repeated, or a source must be looked at again. */
static inline bool lodge_events_due(const struct lodge_vcpu *vcpu)
{
	const struct lodge_events *ev = &vcpu->ev;

	return lodge_test_request((struct lodge_vcpu *)vcpu, LODGE_REQ_EVENT) ||
	       ev->ex.pending || ev->ex.injected || ev->irq_injected || ev->nmi_injected;
}

/*
 * Hands the backend the one event that the guest takes with the next entry, and opens
 * windows for the others. Inside the window, interrupts off; consumes nothing that it
 * does not inject.
 */
void lodge_prepare_events(struct lodge_vcpu *vcpu);

/* INTn, INT3 or INTO was to go in, and no entry came: RIP is at the instruction again. */
void lodge_unretire_soft(struct lodge_vcpu *vcpu);

/* An interrupt waits that RFLAGS.IF and the interrupt shadow alone may hold back. */
bool lodge_has_irq(struct lodge_vcpu *vcpu);

/* Moves NMIs that others sent to nmi_pending, as many as can wait. */
void lodge_collect_nmis(struct lodge_vcpu *vcpu);

/* Would a halted vCPU wake up? Any thread context of the vCPU. */
bool lodge_has_wake_event(struct lodge_vcpu *vcpu);

/* Does user space ask for an exit as soon as the guest can take an interrupt? */
static inline bool lodge_wants_irq_window(const struct lodge_vcpu *vcpu)
{
	return vcpu->user_pic && READ_ONCE(vcpu->run->request_interrupt_window);
}

/* May user space give an interrupt by KVM_INTERRUPT that goes in at once? */
bool lodge_ready_for_user_irq(struct lodge_vcpu *vcpu);

#endif
