/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both vendors' windows do alike to the CPU they are on: debug registers, most of
 * which a world switch leaves alone, and the barriers against speculation. Called by the
 * backends from ->window_open() to ->window_close(), with interrupts off.
 */
#ifndef LODGE_HOST_CPU_H
#define LODGE_HOST_CPU_H

#include <linux/hw_breakpoint.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>

#include "kernel_compat.h"
#include "vcpu.h"

/* The kernel's decision to use it; newer ones have only "the CPU can". */
#ifdef X86_FEATURE_USE_IBPB
#define LODGE_FEATURE_IBPB	X86_FEATURE_USE_IBPB
#else
#define LODGE_FEATURE_IBPB	X86_FEATURE_IBPB
#endif

/* The host's debug registers while a window has the CPU's. */
struct lodge_host_drs {
	bool saved;
	u64 dr[4], dr6, dr7;
};

/* DR0 to DR3. */
static inline void lodge_load_breakpoints(const u64 *dr)
{
	set_debugreg(dr[0], 0);
	set_debugreg(dr[1], 1);
	set_debugreg(dr[2], 2);
	set_debugreg(dr[3], 3);
}

static inline void lodge_read_breakpoints(u64 *dr)
{
	get_debugreg(dr[0], 0);
	get_debugreg(dr[1], 1);
	get_debugreg(dr[2], 2);
	get_debugreg(dr[3], 3);
}

/* The host's breakpoints must not fire on the guest's addresses, nor go missing. */
static inline void lodge_save_host_drs(struct lodge_host_drs *host)
{
	host->saved = hw_breakpoint_active();
	if (!host->saved)
		return;
	lodge_read_breakpoints(host->dr);
	get_debugreg(host->dr6, 6);
	get_debugreg(host->dr7, 7);
	set_debugreg(0ul, 7);
}

/*
 * Before anything of the host runs that they may watch.
 * @dr6_is_guests: what is in DR6 now must not show there.
 */
static inline void lodge_restore_host_drs(const struct lodge_host_drs *host, bool dr6_is_guests)
{
	if (!host->saved) {
		if (dr6_is_guests)
			set_debugreg((unsigned long)DR6_RESERVED, 6);
		return;
	}
	lodge_load_breakpoints(host->dr);
	set_debugreg(host->dr6, 6);
	set_debugreg(host->dr7, 7);
}

/*
 * One vCPU's branch history must steer neither another's (Spectre v2) nor the VMM (VMSCAPE).
 * @last: this CPU's last vCPU, never looked into.
 */
static inline void lodge_branch_barriers(const struct lodge_vcpu **last, struct lodge_vcpu *vcpu)
{
	if (unlikely(*last != vcpu)) {
		*last = vcpu;
		if (boot_cpu_has(LODGE_FEATURE_IBPB))
			wrmsrl(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	}

#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	/* At the next entry to user space. */
	if (boot_cpu_has(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}

#endif /* LODGE_HOST_CPU_H */
