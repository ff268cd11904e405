// SPDX-License-Identifier: GPL-2.0-only
/*
 * The run loop: from KVM_RUN to the guest and back. Called by vcpu.c with vcpu->mutex
 * held, on the vCPU's thread. A *window* is the stretch with interrupts off around one
 * or more entries; exits are handled in three tiers: inside it (backend->exit_fast),
 * after it (backend->exit), or by user space.
 */
#include <linux/sched/signal.h>
#include <linux/static_call.h>
#include <asm/fpu/api.h>
#include <asm/processor-flags.h>

#include "kernel_compat.h"
#include "backend.h"
#include "debug.h"
#include "events.h"
#include "exits.h"
#include "guest_time.h"
#include "pv.h"
#include "run.h"
#include "state.h"
#include "trace.h"
#include "vapic.h"
#include "vm.h"

#if LODGE_HAVE_ENTRY_VIRT
#include <linux/entry-virt.h>
#else
#include <linux/entry-kvm.h>
#endif

#ifdef CONFIG_PREEMPT_RT
#error "The window takes locks that sleep on PREEMPT_RT, with interrupts off"
#endif

/* What each entry and window needs of the backend is called without an indirect branch. */
DEFINE_STATIC_CALL_NULL(lodge_window_open, *((struct lodge_backend *)NULL)->window_open);
DEFINE_STATIC_CALL_NULL(lodge_window_close, *((struct lodge_backend *)NULL)->window_close);
DEFINE_STATIC_CALL_NULL(lodge_enter, *((struct lodge_backend *)NULL)->enter);
DEFINE_STATIC_CALL_NULL(lodge_exit_fast, *((struct lodge_backend *)NULL)->exit_fast);
DEFINE_STATIC_CALL_NULL(lodge_exit, *((struct lodge_backend *)NULL)->exit);

void __init lodge_run_init(void)
{
	static_call_update(lodge_window_open, lodge_backend->window_open);
	static_call_update(lodge_window_close, lodge_backend->window_close);
	static_call_update(lodge_enter, lodge_backend->enter);
	static_call_update(lodge_exit_fast, lodge_backend->exit_fast);
	static_call_update(lodge_exit, lodge_backend->exit);
}

/* What ends a window, or keeps one from opening. */
static bool must_leave(struct lodge_vcpu *vcpu)
{
	return READ_ONCE(vcpu->requests) || READ_ONCE(vcpu->mode) != LODGE_IN_GUEST ||
	       __xfer_to_guest_mode_work_pending();
}

/*
 * Enters the guest until something needs the kernel. Interrupts are off throughout: a
 * kick is an interrupt, and ends the guest before anything else happens.
 */
static enum lodge_next enter_repeatedly(struct lodge_vcpu *vcpu)
{
	enum lodge_next next = LODGE_REENTER;

	do {
		if (lodge_events_due(vcpu)) {
			lodge_take_request(vcpu, LODGE_REQ_EVENT);
			lodge_prepare_events(vcpu);
		}
		if (must_leave(vcpu))
			break;
		if (vcpu->lapic)
			vcpu->cr8 = lapic_get_cr8(vcpu->lapic);

		/* What a tracepoint is told is read only where it is on. */
		if (trace_lodge_entry_enabled())
			trace_lodge_entry(vcpu->id, vcpu->st.rip);
		static_call(lodge_enter)(vcpu);
		if (trace_lodge_exit_enabled())
			trace_lodge_exit(vcpu->id, vcpu->exit.code, vcpu->st.rip,
					 vcpu->exit.info1, vcpu->exit.info2);

		if (unlikely(vcpu->apic_memory))
			lodge_pv_eoi_take(vcpu);
		vcpu->stats.exits++;
		next = static_call(lodge_exit_fast)(vcpu);
		/* What the guest has there of its LAPIC then has to be looked at. */
	} while (next == LODGE_REENTER && likely(!vcpu->apic_memory));
	return next;
}

