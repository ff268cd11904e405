/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who answers at which port or MMIO address.  Devices are added before any
 * vCPU runs and never removed, so vCPU threads look them up without a lock.
 */
#ifndef LODGE_BUS_H
#define LODGE_BUS_H

#include "types.h"

#define BUS_DEVICES	16

struct bus_device {
	u64 base;
	u64 size;
	/*
	 * @offset is from @base; @data holds @len bytes: to read from when
	 * @is_write, to fill otherwise.  Called on vCPU threads, several at once.
	 */
	void (*access)(void *opaque, u64 offset, void *data, unsigned int len, bool is_write);
	void *opaque;
};

struct bus {
	struct bus_device devices[BUS_DEVICES];
	unsigned int count;
};

/* Overlap or overflow is a bug of the caller and aborts. */
void bus_add(struct bus *bus, const struct bus_device *device);

/* Where nobody answers, reads give all ones and writes are dropped, as on a PC. */
void bus_access(const struct bus *bus, u64 address, void *data, unsigned int len, bool is_write);

#endif
