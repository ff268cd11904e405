// SPDX-License-Identifier: GPL-2.0-only
/*
 * The values of the runner's options, from text.  Called by options.c and by
 * the unit tests; no state, no lock.
 */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

#define STRING(x)	#x
#define AS_TEXT(x)	STRING(x)

/*
 * The digits at the start of @text; too large a number becomes UINT64_MAX, and
 * *@fits false.  strtoull() alone would take "-1", " 1" and "+1".
 */
static bool parse_digits(const char *text, char **end, u64 *number, bool *fits)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtoull(text, end, 10);
	*fits = !errno;
	return true;
}

/* A size as it is written: @suffix is the letter after the digits, or NUL. */
static bool parse_suffixed(const char *text, u64 *size, char *suffix, bool *fits)
{
	static const char suffixes[] = "KMGT";
	unsigned int shift = 0;
	u64 number;
	char *end;

	if (!parse_digits(text, &end, &number, fits))
		return false;
	*suffix = *end;
	if (*end) {
		const char *at = strchr(suffixes, toupper((unsigned char)*end));

		if (!at || end[1])
			return false;
		shift = 10 * (unsigned int)(at - suffixes + 1);
	}
	if (number > UINT64_MAX >> shift)
		*fits = false;
	*size = number << shift;
	return true;
}

const char *parse_memory(const char *text, u64 *size)
{
	char suffix;
	u64 bytes;
	bool fits;

	if (!parse_suffixed(text, &bytes, &suffix, &fits))
		return "a number with an optional K, M, G or T is expected";
	if (!fits || bytes > MEMORY_MAX)
		return "at most 512G is supported";
	if (bytes && bytes < MEMORY_MIN && !suffix)
		return "a guest needs at least 16M (did you leave out the M?)";
	if (bytes < MEMORY_MIN)
		return "a guest needs at least 16M";
	if (bytes % MIB(1))
		return "a whole number of megabytes is expected";
	*size = bytes;
	return NULL;
}

const char *parse_cpus(const char *text, unsigned int *cpus)
{
	u64 number;
	char *end;
	bool fits;

	if (!parse_digits(text, &end, &number, &fits) || *end || !fits || !number ||
	    number > MAX_CPUS)
		return "a number from 1 to " AS_TEXT(MAX_CPUS) " is expected";
	*cpus = (unsigned int)number;
	return NULL;
}

const char *parse_disk(const char *text, struct disk_option *disk)
{
	size_t len = strlen(text), out = 0;
	bool readonly = false;
	char *path;

	path = malloc(len + 1);
	if (!path)
		return "out of memory";
	while (*text && (*text != ',' || text[1] == ',')) {
		if (*text == ',')
			text++;
		path[out++] = *text++;
	}
	path[out] = '\0';
	if (*text) {
		readonly = !strcmp(text, ",readonly");
		if (!readonly) {
			free(path);
			return "only ',readonly' may follow (a comma in the name is written ',,')";
		}
	}
	if (!out) {
		free(path);
		return "the name of a file is expected";
	}
	disk->path = path;
	disk->readonly = readonly;
	return NULL;
}

const char *parse_net(const char *text, const char **tap)
{
	size_t len;

	if (strncmp(text, "tap=", 4) || !text[4])
		return "tap=NAME is expected";
	len = strlen(text + 4);
	if (len >= IFNAMSIZ)
		return "the name of an interface has at most 15 characters";
	if (strcspn(text + 4, "/% \t\n") != len)
		return "the name of an interface holds no '/', '%' or blank";
	*tap = text + 4;
	return NULL;
}

const char *parse_console(const char *text, struct console_option *console)
{
	if (!strcmp(text, "stdio")) {
		console->kind = CONSOLE_STDIO;
	} else if (!strcmp(text, "pty")) {
		console->kind = CONSOLE_PTY;
	} else if (!strncmp(text, "file=", 5) && text[5]) {
		console->kind = CONSOLE_FILE;
		console->path = text + 5;
	} else {
		return "stdio, pty or file=F is expected";
	}
	return NULL;
}

const char *parse_name(const char *text, const char **name)
{
	size_t len = strlen(text);

	if (!len || len > MAX_NAME)
		return "1 to 32 characters are expected";
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return "only letters, digits, '.', '_' and '-' are allowed";
	*name = text;
	return NULL;
}
