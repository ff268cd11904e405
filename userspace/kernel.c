// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel file that the user named, or the host's own.  Called by run.c and
 * initramfs.c on the main thread; no lock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "error.h"
#include "kernel.h"

#define MAX_KERNEL	GIB(1)	/* an ELF vmlinux with debug information is large */

void kernel_open(const char *path, struct file *file, struct kernel_image *image)
{
	char host[128];
	const char *why;
	int error;

	if (!path) {
		struct utsname name;

		uname(&name);
		snprintf(host, sizeof(host), "/boot/vmlinuz-%s", name.release);
	}
	error = file_read(path ? path : host, MAX_KERNEL, file);
	if (error && !path)
		bad_input("cannot read the running kernel's image %s (%s); give one with --kernel",
			  host, strerror(-error));
	if (error == -EINVAL || error == -EFBIG)
		bad_input("--kernel %s: a plain file, a bzImage or an ELF vmlinux, is expected",
			  path);
	if (error)
		bad_input("--kernel %s: %s", path, strerror(-error));
	why = kernel_image_parse(file->data, file->size, image);
	if (why)
		bad_input("%s%s: %s", path ? "--kernel " : "", path ? path : host, why);
}