static int run_window(struct lodge_vcpu *vcpu, bool first)
{
	enum lodge_next next = LODGE_REENTER;
	bool on;

	if (unlikely(vcpu->apic_memory))
		lodge_apic_to_guest(vcpu);
	lodge_fpu_begin(vcpu, first);
	if (unlikely(vcpu->cpu != smp_processor_id()) && lodge_backend->come)
		lodge_backend->come(vcpu);
	local_irq_disable();

	on = this_cpu_read(lodge_cpu_is_on);
	if (likely(on)) {
		lodge_clock_enter(vcpu, smp_processor_id());
		vcpu->cpu = smp_processor_id();
		/* Pairs with the zap and the kick: they change, then look at mode. */
		smp_store_mb(vcpu->mode, LODGE_IN_GUEST);

		lodge_guest_time_enter();
		static_call(lodge_window_open)(vcpu);
		lodge_fpu_load(vcpu);
		vcpu->stats.host_state_reload++;

		next = enter_repeatedly(vcpu);

		lodge_fpu_save(vcpu);
		static_call(lodge_window_close)(vcpu);
		if (unlikely(vcpu->ev.soft_injected))
			lodge_unretire_soft(vcpu);
		WRITE_ONCE(vcpu->mode, LODGE_OUTSIDE);
		if (next != LODGE_TO_USER)
			lodge_note_quiescent();

		/*
		 * The tick that ended the guest must find it accounted as guest time. It
		 * comes after the instruction that follows STI: there must be one.
		 */
		local_irq_enable();
		asm volatile("nop");
		local_irq_disable();
		lodge_guest_time_exit();
	}
	local_irq_enable();
	/* To have preemption on again may be to be preempted; see run_loop() for the rest. */
	if (unlikely(vcpu->pv.steal_msr) && next == LODGE_ENDED && lodge_resched_is_due())
		lodge_tell_preempted(vcpu);
	lodge_fpu_end(vcpu);

	if (unlikely(!on)) {
		/* This CPU is going or coming: the scheduler moves us in a moment. */
		schedule_timeout_interruptible(1);
		return LODGE_REENTER;
	}
	if (unlikely(vcpu->apic_memory))
		lodge_apic_from_guest(vcpu);
	if (next < LODGE_SLOW)
		return next;
	return next == LODGE_SLOW ? static_call(lodge_exit)(vcpu) : LODGE_REENTER;
}

/* INIT, then SIPI, in the order they came: Intel SDM volume 3, "MP Initialization". */
void lodge_accept_init_sipi(struct lodge_vcpu *vcpu)
{
	u8 vector;

	if (!vcpu->lapic || !READ_ONCE(vcpu->pending_init_sipi))
		return;
	if (test_and_clear_bit(LAPIC_EVENT_INIT, &vcpu->pending_init_sipi)) {
		lodge_vcpu_reset(vcpu, true);
		vcpu->mp_state = vcpu->lapic->base & LAPIC_BASE_BSP ?
				 KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED;
	}
	if (test_and_clear_bit(LAPIC_EVENT_SIPI, &vcpu->pending_init_sipi) &&
	    vcpu->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		smp_rmb();	/* pairs with the sender's write of sipi_vector */
		vector = READ_ONCE(vcpu->sipi_vector);
		lodge_state_edit(vcpu, LODGE_ST_SEGS);
		vcpu->st.seg[LODGE_CS].selector = vector << 8;
		vcpu->st.seg[LODGE_CS].base = vector << 12;
		vcpu->st.rip = 0;
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

/* Serves what was asked of this vCPU by others. LODGE_REENTER, or as for an exit. */
static int serve_requests(struct lodge_vcpu *vcpu)
{
	/* First, as what follows may write to guest memory. */
	if (lodge_test_request(vcpu, LODGE_REQ_RING_FULL) && lodge_ring_must_exit(vcpu)) {
		vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
		return LODGE_TO_USER;
	}
	lodge_take_request(vcpu, LODGE_REQ_KICK);
	/* Delivery works with a stale map, but walks all LAPICs then. */
	if (vcpu->lapic && irqchip_map_stale(&vcpu->vm->ic))
		irqchip_rebuild_map(&vcpu->vm->ic);
	lodge_accept_init_sipi(vcpu);
	if (lodge_take_request(vcpu, LODGE_REQ_INTERCEPTS))
		lodge_backend->update_intercepts(vcpu);
	if (lodge_take_request(vcpu, LODGE_REQ_CLOCK))
		lodge_kvmclock_update(vcpu);
	if (lodge_take_request(vcpu, LODGE_REQ_TRIPLE_FAULT))
		return lodge_exit_shutdown(vcpu);
	if (lodge_take_request(vcpu, LODGE_REQ_IOAPIC_EOI)) {
		vcpu->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		vcpu->run->eoi.vector = vcpu->eoi_vector;
		return LODGE_TO_USER;
	}
	if (lodge_take_request(vcpu, LODGE_REQ_TPR_ACCESS))
		return lodge_exit_tpr_access(vcpu);
	return LODGE_REENTER;
}

static bool is_runnable(const struct lodge_vcpu *vcpu)
{
	return vcpu->mp_state == KVM_MP_STATE_RUNNABLE;
}

/* Should a vCPU that waits look around? Also evaluated while it goes to sleep. */
static bool wakes_up(struct lodge_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->requests) & ~(BIT(LODGE_REQ_EVENT) | BIT(LODGE_REQ_RING_FULL)))
		return true;
	if (READ_ONCE(vcpu->pending_init_sipi))
		return true;
	return vcpu->mp_state == KVM_MP_STATE_HALTED && lodge_has_wake_event(vcpu);
}

