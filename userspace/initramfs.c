// SPDX-License-Identifier: GPL-2.0-only
/*
 * The built-in initial RAM disk.  Called by run.c and lodge.c on the main
 * thread before anything else runs; no lock.
 *
 * Which modules a module needs is read from its own .modinfo through libkmod,
 * not from modules.dep, so that kernels unpacked from a package but never
 * installed (nobody ran depmod) do as well.
 */
#include <elf.h>
#include <errno.h>
#include <fts.h>
#include <libkmod.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "error.h"
#include "file.h"
#include "init_script.h"
#include "initramfs.h"
#include "kernel.h"

#define MAX_FILE	MIB(64)
#define MAX_MODULES	64

struct module_file {
	char *path;
	char *name;		/* with '_' for '-', and without .ko.xz */
};

struct module_tree {
	struct module_file *files;
	size_t count;
	struct kmod_ctx *kmod;
	const struct module_file *packed[MAX_MODULES];
	size_t nr_packed;
	char order[MAX_MODULES * 96];	/* their files, a line each */
	size_t order_size;
};

static void *must_allocate(void *pointer)
{
	if (!pointer)
		host_error("out of memory");
	return pointer;
}

/* "virtio-rng.ko.xz" as "virtio_rng"; NULL when it is no module. */
static char *module_name(const char *file)
{
	const char *end = strstr(file, ".ko");
	char *name;

	if (!end || (end[3] && end[3] != '.'))
		return NULL;
	name = must_allocate(strndup(file, (size_t)(end - file)));
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	return name;
}

static void list_modules(struct module_tree *tree, const char *directory)
{
	char *paths[2];
	FTSENT *entry;
	char *name;
	FTS *fts;

	paths[0] = (char *)directory;
	paths[1] = NULL;
	fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (!fts)
		return;
	while ((entry = fts_read(fts))) {
		/* "build" and "source" are links, and not followed. */
		if (entry->fts_info != FTS_F)
			continue;
		name = module_name(entry->fts_name);
		if (!name)
			continue;
		tree->files = must_allocate(reallocarray(tree->files, tree->count + 1,
							 sizeof(*tree->files)));
		tree->files[tree->count].path = must_allocate(strdup(entry->fts_path));
		tree->files[tree->count++].name = name;
	}
	fts_close(fts);
}

static const struct module_file *find_module(const struct module_tree *tree, const char *name)
{
	for (size_t i = 0; i < tree->count; i++)
		if (!strcmp(tree->files[i].name, name))
			return &tree->files[i];
	return NULL;
}

/* The modules that @file needs, as its .modinfo lists them; the caller frees it. */
static char *read_depends(const struct module_tree *tree, const struct module_file *file)
{
	struct kmod_list *info = NULL, *entry;
	struct kmod_module *module;
	char *depends = NULL;

	if (kmod_module_new_from_path(tree->kmod, file->path, &module) < 0)
		return NULL;
	if (kmod_module_get_info(module, &info) < 0)
		info = NULL;
	kmod_list_foreach(entry, info) {
		if (!strcmp(kmod_module_info_get_key(entry), "depends") && !depends)
			depends = must_allocate(strdup(kmod_module_info_get_value(entry)));
	}
	kmod_module_info_free_list(info);
	kmod_module_unref(module);
	return depends;
}

static void append_order(struct module_tree *tree, const char *file)
{
	size_t room = sizeof(tree->order) - tree->order_size;
	int len = snprintf(tree->order + tree->order_size, room, "%s\n", file);

	if ((size_t)len >= room)
		host_error("too many modules for the initial RAM disk");
	tree->order_size += (size_t)len;
}

/* Pack module @name and what it needs; the order file has the needs first. */
static void pack_module(struct module_tree *tree, struct cpio *cpio, const char *name)
{
	const struct module_file *module = find_module(tree, name);
	char *depends, *next, *one, target[128];
	struct file file;
	int error;

	if (!module)
		return;
	for (size_t i = 0; i < tree->nr_packed; i++)
		if (tree->packed[i] == module)
			return;
	if (tree->nr_packed == MAX_MODULES)
		host_error("too many modules for the initial RAM disk");
	/* Noted before its needs: a circle of them must end. */
	tree->packed[tree->nr_packed++] = module;

	depends = read_depends(tree, module);
	next = depends;
	while ((one = strsep(&next, ","))) {
		for (char *c = one; *c; c++)
			if (*c == '-')
				*c = '_';
		pack_module(tree, cpio, one);
	}
	free(depends);

	error = file_read(module->path, MAX_FILE, &file);
	if (error) {
		errno = -error;
		host_error("cannot read %s: %m", module->path);
	}
	snprintf(target, sizeof(target), "modules/%.64s%.16s", module->name,
		 strstr(strrchr(module->path, '/'), ".ko"));
	cpio_add(cpio, target, S_IFREG | 0644, 0, file.data, file.size);
	append_order(tree, strchr(target, '/') + 1);
	free(file.data);
}

