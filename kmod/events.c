// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exceptions, NMIs and interrupts on their way into a guest. Queued by the vCPU's thread
 * in any tier; chosen and handed to the backend by run.c inside the window, with
 * interrupts off. vcpu->mutex guards vcpu->ev but for the atomics.
 */
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kernel_compat.h"
#include "backend.h"
#include "debug.h"
#include "events.h"
#include "state.h"
#include "trace.h"
#include "vapic.h"
#include "vm.h"

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum exception_class exception_class(u8 vector)
{
	switch (vector) {
	case X86_TRAP_PF:
		return PAGE_FAULT;
	case X86_TRAP_DE:
	case X86_TRAP_TS:
	case X86_TRAP_NP:
	case X86_TRAP_SS:
	case X86_TRAP_GP:
		return CONTRIBUTORY;
	default:
		return BENIGN;
	}
}

/* RIP of the handler's frame is the instruction itself: RF keeps its breakpoint quiet. */
static bool exception_is_fault(u8 vector)
{
	return vector < 32 && vector != X86_TRAP_NMI && vector != X86_TRAP_DB &&
	       vector != X86_TRAP_BP && vector != X86_TRAP_OF && vector != X86_TRAP_DF &&
	       vector != X86_TRAP_MC;
}

/*
 * Intel SDM volume 3, "Interrupt 8: Double Fault Exception": a second exception while
 * the first is delivered is a double fault for some pairs, and while that is
 * delivered, shutdown. Every other pair is handled one after the other.
 */
static void queue_exception(struct lodge_vcpu *vcpu, u8 vector, bool has_error, u32 error,
			    bool has_payload, u64 payload)
{
	struct lodge_exception *ex = &vcpu->ev.ex;

	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	vcpu->ev.soft = false;
	if (ex->pending || ex->injected) {
		enum exception_class first = exception_class(ex->vector);
		enum exception_class second = exception_class(vector);

		if (ex->vector == X86_TRAP_DF) {
			lodge_make_request(vcpu, LODGE_REQ_TRIPLE_FAULT);
			return;
		}
		if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
		    (first == PAGE_FAULT && second != BENIGN)) {
			vector = X86_TRAP_DF;
			has_error = true;
			error = 0;
			has_payload = false;
		}
		/* Else the second replaces the first, which the instruction raises again. */
	}
	*ex = (struct lodge_exception) {
		.pending = true,
		.vector = vector,
		.has_error = has_error,
		.error = error,
		.has_payload = has_payload,
		.payload = payload,
	};
}

void lodge_queue_exception(struct lodge_vcpu *vcpu, u8 vector)
{
	queue_exception(vcpu, vector, false, 0, false, 0);
}

void lodge_queue_exception_error(struct lodge_vcpu *vcpu, u8 vector, u32 error)
{
	queue_exception(vcpu, vector, true, error, false, 0);
}

void lodge_queue_page_fault(struct lodge_vcpu *vcpu, u64 cr2, u32 error)
{
	queue_exception(vcpu, X86_TRAP_PF, true, error, true, cr2);
}

void lodge_queue_debug(struct lodge_vcpu *vcpu, u64 dr6_bits)
{
	queue_exception(vcpu, X86_TRAP_DB, false, 0, true, dr6_bits);
}

void lodge_queue_soft(struct lodge_vcpu *vcpu, u8 vector, bool irq, u64 next)
{
	struct lodge_events *ev = &vcpu->ev;

	if (irq) {
		ev->irq_injected = true;
		ev->irq_soft = true;
		ev->irq_vector = vector;
	} else {
		lodge_queue_exception(vcpu, vector);
		/* It became something else. */
		if (ev->ex.vector != vector)
			return;
	}
	ev->soft = true;
	ev->soft_sized = true;
	ev->soft_rip = next;
}

void lodge_queue_emul_exception(struct lodge_vcpu *vcpu, const struct emul_exception *ex)
{
	if (ex->has_error_code)
		lodge_queue_exception_error(vcpu, ex->vector, ex->error_code);
	else
		lodge_queue_exception(vcpu, ex->vector);
}

/* Could an interrupt be taken at this instruction? */
static bool irq_allowed(const struct lodge_vcpu *vcpu)
{
	return (vcpu->st.rflags & X86_EFLAGS_IF) && !vcpu->ev.shadow;
}

