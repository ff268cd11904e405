#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The node itself: a character device of mode 0660, gone when the module is.
# Only for lodge: KVM's node is udev's business.

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
plan 3

check "the node is a character device" [ -c "$node" ]
mode=$(stat -c %a "$node")
check "its mode is 660, seen: $mode" [ "$mode" = 660 ]
unload_module
check "the node goes with the module" [ ! -e "$node" ]
load_module
finish
