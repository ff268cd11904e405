/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The values of the runner's options, from text.  Pure functions: called by
 * options.c and by the unit tests.  Each returns NULL when @text is good, or a
 * constant sentence fragment that says what was expected; the results are
 * written only on success.
 */
#ifndef LODGE_PARSE_H
#define LODGE_PARSE_H

#include "types.h"

#define MEMORY_MIN	MIB(16)
#define MEMORY_MAX	GIB(512)
#define MAX_CPUS	254	/* xAPIC ids end at 254; 255 means all */
#define MAX_NAME	32

enum console_kind { CONSOLE_STDIO, CONSOLE_PTY, CONSOLE_FILE };

struct console_option {
	enum console_kind kind;
	const char *path;		/* CONSOLE_FILE only */
};

struct disk_option {
	char *path;			/* the caller frees it */
	bool readonly;
};

/*
 * Bytes, with an optional K, M, G or T, that can be a guest's memory: in range,
 * and whole megabytes.
 */
const char *parse_memory(const char *text, u64 *size);

/* A decimal number from 1 to MAX_CPUS. */
const char *parse_cpus(const char *text, unsigned int *cpus);

/* FILE or FILE,readonly; a comma in the name itself is written ",,". */
const char *parse_disk(const char *text, struct disk_option *disk);

/* tap=NAME; *@tap points into @text. */
const char *parse_net(const char *text, const char **tap);

/* stdio, pty or file=F; the path points into @text. */
const char *parse_console(const char *text, struct console_option *console);

/* Letters, digits, '.', '_' and '-'. */
const char *parse_name(const char *text, const char **name);

#endif
