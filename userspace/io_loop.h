/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The I/O thread's wait for descriptors.  Sources are added before the loop
 * runs; io_loop_watch() may be called from any thread while it runs.
 */
#ifndef LODGE_IO_LOOP_H
#define LODGE_IO_LOOP_H

#include "types.h"

struct io_source {
	int fd;
	/* Called on the I/O thread with the EPOLL* bits that hold. */
	void (*ready)(struct io_source *source, u32 events);
};

struct io_loop {
	int epoll_fd;
	bool stop;		/* the I/O thread's own */
};

/* All return 0 or -errno. */
int io_loop_create(struct io_loop *loop);
int io_loop_add(struct io_loop *loop, struct io_source *source, u32 events);
int io_loop_watch(struct io_loop *loop, struct io_source *source, u32 events);
void io_loop_remove(struct io_loop *loop, struct io_source *source);

/* Call sources until one of them sets loop->stop. */
int io_loop_run(struct io_loop *loop);

/* Read an eventfd empty; true when it had been signalled. */
bool eventfd_take(int fd);
void eventfd_signal(int fd);

#endif
