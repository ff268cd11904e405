/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel file that the user named, or the host's own.
 */
#ifndef LODGE_KERNEL_H
#define LODGE_KERNEL_H

#include "boot.h"
#include "file.h"

/*
 * Read and check the kernel at @path, or the running one for NULL; @image
 * points into @file.  Ends the program with one line on failure.
 */
void kernel_open(const char *path, struct file *file, struct kernel_image *image);

#endif
