// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whole files into memory and back.  Called by run.c and initramfs.c on the
 * main thread; no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

static int read_all(int fd, size_t max, struct file *file)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((u64)st.st_size > max)
		return -EFBIG;
	file->size = 0;
	file->data = malloc((size_t)st.st_size + 1);
	if (!file->data)
		return -ENOMEM;
	while (file->size < (size_t)st.st_size) {
		ssize_t got = read(fd, file->data + file->size,
				   (size_t)st.st_size - file->size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int error = -errno;

			free(file->data);
			return error;
		}
		if (!got)
			break;	/* cut while we read: what is there counts */
		file->size += (size_t)got;
	}
	return 0;
}

int file_read(const char *path, size_t max, struct file *file)
{
	/* A FIFO must not keep us waiting before we can refuse it. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int error;

	if (fd < 0)
		return -errno;
	error = read_all(fd, max, file);
	close(fd);
	return error;
}

int file_write(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	struct stat st;
	int error = 0;

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < size && !error;) {
		ssize_t put = write(fd, (const u8 *)data + done, size - done);

		if (put >= 0)
			done += (size_t)put;
		else if (errno != EINTR)
			error = -errno;
	}
	if (fstat(fd, &st))
		st.st_mode = 0;
	if (close(fd) && !error)
		error = -errno;
	/* A device is not ours to remove. */
	if (error && S_ISREG(st.st_mode))
		unlink(path);
	return error;
}

bool file_is_same(const char *path, const char *other)
{
	struct stat a, b;

	if (stat(path, &a) || stat(other, &b))
		return false;
	if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode))
		return a.st_rdev == b.st_rdev;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}
