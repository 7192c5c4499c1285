#!/bin/sh
# Trains a task's teacher, puts its weights where scripts/rows.py looks for them, and prints its
# accuracy on the validation images.
#
#   train-teacher.sh fmnist       cfg/fmnist-teacher.weights, committed; 20 minutes of one core
#   train-teacher.sh glyphs       cfg/glyphs-teacher.weights, committed; a quarter of an hour
#   train-teacher.sh scenes       cfg/scenes-teacher.weights, committed; half an hour
#   train-teacher.sh one-class    build/data/one-class/one-class-teacher.weights; seven minutes.
#                                 Makes the data set from the scenes if it is not there
#   train-teacher.sh bccd         cfg/bccd-teacher.weights, committed; ten minutes
#   train-teacher.sh bccd4        cfg/bccd4-teacher.weights, committed, YOLOv4-tiny's kind; as long
#   train-teacher.sh cifar10      cfg/cifar10-teacher.weights, committed; an hour of one core
# The last three need their data sets: make table-bccd and make table-cifar10 say where they are.
#
# The first four are trained with Darknet's own commands, which draw from an unseeded generator: a
# second run gives another teacher of about the same accuracy, not the same file. The others are
# trained by distill with teacher_weight=0, which is the task alone and some three times as fast.
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

# The teacher as a student of its own first, random weights, from which it learns nothing
distill_alone() {
    folder=teacher-$task
    mkdir -p "$folder"
    alone=$folder/$(basename "$cfg")
    {
        cat "$cfg"
        printf '\n[teacher]\ncfg=%s\n\n' "$cfg"
        printf '[deepkd_loss]\nmethod=kd\ntrainer=sgd\ntopk_schedule=off\nteacher_weight=0\n'
    } >"$alone"
    ./darknet partial "$cfg" "" "$folder/first.weights" 9999 >/dev/null 2>&1
    ./darknet distill "$data" "$alone" "$folder/first.weights" -seed 1 "$@"
}

trained=${trained}_final.weights
case $task in
fmnist | glyphs)
    ./darknet classifier train "$data" "$cfg"
    trained=backup/$(basename "$cfg" .cfg).weights
    ;;
cifar10) distill_alone ;;
bccd | bccd4) distill_alone -map ;;
*) ./darknet detector train "$data" "$cfg" ;;
esac

case $weights in # cfg/ is linked from the repository's
cfg/*) weights=$ROOT/$weights ;;
esac
cp "$trained" "$weights.tmp"
mv "$weights.tmp" "$weights"
case $task in
fmnist | glyphs | cifar10) ./darknet classifier valid "$data" "$cfg" "$weights" | tail -n 1 ;;
*) ./darknet deepkd map "$data" "$cfg" "$weights" -per_class ;;
esac
