// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the guest's serial port leads.  Input arrives on the I/O thread, which
 * alone uses the input fields; output leaves on vCPU threads, byte by byte and
 * unlocked, as on a wire.  terminal_* belong to the main thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "console.h"
#include "devices.h"

#define ESCAPE		0x01	/* Ctrl-A */
#define CHUNK		256

struct console {
	struct vm *vm;
	struct serial *serial;
	int out_fd;
	bool drop_when_full;		/* nobody may be reading the pty */
	atomic_bool output_failed;

	struct io_source in;
	struct io_source wanted;	/* the guest made room for input */
	bool pollable;			/* plain files are not, and always ready */
	bool watching;
	bool ended;			/* no more input will come */
	bool escapes;			/* on a terminal */
	bool escaped;			/* the last byte was ESCAPE */
	u8 pending[4096];		/* read, and not yet taken by the guest */
	size_t count;
};

static struct termios saved;
static bool is_saved;

void terminal_restore(void)
{
	if (is_saved)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
}

void terminal_save(void)
{
	if (!tcgetattr(STDIN_FILENO, &saved)) {
		is_saved = true;
		atexit(terminal_restore);
	}
}

void terminal_raw(void)
{
	struct termios raw = saved;

	if (!is_saved)
		return;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void console_output(void *opaque, u8 byte)
{
	struct console *console = opaque;
	struct pollfd wait = { .fd = console->out_fd, .events = POLLOUT };

	while (write(console->out_fd, &byte, 1) != 1) {
		if (errno == EAGAIN && console->drop_when_full)
			return;
		if (errno == EAGAIN) {
			poll(&wait, 1, -1);
		} else if (errno != EINTR) {
			if (!atomic_exchange(&console->output_failed, true))
				message("the guest's output is lost: %s", strerror(errno));
			return;
		}
		/* A stalled terminal must not keep a guest from ending. */
		if (atomic_load(&console->vm->ended))
			return;
	}
}

static void console_input_wanted(void *opaque)
{
	struct console *console = opaque;

	eventfd_signal(console->wanted.fd);
}

/* Act on what follows Ctrl-A; returns false when @byte is for the guest. */
static bool handle_escape(struct console *console, u8 byte)
{
	if (!console->escapes)
		return false;
	if (!console->escaped) {
		console->escaped = byte == ESCAPE;
		return console->escaped;
	}
	console->escaped = false;
	switch (byte) {
	case 'x':
		vm_end(console->vm, STATUS_POWER_OFF, "ended from the keyboard");
		return true;
	case 'c':
		serial_send_break(console->serial);
		return true;
	default:
		return byte != ESCAPE;
	}
}

/* Offer the guest what it has not taken yet. */
static void deliver(struct console *console)
{
	size_t taken = serial_input(console->serial, console->pending, console->count);

	console->count -= taken;
	memmove(console->pending, console->pending + taken, console->count);
}

static void watch_input(struct console *console, bool on)
{
	if (console->watching == on || !console->pollable)
		return;
	console->watching = on;
	/* Removed, not only unwatched: a closed pipe would be reported for ever. */
	if (on)
		io_loop_add(&console->vm->loop, &console->in, EPOLLIN);
	else
		io_loop_remove(&console->vm->loop, &console->in);
}

/*
 * Whether to read on.  On a terminal always: Ctrl-A must get through to us,
 * even past a guest that does not read.
 */
static bool has_room(const struct console *console)
{
	return console->escapes || sizeof(console->pending) - console->count >= CHUNK;
}

/* Read once.  Returns false when nothing came. */
static bool fill(struct console *console)
{
	u8 bytes[CHUNK];
	ssize_t got;

	do {
		got = read(console->in.fd, bytes, sizeof(bytes));
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0) {
		/* The end of the input is not the end of the guest. */
		watch_input(console, false);
		console->ended = true;
		return false;
	}
	for (ssize_t i = 0; i < got; i++) {
		if (handle_escape(console, bytes[i]))
			continue;
		if (console->count < sizeof(console->pending))
			console->pending[console->count++] = bytes[i];
	}
	return true;
}

static void on_input(struct io_source *source, u32 events)
{
	struct console *console = container_of(source, struct console, in);

	(void)events;
	fill(console);
	deliver(console);
	if (!has_room(console))
		watch_input(console, false);
}

static void on_wanted(struct io_source *source, u32 events)
{
	struct console *console = container_of(source, struct console, wanted);

	(void)events;
	eventfd_take(source->fd);
	deliver(console);
	if (console->ended || !has_room(console))
		return;
	if (console->pollable)
		watch_input(console, true);
	else
		while (has_room(console) && fill(console))
			deliver(console);
}

static void check(int result, const char *what)
{
	if (result < 0)
		host_error("cannot %s: %m", what);
}

/* A pseudo-terminal whose other side stays open, so that no end of it hangs up. */
static void open_pty(struct console *console)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios raw;
	int slave;

	check(master, "open a pseudo-terminal");
	check(grantpt(master), "set up the pseudo-terminal");
	check(unlockpt(master), "set up the pseudo-terminal");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	check(slave, "open the pseudo-terminal");
	check(tcgetattr(slave, &raw), "set up the pseudo-terminal");
	cfmakeraw(&raw);
	check(tcsetattr(slave, TCSANOW, &raw), "set up the pseudo-terminal");
	message("console on %s", ptsname(master));
	console->in.fd = master;
	console->out_fd = master;
	console->drop_when_full = true;
}

static void open_output(struct console *console, const struct console_option *option)
{
	console->in.fd = -1;
	switch (option->kind) {
	case CONSOLE_STDIO:
		console->in.fd = STDIN_FILENO;
		console->out_fd = STDOUT_FILENO;
		console->escapes = isatty(STDIN_FILENO);
		if (console->escapes)
			message("Ctrl-A x ends the guest");
		terminal_raw();
		break;
	case CONSOLE_PTY:
		open_pty(console);
		break;
	case CONSOLE_FILE:
		console->out_fd = open(option->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
				       O_NOCTTY, 0666);
		if (console->out_fd < 0)
			bad_input("--console file=%s: %m", option->path);
		break;
	}
}

void console_open(struct vm *vm, const struct console_option *option)
{
	struct console *console = calloc(1, sizeof(*console));
	int error = 0;

	if (!console)
		host_error("out of memory");
	console->vm = vm;
	open_output(console, option);
	console->serial = serial_attach(vm, console_output, console_input_wanted, console);
	console->wanted.ready = on_wanted;
	console->wanted.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(console->wanted.fd, "create an eventfd");
	error = io_loop_add(&vm->loop, &console->wanted, EPOLLIN);

	console->in.ready = on_input;
	console->ended = console->in.fd < 0;
	if (!error && !console->ended) {
		error = io_loop_add(&vm->loop, &console->in, EPOLLIN);
		console->pollable = !error;
		console->watching = !error;
		/* Plain files cannot be waited for: they are always ready. */
		if (error == -EPERM || error == -EBADF) {
			error = 0;
			eventfd_signal(console->wanted.fd);
		}
	}
	errno = -error;
	check(error, "watch the console");
}
