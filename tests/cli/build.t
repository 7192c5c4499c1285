#!/bin/sh
# The build's promises, tried in a copy of the tree and of the build under test, in a path with a
# space: a second make does nothing, a touched file rebuilds what includes it and no more, a changed
# switch rebuilds all, another commit one object, and what goes wrong stops with one line that says
# what to do.
: "${ROOT:=$(cd "$(dirname "$0")/../.." && pwd)}" "${DARKNET:=$ROOT/build/darknet}"
unset MAKEFLAGS MFLAGS MAKELEVEL DARKNET_SRC BUILD

echo 1..28
count=0
ok() { # ok STATUS NAME: one TAP line; on failure, with the last output
    count=$((count + 1))
    [ "$1" != 0 ] || { echo "ok $count - $2"; return; }
    echo "not ok $count - $2"
    { echo "build.t: not ok $count - $2" && tail -n 20 "$tmp/log"; } | sed 's/^/# /' >&2
}
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
tmp="$top/with space"

cd "$ROOT" || exit 1
mkdir -p "$tmp/build/backup" "$tmp/build/results" "$tmp/bin"
cp -a Makefile scripts plugin patches cfg docs debian "$tmp"
cp -a build/source "$tmp/build"
cd "$(dirname "$DARKNET")" || exit 1
cp -a src include examples cfg obj Makefile darknet libdarknet.* .patched .switches .version "$tmp/build"
cd "$tmp" || exit 1
cp build/.switches switches
DEEPKD_COMMIT=$(sed -n 's/#define KD_COMMIT "\(.*\)"/\1/p' build/.version)
export DEEPKD_COMMIT # the copy is no clone

