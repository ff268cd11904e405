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

/* strtoull() alone would take "-1", " 1" and "+1". */
static bool parse_digits(const char *text, char **end, u64 *number)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtoull(text, end, 10);
	return !errno;
}

const char *parse_size(const char *text, u64 *size)
{
	static const char suffixes[] = "KMGT";
	static const char expected[] = "a number with an optional K, M, G or T is expected";
	unsigned int shift = 0;
	u64 number;
	char *end;

	if (!parse_digits(text, &end, &number))
		return expected;
	if (*end) {
		const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

		if (!suffix || end[1])
			return expected;
		shift = 10 * (unsigned int)(suffix - suffixes + 1);
	}
	if (number > UINT64_MAX >> shift)
		return "it does not fit in 64 bits";
	*size = number << shift;
	return NULL;
}

const char *parse_memory(const char *text, u64 *size)
{
	const char *error;
	u64 bytes;

	error = parse_size(text, &bytes);
	if (error)
		return error;
	if (bytes < MEMORY_MIN)
		return "a guest needs at least 16M (did you leave out the M?)";
	if (bytes > MEMORY_MAX)
		return "at most 512G is supported";
	if (bytes % MIB(1))
		return "a whole number of megabytes is expected";
	*size = bytes;
	return NULL;
}

const char *parse_number(const char *text, u64 min, u64 max, u64 *number)
{
	u64 value;
	char *end;

	if (!parse_digits(text, &end, &value) || *end)
		return "a decimal number is expected";
	if (value < min)
		return "it is too small";
	if (value > max)
		return "it is too large";
	*number = value;
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
