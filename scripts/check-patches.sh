#!/bin/sh
# check-patches.sh [PATCHES [SOURCE]]: proves that every patch named in PATCHES/series applies to
# Darknet's source, in order, at the exact lines (no fuzz, no offset), and that series names every
# *.patch in PATCHES and its folders. One line a patch; exits 1 after the first that fails.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
patches=$(cd "${1:-$root/patches}" && pwd)
source=${2:-$root/build/source}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
"$root/scripts/darknet-source.sh" "$source"
cp -a "$source" "$tmp/tree"

fail() {
    echo "$*" >&2
    exit 1
}

sed 's/#.*//' "$patches/series" | tr -s ' \t' '\n' | sed '/^$/d' >"$tmp/series"
(cd "$patches" && find . -name '*.patch' | sed 's|^\./||' | LC_ALL=C sort) >"$tmp/found"
left_out=$(grep -vxFf "$tmp/series" "$tmp/found" | head -n 1)
[ -z "$left_out" ] || fail "$left_out: not in series"
while read -r name; do
    LC_ALL=C patch -d "$tmp/tree" -p1 --fuzz=0 --force -i "$patches/$name" >"$tmp/log" 2>&1 ||
        fail "$name: does not apply: $(grep -m 1 -E 'FAILED|malformed|No file|open' "$tmp/log")"
    ! grep -qE 'offset|fuzz' "$tmp/log" ||
        fail "$name: applies only with an offset: $(grep -m 1 -E 'offset|fuzz' "$tmp/log")"
    echo "$name: applies"
done <"$tmp/series"
