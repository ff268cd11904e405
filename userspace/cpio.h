/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A writer of "newc" cpio archives, the format of initial RAM disks.
 */
#ifndef LODGE_CPIO_H
#define LODGE_CPIO_H

#include <sys/types.h>

#include "types.h"

struct cpio {
	u8 *data;		/* the caller frees it */
	size_t size;
	size_t capacity;
	u32 inode;
	bool failed;		/* out of memory; sticky */
};

/*
 * Append an entry; all zero is a fresh archive.  @mode holds the file type;
 * @device is a device file's number; @size may be at most 4 GiB - 1.
 */
void cpio_add(struct cpio *cpio, const char *name, mode_t mode, dev_t device, const void *data,
	      size_t size);

/* Append the trailer.  Returns 0, or -ENOMEM or -EFBIG if anything failed before. */
int cpio_finish(struct cpio *cpio);

#endif
