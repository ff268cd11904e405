# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts here share: messages, the cache, and packages unpacked into it.
# Sourced by scripts/fetch, scripts/bed, scripts/check and scripts/demo.
# Every fill of a cache entry happens under a lock of its own and appears by rename.

set -o pipefail

LODGE_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LODGE_TREE=$(dirname "$LODGE_SCRIPTS")
LODGE_CACHE=${LODGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lodge}
# shellcheck disable=SC2034
LODGE_BUILD=$(realpath -m "${O:-$LODGE_TREE/build}")

# Prefix of messages, and the exit status of die(); the caller may change both.
LODGE_ME=${0##*/}
LODGE_DIE_STATUS=1

say()
{
	printf '%s: %s\n' "$LODGE_ME" "$*" >&2
}

die()
{
	say "$*"
	exit "$LODGE_DIE_STATUS"
}

# have PROGRAM...: all of them are on the PATH (sbin included).
PATH=$PATH:/usr/sbin:/sbin
have()
{
	local program

	for program; do
		command -v "$program" >/dev/null || return 1
	done
}

# install_packages PACKAGE...: by the machine's own apt, those that are missing.
install_packages()
{
	local package missing=() as=()

	for package; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		have sudo || die "missing packages: ${missing[*]}; install them, or run as root"
		as=(sudo)
	fi
	say "installing ${missing[*]}"
	"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		--no-install-recommends install "${missing[@]}" >/dev/null 2>&1 ||
	{
		# The lists may be missing or old: only then is an update worth its time.
		"${as[@]}" apt-get -qq update >&2 &&
		"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
			--no-install-recommends install "${missing[@]}" >/dev/null
	} || die "cannot install ${missing[*]}"
}

# locked NAME COMMAND...: run COMMAND while holding the cache's lock NAME.
locked()
{
	local name=$1 lock status

	shift
	mkdir -p "$LODGE_CACHE/locks" || die "cannot create $LODGE_CACHE"
	exec {lock}>"$LODGE_CACHE/locks/${name//\//_}"
	flock "$lock" || die "cannot lock $name in $LODGE_CACHE"
	# The lock must not outlive us in a child: close it there.
	"$@"
	status=$?
	exec {lock}>&-
	return $status
}

# --- the private apt state: the machine's own sources are neither read nor changed ---

APT_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
LODGE_MIRROR=${LODGE_MIRROR:-http://deb.debian.org/debian}
LODGE_MIRROR_SECURITY=${LODGE_MIRROR_SECURITY:-http://deb.debian.org/debian-security}

# apt_private SUITE COMMAND...: run an apt program against SUITE's private state.
apt_private()
{
	local suite=$1

	shift
	APT_CONFIG=$LODGE_CACHE/apt/$suite/apt.conf "$@"
}

# apt_setup SUITE [update]: create the state of SUITE (bookworm or trixie, with
# updates, backports and security); with "update", read the package lists again.
apt_setup()
{
	locked "apt-$1" apt_setup_locked "$@"
}

apt_setup_locked()
{
	local suite=$1 dir=$LODGE_CACHE/apt/$1 pocket

	if [ -e "$dir/ready" ] && [ "${2:-}" != update ]; then
		return 0
	fi
	[ -r "$APT_KEYRING" ] || install_packages debian-archive-keyring
	mkdir -p "$dir"/{lists,archives}/partial "$dir/empty" "$dir/log" ||
		die "cannot create $dir"
	: >"$dir/status"
	for pocket in "$suite" "$suite-updates" "$suite-backports"; do
		echo "deb [signed-by=$APT_KEYRING] $LODGE_MIRROR $pocket main"
	done >"$dir/sources.list"
	echo "deb [signed-by=$APT_KEYRING] $LODGE_MIRROR_SECURITY $suite-security main" \
		>>"$dir/sources.list"
	{
		# A proxy, and leave to use an old mirror, are the machine's business.
		apt-config dump Acquire::http Acquire::https Acquire::ftp \
			Acquire::Check-Valid-Until Acquire::Check-Date |
			grep -v '""' || true
		cat <<-END
		Dir::Etc::Parts "$dir/empty";
		Dir::Etc::Main "$dir/empty/none";
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "$dir/empty";
		Dir::Etc::Preferences "$dir/empty/none";
		Dir::Etc::PreferencesParts "$dir/empty";
		Dir::State "$dir";
		Dir::State::Lists "$dir/lists";
		Dir::State::Status "$dir/status";
		Dir::Cache "$dir";
		Dir::Cache::Archives "$dir/archives";
		Dir::Log "$dir/log";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Install-Recommends "false";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Debug::NoLocking "true";
		END
	} >"$dir/apt.conf"
	say "reading Debian's package lists ($suite)"
	apt_private "$suite" apt-get -qq update >&2 || die "cannot read the package lists of $suite"
	touch "$dir/ready"
}

# apt_names SUITE REGEX: the names of SUITE's packages, oldest version first.
apt_names()
{
	apt_private "$1" apt-cache search --names-only "$2" | cut -d' ' -f1 | sort -V
}

# apt_unpack SUITE DIR PACKAGE...: download exactly these packages and unpack them.
# PACKAGE may be NAME=VERSION or NAME/POCKET.
apt_unpack()
{
	local suite=$1 dir=$2 tmp deb

	shift 2
	mkdir -p "$dir" && tmp=$(mktemp -d "$dir/debs.XXXXXX") || die "cannot write to $dir"
	if ! (cd "$tmp" && apt_private "$suite" apt-get -qq download "$@" >&2); then
		# A point release may have taken what our lists still name.
		apt_setup "$suite" update
		(cd "$tmp" && apt_private "$suite" apt-get -qq download "$@" >&2) ||
			die "cannot download $*"
	fi
	for deb in "$tmp"/*.deb; do
		dpkg-deb -x "$deb" "$dir" || die "cannot unpack ${deb##*/}"
	done
	rm -rf "$tmp"
}

# apt_closure SUITE POCKET PACKAGE...: a package and all that it needs, by name.
apt_closure()
{
	local suite=$1 pocket=$2

	shift 2
	apt_private "$suite" apt-get -qq -t "$pocket" --print-uris install "$@" |
		sed -n "s/^'[^']*' \([^ _]*\)_\([^ _]*\)_[a-z0-9]*\.deb .*/\1=\2/p" |
		sed 's/%3a/:/g'
}

# --- what the cache holds ---

# cached KEY: print the path of the entry KEY (see scripts/fetch), made if need be.
cached()
{
	"$LODGE_SCRIPTS/fetch" "$1" || exit "$LODGE_DIE_STATUS"
}
