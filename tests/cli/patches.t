#!/bin/sh
# The patches: all apply to Darknet's source exactly, and check-patches.sh, which says so,
# notices a patch that series leaves out, one that applies with an offset, and one that fails;
# docs/patches.md is what patch-index.sh makes of their headers; what names a patch names one.
: "${ROOT:=$(cd "$(dirname "$0")/../.." && pwd)}"

echo 1..8
count=0
ok() { # ok STATUS NAME: one TAP line; on failure, with what check printed, on stderr
    count=$((count + 1))
    [ "$1" != 0 ] || { echo "ok $count - $2"; return; }
    echo "not ok $count - $2"
    { echo "patches.t: not ok $count - $2" && cat "$tmp/log"; } | sed 's/^/# /' >&2
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

check() { # check PATCHES: check-patches.sh's status; what it prints goes to $tmp/log
    "$ROOT/scripts/check-patches.sh" "$1" "$ROOT/build/source" >"$tmp/log" 2>&1
}
refuses() { # refuses PATCHES WORDS: PATCHES fails, and the last line has WORDS
    ! check "$1" && tail -n 1 "$tmp/log" | grep -q "$2"
}

check "$ROOT/patches"
ok $? "every patch in series applies, in order, without fuzz or offset"

mkdir "$tmp/left-out" "$tmp/shifted" "$tmp/broken"
cp -r "$ROOT/patches/." "$tmp/left-out"
sed '$d' "$ROOT/patches/series" >"$tmp/left-out/series"
refuses "$tmp/left-out" "$(tail -n 1 "$ROOT/patches/series"): not in series"
ok $? "a patch that series leaves out is named"

# lines 1 to 4 of Darknet's Makefile, said to be lines 2 to 5
cat >"$tmp/shifted/a.patch" <<'END'
--- a/Makefile
+++ b/Makefile
@@ -2,4 +2,4 @@
-GPU=0
+GPU=1
 CUDNN=0
 OPENCV=0
 OPENMP=0
END
echo a.patch >"$tmp/shifted/series"
refuses "$tmp/shifted" "a.patch: applies only with an offset"
ok $? "an offset is refused"

sed 's/-GPU=0/-GPU=7/' "$tmp/shifted/a.patch" >"$tmp/broken/a.patch"
echo a.patch >"$tmp/broken/series"
refuses "$tmp/broken" "a.patch: does not apply"
ok $? "a patch that does not apply is named"

index() { # index PATCHES: patch-index.sh's status; what it prints goes to $tmp/index, $tmp/log
    "$ROOT/scripts/patch-index.sh" "$1" >"$tmp/index" 2>"$tmp/log"
}

index "$ROOT/patches" && diff "$ROOT/docs/patches.md" "$tmp/index" >"$tmp/log"
ok $? "docs/patches.md is what scripts/patch-index.sh prints"
sed 's/^/# /' "$tmp/log"

mkdir "$tmp/shifted/fixes" "$tmp/shifted/odd"
cp "$tmp/shifted/a.patch" "$tmp/shifted/fixes"
echo fixes/a.patch >"$tmp/shifted/series"
! index "$tmp/shifted" && grep -q "patches/fixes/a.patch: found no Description:" "$tmp/log"
ok $? "a patch whose header says nothing is named"

echo odd/a.patch >"$tmp/shifted/series"
! index "$tmp/shifted" && grep -q "patches/odd: a folder" "$tmp/log"
ok $? "a folder that the index does not know is named"

# "patches/hooks/01" in a comment, say
cd "$ROOT" || exit 1
grep -rhoIE 'patches/([a-z]+/)?[0-9]+' plugin scripts tests docs README.md | sort -u |
    while read -r name; do ls "$name"-*.patch >/dev/null || exit 1; done 2>"$tmp/log"
ok $? "every patch that is named by its number is there"
sed 's/^/# /' "$tmp/log"
