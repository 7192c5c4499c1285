#!/bin/bash
# Trains a small student three times, alone, by KD and by DeepKD, and compares: `make demo`, of
# Fashion-MNIST's classes, and `make demo-yolo`, TASK=scenes, a YOLO detector of garments. Same
# seed, same number of batches, same schedule; each row with the learning rate that scripts/rows.py
# has for it. Everything it writes is in $BUILD/demo or $BUILD/demo-yolo.
#
# One seed shows how it works, not which method is better: `make table` compares.
#
# From the environment, all optional: BUILD, ROOT, PYTHON (the Makefile sets them), TASK, BATCHES,
# SEED, and for tests DATA and TEACHER, both as seen from BUILD.
set -eu -o pipefail
export LC_ALL=C.UTF-8 # elsewhere awk may read and write decimal commas

ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}
TASK=${TASK:-fmnist}
SEED=${SEED:-1}
ROWS="alone kd deepkd"

fail() {
    echo "demo: $*" >&2
    exit 1
}

script() {
    local name=$1
    shift
    "$PYTHON" -B "$ROOT/scripts/$name" "$@"
}

rows() {
    script rows.py "$TASK" "$@"
}

# option KEY FILE: of a cfg's [net] or a .data file
option() {
    sed -n "s/^$1=//p" "$2"
}

# What differs from task to task. flags: of `darknet distill`; jobs: rows at once, each on a core;
# scores: of the table, with their column of the CSV; width: of a column
read_task() {
    case $TASK in
    fmnist)
        flags=() jobs=1 log_interval=10 width=12 scores=("last top-1:13" "best top-1:13")
        duration="about two minutes on two cores"
        ;;
    scenes)
        flags=(-threads 1 -map) jobs=2 log_interval=25 width=15
        scores=("mAP@0.50:20" "mAP@[.50:.95]:21")
        duration="at most a quarter of an hour on two cores"
        ;;
    *) fail "$TASK: no such task, expected fmnist or scenes" ;;
    esac
    student=$(rows get student)
    folder=demo$(rows get suffix)
    DATA=${DATA:-$(rows get data)}
    TEACHER=${TEACHER:-$(rows get weights)}
    BATCHES=${BATCHES:-$(option max_batches "$student")}
}

# prepare ROW: its cfg, data file and folder
prepare() {
    rm -rf "${folder:?}/$1"
    mkdir -p "$folder/$1"
    rows cfg "$1" "$student" "max_batches=$BATCHES" >"$folder/$1.cfg"
    {
        sed '/^\(backup\|log_interval\)=/d' "$DATA"
        echo "backup=$folder/$1/"
        echo "eval_interval=$(((BATCHES + 6) / 7))"
        echo "save_interval=$BATCHES"
        echo "log_interval=$log_interval"
    } >"$folder/$1.data"
}

# train ROW NUMBER: shows the command and its output; the layers' list goes to a log file
train() {
    local began=$SECONDS
    local command=(./darknet distill "$folder/$1.data" "$folder/$1.cfg" "$TEACHER" -seed "$SEED"
        "${flags[@]}")
    echo
    echo "[$2/3] $(rows title "$1")"
    echo "\$ ${command[*]}"
    "${command[@]}" 2>"$folder/$1.log" || fail "$folder/$1.log: $(tail -n 1 "$folder/$1.log")"
    echo $((SECONDS - began)) >"$folder/$1/seconds"
}

# Several rows at once are process groups of their own, so that none goes on when another fails.
stop_all() {
    local group
    for group in $(jobs -p); do
        kill -- "-$group" 2>/dev/null || true
    done
}

# Trains all rows, $jobs at once; where that is more than one, each line says whose it is.
train_all() {
    local row number=0
    if [ "$jobs" = 1 ]; then
        for row in $ROWS; do
            number=$((number + 1))
            train "$row" "$number"
        done
        return
    fi
    set -m
    trap stop_all EXIT
    trap 'exit 1' USR1 # a row failed
    for row in $ROWS; do
        number=$((number + 1))
        [ "$number" -le "$jobs" ] || wait -n || true
        { train "$row" "$number" | tee "$folder/$row.out" | sed -u "/./s/^/$row: /" ||
            kill -USR1 $$; } &
    done
    wait
    set +m
}

