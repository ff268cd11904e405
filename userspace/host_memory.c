// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether a guest's memory fits into the host's.  Called by run.c on the main
 * thread; no state, no lock.
 *
 * The guest's memory is not reserved, so mmap() does not refuse too much of it:
 * without this a guest would die, or the host's other programs, when it is used.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "host_memory.h"

/* The line "NAME:   NUMBER kB". */
static bool find_line(const char *text, const char *name, u64 *bytes)
{
	size_t len = strlen(name);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, name, len) || text[len] != ':')
			continue;
		text += len + 1;
		text += strspn(text, " ");
		if (!isdigit((unsigned char)*text))
			return false;
		*bytes = strtoull(text, NULL, 10) * 1024;
		return true;
	}
	return false;
}

bool host_memory_parse(const char *text, struct host_memory *host)
{
	return find_line(text, "MemTotal", &host->total) &&
	       find_line(text, "MemAvailable", &host->available) &&
	       find_line(text, "SwapTotal", &host->swap);
}

enum memory_fit host_memory_fit(const struct host_memory *host, u64 size)
{
	if (size > host->total + host->swap)
		return MEMORY_EXCEEDS;
	return size > host->available ? MEMORY_CROWDS : MEMORY_FITS;
}

void host_memory_check(u64 size)
{
	FILE *file = fopen("/proc/meminfo", "re");
	struct host_memory host;
	char text[8192];
	size_t len;

	/* No /proc, no advice: that is no reason not to run. */
	if (!file)
		return;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	if (!host_memory_parse(text, &host))
		return;
	switch (host_memory_fit(&host, size)) {
	case MEMORY_EXCEEDS:
		bad_input("--memory: %llu MiB is more than this host has (%llu MiB, and %llu MiB of swap)",
			  size >> 20, host.total >> 20, host.swap >> 20);
	case MEMORY_CROWDS:
		message("warning: --memory: %llu MiB, but this host has only %llu MiB available; it may swap, or end the guest",
			size >> 20, host.available >> 20);
		break;
	case MEMORY_FITS:
		break;
	}
}
