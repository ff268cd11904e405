/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The runner's messages and exit statuses; lodge(1) documents the statuses.
 * Called by every part of the runner; safe in any thread.
 */
#ifndef LODGE_ERROR_H
#define LODGE_ERROR_H

#include <stdnoreturn.h>

enum exit_status {
	STATUS_POWER_OFF = 0,		/* or the user's own Ctrl-A x */
	STATUS_HOST_ERROR = 1,		/* the host failed us: memory, I/O */
	STATUS_BAD_INPUT = 2,
	STATUS_REBOOT = 3,
	STATUS_TRIPLE_FAULT = 4,
	STATUS_MODULE_ERROR = 5,
	STATUS_SIGNAL = 128,		/* plus the number of the signal */
};

#define __printf(fmt, args)	__attribute__((format(printf, fmt, args)))

/* The name given by --name; prefixes every message. */
void error_set_name(const char *name);

/* Print one line to stderr. */
__printf(1, 2) void message(const char *format, ...);

/* Print one line, run the exit handlers, and end with @status. */
noreturn __printf(2, 3) void die(enum exit_status status, const char *format, ...);

#define bad_input(...)	die(STATUS_BAD_INPUT, __VA_ARGS__)
#define host_error(...)	die(STATUS_HOST_ERROR, __VA_ARGS__)

#endif
