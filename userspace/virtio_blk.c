// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-blk over a raw file or block device.  Opened by run.c; requests are
 * served one by one on the I/O thread, under the device's lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio.h"

#define SECTOR		512
/* A request's data, between its header and its status. */
#define MOST_SEGMENTS	(QUEUE_SIZE - 2)

/* As <linux/virtio_blk.h> has them, but plainly little-endian. */
struct request {
	u32 type;		/* VIRTIO_BLK_T_* */
	u32 reserved;
	u64 sector;
};

struct disk_config {
	u64 capacity;
	u32 size_max;
	u32 seg_max;
};

struct disk {
	struct virtio_device device;
	struct disk_config config;
	int fd;
	u64 size;
};

static u8 transfer(struct disk *disk, const struct request *header,
		   const struct iovec *iov, unsigned int count, bool is_write)
{
	u64 size = iov_size(iov, count), done = 0;
	u64 start = header->sector * SECTOR;

	if (size % SECTOR || header->sector > disk->size / SECTOR || size > disk->size - start)
		return VIRTIO_BLK_S_IOERR;
	while (done < size) {
		struct iovec part[QUEUE_SIZE];
		unsigned int n = iov_slice(iov, count, done, size - done, part);
		off_t at = (off_t)(start + done);
		ssize_t ret;

		ret = is_write ? pwritev(disk->fd, part, (int)n, at)
			       : preadv(disk->fd, part, (int)n, at);
		if (ret < 0 && errno == EINTR)
			continue;
		/* 0: someone cut the file while the guest ran. */
		if (ret <= 0)
			return VIRTIO_BLK_S_IOERR;
		done += (u64)ret;
	}
	return VIRTIO_BLK_S_OK;
}

static u8 flush(const struct disk *disk)
{
	int ret;

	do {
		ret = fdatasync(disk->fd);
	} while (ret < 0 && errno == EINTR);
	return ret ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* Serve one request.  Returns the bytes written into it, or -EINVAL for a malformed one. */
static int serve(struct disk *disk, const struct chain *chain)
{
	const struct iovec *out = chain->iov, *in = chain->iov + chain->nr_out;
	size_t in_size = iov_size(in, chain->nr_in);
	struct iovec data[QUEUE_SIZE];
	struct request header;
	char id[VIRTIO_BLK_ID_BYTES] = "lodge";
	size_t filled = 0;
	unsigned int n;
	u8 status;

	if (iov_read(out, chain->nr_out, 0, &header, sizeof(header)) != sizeof(header) ||
	    !in_size)
		return -EINVAL;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		n = iov_slice(in, chain->nr_in, 0, in_size - 1, data);
		status = transfer(disk, &header, data, n, false);
		if (status == VIRTIO_BLK_S_OK)
			filled = in_size - 1;
		break;
	case VIRTIO_BLK_T_OUT:
		n = iov_slice(out, chain->nr_out, sizeof(header), SIZE_MAX, data);
		if (disk->device.features & BIT_ULL(VIRTIO_BLK_F_RO))
			status = VIRTIO_BLK_S_IOERR;
		else
			status = transfer(disk, &header, data, n, true);
		break;
	case VIRTIO_BLK_T_FLUSH:
		status = flush(disk);
		break;
	case VIRTIO_BLK_T_GET_ID:
		n = iov_slice(in, chain->nr_in, 0, in_size - 1, data);
		filled = iov_write(data, n, 0, id, sizeof(id));
		status = VIRTIO_BLK_S_OK;
		break;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	iov_write(in, chain->nr_in, in_size - 1, &status, sizeof(status));
	return (int)(filled + 1);
}

static void blk_notify(struct virtio_device *device, unsigned int index)
{
	struct disk *disk = container_of(device, struct disk, device);
	struct virtqueue *queue = &device->queues[index];
	unsigned int budget = VIRTIO_BUDGET;
	int got = 0;

	while (budget && (got = virtqueue_pop(queue, &device->chain)) > 0) {
		got = serve(disk, &device->chain);
		if (got < 0)
			break;
		virtqueue_push(queue, device->chain.head, (u32)got);
		virtio_interrupt(device, queue);
		budget--;
	}
	if (!budget)
		virtio_again(device, index);
	if (got < 0)
		virtio_break(device);
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.nr_queues = 1,
	.notify = blk_notify,
};

static u64 disk_size(int fd, const char *path)
{
	struct stat st;
	u64 size;

	if (fstat(fd, &st))
		host_error("cannot stat %s: %m", path);
	if (S_ISREG(st.st_mode))
		return (u64)st.st_size;
	if (!S_ISBLK(st.st_mode))
		bad_input("--disk %s: a file or a block device is expected", path);
	if (ioctl(fd, BLKGETSIZE64, &size))
		host_error("cannot ask for the size of %s: %m", path);
	return size;
}

struct virtio_device *virtio_blk_open(const struct disk_option *option)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	struct flock lock = { .l_type = option->readonly ? F_RDLCK : F_WRLCK };

	if (!disk)
		host_error("out of memory");
	/* A FIFO must not keep us waiting before we can refuse it. */
	disk->fd = open(option->path, (option->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC |
			O_NONBLOCK);
	if (disk->fd < 0)
		bad_input("--disk %s: %m%s", option->path,
			  !option->readonly && (errno == EACCES || errno == EROFS) ?
			  "; try ',readonly'" : "");
	if (fcntl(disk->fd, F_OFD_SETLK, &lock)) {
		if (errno == EAGAIN || errno == EACCES)
			bad_input("--disk %s: another program uses it; end that one first",
				  option->path);
		host_error("cannot lock %s: %m", option->path);
	}
	disk->size = disk_size(disk->fd, option->path);
	if (!disk->size || disk->size % SECTOR)
		bad_input("--disk %s: its size, %llu, is no multiple of 512 (or zero)",
			  option->path, disk->size);

	disk->config.capacity = disk->size / SECTOR;
	disk->config.seg_max = MOST_SEGMENTS;
	disk->device.ops = &blk_ops;
	disk->device.config = &disk->config;
	disk->device.config_size = sizeof(disk->config);
	disk->device.features = BIT_ULL(VIRTIO_BLK_F_SEG_MAX) | BIT_ULL(VIRTIO_BLK_F_FLUSH);
	if (option->readonly)
		disk->device.features |= BIT_ULL(VIRTIO_BLK_F_RO);
	return &disk->device;
}
