// SPDX-License-Identifier: GPL-2.0-only
/*
 * The `lodge run` command: puts a machine together, runs it, takes it apart.
 * Called by lodge.c.  The machine lives in a child process; the parent only
 * waits, so that even a runner that was killed outright leaves a sane terminal
 * and an exit status that says so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot.h"
#include "console.h"
#include "devices.h"
#include "file.h"
#include "host_memory.h"
#include "initramfs.h"
#include "kernel.h"
#include "layout.h"
#include "options.h"
#include "run.h"
#include "sandbox.h"
#include "vcpu.h"
#include "virtio.h"
#include "vm.h"

/*
 * Comes first, so that --append can override each word of it.  With
 * hardware-reduced ACPI, Linux takes EFI for the only way to reboot, even where
 * there is none, and then falls into a BIOS that is not there either: reboot=k
 * sends it to the i8042.
 */
#define BASE_CMDLINE	"console=ttyS0 panic=-1 reboot=k"

struct machine {
	struct vm vm;
	struct io_source signals;
	struct file kernel;
	struct kernel_image image;
	struct file initrd;
	char *cmdline;
	struct virtio_device *virtio[VIRTIO_DEVICES];
	unsigned int nr_virtio;
};

void (*run_on_start)(struct vm *vm);
void (*run_on_end)(struct vm *vm);

static const int end_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

static void fill_end_signals(sigset_t *set)
{
	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(set, end_signals[i]);
}

static void read_initrd(struct machine *machine, const struct run_options *options)
{
	int error = file_read(options->initrd, options->memory, &machine->initrd);

	if (error == -EFBIG)
		bad_input("--initrd %s: it is larger than --memory (%llu MiB)", options->initrd,
			  options->memory >> 20);
	if (error == -EINVAL)
		bad_input("--initrd %s: a plain file is expected", options->initrd);
	if (error)
		bad_input("--initrd %s: %s", options->initrd, strerror(-error));
	if (!machine->initrd.size)
		bad_input("--initrd %s: it is empty", options->initrd);
}

/*
 * The initial RAM disk and the command line.  A kernel that is given neither
 * --initrd nor --disk has no other place for its first process than the
 * built-in one; the host's own kernel needs modules from there to use a disk.
 */
static void prepare_input(struct machine *machine, const struct run_options *options)
{
	bool built_in = !options->initrd && (!options->kernel || !options->nr_disks);
	const char *extra = "";
	struct cpio cpio;

	host_memory_check(options->memory);
	kernel_open(options->kernel, &machine->kernel, &machine->image);
	if (options->initrd)
		read_initrd(machine, options);
	if (built_in) {
		initramfs_build(&cpio, machine->image.release, NULL,
				(options->nr_disks ? WITH_DISK : 0) |
				(options->tap ? WITH_NET : 0));
		machine->initrd.data = cpio.data;
		machine->initrd.size = cpio.size;
		extra = " loglevel=3";
		/* Nobody is there to use a shell: say what there is to see, and end. */
		if (options->console.kind == CONSOLE_FILE ||
		    (options->console.kind == CONSOLE_STDIO && !isatty(STDIN_FILENO)))
			extra = " loglevel=3 lodge.report";
	}
	if (asprintf(&machine->cmdline, "%s%s%s%s", BASE_CMDLINE, extra,
		     *options->append ? " " : "", options->append) < 0)
		host_error("out of memory");
}

/* The lock would refuse the second, but as if another program had the first. */
static void check_disks(const struct run_options *options)
{
	const struct disk_option *disks = options->disks;

	for (unsigned int i = 0; i < options->nr_disks; i++)
		for (unsigned int j = 0; j < i; j++)
			if (!(disks[i].readonly && disks[j].readonly) &&
			    file_is_same(disks[i].path, disks[j].path))
				bad_input("--disk %s: given twice; a disk can be shared if each is ',readonly'",
					  disks[i].path);
}

static void open_devices(struct machine *machine, const struct run_options *options)
{
	check_disks(options);
	for (unsigned int i = 0; i < options->nr_disks; i++)
		machine->virtio[machine->nr_virtio++] = virtio_blk_open(&options->disks[i]);
	if (options->tap)
		machine->virtio[machine->nr_virtio++] = virtio_net_open(options->tap);
	machine->virtio[machine->nr_virtio++] = virtio_rng_open();
}