/* Sleeps while the vCPU is halted or waits for INIT and SIPI. */
static int block(struct lodge_vcpu *vcpu)
{
	int r;

	lodge_tell_preempted(vcpu);
	if (vcpu->lapic)
		lapic_deadline_to_host(vcpu->lapic);
	/* -EINTR for a signal: the caller looks. */
	if (rcuwait_wait_event(&vcpu->wait, wakes_up(vcpu), TASK_INTERRUPTIBLE))
		return LODGE_REENTER;
	r = serve_requests(vcpu);
	if (r != LODGE_REENTER)
		return r;
	if (vcpu->mp_state == KVM_MP_STATE_HALTED && lodge_has_wake_event(vcpu)) {
		WRITE_ONCE(vcpu->pv.unhalted, false);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
		vcpu->stats.halt_wakeup++;
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
	}
	return LODGE_REENTER;
}

/*
 * Must the thread go to user space? Work that rseq has there is put off until it does, or
 * each preemption would cost a system call.
 */
static bool has_work_for_user(struct lodge_vcpu *vcpu)
{
	if (signal_pending(current))
		return true;
	if (likely(!test_thread_flag(TIF_NOTIFY_RESUME)))
		return false;
	if (!lodge_only_rseq_is_due())
		return true;
	clear_thread_flag(TIF_NOTIFY_RESUME);
	vcpu->rseq_due = true;
	/* Pairs with task_work_add(), which sets the flag after its work is there. */
	smp_mb__after_atomic();
	return !lodge_only_rseq_is_due();
}

static int run_loop(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	bool first = true;
	int r;

	for (;; first = false) {
		if (unlikely(READ_ONCE(vcpu->vm->dead)))
			return -EIO;

		r = LODGE_REENTER;
		if (READ_ONCE(vcpu->requests) & ~BIT(LODGE_REQ_EVENT))
			r = serve_requests(vcpu);
		if (r == LODGE_REENTER) {
			if (!is_runnable(vcpu)) {
				r = block(vcpu);
			} else {
				if (lodge_steal_time_due(vcpu))
					lodge_steal_time_update(vcpu);
				r = run_window(vcpu, first);
			}
		}
		if (r <= 0)
			return r;

		if (unlikely(lodge_test_request(vcpu, LODGE_REQ_DEBUG)))
			return lodge_exit_step(vcpu);
		if (lodge_wants_irq_window(vcpu) && lodge_ready_for_user_irq(vcpu)) {
			run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
			return 0;
		}
		if (has_work_for_user(vcpu)) {
			run->exit_reason = KVM_EXIT_INTR;
			if (!signal_pending(current))
				return -ERESTARTNOHAND;
			vcpu->stats.signal_exits++;
			return -EINTR;
		}
		/*
		 * Only between instructions: in the middle of emulating one, what this vCPU
		 * knows of the guest's page tables must not get old unnoticed. cond_resched()
		 * does nothing for lazy preemption, and the next window would end at once.
		 */
		if (lodge_resched_is_due()) {
			lodge_tell_preempted(vcpu);
			schedule();
		}
		cond_resched();
	}
}

