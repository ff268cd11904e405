/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whole files into memory and back.
 */
#ifndef LODGE_FILE_H
#define LODGE_FILE_H

#include "types.h"

struct file {
	u8 *data;	/* the caller frees it */
	size_t size;
};

/*
 * Read the plain file @path of at most @max bytes.  Returns 0 or -errno:
 * -EINVAL for anything but a plain file, -EFBIG for a larger one.
 */
int file_read(const char *path, size_t max, struct file *file);

/* Write all of @data to @path; a file that could not be completed is removed. */
int file_write(const char *path, const void *data, size_t size);

/* Whether both exist and are one file, or one block device. */
bool file_is_same(const char *path, const char *other);

#endif
