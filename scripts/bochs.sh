# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
#
# The bed's machine with Intel VMX, and another with AMD SVM: Bochs, as Debian packages it.
# Sourced by scripts/bed, whose variables it uses: run, cpu, model, image, words, append, memory,
# cpus, bochs, bochs_tree, refusals.
#
# Bochs has no virtio and no boot protocol for kernels: the host starts from a CD with
# GRUB on it, and its four serial lines take the place of ports. The second one carries
# the log as well as the status.

relay=

# The names of CPUs that it knows, each on a line.
bochs_models()
{
	${bochs:-"$bochs_tree/start" bochs-bin} --help cpu </dev/null 2>&1 |
		sed -n '/^Supported CPU models/,/^[0-9]/s/^[a-z][a-z0-9_]*$/&/p'
}

# $run/cd.iso, a CD that starts $image with $run/initrd and the kernel's $words.
bochs_cd()
{
	local cd=$run/cd

	mkdir -p "$cd/boot/grub"
	ln -s "$image" "$cd/boot/vmlinuz"
	ln -s "$run/initrd" "$cd/boot/initrd"
	# In GRUB's core itself, so that not one module is read from the CD.
	cat >"$run/grub.cfg" <<-END
	linux (cd)/boot/vmlinuz $words
	initrd (cd)/boot/initrd
	boot
	END
	"$bochs_tree/start" grub-mkimage -d "$bochs_tree/usr/lib/grub/i386-pc" \
		-O i386-pc-eltorito -c "$run/grub.cfg" -p /boot/grub \
		-o "$cd/boot/grub/core.img" biosdisk iso9660 linux boot 2>"$run/mkcd" &&
	"$bochs_tree/start" xorriso -as mkisofs -quiet -f -R -o "$run/cd.iso" \
		-b boot/grub/core.img -no-emul-boot -boot-load-size 4 -boot-info-table \
		"$cd" >>"$run/mkcd" 2>&1 ||
		die "cannot make the CD: $(tail -n 3 "$run/mkcd")"
	rm -rf "$cd"
}

# relay_start MODE FILE: what scripts/serial-relay needs; sets relay and relay_port.
relay_start()
{
	local tries=0

	"$LODGE_SCRIPTS/serial-relay" "$run/port" "$@" <&0 &
	relay=$!
	children+=("$relay")
	while [ ! -s "$run/port" ]; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || die "scripts/serial-relay does not start"
		sleep 0.05
	done
	read -r relay_port <"$run/port"
}

bochs_machine()
{
	local host line=() number

	# Intel's from Skylake on report a TSC of 3.5 GHz, yet it ticks at "ips".
	case $cpu:$model in
	vmx:)		model=corei7_haswell_4770 ;;
	svm-bochs:)	model=ryzen ;;
	vmx:*)		words+=" tsc_early_khz=200000" ;;
	esac
	words="${words/console=ttyS0/console=ttyS0,115200} 8250.nr_uarts=4$append"
	bochs_cd
	# It keeps at most that much in its own memory, and the rest in a file.
	host=$((memory < 2048 ? memory : 2048))
	line=([2]=log out err)
	for number in 2 3 4; do
		line[number]="mode=file, dev=$run/${line[number]}"
	done
	number=
	if [ -n "$interactive" ]; then
		terminal=$(stty -g)
		stty raw -echo
		relay_start terminal "$run/pid"
		number=3
	elif [ -n "$input" ]; then
		relay_start input "$run/log"
		number=2
	fi
	[ -z "$number" ] || line[number]="mode=socket-client, dev=127.0.0.1:$relay_port"
	cat <<-END >"$run/bochsrc"
	display_library: term
	sound: driver=dummy
	romimage: file=$bochs_tree/usr/share/bochs/BIOS-bochs-latest
	vgaromimage: file=$bochs_tree/usr/share/vgabios/vgabios.bin
	memory: guest=$memory, host=$host
	cpu: model=$model, count=$cpus, ips=200000000, reset_on_triple_fault=0, ignore_bad_msrs=1
	clock: sync=none, time0=1700000000
	boot: cdrom
	ata0-master: type=cdrom, path=$run/cd.iso, status=inserted
	ata1: enabled=0
	com1: enabled=1, mode=file, dev=$run/console
	com2: enabled=1, ${line[2]}
	com3: enabled=1, ${line[3]}
	com4: enabled=1, ${line[4]}
	log: $run/bochs.log
	panic: action=fatal
	error: action=report
	info: action=ignore
	debug: action=ignore
	speaker: enabled=0
	END
	# The packaged one always starts in its debugger, and wants a terminal.
	echo c >"$run/bochs.rc"
	cat >"$run/machine" <<-END
	#!/bin/sh
	exec ${bochs:-"$bochs_tree/start" bochs-bin} -q -f "$run/bochsrc" -rc "$run/bochs.rc"
	END
	chmod +x "$run/machine"
	# shellcheck disable=SC2016
	machine_command=(sh -c 'TERM=vt100 exec script -qfc "$1" "$2" </dev/null >/dev/null' bochs
		"$run/machine" "$run/screen")
}

# What it complained of, and the status, where scripts/bed looks for them.
bochs_end()
{
	if [ -n "$relay" ]; then
		# It heeds that only where no machine has come to it.
		kill "$relay" 2>/dev/null
		wait "$relay"
		[ $? -ne 2 ] || echo reason=2 >"$run/shutdown"
	fi
	# Why it ended, if it did so by itself, for the case that the bed has failed.
	cat "$run/screen" "$run/bochs.log" 2>/dev/null | tr -d '\r' |
		grep -a -E '^[0-9]+[ep].*(wrong value|>>PANIC<<)' | tail -n 5 >>"$run/machine-err"
	[ -n "$refusals" ] ||
		grep -a -o -E '(VMFAIL|VMENTER FAIL):.*' "$run/bochs.log" 2>/dev/null |
		sort | uniq -c | sort -rn | head -n 20 >"$run/complaints"
	tr -d '\r' <"$run/log" | tail -n 1 >"$run/status"
}
