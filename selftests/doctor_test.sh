#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What `lodge doctor` says of a host that can run guests, and of one that cannot.

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
command -v lodge >/dev/null || skip_all "no lodge in PATH"
out=$(mktemp)

# Of a host whose CPU has the flag $1, too.
doctor_with_flag()
{
	sed "s/^flags.*/& $1/" /proc/cpuinfo >"$out.cpuinfo"
	mount --bind "$out.cpuinfo" /proc/cpuinfo
	lodge doctor >"$out"
	doctor_status=$?
	umount /proc/cpuinfo
	return $doctor_status
}

plan 4
lodge doctor >"$out"
check "the host is in order" [ $? -eq 0 ]
check "doctor says so" grep -q "^This host can run guests" "$out"
doctor_with_flag fred
doctor_status=$?
if grep -q '^flags.* vmx' /proc/cpuinfo; then
	check "FRED is refused on VMX" [ "$doctor_status" -eq 1 ]
	check "with the remedy" grep -q "fred=off" "$out"
else
	check "FRED is no matter on SVM" [ "$doctor_status" -eq 0 ]
	check "and not spoken of" grep -q "^This host can run guests" "$out"
fi
rm -f "$out" "$out.cpuinfo"
finish
