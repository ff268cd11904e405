// SPDX-License-Identifier: GPL-2.0-only
/*
 * list_capabilities: for scripts/check-capabilities. Prints "NUMBER VALUE" for each
 * KVM_CHECK_EXTENSION of the node that is not 0, and fails when a VM differs where it
 * must not: what of X2APIC_API there is depends on the VM's interrupt controllers.
 */
#include <stdio.h>

#include "test_vm.h"

#define LAST	4095

int main(void)
{
	int device = device_open(), ret = 0;
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP };
	struct test_vm vm;
	long cap;

	vm_create_bare(&vm);
	/* One flag of KVM_CAP_X2APIC_API is for such a VM alone. */
	vm_ioctl(&vm, KVM_ENABLE_CAP, &split);
	for (cap = 0; cap <= LAST; cap++) {
		int value = device_cap(device, cap);

		if (value != vm_cap(&vm, cap) && cap != KVM_CAP_X2APIC_API) {
			fprintf(stderr, "capability %ld: %d on the node, %d on a VM\n",
				cap, value, vm_cap(&vm, cap));
			ret = 1;
		}
		if (value)
			printf("%ld %d\n", cap, value);
	}
	return ret;
}
