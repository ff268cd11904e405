// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypervisor's node: finding it, and telling it from other files.  Called
 * by vm.c, exec.c and doctor.c on the main thread; no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "module.h"
#include "node.h"
#include "options.h"

/* Load our own module if that is what a missing node needs, and we may. */
static void provide(const char *device)
{
	int error;

	if (strcmp(device, DEFAULT_DEVICE) || !access(device, F_OK))
		return;
	error = module_load();
	if (error == -ENOENT)
		bad_input("there is no %s, and no %s.ko for this kernel; see 'lodge doctor'",
			  device, MODULE_NAME);
	if (error == -EPERM || error == -EACCES)
		bad_input("there is no %s; 'modprobe %s' as root loads its module", device,
			  MODULE_NAME);
	if (error)
		bad_input("there is no %s: its module does not load (%s); see the kernel log",
			  device, strerror(-error));
}

/* What somebody who may not open the node can do. A new one is root's group's, too. */
const char *node_remedy(const char *device)
{
	struct stat node;

	if (stat(device, &node) || !node.st_gid)
		return "run as root, or give it to a group of yours (see lodge(4))";
	return "run as root, or join the group that owns it";
}

int node_open(const char *device)
{
	int fd, version;

	provide(device);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		bad_input("there is no %s: load its module as root, or see 'lodge doctor'", device);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		bad_input("no permission to open %s: %s", device, node_remedy(device));
	if (fd < 0)
		bad_input("cannot open %s: %m; see 'lodge doctor'", device);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		bad_input("%s is not a hypervisor's node; /dev/lodge or /dev/kvm is expected",
			  device);
	if (version != KVM_API_VERSION)
		bad_input("%s speaks version %d of the KVM API; %d is expected", device, version,
			  KVM_API_VERSION);
	return fd;
}
