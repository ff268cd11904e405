// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who answers at which port or MMIO address.  bus_add() is called by run.c
 * before the vCPUs start, bus_access() by every vCPU thread; no lock.
 */
#include <stdlib.h>
#include <string.h>

#include "bus.h"

void bus_add(struct bus *bus, const struct bus_device *device)
{
	if (bus->count == BUS_DEVICES)
		abort();
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_device *other = &bus->devices[i];

		if (device->base < other->base + other->size &&
		    other->base < device->base + device->size)
			abort();
	}
	bus->devices[bus->count++] = *device;
}

void bus_access(const struct bus *bus, u64 address, void *data, unsigned int len, bool is_write)
{
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_device *device = &bus->devices[i];

		if (address >= device->base && address - device->base < device->size &&
		    len <= device->size - (address - device->base)) {
			device->access(device->opaque, address - device->base, data, len, is_write);
			return;
		}
	}
	if (!is_write)
		memset(data, 0xff, len);
}
