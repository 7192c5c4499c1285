#!/bin/bash
# Trains the small Fashion-MNIST student three times, alone, by KD and by DeepKD, and compares:
# `make demo`. Same seed, same number of batches, same schedule; each row with the learning rate
# that scripts/rows.py has for it. Everything it writes is in $BUILD/demo.
#
# One seed shows how it works, not which method is better: `make table` compares.
#
# From the environment, all optional: BUILD, ROOT, PYTHON (the Makefile sets them), BATCHES, SEED,
# and for tests DATA and TEACHER, both as seen from BUILD.
set -eu

ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}
BATCHES=${BATCHES:-938}
SEED=${SEED:-1}
DATA=${DATA:-cfg/deepkd.data}
TEACHER=${TEACHER:-cfg/fmnist-teacher.weights}
ROWS="alone kd deepkd"
export OPENBLAS_NUM_THREADS=1 # more do not help such small products

fail() {
    echo "demo: $*" >&2
    exit 1
}

# prepare ROW: its cfg, data file and folder
prepare() {
    rm -rf "demo/$1"
    mkdir -p "demo/$1"
    "$PYTHON" -B "$ROOT/scripts/rows.py" cfg "$1" cfg/fmnist-student.cfg \
        "max_batches=$BATCHES" >"demo/$1.cfg"
    {
        sed '/^backup=/d' "$DATA"
        echo "backup=demo/$1/"
        echo "eval_interval=$(((BATCHES + 6) / 7))"
        echo "save_interval=$BATCHES"
    } >"demo/$1.data"
}

# train ROW NUMBER: shows the command and its output; the layers' list goes to a log file
train() {
    local began=$SECONDS
    local command=(./darknet distill "demo/$1.data" "demo/$1.cfg" "$TEACHER" -seed "$SEED")
    echo
    echo "[$2/3] $(title "$1")"
    echo "\$ ${command[*]}"
    "${command[@]}" 2>"demo/$1.log" || fail "demo/$1.log: $(tail -n 1 "demo/$1.log")"
    echo $((SECONDS - began)) >"demo/$1/seconds"
}

title() {
    "$PYTHON" -B "$ROOT/scripts/rows.py" title "$1"
}

# accuracies CSV: the last and the best validation top-1, in percent
accuracies() {
    awk -F, 'NR > 1 && $13 != "" { last = $13; if (last > best) best = last }
             END { printf "%.2f %.2f\n", 100 * last, 100 * best }' "$1"
}

table() {
    local row last best
    printf '%-16s %12s %12s %8s  %s\n' '' 'last top-1' 'best top-1' seconds weights
    for row in $ROWS; do
        read -r last best < <(accuracies "demo/$row/$row.csv")
        printf '%-16s %10s %% %10s %% %8s  %s\n' "$(title "$row")" "$last" "$best" \
            "$(cat "demo/$row/seconds")" "$BUILD/demo/$row/${row}_final.weights"
    done
}

plot() {
    local row files=() labels=""
    for row in $ROWS; do
        files+=("demo/$row/$row.csv")
        labels+=",$(title "$row")"
    done
    "$PYTHON" -B "$ROOT/scripts/plot.py" demo/demo.png "${files[@]}" --labels "${labels#,}"
}

next_steps() {
    local darknet=./darknet
    ! command -v darknet >/dev/null || darknet=darknet
    cat <<END

top-1 is on the 10,000 test images, with one seed; the best one was chosen on the same images.
the figure:          $BUILD/demo/demo.png
classify an image:   cd $BUILD && $darknet classifier predict cfg/deepkd.data \\
                         demo/deepkd/deepkd.cfg demo/deepkd/deepkd_final.weights \\
                         data/fashion-mnist/valid/9_boot_00001.png
distill your own:    ./darknet deepkd wrap STUDENT.cfg -teacher TEACHER.cfg >cfg/my-student.cfg
compare for real:    make table
END
}

main() {
    local row number=0
    BUILD=${BUILD:-build}
    cd "$ROOT"
    cd "$BUILD" || fail "$BUILD: no such folder; make makes it"
    [ -x darknet ] || fail "$BUILD/darknet: not there; make makes it"
    [ -s "$TEACHER" ] || fail "$TEACHER: no such file, expected the teacher's weights"
    [ "$DATA" != cfg/deepkd.data ] || [ -e data/fashion-mnist/train.list ] ||
        fail "$BUILD/data/fashion-mnist: no data set; make data makes it"
    for row in $ROWS; do
        prepare "$row"
    done
    echo "$BATCHES batches of 64 images each, seed $SEED; about two minutes on two cores"
    for row in $ROWS; do
        number=$((number + 1))
        train "$row" "$number"
    done
    plot
    echo
    table
    next_steps
}

main "$@"
