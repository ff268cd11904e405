#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The first process of the runner's built-in initial RAM disk.  It loads what
# modules came with it, does what the kernel's command line asks for, and
# powers off; asked for nothing, it gives a shell.
#
#   lodge.report          print what the guest sees of its machine
#   lodge.test=LIST       of disk, net, rng, reboot, panic, triple: comma-separated
#   lodge.addr=A/LEN      the guest's address for "net"; default 10.77.0.2/24
#   lodge.peer=A          whom "net" pings; default 10.77.0.1
#
# Each test prints "lodge-guest: test NAME: ok" or "... FAILED"; after a failure
# the guest reboots instead of powering off, which the runner's status tells.

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1

say() {
	echo "lodge-guest: $*"
}

load_modules() {
	[ -f /modules/order ] || return
	while read -r module; do
		case $module in
		*.xz)
			xzcat "/modules/$module" >/modules/plain.ko
			module=plain.ko
			;;
		*.gz)
			zcat "/modules/$module" >/modules/plain.ko
			module=plain.ko
			;;
		esac
		insmod "/modules/$module" 2>/dev/null
	done </modules/order
	rm -f /modules/plain.ko
}

# The value of NAME=VALUE on the kernel's command line; the last one counts.
argument() {
	value=
	for word in $(cat /proc/cmdline); do
		case $word in
		"$1="*) value=${word#*=} ;;
		"$1") value=yes ;;
		esac
	done
	echo "$value"
}

report() {
	say "kernel $(uname -r)"
	say "cpus $(grep -c ^processor /proc/cpuinfo)"
	say "memory $(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024)) MiB"
	hypervisor=$(dmesg | sed -n 's/.*Hypervisor detected: //p' | head -n 1)
	if [ -z "$hypervisor" ]; then
		hypervisor=none
		grep -q '^flags.* hypervisor' /proc/cpuinfo && hypervisor=unknown
	fi
	say "hypervisor $hypervisor"
	say "clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
}

# Writes to the file system on /dev/vda and reads back past the page cache;
# a read-only disk is read as a whole.
test_disk() {
	[ -b /dev/vda ] || return 1
	mkdir -p /mnt
	if [ "$(cat /sys/block/vda/ro)" = 1 ]; then
		dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null || return 1
		! dd if=/dev/zero of=/dev/vda count=1 2>/dev/null || return 1
		mount -o ro /dev/vda /mnt && umount /mnt
		return
	fi
	mount /dev/vda /mnt || return 1
	dd if=/dev/urandom of=/mnt/lodge-test bs=64k count=64 2>/dev/null || return 1
	before=$(sha256sum </mnt/lodge-test)
	umount /mnt || return 1
	echo 3 >/proc/sys/vm/drop_caches
	mount /dev/vda /mnt || return 1
	after=$(sha256sum </mnt/lodge-test)
	rm /mnt/lodge-test
	umount /mnt || return 1
	[ "$before" = "$after" ]
}

test_net() {
	address=$(argument lodge.addr)
	peer=$(argument lodge.peer)
	ip link set lo up
	ip addr add "${address:-10.77.0.2/24}" dev eth0 || return 1
	ip link set eth0 up || return 1
	ping -c 3 -W 5 "${peer:-10.77.0.1}" >/dev/null || return 1
	# A large one needs fragments, and so several packets at once.
	ping -c 1 -W 5 -s 8000 "${peer:-10.77.0.1}" >/dev/null
}

test_rng() {
	case $(cat /sys/class/misc/hw_random/rng_current) in
	virtio*) ;;
	*) return 1 ;;
	esac
	[ "$(dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c)" = 4096 ]
}

test_reboot() {
	reboot -f
}

test_panic() {
	echo c >/proc/sysrq-trigger
}

# Needs reboot=t on the command line.
test_triple() {
	reboot -f
}

run_tests() {
	failed=
	for name in $(echo "$1" | tr , ' '); do
		if "test_$name"; then
			say "test $name: ok"
		else
			say "test $name: FAILED"
			failed=1
		fi
	done
	[ -z "$failed" ] || reboot -f
}

# busybox's poweroff, halt and reboot signal the first process, which is this one.
trap 'poweroff -f' USR1 USR2
trap 'reboot -f' TERM

# A shell with its own session and the console as its terminal.  This shell must
# not wait for it in the foreground, or it would hear no signal before its end;
# nor start it with "&", which would make it and all its children deaf to Ctrl-C.
# The second setsid finds itself the leader of a group, and forks.
give_shell() {
	say "kernel $(uname -r); exit or poweroff powers the guest off"
	cd /root || cd /
	setsid setsid cttyhack sh -c 'sh -l; kill -USR2 1'
	while :; do
		sleep 3600 &
		wait $!
	done
}

load_modules
tests=$(argument lodge.test)
[ -z "$(argument lodge.report)" ] || report
[ -z "$tests" ] || run_tests "$tests"
[ -n "$tests$(argument lodge.report)" ] || give_shell
poweroff -f
