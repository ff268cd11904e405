/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in initial RAM disk: busybox, init.sh, and the virtio modules of
 * the kernel it is for.
 */
#ifndef LODGE_INITRAMFS_H
#define LODGE_INITRAMFS_H

#include "cpio.h"
#include "options.h"

#define WITH_DISK	1u	/* modules for virtio-blk and ext4 */
#define WITH_NET	2u

/*
 * Build it for kernel @release, with modules from @modules (NULL:
 * /lib/modules/@release), for the devices in @with.  Ends the program with one
 * line on failure; modules that do not exist are taken to be built in.
 */
void initramfs_build(struct cpio *cpio, const char *release, const char *modules,
		     unsigned int with);

/* The `lodge initramfs` command. */
int initramfs_main(int argc, char **argv);

#endif