static bool nmi_allowed(const struct lodge_vcpu *vcpu)
{
	return !vcpu->ev.nmi_masked && !vcpu->ev.shadow;
}

/* The output of the PIC, ours or user space's, where the LAPIC lets it through. */
static bool extint_pending(const struct lodge_vcpu *vcpu)
{
	bool output = vcpu->user_pic ? vcpu->ev.user_irq >= 0 :
				       pic_has_output(&vcpu->vm->ic.pic);

	return output && lapic_accepts_extint(vcpu->lapic);
}

static int take_user_irq(struct lodge_vcpu *vcpu)
{
	int vector = vcpu->ev.user_irq;

	vcpu->ev.user_irq = -1;
	return vector;
}

/* Does any source have an interrupt that only RFLAGS.IF and the shadow may hold back? */
bool lodge_has_irq(struct lodge_vcpu *vcpu)
{
	if (!vcpu->lapic)
		return vcpu->ev.user_irq >= 0;
	return extint_pending(vcpu) || lapic_highest_pending(vcpu->lapic) >= 0;
}

/* The same, if it is for us to inject: what the CPU delivers needs no help. */
static bool has_irq_to_inject(struct lodge_vcpu *vcpu)
{
	if (vcpu->lapic && vcpu->lapic->direct)
		return extint_pending(vcpu);
	return lodge_has_irq(vcpu);
}

/* Takes the interrupt off its source: its vector, or -1 when it went away. */
static int take_irq(struct lodge_vcpu *vcpu)
{
	int vector;

	if (!vcpu->lapic)
		return take_user_irq(vcpu);
	if (extint_pending(vcpu)) {
		vector = vcpu->user_pic ? take_user_irq(vcpu) : pic_ack(&vcpu->vm->ic.pic);
		if (vector >= 0)
			return vector;
	}
	if (vcpu->lapic->direct)
		return -1;
	vector = lapic_highest_pending(vcpu->lapic);
	if (vector >= 0)
		lapic_ack(vcpu->lapic, vector);
	return vector;
}

bool lodge_has_wake_event(struct lodge_vcpu *vcpu)
{
	/* A #DB waits after a single step over HLT. */
	if (vcpu->ev.ex.pending || READ_ONCE(vcpu->pv.unhalted))
		return true;
	if ((vcpu->ev.nmi_pending || atomic_read(&vcpu->ev.nmi_queued)) && nmi_allowed(vcpu))
		return true;
	return irq_allowed(vcpu) && lodge_has_irq(vcpu);
}

/* Is there room for an interrupt of user space's, and would it not be masked? */
static bool takes_user_irq(const struct lodge_vcpu *vcpu)
{
	return vcpu->ev.user_irq < 0 && (!vcpu->lapic || lapic_accepts_extint(vcpu->lapic));
}

bool lodge_ready_for_user_irq(struct lodge_vcpu *vcpu)
{
	const struct lodge_events *ev = &vcpu->ev;

	return takes_user_irq(vcpu) && irq_allowed(vcpu) && !ev->irq_injected &&
	       !ev->ex.pending && !ev->ex.injected && !ev->nmi_injected;
}

/* Its frame shows what follows the instruction, which counts as executed now. */
static void retire_soft(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;

	if (ev->ex.injected ? ev->ex.vector != X86_TRAP_BP && ev->ex.vector != X86_TRAP_OF :
			      !ev->irq_injected || !ev->irq_soft)
		return;
	ev->soft = false;
	if (!ev->soft_sized)
		return;
	ev->soft_injected = true;
	ev->soft_from = vcpu->st.rip;
	vcpu->st.rip = ev->soft_rip;
}

void lodge_unretire_soft(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;

	ev->soft = true;
	ev->soft_injected = false;
	vcpu->st.rip = ev->soft_from;
}

static void inject(struct lodge_vcpu *vcpu, u8 vector, bool again)
{
	if (unlikely(vcpu->ev.soft))
		retire_soft(vcpu);
	trace_lodge_inject(vcpu->id, vector, again);
	lodge_backend->inject(vcpu);
}

static void inject_exception(struct lodge_vcpu *vcpu, bool again)
{
	struct lodge_exception *ex = &vcpu->ev.ex;

	/* Real mode pushes no error codes. */
	lodge_state_get(vcpu, LODGE_ST_CRS);
	if (!(vcpu->st.cr0 & X86_CR0_PE))
		ex->has_error = false;
	inject(vcpu, ex->vector, again);
}

