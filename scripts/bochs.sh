# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
#
# The bed's machine with Intel VMX, and another with AMD SVM: Bochs, as Debian packages it.
# Sourced by scripts/bed, whose variables it uses: run, cpu, model, image, words, append, memory,
# smp, bochs, bochs_tree, refusals.
#
# Bochs has no virtio and no boot protocol for kernels: the host starts from a CD with
# GRUB on it, and its four serial lines take the place of ports. The second one carries
# the log as well as the status.

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

bochs_machine()
{
	local host

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
	cat <<-END >"$run/bochsrc"
	display_library: term
	sound: driver=dummy
	romimage: file=$bochs_tree/usr/share/bochs/BIOS-bochs-latest
	vgaromimage: file=$bochs_tree/usr/share/vgabios/vgabios.bin
	memory: guest=$memory, host=$host
	cpu: model=$model, count=$smp, ips=200000000, reset_on_triple_fault=0, ignore_bad_msrs=1
	clock: sync=none, time0=1700000000
	boot: cdrom
	ata0-master: type=cdrom, path=$run/cd.iso, status=inserted
	ata1: enabled=0
	com1: enabled=1, mode=file, dev=$run/console
	com2: enabled=1, mode=file, dev=$run/log
	com3: enabled=1, mode=file, dev=$run/out
	com4: enabled=1, mode=file, dev=$run/err
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
	machine_command=(sh -c 'TERM=vt100 exec script -qfc "$1" "$2" >/dev/null' bochs
		"$run/machine" "$run/screen")
}

# What it complained of, and the status, where scripts/bed looks for them.
bochs_end()
{
	[ -n "$refusals" ] ||
		grep -a -o -E '(VMFAIL|VMENTER FAIL):.*' "$run/bochs.log" 2>/dev/null |
		sort | uniq -c | sort -rn | head -n 20 >"$run/complaints"
	tr -d '\r' <"$run/log" | tail -n 1 >"$run/status"
}
