#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Machines move between a lodge.ko that lets the CPU work their local APICs and one that
# works them itself: what waits, what is in service, and timers go along.

# check() calls the functions here by their names.
# shellcheck disable=SC2317

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
grep -q -w vmx /proc/cpuinfo || skip_all "only on Intel CPUs"
parameter=/sys/module/lodge/parameters/apicv
read -r was <$parameter
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

reload()
{
	unload_module && insmod "$(module_file)" "apicv=$1" && wait_for [ -c "$node" ]
}

# moves FROM TO
moves()
{
	reload "$1" && ./carry_vm save "$folder" &&
		reload "$2" && ./carry_vm load "$folder"
}

by_software()
{
	reload 0 && ! ./carry_vm direct
}

# A word that is none leaves it unloaded.
refuses()
{
	unload_module && ! insmod "$(module_file)" apicv=2 2>/dev/null && ! module_loaded &&
		load_module
}

if ! reload 1 || ! ./carry_vm direct; then
	reload "$was"
	skip_all "this CPU does not work local APICs"
fi
plan 5
check "apicv is yes or no" refuses
check "apicv=0 leaves them to lodge" by_software
check "from the CPU to lodge" moves 1 0
check "from lodge to the CPU" moves 0 1
check "as it was before" reload "$was"
finish
