#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# KVM and lodge on one machine: whoever has a VM has the CPUs' virtualization;
# the other's VM is refused with -EBUSY, and gets it when the first one is gone.
# (Kernels from 6.12 on: KVM may take it when its module is loaded.)

# check() calls the functions here by their names.
# shellcheck disable=SC2317

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
[ -c /dev/kvm ] || modprobe kvm_amd 2>/dev/null
[ -c /dev/kvm ] || skip_all "no KVM"
always=/sys/module/kvm/parameters/enable_virt_at_load
if [ -r "$always" ] && grep -q Y "$always"; then
	skip_all "KVM holds it from load on (enable_virt_at_load)"
fi
plan 5

# busy DEVICE: a VM on it is refused as it should be.
busy()
{
	out=$(LODGE_DEVICE=$1 ./hold_vm </dev/null)
	[ $? -eq 2 ] && [ "$out" = EBUSY ]
}

works()
{
	hold_vm "$1" && release_vm
}

hold_vm /dev/kvm
dmesg -c >/dev/null
check "lodge says EBUSY while KVM has a VM" busy "$node"
check "and names KVM in the log" sh -c 'dmesg | grep lodge | grep -qi kvm'
release_vm
check "lodge works when KVM's VM is gone" wait_for works "$node"
hold_vm "$node"
# KVM's own word for it, at creation or at the first vCPU's load.
check "KVM is refused while lodge has a VM" busy /dev/kvm
release_vm
check "KVM works when lodge's VM is gone" wait_for works /dev/kvm
finish
