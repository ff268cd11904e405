/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What /dev/lodge has beyond KVM's ABI. Everything else is <linux/kvm.h>, with KVM's own
 * numbers and structs.
 */
#ifndef _UAPI_LINUX_LODGE_H
#define _UAPI_LINUX_LODGE_H

#include <linux/ioctl.h>

#define LODGE_DEVICE		"/dev/lodge"

/* The ioctl letter of lodge's own calls. */
#define LODGEIO			0xBE

/*
 * On the node, no argument: the version of this header that the module implements. KVM's
 * node has no such ioctl, so it also tells the two apart. -EINVAL with an argument.
 */
#define LODGE_GET_VERSION	_IO(LODGEIO, 0x00)
#define LODGE_VERSION		1

#endif
