/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's serial port leads: the terminal, a pseudo-terminal, or a
 * file.  Opened by run.c; input is handled on the I/O thread, output on vCPU
 * threads.
 */
#ifndef LODGE_CONSOLE_H
#define LODGE_CONSOLE_H

#include "parse.h"
#include "vm.h"

/* Attach the serial port.  Ends the program with one line on failure. */
void console_open(struct vm *vm, const struct console_option *option);

/*
 * terminal_save() remembers stdin's settings and has them restored at exit;
 * terminal_raw() takes the terminal for the guest.  All do nothing when stdin
 * is no terminal; terminal_restore() is safe in a signal handler.
 */
void terminal_save(void);
void terminal_raw(void);
void terminal_restore(void);

#endif