# value ROW NAME:COLUMN: the last or, if NAME begins so, the best one of the CSV, in percent
value() {
    awk -F, -v column="${2##*:}" -v name="$2" '
        NR > 1 && $column != "" { last = $column; if (last > best) best = last }
        END { printf "%.2f\n", 100 * (name ~ /^best/ ? best : last) }' "$folder/$1/$1.csv"
}

# line TITLE SECONDS WEIGHTS VALUE...
line() {
    local title=$1 seconds=$2 weights=$3
    shift 3
    printf '%-16s' "$title"
    printf " %${width}s" "$@"
    printf ' %8s  %s\n' "$seconds" "$weights"
}

table() {
    local row score values
    line '' seconds weights "${scores[@]%:*}"
    if [ "$TASK" = scenes ]; then
        mapfile -t values < <(grep '^teacher: mAP' "$folder/alone.out" | grep -o '[0-9.]* %')
        line 'the teacher' '' "$BUILD/$TEACHER" "${values[@]}"
    fi
    for row in $ROWS; do
        values=()
        for score in "${scores[@]}"; do
            values+=("$(value "$row" "$score") %")
        done
        line "$(rows title "$row")" "$(cat "$folder/$row/seconds")" \
            "$BUILD/$folder/$row/${row}_final.weights" "${values[@]}"
    done
}

plot() {
    local row files=() labels=""
    for row in $ROWS; do
        files+=("$folder/$row/$row.csv")
        labels+=",$(rows title "$row")"
    done
    script plot.py "$folder/demo.png" "${files[@]}" --labels "${labels#,}"
}

# The first validation scenes: the truth, the student alone, and distilled by KD and DeepKD
draw_sheet() {
    local row found=() images
    for row in $ROWS; do
        ./darknet deepkd map "$folder/$row.data" "$folder/$row.cfg" \
            "$folder/$row/${row}_final.weights" -out "$folder/$row.json" >/dev/null \
            2>"$folder/$row.log" || fail "$folder/$row.log: $(tail -n 1 "$folder/$row.log")"
        found+=("$(rows title "$row")=$folder/$row.json")
    done
    images=$(dirname "$(head -n 1 "$(option valid "$DATA")")")
    script draw_boxes.py "$folder/boxes.png" "$(option annotations "$DATA")" "$images" "${found[@]}"
}

next_steps() {
    if [ "$TASK" = fmnist ]; then
        cat <<END

top-1 is on the 10,000 test images, with one seed; the best one was chosen on the same images.
the figure:          $BUILD/$folder/demo.png
classify an image:   cd $BUILD && ./darknet classifier predict cfg/deepkd.data \\
                         demo/deepkd/deepkd.cfg demo/deepkd/deepkd_final.weights \\
                         data/fashion-mnist/valid/9_boot_00001.png
distill your own:    ./darknet deepkd wrap STUDENT.cfg -teacher TEACHER.cfg >cfg/my-student.cfg
compare for real:    make table
END
    else
        cat <<END

mAP is of the last weights on the 500 validation scenes, with one seed.
the curves:          $BUILD/$folder/demo.png
boxes, before/after: $BUILD/$folder/boxes.png
detect in an image:  cd $BUILD && ./darknet detector test cfg/scenes.data \\
                         $folder/deepkd/deepkd.cfg $folder/deepkd/deepkd_final.weights \\
                         data/scenes/images/val/000000100001.png
AP of each class:    ./darknet deepkd map cfg/scenes.data $folder/deepkd/deepkd.cfg \\
                         $folder/deepkd/deepkd_final.weights -per_class
compare for real:    make table-yolo
END
    fi
}

main() {
    local row
    BUILD=${BUILD:-build}
    cd "$ROOT"
    cd "$BUILD" || fail "$BUILD: no such folder; make makes it"
    [ -x darknet ] || fail "$BUILD/darknet: not there; make makes it"
    read_task
    [ -s "$TEACHER" ] || fail "$TEACHER: no such file, expected the teacher's weights"
    [ -e "$(option train "$DATA")" ] || fail "$BUILD: no data set of $DATA; make data makes it"
    for row in $ROWS; do
        prepare "$row"
    done
    echo "$BATCHES batches of $(option batch "$student") images each, seed $SEED; $duration"
    train_all
    plot
    [ "$TASK" = fmnist ] || draw_sheet
    echo
    table
    next_steps
}

main "$@"