static void inject_new_exception(struct lodge_vcpu *vcpu)
{
	struct lodge_exception *ex = &vcpu->ev.ex;

	lodge_deliver_payload(vcpu);
	if (exception_is_fault(ex->vector))
		vcpu->st.rflags |= X86_EFLAGS_RF;
	if (ex->vector == X86_TRAP_DB) {
		lodge_state_get(vcpu, LODGE_ST_DRS);
		if (vcpu->st.dr7 & DR7_GD) {
			lodge_state_edit(vcpu, LODGE_ST_DRS);
			vcpu->st.dr7 &= ~DR7_GD;
		}
	}
	ex->pending = false;
	ex->injected = true;
	inject_exception(vcpu, false);
}

/* True when an event whose delivery an exit broke off was handed over again. */
static bool inject_again(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;

	if (ev->ex.injected)
		inject_exception(vcpu, true);
	else if (ev->ex.pending)
		return false;
	else if (ev->nmi_injected)
		inject(vcpu, X86_TRAP_NMI, true);
	else if (ev->irq_injected)
		inject(vcpu, ev->irq_vector, true);
	else
		return false;
	return true;
}

/* At most one NMI is in service and one waits: Intel SDM volume 3, "Handling NMIs". */
void lodge_collect_nmis(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;
	int limit = ev->nmi_masked || ev->nmi_injected ? 1 : 2;

	if (!atomic_read(&ev->nmi_queued))
		return;
	ev->nmi_pending = min(ev->nmi_pending + atomic_xchg(&ev->nmi_queued, 0), limit);
}

/*
 * The TPR holds back an interrupt: watch CR8, which the guest writes without an exit. What
 * user space's local APIC holds back is not known here.
 */
static void update_tpr_window(struct lodge_vcpu *vcpu, bool has_irq)
{
	bool on = !vcpu->lapic ||
		  (vcpu->lapic->irr_pending && !has_irq && !vcpu->lapic->direct);

	if (on != vcpu->tpr_window) {
		vcpu->tpr_window = on;
		lodge_backend->tpr_window(vcpu, on);
	}
}

void lodge_prepare_events(struct lodge_vcpu *vcpu)
{
	struct lodge_events *ev = &vcpu->ev;
	bool busy = inject_again(vcpu);
	bool has_irq, await = false;

	lodge_collect_nmis(vcpu);

	if (!busy && ev->ex.pending) {
		inject_new_exception(vcpu);
		busy = true;
	}
	/* A step of the debugger's must not lead into a handler. */
	if (unlikely(vcpu->debug & KVM_GUESTDBG_BLOCKIRQ))
		return;

	if (!busy && ev->nmi_pending && nmi_allowed(vcpu)) {
		ev->nmi_pending--;
		ev->nmi_masked = true;
		ev->nmi_injected = true;
		vcpu->stats.nmi_injections++;
		inject(vcpu, X86_TRAP_NMI, false);
		busy = true;
	}

	has_irq = has_irq_to_inject(vcpu);
	if (!busy && has_irq && irq_allowed(vcpu)) {
		int vector = take_irq(vcpu);

		if (vector >= 0) {
			ev->irq_vector = vector;
			ev->irq_soft = false;
			ev->irq_injected = true;
			vcpu->stats.irq_injections++;
			inject(vcpu, vector, false);
			await = vcpu->lapic && READ_ONCE(vcpu->lapic->given);
		}
		has_irq = has_irq_to_inject(vcpu);
	}
	if (unlikely(lodge_wants_pv_eoi(vcpu)) && ev->irq_injected &&
	    !(vcpu->lapic && vcpu->lapic->direct))
		lodge_pv_eoi_offer(vcpu);

	/* What could not go in now asks for an exit as soon as it can. */
	if (ev->nmi_pending)
		lodge_backend->open_nmi_window(vcpu);
	if (has_irq || (lodge_wants_irq_window(vcpu) && takes_user_irq(vcpu)))
		lodge_backend->open_irq_window(vcpu);
	update_tpr_window(vcpu, has_irq);
	if (await)
		lodge_await_deadline(vcpu, ev->irq_vector);
}