build() { # make with the switches of the build under test, then the arguments
    while read -r switch; do set -- "$switch" "$@"; done <switches
    make "$@" >log 2>&1
}
did() { # did COMPILES LINKS: what the last make did
    [ "$(grep -c -- ' -c ' log)" = "$1" ] && [ "$(grep -c -- ' -o darknet ' log)" = "$2" ]
}
said() { # said WORDS: the last make said one line with WORDS, and make's own that it stops
    [ "$(wc -l <log)" = 2 ] && head -n 1 log | grep -q "$1" && tail -n 1 log | grep -q 'Error 1'
}
fake() { # fake PROGRAM LINES: a shell script of that name is found first
    printf '#!/bin/sh\n%s\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}

build && did 0 0 && [ "$(wc -l <log)" -le 1 ]
ok $? "a second make does nothing"

touch plugin/math/kd_math.c
build && did 1 1
ok $? "a touched plugin file: one object and the link"

build DEEPKD_COMMIT=other && did 1 1 && build/darknet deepkd version | grep -qx 'commit other' &&
    build && did 1 1
ok $? "another commit: the version's object and the link"

users=$(grep -l '/kd_math\.h' build/obj/*.d | wc -l)
touch plugin/math/kd_math.h
build && [ "$users" -ge 1 ] && did "$users" 1
ok $? "a touched plugin header: the objects that include it"

{ echo P6 2 2 255 && printf 'abcdefghijkl'; } >dots.ppm
build PLUGIN=0 BLAS=0 DEBUG=1 && ! nm build/darknet | grep -q deepkd_init &&
    ! ldd build/darknet | grep -q blas && build/darknet 3d dots.ppm dots.ppm dots >log &&
    [ -s dots.jpg ]
ok $? "PLUGIN=0 BLAS=0 DEBUG=1 builds Darknet without DeepKD and OpenBLAS; it reads images"

build PLUGIN=0 BLAS=0 DEBUG=1 IMAGES=0 && ! ldd build/darknet | grep -qE 'jpeg|png' &&
    ! build/darknet 3d dots.ppm dots.ppm dots >log 2>&1 && [ "$(wc -l <log)" = 1 ] &&
    grep -q 'Cannot load image "dots.ppm": .*IMAGES=0' log
ok $? "IMAGES=0 builds without libraries for images, and reads none: one line says why"

build build/.switches && build -n && did "$(find build/obj -name '*.o' | wc -l)" 1
ok $? "changed switches rebuild every object"

symbols() { # symbols FLAGS: what the file defines with them
    gcc -std=gnu11 -Wall -Wextra -Werror -O "$@" -Iplugin -c plugin/data/logit_cache.c -o cache.o &&
        nm cache.o | sed -n 's/^[0-9a-f]* T //p'
}
symbols >log && { ! ldd build/darknet | grep -q sqlite || symbols -DSQLITE | cmp -s - log; }
ok $? "SQLITE=0 has all that is called of a cache"

build DARKNET_SRC="$tmp/build/source" build/.patched && ! grep -q applying log
ok $? "DARKNET_SRC with the right source is taken, and nothing is patched again"

cp -r build/source wrong
echo >>wrong/src/utils.c
! build DARKNET_SRC=wrong && said 'wrong .*checksum [0-9a-f]*, expected [0-9a-f]*$'
ok $? "DARKNET_SRC with another source is refused by its checksum"

(cd wrong && git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm a)
! build DARKNET_SRC=wrong && said "commit $(git -C wrong rev-parse HEAD), expected 61c9d02"
ok $? "DARKNET_SRC at another commit is refused by its name"

# stands for a download that came out wrong
fake apt-get 'case $* in *source*) echo bad >darknet_0.orig.tar.xz ;; esac'
! PATH=$tmp/bin:$PATH scripts/darknet-source.sh build/other >log 2>&1 &&
    tail -n 1 log | grep -q 'orig.tar.xz: checksum [0-9a-f]*, expected ec536ae' &&
    [ "$(find build -name 'other*')" = "" ]
ok $? "a wrong download is refused, and nothing of it stays"

! build BLAS=2 && grep -q 'BLAS=2: expected 0 or 1' log && [ "$(wc -l <log)" = 1 ]
ok $? "a switch that is neither 0 nor 1 is refused"

page=$tmp/dest/usr/share/man/man1/darknet-distill.1 darknet=$tmp/dest/usr/bin/darknet
build install PREFIX=/usr DESTDIR="$tmp/dest" && {
    "$darknet" distill --help && "$darknet" deepkd --help
} | sed -n 's/^  -\([a-z_]*\).*/\1/p' >flags && [ "$(wc -l <flags)" -ge 9 ] &&
    while read -r flag; do
        grep -q "^\.BI* \"*\\\\-$flag\b" "$page" || echo "no row of -$flag"
    done <flags >log && { ! command -v man || man --warnings -l "$page" 2>>log; } >man &&
    [ ! -s log ] && ls "$tmp"/dest/usr/share/darknet-deepkd/export_onnx.py >log
ok $? "make install: the program, its script, and a manual page with all of its flags"

version=$(sed -n 's/#define DEEPKD_VERSION "\(.*\)"/\1/p' plugin/deepkd.h)
head -n 1 debian/changelog >log && grep -q "^darknet-deepkd ($version) " log
ok $? "the package has the program's version"

fake apt-get 'echo apt-get was called; exit 1'
PATH=$tmp/bin:$PATH scripts/deps.sh install build prove >log 2>&1 && [ ! -s log ]
ok $? "make deps does nothing when all packages are there"

fake dpkg-query 'echo installed make'
! PATH=$tmp/bin:$PATH build CJSON=1 DNNL=1 IMAGES=1 && said 'missing: gcc g++ patch .*libcjson-dev libdnnl-dev .*libsqlite3-dev; .*type: make deps'
ok $? "a missing package is named, with the line to type"

fake dpkg-query 'case $* in *Version*) echo 1:1.8-2 ;; *) for p; do echo "installed $p"; done ;; esac'
! PATH=$tmp/bin:$PATH build DNNL=1 && said 'libdnnl-dev: found version 1.8-2, expected 2 to 3: convol'
ok $? "a version that we can't use is named before anything is compiled"

fake dpkg-query 'for p; do case $p in -* | *Status* | darknet | python3-*) ;; *) echo "installed $p" ;; esac; done'
fake id 'echo 0'
fake apt-cache '[ "$2" != darknet ]' # this Debian has no such package
fake apt-get 'case $* in
    *update*) ;;
    *print-uris*) printf "%s\n" "u a.deb 1500000 SHA256:0" "v b.deb 1000000 SHA256:0" ;;
    *) echo "$@" ;;
