#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# CPUs go and come back while a guest with two vCPUs runs.

# check() calls the functions here by their names.
# shellcheck disable=SC2317

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

[ "$(id -u)" -eq 0 ] || skip_all "not root"
[ -c "$node" ] || skip_all "no $node"
cpu=/sys/devices/system/cpu/cpu1/online
[ -w "$cpu" ] || skip_all "no CPU to take away"
plan 3

rounds()
{
	i=0
	while [ "$i" -lt 5 ]; do
		i=$((i + 1))
		echo 0 >"$cpu" || return 1
		sleep 0.2
		echo 1 >"$cpu" || return 1
		sleep 0.2
	done
}

hold_vm "$node" 2
check "a CPU goes offline and online, 5 times" rounds
check "the guest has run on" release_vm

# A VM that begins while the CPU is away must be able to use it later.
begins_without()
{
	echo 0 >"$cpu" || return 1
	hold_vm "$node" 2 || return 1
	echo 1 >"$cpu" || return 1
	sleep 0.5
	release_vm
}

check "a VM that began without the CPU" begins_without
finish
