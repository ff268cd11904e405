#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# `lodge bench`: its rows measure what they name on this device, in a table and in JSON,
# and one that cannot be measured is skipped and says why. What a row costs is no matter here.

cd "$(dirname "$0")" || exit 1
# shellcheck source=selftests/module_lib.sh
. ./module_lib.sh

need_module
command -v lodge >/dev/null || skip_all "no lodge"
out=/tmp/bench.out

# shellcheck disable=SC2317 # called by check
# bench ROW...: as JSON, a line for each row.
bench()
{
	lodge bench --device "$node" --json "$@" >"$out" 2>&1 || { sed 's/^/# /' "$out"; return 1; }
	[ "$(wc -l <"$out")" -eq 1 ] && grep -q '^{"kernel": "[^"]*", "rows": \[{.*}\]}$' "$out" &&
		sed -i 's/}, {/},\n{/g' "$out"
}

# shellcheck disable=SC2317
# row NAME PATTERN: what was printed for that row.
row()
{
	grep -q "\"row\": \"$1\", \"device\": \"$node\", $2" "$out" && return
	sed 's/^/# /' "$out"
	return 1
}

# shellcheck disable=SC2317
# As often as it says, but for the host's own interrupts.
leaves_once()
{
	row "$1" '"value": [1-9][0-9]*, "unit": "[a-z]*", .*"exits": 1\.[0-9]*}'
}

# shellcheck disable=SC2317
says_why()
{
	bench vmrun && row vmrun '"skipped": "[^"]*interface'
}

# shellcheck disable=SC2317
table()
{
	lodge bench --device "$node" cpuid ioctl >"$out" 2>&1 &&
		grep -q "^row  *${node##*/} " "$out" &&
		[ "$(grep -c '^\(cpuid\|ioctl\)  *[1-9][0-9,]* ' "$out")" -eq 2 ]
}

plan 12
check "exits, in JSON" bench out in mmio-read hlt-user cpuid rdmsr lapic-eoi ioeventfd-port
for name in out in mmio-read hlt-user cpuid rdmsr lapic-eoi; do
	check "$name leaves the guest once" leaves_once $name
done
check "interrupts, memory and state" bench self-ipi irqfd-halted timer-running touch-4k \
	log-write log-get-256 slot-add mmio-write-512 zap-2m first-exit-elapsed sregs save-restore
check "with a figure for each" [ "$(grep -c '"value": [1-9]' "$out")" -eq 12 ]
check "what cannot be measured says why" says_why
check "a table" table
finish
