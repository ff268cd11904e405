# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# For the shell tests, which source it: TAP, and loading and unloading lodge.ko.
# LODGE_MODULE names the file (default: the running kernel's own folders).

node=${LODGE_DEVICE:-/dev/lodge}
tap_n=0
tap_failed=0

plan()
{
	echo "TAP version 13"
	echo "1..$1"
}

skip_all()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $*"
	exit 4
}

# check TEXT COMMAND...: one line of TAP from the command's status.
check()
{
	tap_text=$1
	shift
	tap_n=$((tap_n + 1))
	if "$@"; then
		echo "ok $tap_n $tap_text"
	else
		echo "not ok $tap_n $tap_text"
		tap_failed=$((tap_failed + 1))
	fi
}

finish()
{
	[ "$tap_failed" -eq 0 ]
	exit
}

module_loaded()
{
	grep -q '^lodge ' /proc/modules
}

module_file()
{
	for f in "$LODGE_MODULE" \
		 "/lib/modules/$(uname -r)/extra/lodge.ko" \
		 "/lib/modules/$(uname -r)/updates/lodge.ko"; do
		if [ -n "$f" ] && [ -f "$f" ]; then
			echo "$f"
			return 0
		fi
	done
	return 1
}

load_module()
{
	insmod "$(module_file)" || return 1
	wait_for [ -c "$node" ]
}

unload_module()
{
	rmmod lodge
}

# The test is of lodge.ko: of the one on disk, and it is loaded.
need_module()
{
	[ "$(id -u)" -eq 0 ] || skip_all "not root"
	[ "$node" != /dev/kvm ] || skip_all "only for lodge"
	module_file >/dev/null || skip_all "no lodge.ko (LODGE_MODULE)"
	module_loaded || load_module || skip_all "lodge.ko does not load"
}

# wait_for COMMAND...: up to 10 s until it succeeds.
wait_for()
{
	tap_tries=0
	until "$@"; do
		tap_tries=$((tap_tries + 1))
		[ "$tap_tries" -lt 100 ] || return 1
		sleep 0.1
	done
}

holder_ready()
{
	grep -q ready "$hold_out"
}

# hold_vm DEVICE [VCPUS]: a VM that runs until release_vm.
hold_vm()
{
	hold_out=$(mktemp)
	hold_in=$(mktemp -u)
	mkfifo "$hold_in"
	LODGE_DEVICE=$1 ./hold_vm "${2:-1}" <"$hold_in" >"$hold_out" 2>&1 &
	hold_pid=$!
	exec 9>"$hold_in"
	rm -f "$hold_in"
	wait_for holder_ready || { sed 's/^/# /' "$hold_out"; return 1; }
}

# Its exit status: 0 if each vCPU made progress to the end.
release_vm()
{
	exec 9>&-
	wait "$hold_pid"
	hold_status=$?
	sed 's/^/# /' "$hold_out"
	rm -f "$hold_out"
	return $hold_status
}
