// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest code that is not inline: exception dispatch and the calls to the host
 * that do not return. Runs in the guest only, from lib/guest_entry.S and the
 * tests' guest functions; no locks.
 */
#include "guest.h"

guest_handler guest_handlers[256];
volatile u64 guest_fixup_rip;
volatile u64 guest_fault_vector;
volatile u64 guest_fault_error;
volatile u64 guest_fault_addr;

__noreturn
static void guest_stop(struct guest_call *call)
{
	for (;;)
		guest_call(call);
}

void guest_done(void)
{
	struct guest_call call = { .kind = GUEST_CALL_DONE };

	guest_stop(&call);
}

void guest_assert_failed(const char *file, int line, const char *text,
			 u64 a, u64 b)
{
	struct guest_call call = {
		.kind = GUEST_CALL_ASSERT,
		.a = a,
		.b = b,
		.line = (u64)line,
		.file = file,
		.text = text,
	};

	guest_stop(&call);
}

void guest_exception(struct guest_regs *regs)
{
	struct guest_call call = {
		.kind = GUEST_CALL_EXCEPTION,
		.a = regs->vector,
		.b = regs->error,
		.line = regs->rip,
	};

	if (guest_handlers[regs->vector]) {
		guest_handlers[regs->vector](regs);
		return;
	}
	if (regs->vector < 32 && guest_fixup_rip) {
		guest_fault_vector = regs->vector;
		guest_fault_error = regs->error;
		if (regs->vector == 14)
			guest_fault_addr = read_cr2();
		regs->rip = guest_fixup_rip;
		guest_fixup_rip = 0;
		return;
	}
	guest_stop(&call);
}
