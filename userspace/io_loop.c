// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O thread's wait for descriptors, over epoll.  Run by run.c on the main
 * thread; the kernel's epoll lock is the only one needed.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io_loop.h"

int io_loop_create(struct io_loop *loop)
{
	loop->stop = false;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

static int control(struct io_loop *loop, int operation, struct io_source *source, u32 events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll_fd, operation, source->fd, &event) ? -errno : 0;
}

int io_loop_add(struct io_loop *loop, struct io_source *source, u32 events)
{
	return control(loop, EPOLL_CTL_ADD, source, events);
}

int io_loop_watch(struct io_loop *loop, struct io_source *source, u32 events)
{
	return control(loop, EPOLL_CTL_MOD, source, events);
}

void io_loop_remove(struct io_loop *loop, struct io_source *source)
{
	control(loop, EPOLL_CTL_DEL, source, 0);
}

int io_loop_run(struct io_loop *loop)
{
	struct epoll_event events[16];

	while (!loop->stop) {
		int n = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n && !loop->stop; i++) {
			struct io_source *source = events[i].data.ptr;

			source->ready(source, events[i].events);
		}
	}
	return 0;
}

bool eventfd_take(int fd)
{
	u64 count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

void eventfd_signal(int fd)
{
	u64 one = 1;

	/* EAGAIN means that the counter is full: it is signalled already. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
}