static void pack_modules(struct cpio *cpio, const char *directory, unsigned int with)
{
	struct module_tree *tree = must_allocate(calloc(1, sizeof(*tree)));
	const char *no_config = NULL;

	tree->kmod = must_allocate(kmod_new(directory, &no_config));
	list_modules(tree, directory);
	pack_module(tree, cpio, "virtio_mmio");
	pack_module(tree, cpio, "virtio_rng");
	if (with & WITH_DISK) {
		pack_module(tree, cpio, "virtio_blk");
		/* ext4 finds its checksum by name, not by symbol. */
		pack_module(tree, cpio, "crc32c_generic");
		pack_module(tree, cpio, "ext4");
	}
	if (with & WITH_NET)
		pack_module(tree, cpio, "virtio_net");
	cpio_add(cpio, "modules/order", S_IFREG | 0644, 0, tree->order, tree->order_size);

	kmod_unref(tree->kmod);
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->files[i].path);
		free(tree->files[i].name);
	}
	free(tree->files);
	free(tree);
}

/* A program that names an interpreter needs libraries, which the guest lacks. */
static bool is_static(const struct file *file)
{
	Elf64_Ehdr header;

	if (file->size < sizeof(header))
		return false;
	memcpy(&header, file->data, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_phoff > file->size ||
	    header.e_phnum > (file->size - header.e_phoff) / sizeof(Elf64_Phdr))
		return false;
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment, file->data + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		if (segment.p_type == PT_INTERP)
			return false;
	}
	return true;
}

static void pack_busybox(struct cpio *cpio)
{
	static const char * const places[] = { "/bin/busybox", "/usr/bin/busybox" };
	struct file file;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (file_read(places[i], MAX_FILE, &file))
			continue;
		if (is_static(&file)) {
			cpio_add(cpio, "bin/busybox", S_IFREG | 0755, 0, file.data, file.size);
			free(file.data);
			return;
		}
		free(file.data);
	}
	bad_input("%s: install busybox-static, or give --initrd",
		  "the built-in initial RAM disk needs a static /bin/busybox");
}

void initramfs_build(struct cpio *cpio, const char *release, const char *modules,
		     unsigned int with)
{
	static const char * const directories[] = {
		"bin", "dev", "modules", "proc", "root", "sys", "tmp",
	};
	char path[PATH_MAX];

	*cpio = (struct cpio){ };
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		cpio_add(cpio, directories[i], S_IFDIR | 0755, 0, NULL, 0);
	cpio_add(cpio, "dev/console", S_IFCHR | 0600, makedev(5, 1), NULL, 0);
	cpio_add(cpio, "init", S_IFREG | 0755, 0, init_script,
		 (size_t)(init_script_end - init_script));
	pack_busybox(cpio);
	snprintf(path, sizeof(path), "/lib/modules/%s", release);
	pack_modules(cpio, modules ? modules : path, with);
	if (cpio_finish(cpio))
		host_error("out of memory for the initial RAM disk");
}

int initramfs_main(int argc, char **argv)
{
	struct initramfs_options options;
	struct kernel_image image;
	struct file file;
	struct cpio cpio;
	struct stat st;
	int error;

	parse_initramfs_options(argc, argv, &options);
	kernel_open(options.kernel, &file, &image);
	if (options.modules && (stat(options.modules, &st) || !S_ISDIR(st.st_mode)))
		bad_input("--modules %s: a directory is expected", options.modules);
	initramfs_build(&cpio, image.release, options.modules, WITH_DISK | WITH_NET);
	error = file_write(options.output, cpio.data, cpio.size);
	if (error) {
		errno = -error;
		bad_input("cannot write %s: %m", options.output);
	}
	free(cpio.data);
	free(file.data);
	return STATUS_POWER_OFF;
}
