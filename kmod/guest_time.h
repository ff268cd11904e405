/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel wants to know about a stretch of guest time: the equivalent of the
 * helpers that linux/kvm_host.h keeps for KVM. Called by the backends around the world
 * switch and by run.c around the window, with interrupts off on the vCPU's thread.
 */
#ifndef LODGE_GUEST_TIME_H
#define LODGE_GUEST_TIME_H

#include <linux/context_tracking.h>
#include <linux/ftrace.h>
#include <linux/instrumentation.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/vtime.h>

#include "kernel_compat.h"

/*
 * Right before the world switch. For RCU the guest is user mode: an extended quiescent
 * state where the CPU has no tick, else a quiescent state: lodge_note_quiescent().
 * For lockdep interrupts are on: they end the guest.
 */
static __always_inline void lodge_guest_state_enter(void)
{
	instrumentation_begin();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();

	context_tracking_guest_enter();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

/* Right after it. Nothing may be traced before this. */
static __always_inline void lodge_guest_state_exit(void)
{
	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();

	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
}

/*
 * The guest was a quiescent state. RCU waits for one only when a tick or an IPI of the
 * host's told it so, and those end the window; a thread on its way to user space comes to
 * one by itself.
 */
static inline void lodge_note_quiescent(void)
{
#if LODGE_HAVE_RCU_VIRT_NOTE_CPU
	rcu_virt_note_context_switch(smp_processor_id());
#else
	rcu_virt_note_context_switch();
#endif
}

/* Time from here to lodge_guest_time_exit() is accounted as the guest's. */
static inline void lodge_guest_time_enter(void)
{
	if (vtime_accounting_enabled_this_cpu())
		vtime_guest_enter(current);
	else
		current->flags |= PF_VCPU;
}

/* After the interrupt that ended the guest was served: the tick must see PF_VCPU. */
static inline void lodge_guest_time_exit(void)
{
	if (vtime_accounting_enabled_this_cpu())
		vtime_guest_exit(current);
	else
		current->flags &= ~PF_VCPU;
}

#endif
