/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loading the kernel module, and asking whether it could be.
 */
#ifndef LODGE_MODULE_H
#define LODGE_MODULE_H

#include "types.h"

#define MODULE_NAME	"lodge"

/*
 * Load lodge.ko.  Returns 0, or -errno: -ENOENT when it is not installed for
 * this kernel, -EPERM without the right to.
 */
int module_load(void);

/* Whether lodge.ko is installed for this kernel. */
bool module_is_installed(void);

#endif
