// SPDX-License-Identifier: GPL-2.0-only
/*
 * The `lodge exec` command: becomes a program that hard-codes /dev/kvm, in a
 * mount namespace of its own where our node lies at that path.  Nothing outside
 * the namespace changes, and it goes with its last process.  Called by lodge.c;
 * one thread, no lock.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "node.h"
#include "options.h"
#include "run.h"
#include "sandbox.h"
#include "types.h"

#define DEV		"/dev"
#define KVM_NAME	"kvm"
#define KVM_NODE	DEV "/" KVM_NAME

/* As env(1) and nice(1) have it. */
#define STATUS_CANNOT_RUN	126
#define STATUS_NO_COMMAND	127

static bool may_mount(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (!caps)
		host_error("cannot read my capabilities: %m");
	if (cap_get_flag(caps, CAP_SYS_ADMIN, CAP_EFFECTIVE, &value))
		value = CAP_CLEAR;
	cap_free(caps);
	return value == CAP_SET;
}

static void write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		host_error("cannot write %s: %m", path);
	close(fd);
}

/* A user namespace lends the right to mount.  The caller stays who it is. */
static void unshare_as_user(void)
{
	unsigned int uid = getuid(), gid = getgid();
	char map[64];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
		if (errno == EPERM || errno == ENOSPC || errno == EINVAL)
			bad_input("exec needs root here: this host denies a user namespace (%m)");
		host_error("cannot make a user namespace: %m");
	}
	/* Without this, no group may be mapped by the unprivileged. */
	write_proc("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	write_proc("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	write_proc("/proc/self/gid_map", map);
}

/*
 * Show @name of the folder @from as @name in @to, with all that is mounted below
 * it.  Files that went away meanwhile are none of our business.
 */
static void show(int from, const char *name, int to)
{
	int tree = open_tree(from, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE |
			     AT_SYMLINK_NOFOLLOW);

	if (tree < 0 && errno == ENOENT)
		return;
	if (tree < 0 || move_mount(tree, "", to, name, MOVE_MOUNT_F_EMPTY_PATH))
		host_error("cannot keep " DEV "/%s: %m", name);
	close(tree);
}

/* Have an entry @name in the folder @to that shows that of @from. */
static void keep(int from, const char *name, int to)
{
	struct stat stat;
	char target[PATH_MAX];
	ssize_t len;
	int error = 0;

	if (fstatat(from, name, &stat, AT_SYMLINK_NOFOLLOW))
		return;
	if (S_ISLNK(stat.st_mode)) {
		len = readlinkat(from, name, target, sizeof(target) - 1);
		if (len < 0)
			return;
		target[len] = 0;
		error = symlinkat(target, to, name);
	} else if (S_ISDIR(stat.st_mode)) {
		error = mkdirat(to, name, 0755);
	} else {
		error = mknodat(to, name, S_IFREG | 0600, 0);
	}
	if (error)
		host_error("cannot make " DEV "/%s in the namespace: %m", name);
	if (!S_ISLNK(stat.st_mode))
		show(from, name, to);
}

/*
 * There is no /dev/kvm to mount on, and to make one would show to everybody:
 * lay a folder over /dev that shows all that is in it, and our node as well.
 */
static void cover_dev(const char *device)
{
	int node = open_tree(AT_FDCWD, device, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	DIR *old = opendir(DEV);
	struct dirent *entry;
	int new;

	if (node < 0 || !old)
		host_error("cannot look at %s: %m", node < 0 ? device : DEV);
	if (mount("lodge", DEV, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755"))
		host_error("cannot mount on " DEV ": %m");
	new = open(DEV, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (new < 0)
		host_error("cannot open " DEV ": %m");
	while ((entry = readdir(old)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
		    strcmp(entry->d_name, KVM_NAME))
			keep(dirfd(old), entry->d_name, new);
	if (mknodat(new, KVM_NAME, S_IFREG | 0600, 0) ||
	    move_mount(node, "", new, KVM_NAME, MOVE_MOUNT_F_EMPTY_PATH))
		host_error("cannot put %s in the place of " KVM_NODE ": %m", device);
	closedir(old);
	close(new);
	close(node);
}

static void put_in_place(const char *device)
{
	/*
	 * What is mounted inside must not show outside; what is mounted outside
	 * later, a disk with the guest's image perhaps, may well show inside.
	 */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		host_error("cannot part from the other mount namespaces: %m");
	if (access(KVM_NODE, F_OK) && errno == ENOENT)
		cover_dev(device);
	else if (mount(device, KVM_NODE, NULL, MS_BIND, NULL))
		host_error("cannot put %s in the place of " KVM_NODE ": %m", device);
}

int exec_main(int argc, char **argv)
{
	struct exec_options options;
	bool privileged = may_mount();

	parse_exec_options(argc, argv, &options);
	/* To say now what is wrong with it, and to load the module. */
	close(node_open(options.device));
	if (!privileged)
		unshare_as_user();
	else if (unshare(CLONE_NEWNS))
		host_error("cannot make a mount namespace: %m");
	put_in_place(options.device);
	/* Root in its own namespace is more than the caller was. */
	if (!privileged)
		sandbox_drop_capabilities();
	/* In our place, not as a child: its signals, terminal and end are its own. */
	execvp(options.command[0], options.command);
	die(errno == ENOENT ? STATUS_NO_COMMAND : STATUS_CANNOT_RUN, "cannot run %s: %m",
	    options.command[0]);
}