/* What kvm_run tells user space about the vCPU at every return. */
static void fill_run(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->if_flag = !!(vcpu->st.rflags & X86_EFLAGS_IF);
	run->cr8 = lodge_get_cr8(vcpu);
	run->apic_base = lodge_get_apic_base(vcpu);
	run->ready_for_interrupt_injection = !vcpu->user_pic || lodge_ready_for_user_irq(vcpu);
	run->flags = 0;
}

/* Before its first INIT. What else is asked of it waits until it runs. */
static int wait_for_sipi(struct lodge_vcpu *vcpu)
{
	if (lodge_immediate_exit(vcpu->run))
		return -EINTR;
	if (rcuwait_wait_event(&vcpu->wait, READ_ONCE(vcpu->pending_init_sipi) ||
			       lodge_test_request(vcpu, LODGE_REQ_KICK), TASK_INTERRUPTIBLE)) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		return -EINTR;
	}
	lodge_take_request(vcpu, LODGE_REQ_KICK);
	lodge_accept_init_sipi(vcpu);
	return -EAGAIN;
}

static int run_vcpu(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int r;

	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED)
		return wait_for_sipi(vcpu);
	if (unlikely(READ_ONCE(run->kvm_valid_regs) || READ_ONCE(run->kvm_dirty_regs))) {
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
		if (lodge_sync_regs_in(vcpu))
			return -EINVAL;
	}
	if (!vcpu->lapic && lodge_set_cr8(vcpu, READ_ONCE(run->cr8)))
		return -EINVAL;

	r = lodge_finish_exit(vcpu);
	if (r != LODGE_REENTER)
		return r;
	if (unlikely(lodge_test_request(vcpu, LODGE_REQ_DEBUG)) && lodge_step_reported(vcpu))
		return LODGE_TO_USER;
	if (lodge_immediate_exit(run))
		return -EINTR;
	if (unlikely(vcpu->debug || vcpu->ev.soft))
		lodge_debug_prepare(vcpu);

	/* User space may have asked in kvm_run for an exit when it can give an interrupt. */
	if (vcpu->user_pic)
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return run_loop(vcpu);
}

/**
 * lodge_vcpu_run() - serve KVM_RUN
 * @vcpu: the vCPU, its mutex held
 *
 * Return: 0 with kvm_run->exit_reason filled; -EINTR for a signal or immediate_exit;
 * -EAGAIN after a wait for SIPI; -EINVAL; -EFAULT for guest memory that the host cannot
 * provide, for want of memory too, as in KVM; -ENOMEM for want of memory of our own;
 * -EIO for a dead VM.
 */
int lodge_vcpu_run(struct lodge_vcpu *vcpu)
{
	int r;

	/*
	 * What is only let in here stays pending for user space to take: by ->real_blocked a
	 * sender sees that it must neither kill the process with it nor drop it.
	 */
	if (vcpu->sigmask_set)
		sigprocmask(SIG_SETMASK, &vcpu->sigmask, &current->real_blocked);
	WRITE_ONCE(vcpu->task, current);
	r = run_vcpu(vcpu);
	WRITE_ONCE(vcpu->task, NULL);
	if (unlikely(vcpu->rseq_due)) {
		vcpu->rseq_due = false;
		set_thread_flag(TIF_NOTIFY_RESUME);
	}
	if (unlikely(READ_ONCE(vcpu->run->kvm_valid_regs)))
		lodge_sync_regs_out(vcpu);
	fill_run(vcpu);
	if (vcpu->sigmask_set) {
		sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
		sigemptyset(&current->real_blocked);
	}

	/*
	 * The kernel has work to do on the way to user space (task work, rseq, memory
	 * throttling), which no module may do itself. Going there and coming back is
	 * invisible: with TIF_SIGPENDING set and no signal there, the system call is
	 * started again; a signal that has a handler turns this errno into EINTR.
	 */
	if (r == -ERESTARTNOHAND)
		set_thread_flag(TIF_SIGPENDING);
	return r;
}
