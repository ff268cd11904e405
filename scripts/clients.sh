# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Puts other people's VMMs, and what drives them, into the bed's image. Sourced by
# scripts/bed, after image.sh. They are Debian's own files, started by wrappers on
# Debian's own loader and libraries, so that they neither need nor disturb those of
# the machine that the image is made on.

# What the drivers in scripts/in-bed/ import; all that these need comes along.
CLIENTS_PYTHON='argparse atexit hashlib json os re select shutil signal socket struct
	subprocess sys tempfile threading time traceback zlib'
# QEMU's files that an x86 machine asks for.
CLIENTS_FIRMWARE='bios-256k.bin bios-microvm.bin vgabios-stdvga.bin kvmvapic.bin
	linuxboot.bin linuxboot_dma.bin multiboot_dma.bin pvh.bin qboot.rom efi-virtio.rom
	efi-e1000.rom efi-e1000e.rom'

# run_client TREE FILE ARGUMENT...: run a program of TREE on this machine.
run_client()
{
	local tree=$1 file=$2

	shift 2
	"$tree/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path \
		"$tree/lib/x86_64-linux-gnu:$tree/usr/lib/x86_64-linux-gnu" "$file" "$@"
}

# client_libraries TREE DEST FILE...: into DEST/lib, what these programs of TREE need.
client_libraries()
{
	local tree=$1 dest=$2 file loader

	shift 2
	mkdir -p "$dest/lib"
	loader=$tree/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
	cp -L "$loader" "$dest/lib/"
	for file; do
		"$loader" --library-path \
			"$tree/lib/x86_64-linux-gnu:$tree/usr/lib/x86_64-linux-gnu" --list "$file"
	done | sed -n 's/^[[:space:]]*\([^ /]*\) => \(\/[^ ]*\) (.*/\1 \2/p' | sort -u |
		while read -r file loader; do
			[ -e "$dest/lib/$file" ] || cp -L "$loader" "$dest/lib/$file"
		done
}

# client_wrapper ROOT PREFIX NAME [WORD...]: ROOT/usr/bin/NAME starts PREFIX/bin/NAME,
# with the words between its name and the user's.
client_wrapper()
{
	local root=$1 prefix=$2 name=$3 as=$3

	shift 3
	[ "$prefix" = /clients ] || as=$name${prefix#/clients}
	cat >"$root/usr/bin/$as" <<-END
	#!/bin/sh
	export QEMU_MODULE_DIR=$prefix/none PYTHONHOME=$prefix
	exec $prefix/lib/ld-linux-x86-64.so.2 --library-path $prefix/lib --argv0 $name \\
		$prefix/bin/$name $* "\$@"
	END
	chmod 755 "$root/usr/bin/$as"
}

# fill_clients TREE PREFIX ROOT: all that TREE (of scripts/fetch) has of it, as PREFIX.
fill_clients()
{
	local tree=$1 prefix=$2 root=$3 dest=$3$2 name file programs=()

	mkdir -p "$dest"/{bin,share/qemu,lib} "$root/usr/bin"
	for name in qemu-system-x86_64 qemu-img gdb python3; do
		[ -e "$tree/usr/bin/$name" ] || continue
		cp -L "$tree/usr/bin/$name" "$dest/bin/$name"
		programs+=("$tree/usr/bin/$name")
		case $name in
		qemu-system*)	client_wrapper "$root" "$prefix" "$name" -L "$prefix/share/qemu" ;;
		*)		client_wrapper "$root" "$prefix" "$name" ;;
		esac
	done
	for name in $CLIENTS_FIRMWARE; do
		for file in "$tree"/usr/share/{qemu,seabios} "$tree/usr/lib/ipxe/qemu"; do
			[ ! -e "$file/$name" ] || cp -L "$file/$name" "$dest/share/qemu/"
		done
	done
	for name in OVMF_CODE_4M.fd OVMF_VARS_4M.fd; do
		[ ! -e "$tree/usr/share/OVMF/$name" ] ||
			cp "$tree/usr/share/OVMF/$name" "$dest/share/qemu/"
	done
	if [ -e "$tree/usr/bin/python3" ]; then
		while read -r file; do
			name=$dest${file#"$tree/usr"}
			mkdir -p "${name%/*}"
			cp "$file" "$name"
			case $file in
			*.so)	programs+=("$file") ;;
			esac
		done < <(client_python_files "$tree")
		# Compiled here, or the emulated machine would do it at each start.
		run_client "$tree" "$tree/usr/bin/python3" -I -m compileall -q \
			--invalidation-mode unchecked-hash "$dest"/lib/python3* ||
			die "cannot compile Python's library"
	fi
	client_libraries "$tree" "$dest" "${programs[@]}"
}

# client_python_files TREE: the files of Python's library that are wanted.
client_python_files()
{
	local tree=$1

	# shellcheck disable=SC2086
	PYTHONHOME=$tree/usr PYTHONDONTWRITEBYTECODE=1 run_client "$tree" "$tree/usr/bin/python3" -s -c '
import sys, encodings.utf_8, encodings.latin_1, encodings.ascii, encodings.idna, encodings.aliases
for name in sys.argv[1:]:
    __import__(name)
for module in list(sys.modules.values()):
    name = getattr(module, "__file__", None)
    if name:
        print(name)
' $CLIENTS_PYTHON
}
