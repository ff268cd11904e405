#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# `lodge exec`: a command finds the node at /dev/kvm, and nobody else does. Once with
# nothing at /dev/kvm and once with another file there, as root and as somebody else.

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
command -v lodge >/dev/null || skip_all "no lodge"
lodge()
{
	command lodge exec --device "$node" "$@"
}

number()
{
	stat -L -c %t:%T "$1"
}

# shellcheck disable=SC2317 # called by check
# Run lodge, expecting STATUS and, from lodge itself, one line that has TEXT.
fails()
{
	want=$1 text=$2
	shift 2
	command lodge exec "$@" >/dev/null 2>/tmp/exec.err </dev/null
	[ $? -eq "$want" ] && [ "$(wc -l </tmp/exec.err)" -eq 1 ] &&
		grep -q -F -e "$text" /tmp/exec.err
}

# shellcheck disable=SC2317
vmm_test()
{
	lodge env LODGE_DEVICE=/dev/kvm ./exits_test >/tmp/exec.out 2>&1 ||
		{ sed 's/^/# /' /tmp/exec.out; return 1; }
}

as_nobody()
{
	su -s /bin/sh nobody -c "$1"
}

# What a command sees of the node, and of what else is in /dev.
see()
{
	check "$1: the node is at /dev/kvm" [ "$(lodge stat -L -c %t:%T /dev/kvm)" = "$(number "$node")" ]
	check "$1: it can be opened there" lodge sh -c ': <>/dev/kvm'
	# shellcheck disable=SC2016
	check "$1: the rest of /dev is as it was" lodge sh -c '
		echo x >/dev/null && [ "$(head -c 4 /dev/zero | wc -c)" -eq 4 ] &&
		echo x >/dev/shm/exec.test && [ -c /dev/pts/ptmx ] && [ -L /dev/fd ]'
	check "$1: files in /dev/shm are shared" rm /dev/shm/exec.test
	check "$1: all names are there" [ "$(lodge ls /dev)" = "$({ ls /dev; echo kvm; } | sort -u)" ]
	# One that stays, to look from outside while it runs.
	lodge sh -c 'echo; exec sleep 30' >/tmp/exec.ready &
	inside=$!
	wait_for [ -s /tmp/exec.ready ]
	check "$1: outside nothing shows" [ "$(cat /proc/mounts; stat -L -c %t:%T /dev/kvm 2>&1)" = "$before" ]
	kill $inside
	wait $inside 2>/dev/null
	check "$1: a signal ends it as any command" [ $? -eq 143 ]
	check "$1: afterwards nothing is left" [ "$(cat /proc/mounts; stat -L -c %t:%T /dev/kvm 2>&1)" = "$before" ]
	chmod 666 "$node"
	check "$1: a user without rights, as himself" [ "$(as_nobody "lodge exec --device $node -- sh -c '
		: <>/dev/kvm && stat -L -c %t:%T /dev/kvm && id -u && grep CapEff /proc/self/status'")" = \
		"$(number "$node"; echo 65534; printf 'CapEff:\t0000000000000000')" ]
	chmod 660 "$node"
}

# As systemd has it: what is mounted in one namespace shows in the others.
mount --make-rshared /
kvm=
[ ! -e /dev/kvm ] || kvm=$(number /dev/kvm)
[ -z "$kvm" ] || mv /dev/kvm /dev/kvm.aside
plan 34

before=$(cat /proc/mounts; stat -L -c %t:%T /dev/kvm 2>&1)
see "without /dev/kvm"
mknod /dev/kvm c 1 3
before=$(cat /proc/mounts; stat -L -c %t:%T /dev/kvm 2>&1)
see "with a /dev/kvm"
rm /dev/kvm
ln -s no-such-file /dev/kvm
check "with a dangling link: the node" [ "$(lodge stat -L -c %t:%T /dev/kvm)" = "$(number "$node")" ]
check "with a dangling link: it is left alone" [ "$(readlink /dev/kvm)" = no-such-file ]
rm /dev/kvm
[ -z "$kvm" ] || mv /dev/kvm.aside /dev/kvm

lodge -- sh -c 'exit 7'
check "the exit status is the command's" [ $? -eq 7 ]
check "options after the command are the command's" [ "$(lodge echo --device '2  blanks')" = "--device 2  blanks" ]
check "standard input is the command's" [ "$(echo text | lodge cat)" = text ]
check "root keeps its rights" [ "$(lodge grep CapEff /proc/self/status)" = "$(grep CapEff /proc/self/status)" ]
check "no command" fails 2 "needs a command"
check "an unknown option" fails 2 "--none" --none true
check "a node that is not there" fails 2 "no /dev/none" --device /dev/none true
check "a node that is none" fails 2 "not a hypervisor's node" --device /dev/zero true
chmod 600 "$node"
check "a node that may not be opened" as_nobody "lodge exec --device $node true 2>&1 | grep -q 'no permission'"
check "what he can do" as_nobody "lodge exec --device $node true 2>&1 | grep -q 'a group of yours'"
chgrp 65534 "$node"
check "what he can do about a group's" as_nobody "lodge exec --device $node true 2>&1 | grep -q 'join the group'"
chgrp 0 "$node"
chmod 660 "$node"
check "a command that is not there" fails 127 "cannot run no-such-command" --device "$node" no-such-command
check "a command that is none" fails 126 "cannot run /dev" --device "$node" /dev
check "a VMM that knows of /dev/kvm only" vmm_test
finish
