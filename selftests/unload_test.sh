#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Loading and unloading: 20 times (fewer where all is slow: LODGE_SLOW) with a test that
# runs guests between, and refused as long as there is a VM.

# check() calls the functions here by their names.
# shellcheck disable=SC2317

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
plan 5
rounds=$((20 / ${LODGE_SLOW:-1}))

rounds()
{
	i=0
	while [ "$i" -lt "$rounds" ]; do
		i=$((i + 1))
		unload_module || return 1
		load_module || return 1
		./exits_test >/dev/null 2>&1 || return 1
	done
}

check "$rounds rounds of unload, load and use" rounds

hold_vm "$node"
refused()
{
	! rmmod lodge 2>/dev/null && module_loaded
}

check "unload is refused while a VM runs" refused
check "the VM has run on" release_vm
check "unload works after it" wait_for unload_module
check "and load, too" load_module
finish
