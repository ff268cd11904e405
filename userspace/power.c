// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sleep control and status registers of hardware-reduced ACPI (ACPI 6.5,
 * 4.8.3.7): the guest's way to power off.  Accessed on vCPU threads; there is
 * no state.
 */
#include <string.h>

#include "devices.h"
#include "layout.h"
#include "power.h"

#define SLEEP_ENABLE		BIT(5)
#define SLEEP_TYPE(value)	((value) >> 2 & 7)

static void power_access(void *opaque, u64 offset, void *data, unsigned int len, bool is_write)
{
	struct vm *vm = opaque;
	u8 *byte = data;

	if (!is_write)
		memset(data, 0, len);
	else if (!offset && *byte & SLEEP_ENABLE && SLEEP_TYPE(*byte) == SLEEP_TYPE_OFF)
		vm_end(vm, STATUS_POWER_OFF, "guest powered off");
}

void power_attach(struct vm *vm)
{
	bus_add(&vm->ports, &(struct bus_device){
		.base = POWER_PORT, .size = 2, .access = power_access, .opaque = vm,
	});
}
