// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages to stderr: one line each, in one write, so that lines of several
 * threads never mix.  Called by every part of the runner.  The name is set
 * before any thread starts; nothing else is shared.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

static const char *guest_name;

void error_set_name(const char *name)
{
	guest_name = name;
}

__printf(1, 0) static void print_line(const char *format, va_list args)
{
	char line[1024];
	int len = 0, more;

	if (guest_name)
		len = snprintf(line, sizeof(line) - 1, "lodge: %.64s: ", guest_name);
	else
		len = snprintf(line, sizeof(line) - 1, "lodge: ");
	more = vsnprintf(line + len, sizeof(line) - 1 - (size_t)len, format, args);
	if (more < 0)
		return;
	len = (int)strlen(line);
	line[len++] = '\n';
	/* Nowhere is left to report that stderr cannot be written. */
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return;
}

void message(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line(format, args);
	va_end(args);
}

void die(enum exit_status status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line(format, args);
	va_end(args);
	exit(status);
}
