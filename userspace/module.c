// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading the kernel module through libkmod.  Called by node.c and doctor.c on
 * the main thread; no lock.
 */
#include <errno.h>
#include <libkmod.h>

#include "module.h"

static int look_up(struct kmod_ctx *ctx, struct kmod_list **list)
{
	int error = kmod_module_new_from_lookup(ctx, MODULE_NAME, list);

	if (!error && !*list)
		error = -ENOENT;
	return error;
}

int module_load(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_list *list = NULL, *entry;
	int error;

	if (!ctx)
		return -ENOMEM;
	error = look_up(ctx, &list);
	kmod_list_foreach(entry, list) {
		struct kmod_module *module = kmod_module_get_module(entry);

		if (!error)
			error = kmod_module_probe_insert_module(module,
								KMOD_PROBE_APPLY_BLACKLIST,
								NULL, NULL, NULL, NULL);
		kmod_module_unref(module);
	}
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return error > 0 ? -EPERM : error;
}

bool module_is_installed(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_list *list = NULL;
	int error;

	if (!ctx)
		return false;
	error = look_up(ctx, &list);
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return !error;
}
