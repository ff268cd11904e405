// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program `lodge`: finds the subcommand.  See lodge(1).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "initramfs.h"
#include "run.h"
#include "types.h"

#ifndef LODGE_VERSION
#define LODGE_VERSION	"0.1"
#endif

static const char help[] =
"Usage: lodge COMMAND [OPTION]...\n"
"\n"
"  run         run a Linux kernel as a guest\n"
"  exec        run a program that wants /dev/kvm on this hypervisor\n"
"  bench       measure what this hypervisor costs, and others\n"
"  doctor      tell what this host has and lacks for that\n"
"  initramfs   write the built-in initial RAM disk to a file\n"
"  --version   print the version\n"
"  --help      this text\n"
"\n"
"'lodge COMMAND --help' lists the options of a command; lodge(1) has the rest.\n";

static int print(const char *text)
{
	fputs(text, stdout);
	if (fflush(stdout))
		host_error("cannot write to the standard output: %m");
	return STATUS_POWER_OFF;
}

/*
 * A closed standard descriptor would be given to the next file that is opened,
 * a disk perhaps, and the guest's output would go there.
 */
static void fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			exit(STATUS_HOST_ERROR);
	} while (fd <= STDERR_FILENO);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*main)(int argc, char **argv);
	} commands[] = {
		{ "run", run_main },
		{ "exec", exec_main },
		{ "bench", bench_main },
		{ "doctor", doctor_main },
		{ "initramfs", initramfs_main },
	};
	const char *name = argc > 1 ? argv[1] : NULL;

	fill_standard_descriptors();
	if (!name)
		bad_input("a command is expected: run, exec, bench, doctor or initramfs; see 'lodge --help'");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].main(argc - 1, argv + 1);
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
		return print(help);
	if (!strcmp(name, "--version"))
		return print("lodge " LODGE_VERSION "\n");
	bad_input("'%s' is no command: run, exec, bench, doctor or initramfs is expected; see 'lodge --help'",
		  name);
}
