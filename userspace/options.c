// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command lines of `lodge run`, `lodge exec`, `lodge bench` and `lodge initramfs`.
 * Called by lodge.c before anything else exists; no lock.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "options.h"

static const char run_help[] =
"Usage: lodge run [OPTION]...\n"
"Run a Linux kernel as a guest.\n"
"\n"
"  --kernel F               a bzImage or an ELF vmlinux; default: the running kernel\n"
"  --initrd F               an initial RAM disk; default without --kernel or without\n"
"                           --disk: a small built-in one with a busybox shell\n"
"  --append TEXT            add TEXT to the guest's command line\n"
"  --memory SIZE            guest memory, with K, M, G or T; default: 512M\n"
"  --cpus N                 virtual CPUs, 1 to what the module takes ('lodge doctor'\n"
"                           tells it; 254 at most); default: 1\n"
"  --disk F[,readonly]      a raw image or block device; up to 6 times\n"
"  --net tap=NAME           a network card on the tap interface NAME\n"
"  --device NODE            the hypervisor's node; default: " DEFAULT_DEVICE "\n"
"  --console stdio|pty|file=F   where the serial port goes; default: stdio\n"
"  --name NAME              name the guest in messages and process lists\n"
"  --help                   this text\n"
"\n"
"On a terminal Ctrl-A x ends the guest, Ctrl-A c sends a break (SysRq), and\n"
"Ctrl-A Ctrl-A sends one Ctrl-A. See lodge(1) for the exit statuses.\n";

static const char exec_help[] =
"Usage: lodge exec [--device NODE] [--] COMMAND [ARGUMENT]...\n"
"Run a program that opens /dev/kvm with this hypervisor's node in its place, seen\n"
"by that program and its children only.\n"
"\n"
"  --device NODE            the node to put there; default: " DEFAULT_DEVICE "\n"
"  --help                   this text\n"
"\n"
"The exit status is the command's; see lodge(1) for the others.\n";

static const char bench_help[] =
"Usage: lodge bench [OPTION]... [ROW]...\n"
"Measure what a hypervisor costs, with a small guest of its own.\n"
"\n"
"  --device NODE            the hypervisor's node; default: " DEFAULT_DEVICE ". Several, for\n"
"                           ratios to the first: --device /dev/kvm --device /dev/lodge\n"
"  --json                   one line of JSON instead of a table\n"
"  --list                   list the rows and end\n"
"  --kernel F, --initrd F   what the row 'boot' boots; it is left out without them\n"
"  --help                   this text\n"
"\n"
"A ROW is a row's name, a group's, or a pattern such as 'x2apic-*'; default: all.\n";

static const char initramfs_help[] =
"Usage: lodge initramfs --output F [OPTION]...\n"
"Write the built-in initial RAM disk to a file.\n"
"\n"
"  -o, --output F           the file to write\n"
"  --kernel F               the kernel it is for; default: the running one\n"
"  --modules DIR            where that kernel's modules are; default:\n"
"                           /lib/modules/RELEASE\n"
"  --help                   this text\n";

enum {
	OPT_KERNEL = 256, OPT_INITRD, OPT_APPEND, OPT_MEMORY, OPT_CPUS, OPT_DISK, OPT_NET,
	OPT_DEVICE, OPT_CONSOLE, OPT_NAME, OPT_MODULES, OPT_JSON, OPT_LIST, OPT_HELP,
};

static const struct option run_table[] = {
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "net", required_argument, NULL, OPT_NET },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "console", required_argument, NULL, OPT_CONSOLE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "help", no_argument, NULL, OPT_HELP },
	{ },
};

static const struct option exec_table[] = {
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ },
};

static const struct option bench_table[] = {
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "list", no_argument, NULL, OPT_LIST },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "help", no_argument, NULL, OPT_HELP },
	{ },
};

static const struct option initramfs_table[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "modules", required_argument, NULL, OPT_MODULES },
	{ "help", no_argument, NULL, OPT_HELP },
	{ },
};

/* Say what is wrong with @word, which getopt_long() did not take. */
static noreturn void bad_option(const char *word, const struct option *table,
				const char *command)
{
	size_t len = strcspn(word, "="), used = 0;
	unsigned int matches = 0;
	char names[256] = "";
	bool exact = false;

	for (; !strncmp(word, "--", 2) && table->name; table++) {
		if (strncmp(table->name, word + 2, len - 2))
			continue;
		exact |= !table->name[len - 2];
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s--%s",
					 matches++ ? " or " : "", table->name);
		if (used >= sizeof(names))
			break;
	}
	if (!matches)
		bad_input("%.*s is no option; see 'lodge %s --help'", (int)len, word, command);
	if (matches > 1 && !exact)
		bad_input("%.*s is ambiguous: %s", (int)len, word, names);
	bad_input("%.*s takes no value", (int)len, word);
}

/*
 * getopt_long() with our own messages, for @letters that start with "+:".  Returns the
 * option, or -1 at the first argument, optind.  @command names the subcommand whose
 * --help lists the options.
 */