esac'
PATH=$tmp/bin:$PATH scripts/deps.sh try test </dev/null >log 2>&1 && [ "$(cat log)" = \
"installing python3-opencv (2 packages, 2.5 MB to download)
-qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends python3-opencv
missing: darknet: stock Darknet, to read what we write; tests of it are skipped
missing: python3-opencv: OpenCV, to read what we write; tests of it are skipped" ]
ok $? "what a Debian does not have is left out and named; the rest is installed, and how much that is said"

build -n demo && grep -q 'deps.sh install build .*demo' log && ! grep -q 'deps.sh .*\(test\|prove\)' log
ok $? "make demo asks for no package of the tests"

fake dpkg-query 'echo installed make'
fake id 'echo 1000' # from here on there is no way to become root
fake sudo 'exit 1'
! PATH=$tmp/bin:$PATH scripts/deps.sh install build </dev/null >log 2>&1 &&
    [ "$(cat log)" = "missing: gcc g++ patch; to install, type as root: \
apt-get install --no-install-recommends gcc g++ patch" ]
ok $? "where nothing can be installed, the line for root is given"

# all are there, but for two that tests alone need
fake dpkg-query 'for package; do
    case $package in -* | *Status* | darknet | python3-opencv) ;; *) echo "installed $package" ;;
    esac
done'
PATH=$tmp/bin:$PATH PYTHON=true scripts/deps.sh try build test demo coco </dev/null >log 2>&1 &&
    [ "$(cat log)" = "missing: darknet python3-opencv; to install, type as root: \
apt-get install --no-install-recommends darknet python3-opencv
missing: darknet: stock Darknet, to read what we write; tests of it are skipped
missing: python3-opencv: OpenCV, to read what we write; tests of it are skipped" ]
ok $? "packages of tests that can't be installed are named, a line each"

mkdir -p tests/cli tests/unit
printf '#!/bin/sh\necho 1..1\necho ok 1\n' >tests/cli/one.t
cp "$ROOT/tests/Makefile" tests
cp tests/cli/one.t tests/cli/two.t
touch tests/unit/test_three.c
chmod +x tests/cli/*.t
PATH=$tmp/bin:$PATH PYTHON=true build test T=one </dev/null && grep -q '^missing: darknet: ' log &&
    grep -q 'one\.t .* ok$' log && ! grep -q 'two\.t' log
ok $? "make test T=one runs that one, without them"

build -n test T='two.t three' && tail -n 1 log | grep -q 'prove .*tests/cli/two.t .*tests/test_three' &&
    ! grep -q 'one\.t' log
ok $? "T has several names, of scripts and programs"

[ "$("${PYTHON:-/usr/bin/python3}" -BS "$ROOT/tests/cli/stock.t")" = \
    "1..0 # SKIP missing: python3-numpy" ]
ok $? "a script of tests whose package is missing is skipped by its name"

! build test T='one four' && tail -n 1 log | grep -q 'T=four: found no such test, expected'
ok $? "a T without a test is refused by its name"

rm -r bin tests
printf -- '--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-GPU=9\n+GPU=8\n' >patches/fixes/bad.patch
echo fixes/bad.patch >>patches/series
! build && grep -q 'patches/fixes/bad.patch failed' log && did 0 0
ok $? "a patch that fails stops the build and is named"

sed -i '$d' patches/series
build -n build/.patched && grep -q applying log
ok $? "and the next make starts from the unchanged source"
