# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Makes initramfs images, for the bed's host and for guests, out of cpio segments.
# Sourced by scripts/bed and scripts/guest-image, after lib.sh. Segments are cached
# under a hash of what is in them; a lock per hash guards each.

# Modules that a host or a guest may want, besides lodge and KVM; missing ones are
# built in or unknown to that kernel.
IMAGE_MODULES='virtio_pci virtio_console virtio_mmio virtio_blk virtio_net virtio-rng
	tun veth bridge dummy loop vhost_net vhost_vsock lzo lzo-rle zram msr cpuid ext4'
IMAGE_KVM_MODULES='kvm kvm-amd kvm-intel'

# hash_of PATH...: one hash over the names, modes and contents of files and folders.
hash_of()
{
	local path

	for path; do
		if [ -d "$path" ]; then
			(cd "$path" && find -L . -printf '%p %m %y\n' | sort &&
			 find -L . -type f -print0 | sort -z | xargs -0 -r sha256sum)
		else
			stat -L -c '%n %a' "$path" && sha256sum <"$path"
		fi
	done | sha256sum | cut -c 1-24
}

# pack DIR FILE: DIR's content as a cpio archive.
pack()
{
	local busybox

	busybox=$(cached busybox)
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$2" ||
		die "cannot pack $1"
	# Each archive starts on a multiple of 4, which the kernel demands.
	truncate -s %512 "$2"
}

# pack_file NAME MODE FILE: one entry of a cpio archive, on standard output. The same
# bytes for the same content: the kernel reads an inode's number or a time digit by
# digit, and even that would change the count of instructions of a counted run.
pack_file()
{
	local name=$1 mode=$2 file=$3 size=0

	[ "$file" = - ] || size=$(stat -c %s "$file")
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' 1 "$mode" 0 0 1 0 \
		"$size" 0 0 0 0 $((${#name} + 1)) 0 "$name"
	pad $((110 + ${#name} + 1))
	[ "$file" = - ] || cat "$file"
	pad "$size"
}

# pad SIZE: zeros up to the next multiple of 4.
pad()
{
	head -c $(((4 - $1 % 4) % 4)) /dev/zero
}

# add_libraries ROOT FILE: put the shared libraries that FILE needs into ROOT.
# Paths are kept, as the loader of FILE looks for them where this machine has them.
add_libraries()
{
	local root=$1 file=$2 library

	[ "$(head -c 4 "$file" | tail -c 3 | tr -d '\0')" = ELF ] || return 0
	{ ldd "$file" 2>/dev/null || true; } |
		sed -n -e 's/.* => \(\/[^ ]*\) (.*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
		while read -r library; do
			[ ! -e "$root$library" ] || continue
			mkdir -p "$root${library%/*}"
			cp -L "$library" "$root$library"
		done
}

# add_path ROOT SOURCE DEST: put a file or folder into ROOT as DEST, with libraries.
add_path()
{
	local root=$1 source=$2 dest=$3 file

	mkdir -p "$(dirname "$root$dest")"
	if [ -d "$source" ]; then
		mkdir -p "$root$dest"
		cp -RL --preserve=mode,timestamps "$source/." "$root$dest/"
	else
		case $dest in
		*/)	mkdir -p "$root$dest" ;;
		esac
		[ ! -d "$root$dest" ] || dest=${dest%/}/${source##*/}
		cp -L --preserve=mode,timestamps "$source" "$root$dest"
	fi
	# The programs among them; libraries of other libraries are in ldd's list.
	find "$root$dest" -type f -perm /100 -size +0 -print0 |
		while IFS= read -r -d '' file; do
			add_libraries "$root" "$file"
		done
}

# stage_modules ROOT KERNELDIR RELEASE MODULE...: with their dependencies, unpacked.
stage_modules()
{
	local root=$1 kernel=$2 release=$3 module file dest

	shift 3
	mkdir -p "$root/lib/modules/$release"
	for module; do
		modprobe -d "$kernel" -S "$release" --show-depends "$module" 2>/dev/null || true
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u |
		while read -r file; do
			dest=$root/lib/modules/$release/${file#*/lib/modules/"$release"/}
			mkdir -p "${dest%/*}"
			case $file in
			*.ko.xz)	xz -dc "$file" >"${dest%.xz}" ;;
			*.ko.zst)	zstd -dcq "$file" >"${dest%.zst}" ;;
			*)		cp "$file" "$dest" ;;
			esac
		done
	for file in modules.order modules.builtin modules.builtin.modinfo; do
		[ ! -e "$kernel/lib/modules/$release/$file" ] ||
			cp "$kernel/lib/modules/$release/$file" "$root/lib/modules/$release/"
	done
	depmod -b "$root" "$release"
}

# segment KEY FUNCTION ARGUMENT...: print the path of the cached segment KEY; to make
# it, FUNCTION fills the folder that is its last argument.
segment()
{
	local key=$1 file=$LODGE_CACHE/images/$1.cpio

	shift
	if [ ! -e "$file" ]; then
		mkdir -p "$LODGE_CACHE/images"
		locked "image-$key" make_segment "$file" "$@" || die "cannot make $file"
	fi
	# Its time tells when it was last of use: old ones are dropped.
	touch "$file"
	echo "$file"
}

make_segment()
{
	local file=$1 tmp

	shift
	[ ! -e "$file" ] || return 0
	tmp=$(mktemp -d "$file.XXXXXX")
	mkdir "$tmp/root"
	chmod 755 "$tmp/root"
	"$@" "$tmp/root" && pack "$tmp/root" "$tmp/cpio" && mv "$tmp/cpio" "$file"
	rm -rf "$tmp"
	# The last that were of use are kept; a run reads its own within seconds.
	find "$LODGE_CACHE/images" -name '*.cpio' -printf '%T@ %p\n' | sort -rn |
		tail -n +31 | cut -d' ' -f2- | xargs -r -d '\n' rm -f
	[ -e "$file" ]
}

# fill_base KERNELDIR RELEASE INIT ROOT: busybox, an init, and the kernel's modules.
fill_base()
{
	local kernel=$1 release=$2 init=$3 root=$4 applet

	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,run,root,mnt,etc,usr/bin,usr/sbin,lib,lib64,var/tmp}
	cp "$(cached busybox)" "$root/bin/busybox"
	for applet in $("$root/bin/busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	ln -s ../bin/modprobe "$root/sbin/modprobe"
	echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
	echo nobody:x:65534:65534:nobody:/:/bin/false >>"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	cp "$init" "$root/init"
	chmod 755 "$root/init"
	# shellcheck disable=SC2086
	[ -z "$release" ] ||
		stage_modules "$root" "$kernel" "$release" $IMAGE_MODULES $IMAGE_KVM_MODULES
}
