#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the built selftests where there is no make, no bash and no kernel tree:
# in the test bed's host. TAP as kselftest's own runner prints it.
#
#   sh THIS [NAME...]	default: each *_test and *_test.sh beside it
#
# SELFTEST_TIMEOUT: seconds for each program (60). Exits with 1 if one failed.

cd "$(dirname "$0")" || exit 1
if [ $# -eq 0 ]; then
	for t in *_test *_test.sh; do
		[ -e "$t" ] && set -- "$@" "$t"
	done
fi

exec 4>&1
echo "TAP version 13"
echo "1..$#"
n=0
failed=0
skipped=0
for t in "$@"; do
	n=$((n + 1))
	name=${t##*/}
	echo "# selftests: lodge: $name"
	if [ ! -x "./$name" ]; then
		echo "not ok $n selftests: lodge: $name # missing"
		failed=$((failed + 1))
		continue
	fi
	rc=$({ { timeout "${SELFTEST_TIMEOUT:-60}" "./$name" 2>&1; echo $? >&3; } |
		sed 's/^/# /' >&4; } 3>&1)
	case $rc in
	0)	echo "ok $n selftests: lodge: $name" ;;
	4)	echo "ok $n selftests: lodge: $name # SKIP"
		skipped=$((skipped + 1)) ;;
	124|143)
		echo "not ok $n selftests: lodge: $name # TIMEOUT"
		failed=$((failed + 1)) ;;
	*)	echo "not ok $n selftests: lodge: $name # exit=$rc"
		failed=$((failed + 1)) ;;
	esac
done
echo "# Totals: pass:$((n - failed - skipped)) fail:$failed skip:$skipped"
[ "$failed" -eq 0 ]
