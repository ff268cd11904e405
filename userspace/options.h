/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `lodge run`, `lodge exec`, `lodge bench` and `lodge initramfs` were asked for.
 * Filled once by options.c, read by run.c, exec.c, bench/bench.c and initramfs.c.
 */
#ifndef LODGE_OPTIONS_H
#define LODGE_OPTIONS_H

#include "parse.h"
#include "types.h"

#define DEFAULT_DEVICE	"/dev/lodge"
#define MAX_DISKS	6
#define MAX_BENCH_DEVICES	4

struct run_options {
	const char *kernel;		/* NULL: the host's own */
	const char *initrd;		/* NULL: see run.c */
	const char *append;
	const char *device;
	const char *name;
	const char *tap;
	u64 memory;
	unsigned int cpus;
	unsigned int nr_disks;
	struct disk_option disks[MAX_DISKS];
	struct console_option console;
};

struct exec_options {
	const char *device;
	char **command;			/* ends with NULL */
};

struct bench_options {
	const char *devices[MAX_BENCH_DEVICES];
	unsigned int nr_devices;
	const char *kernel;		/* NULL: boot nothing */
	const char *initrd;
	bool json;
	bool list;
	char **rows;			/* ends with NULL; none: all rows */
};

struct initramfs_options {
	const char *kernel;		/* NULL: the host's own */
	const char *modules;		/* NULL: /lib/modules/RELEASE */
	const char *output;
};

/* Each ends the program with one line when something is wrong. */
void parse_run_options(int argc, char **argv, struct run_options *options);
void parse_exec_options(int argc, char **argv, struct exec_options *options);
void parse_bench_options(int argc, char **argv, struct bench_options *options);
void parse_initramfs_options(int argc, char **argv, struct initramfs_options *options);

#endif
