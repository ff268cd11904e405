// SPDX-License-Identifier: GPL-2.0-only
/*
 * The keyboard controller's reset line, and no keyboard.  Its status always
 * reads "ready", so that a guest that wants to reboot need not wait.  Accessed
 * on vCPU threads; there is no state.
 */
#include <string.h>

#include "devices.h"
#include "layout.h"

static void i8042_access(void *opaque, u64 offset, void *data, unsigned int len, bool is_write)
{
	struct vm *vm = opaque;
	u8 *byte = data;

	(void)offset;
	if (!is_write)
		memset(data, 0, len);
	else if (*byte == I8042_RESET)
		vm_end(vm, STATUS_REBOOT, "guest asked for a reboot; after a panic Linux does that, too");
}

void i8042_attach(struct vm *vm)
{
	bus_add(&vm->ports, &(struct bus_device){
		.base = I8042_COMMAND, .size = 1, .access = i8042_access, .opaque = vm,
	});
}