static int next_option(int argc, char **argv, const char *letters, const struct option *table,
		       const char *command)
{
	int at = optind ? optind : 1;
	int option;

	opterr = 0;
	option = getopt_long(argc, argv, letters, table, NULL);
	if (option == ':')
		bad_input("%s needs a value; see 'lodge %s --help'", argv[optind - 1], command);
	if (option == '?')
		bad_option(argv[at], table, command);
	return option;
}

static void no_arguments(int argc, char **argv, const char *command)
{
	if (optind < argc)
		bad_input("unexpected argument '%s'; see 'lodge %s --help'", argv[optind], command);
}

static noreturn void print_help(const char *text)
{
	fputs(text, stdout);
	if (fflush(stdout))
		host_error("cannot write the help text: %m");
	exit(STATUS_POWER_OFF);
}

static void check(const char *error, const char *option)
{
	if (error)
		bad_input("%s %s: %s", option, *optarg ? optarg : "''", error);
}

static void run_option(int option, struct run_options *options)
{
	switch (option) {
	case OPT_KERNEL:
		options->kernel = optarg;
		break;
	case OPT_INITRD:
		options->initrd = optarg;
		break;
	case OPT_APPEND:
		options->append = optarg;
		break;
	case OPT_MEMORY:
		check(parse_memory(optarg, &options->memory), "--memory");
		break;
	case OPT_CPUS:
		check(parse_cpus(optarg, &options->cpus), "--cpus");
		break;
	case OPT_DISK:
		if (options->nr_disks == MAX_DISKS)
			bad_input("--disk %s: at most %d disks are supported", optarg, MAX_DISKS);
		check(parse_disk(optarg, &options->disks[options->nr_disks]), "--disk");
		options->nr_disks++;
		break;
	case OPT_NET:
		if (options->tap)
			bad_input("--net %s: only one network card is supported", optarg);
		check(parse_net(optarg, &options->tap), "--net");
		break;
	case OPT_DEVICE:
		options->device = optarg;
		break;
	case OPT_CONSOLE:
		check(parse_console(optarg, &options->console), "--console");
		break;
	case OPT_NAME:
		check(parse_name(optarg, &options->name), "--name");
		error_set_name(options->name);
		break;
	default:
		print_help(run_help);
	}
}

void parse_run_options(int argc, char **argv, struct run_options *options)
{
	int option;

	*options = (struct run_options){
		.append = "",
		.device = DEFAULT_DEVICE,
		.memory = MIB(512),
		.cpus = 1,
	};
	while ((option = next_option(argc, argv, "+:", run_table, "run")) != -1)
		run_option(option, options);
	no_arguments(argc, argv, "run");
}

void parse_exec_options(int argc, char **argv, struct exec_options *options)
{
	int option;

	*options = (struct exec_options){ .device = DEFAULT_DEVICE };
	while ((option = next_option(argc, argv, "+:", exec_table, "exec")) != -1) {
		if (option == OPT_DEVICE)
			options->device = optarg;
		else
			print_help(exec_help);
	}
	options->command = argv + optind;
	if (!*options->command)
		bad_input("exec needs a command to run; see 'lodge exec --help'");
}

static void add_bench_device(struct bench_options *options)
{
	for (unsigned int i = 0; i < options->nr_devices; i++)
		if (!strcmp(options->devices[i], optarg))
			bad_input("--device %s: given twice", optarg);
	if (options->nr_devices == MAX_BENCH_DEVICES)
		bad_input("--device %s: at most %d devices are supported", optarg,
			  MAX_BENCH_DEVICES);
	options->devices[options->nr_devices++] = optarg;
}

void parse_bench_options(int argc, char **argv, struct bench_options *options)
{
	int option;

	*options = (struct bench_options){ };
	/* Options may come between the rows, as people add them at the end. */
	while ((option = next_option(argc, argv, ":", bench_table, "bench")) != -1) {
		switch (option) {
		case OPT_DEVICE:
			add_bench_device(options);
			break;
		case OPT_JSON:
			options->json = true;
			break;
		case OPT_LIST:
			options->list = true;
			break;
		case OPT_KERNEL:
			options->kernel = optarg;
			break;
		case OPT_INITRD:
			options->initrd = optarg;
			break;
		default:
			print_help(bench_help);
		}
	}
	if (!options->nr_devices)
		options->devices[options->nr_devices++] = DEFAULT_DEVICE;
	options->rows = argv + optind;
}

void parse_initramfs_options(int argc, char **argv, struct initramfs_options *options)
{
	int option;

	*options = (struct initramfs_options){ };
	while ((option = next_option(argc, argv, "+:o:", initramfs_table, "initramfs")) != -1) {
		switch (option) {
		case 'o':
			options->output = optarg;
			break;
		case OPT_KERNEL:
			options->kernel = optarg;
			break;
		case OPT_MODULES:
			options->modules = optarg;
			break;
		default:
			print_help(initramfs_help);
		}
	}
	no_arguments(argc, argv, "initramfs");
	if (!options->output)
		bad_input("initramfs needs --output F, the file to write");
}
