#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# KVM is loaded, and unloaded, while lodge has a VM: nothing happens to that VM, the kernel
# warns of nothing, and where both can share the hardware (Intel), both have VMs then.

# check() calls the functions here by their names.
# shellcheck disable=SC2317

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
kvm=kvm_amd
grep -q -w vmx /proc/cpuinfo && kvm=kvm_intel
[ -n "$(find "/lib/modules/$(uname -r)" -name "kvm-${kvm#kvm_}.ko*")" ] || skip_all "no $kvm here"
was_loaded=$(grep "^$kvm " /proc/modules)
[ -z "$was_loaded" ] || modprobe -r "$kvm" || skip_all "$kvm is in use"
case $kvm in
kvm_amd)	plan 3 ;;
kvm_intel)	plan 7 ;;
esac

# AMD's hardware is not shared: where KVM wants it for its load, that fails.
loads()
{
	said=$(modprobe "$kvm" 2>&1) && return
	echo "# $said"
	[ "$kvm" = kvm_amd ] && [ ! -e "/sys/module/$kvm" ]
}

# A VM of KVM's, whose vCPU makes progress.
kvm_works()
{
	LODGE_DEVICE=/dev/kvm ./hold_vm </dev/null >/dev/null
}

works()
{
	hold_vm "$node" && release_vm
}

# Bit 9 of it: since the machine's start.
kernel_has_not_warned()
{
	read -r tainted </proc/sys/kernel/tainted
	[ $((tainted >> 9 & 1)) -eq 0 ]
}

kernel_has_not_warned || skip_all "the kernel has warned before"
hold_vm "$node"
check "$kvm is loaded while lodge has a VM" loads
if [ "$kvm" = kvm_intel ]; then
	check "KVM has a VM beside it" kvm_works
fi
check "lodge's VM goes on" release_vm
if [ "$kvm" = kvm_intel ]; then
	check "lodge has a VM with KVM loaded" hold_vm "$node"
	check "KVM goes while lodge has it" modprobe -r "$kvm"
	check "lodge's VM goes on" release_vm
fi
check "the kernel has not warned" kernel_has_not_warned
if [ -z "$was_loaded" ]; then
	modprobe -r "$kvm" 2>/dev/null
else
	modprobe "$kvm"
fi
finish