static void build(struct machine *machine, const struct run_options *options)
{
	struct vm *vm = &machine->vm;
	struct boot_input input;
	struct boot_entry entry;
	const char *error;

	prepare_input(machine, options);
	open_devices(machine, options);
	vm_create(vm, options->device, options->memory);

	input = (struct boot_input){
		.image = &machine->image,
		.initrd = machine->initrd.data,
		.initrd_size = machine->initrd.size,
		.cmdline = machine->cmdline,
	};
	error = boot_load(&vm->memory, &input, &entry);
	if (error)
		bad_input("%s", error);
	free(machine->kernel.data);
	free(machine->initrd.data);
	free(machine->cmdline);

	vcpus_create(vm, options->cpus, &entry);
	acpi_write(vm, machine->nr_virtio);
	rtc_attach(vm);
	i8042_attach(vm);
	power_attach(vm);
	for (unsigned int i = 0; i < machine->nr_virtio; i++)
		virtio_attach(machine->virtio[i], vm, i);
	if (options->tap)
		virtio_net_watch(machine->virtio[options->nr_disks]);
}

static void on_signal(struct io_source *source, u32 events)
{
	struct machine *machine = container_of(source, struct machine, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCONT)
		terminal_raw();
	else
		vm_end(&machine->vm, STATUS_SIGNAL + info.ssi_signo, "ended by signal %u (%s)",
		       info.ssi_signo, strsignal((int)info.ssi_signo));
}

static void watch_signals(struct machine *machine)
{
	sigset_t set;

	fill_end_signals(&set);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	machine->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	machine->signals.ready = on_signal;
	if (machine->signals.fd < 0 ||
	    io_loop_add(&machine->vm.loop, &machine->signals, EPOLLIN))
		host_error("cannot watch for signals: %m");
}

/* The child: run the machine to its end. */
static noreturn void run_machine(const struct run_options *options)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	enum exit_status status;
	int error;

	if (!machine)
		host_error("out of memory");
	signal(SIGPIPE, SIG_IGN);
	terminal_save();
	build(machine, options);
	watch_signals(machine);
	if (run_on_start)
		run_on_start(&machine->vm);
	sandbox_drop_capabilities();
	console_open(&machine->vm, &options->console);
	error = vcpus_start(&machine->vm);
	if (error) {
		errno = -error;
		host_error("cannot start the vCPU threads: %m");
	}
	sandbox_filter_system_calls();
	vcpus_go();
	error = io_loop_run(&machine->vm.loop);
	if (error)
		vm_end(&machine->vm, STATUS_HOST_ERROR, "cannot wait for events: %s",
		       strerror(-error));

	vcpus_stop(&machine->vm);
	if (run_on_end)
		run_on_end(&machine->vm);
	terminal_restore();
	message("%s", machine->vm.reason);
	status = machine->vm.status;
	vcpus_destroy(&machine->vm);
	vm_destroy(&machine->vm);
	exit(status);
}

/* The parent: pass signals on, and tell what became of @child. */
static int supervise(pid_t child)
{
	siginfo_t info;
	sigset_t set;
	int status;

	terminal_save();
	fill_end_signals(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		if (sigwaitinfo(&set, &info) < 0)
			continue;
		if (info.si_signo != SIGCHLD) {
			kill(child, info.si_signo);
			continue;
		}
		if (waitpid(child, &status, WNOHANG) == child &&
		    (WIFEXITED(status) || WIFSIGNALED(status)))
			break;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	terminal_restore();
	message("the runner was killed by signal %d (%s)", WTERMSIG(status),
		strsignal(WTERMSIG(status)));
	return STATUS_SIGNAL + WTERMSIG(status);
}

int run_main(int argc, char **argv)
{
	struct run_options options;
	pid_t parent = getpid(), child;
	char name[MAX_NAME + 16];
	sigset_t set;

	parse_run_options(argc, argv, &options);
	/* Blocked from here on: the parent waits for them, the child polls. */
	fill_end_signals(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (child < 0)
		host_error("cannot start a process: %m");
	if (child)
		return supervise(child);
	/* What process lists show, where the parent is "lodge". */
	snprintf(name, sizeof(name), "lodge:%s", options.name ? options.name : "vm");
	prctl(PR_SET_NAME, name);
	/* A parent that is killed takes the guest with it, in good order. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		exit(STATUS_HOST_ERROR);
	run_machine(&options);
}
