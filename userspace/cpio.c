// SPDX-License-Identifier: GPL-2.0-only
/*
 * A writer of "newc" cpio archives (Linux, Documentation/driver-api/
 * early-userspace/buffer-format.rst).  Called by initramfs.c and the unit
 * tests; no state of its own, no lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cpio.h"

#define HEADER_SIZE	110
#define TRAILER		"TRAILER!!!"

static void append(struct cpio *cpio, const void *data, size_t size)
{
	size_t padded = (size_t)align_up(cpio->size + size, 4);

	if (cpio->failed)
		return;
	if (padded > cpio->capacity) {
		size_t capacity = padded + padded / 2;
		u8 *grown = realloc(cpio->data, capacity);

		if (!grown) {
			cpio->failed = true;
			return;
		}
		cpio->data = grown;
		cpio->capacity = capacity;
	}
	if (size)
		memcpy(cpio->data + cpio->size, data, size);
	memset(cpio->data + cpio->size + size, 0, padded - cpio->size - size);
	cpio->size = padded;
}

void cpio_add(struct cpio *cpio, const char *name, mode_t mode, dev_t device, const void *data,
	      size_t size)
{
	size_t name_size = strlen(name) + 1;
	char *entry;

	if (size > UINT32_MAX) {
		cpio->failed = true;
		return;
	}
	/* Header and name are one unit, padded together. */
	entry = malloc(HEADER_SIZE + name_size + 1);
	if (!entry) {
		cpio->failed = true;
		return;
	}
	snprintf(entry, HEADER_SIZE + name_size + 1,
		 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s",
		 ++cpio->inode, (unsigned int)mode, 0u, 0u, S_ISDIR(mode) ? 2u : 1u, 0u,
		 (unsigned int)size, 0u, 0u, major(device), minor(device),
		 (unsigned int)name_size, 0u, name);
	append(cpio, entry, HEADER_SIZE + name_size);
	append(cpio, data, size);
	free(entry);
}

int cpio_finish(struct cpio *cpio)
{
	cpio_add(cpio, TRAILER, 0, 0, NULL, 0);
	return cpio->failed ? -ENOMEM : 0;
}
