#!/bin/sh
# Trains a task's teacher with Darknet's own commands, puts its weights where scripts/rows.py looks
# for them, and prints its accuracy on the validation images.
#
#   train-teacher.sh fmnist       cfg/fmnist-teacher.weights, committed; 20 minutes of one core
#   train-teacher.sh glyphs       cfg/glyphs-teacher.weights, committed; ten minutes
#   train-teacher.sh scenes       cfg/scenes-teacher.weights, committed; half an hour
#   train-teacher.sh one-class    build/data/one-class/one-class-teacher.weights; seven minutes.
#                                 Makes the data set from the scenes if it is not there
#   train-teacher.sh bccd         cfg/bccd-teacher.weights, committed; a quarter of an hour
#   train-teacher.sh cifar10      build/data/cifar10/cifar10-teacher.weights; some hours
# The last two need their data sets: make table-bccd and make table-cifar10 say where they are.
#
# Darknet's training draws from an unseeded generator: a second run gives another teacher of about
# the same accuracy, not the same file.
set -eu

task=${1:-fmnist}
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}

get() {
    "$PYTHON" -B "$ROOT/scripts/rows.py" "$task" get "$1"
}

cfg=$(get teacher)
data=$(get data)
weights=$(get weights)
trained=backup/$(basename "$cfg" .cfg)
cd "$ROOT"
cd "${BUILD:-build}"
mkdir -p backup
[ "$task" != one-class ] || [ -e data/one-class/val.list ] ||
    "$PYTHON" -B "$ROOT/scripts/one_class.py" data/scenes data/one-class

if grep -q '^\[softmax\]' "$cfg"; then
    kind=classifier
else
    kind=detector
fi
if [ $kind = classifier ]; then
    ./darknet classifier train "$data" "$cfg"
    trained=$trained.weights
else
    ./darknet detector train "$data" "$cfg"
    trained=${trained}_final.weights
fi

case $weights in # cfg/ is linked from the repository's
cfg/*) weights=$ROOT/$weights ;;
esac
cp "$trained" "$weights.tmp"
mv "$weights.tmp" "$weights"
if [ $kind = classifier ]; then
    ./darknet classifier valid "$data" "$cfg" "$weights" | tail -n 1
else
    ./darknet deepkd map "$data" "$cfg" "$weights" -per_class
fi
