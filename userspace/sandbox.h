/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the runner gives up before the guest's first instruction.
 */
#ifndef LODGE_SANDBOX_H
#define LODGE_SANDBOX_H

/*
 * Drop every capability and the way back to any.  Before threads are made:
 * they inherit it.  Ends the program with one line on failure.
 */
void sandbox_drop_capabilities(void);

/* Confine all threads to the system calls that a running guest needs. */
void sandbox_filter_system_calls(void);

#endif
