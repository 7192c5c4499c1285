#!/bin/sh
# Proves on the emulated GPU that no result depends on luck. Streams that run as early as they may
# give the same numbers, to the bit, as those that run as late; blocks and threads in reverse may
# round differently ([upsample] adds up by atomics), within the programs' tolerances. With two
# GPUs, so that copies on both are tested too.
set -eu
programs=$(dirname "${DARKNET:-build/darknet}")/emulated/tests/gpu number=0 failed=0
[ -d "$programs" ] || { echo "1..0 # SKIP no $programs: make emulated builds it" && exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CUDA_EMULATOR_DEVICES=2

verdict() { # TEXT COMMAND...: the command succeeds
    text=$1 number=$((number + 1))
    shift
    if "$@" >"$folder/why" 2>&1; then echo "ok $number - $text"; else
        echo "not ok $number - $text"
        { echo "orders.t: not ok $number - $text" && cat "$folder/why"; } | sed 's/^/# /' >&2
        failed=1
    fi
}

# shellcheck disable=SC2317 # verdict calls it
run() { # NAME STREAMS ORDER PROGRAM...: its output in a file of this name
    output=$folder/$1 streams=$2 order=$3 program=$programs/$4
    shift 4
    CUDA_EMULATOR_STREAMS=$streams CUDA_EMULATOR_ORDER=$order "$program" "$@" >"$output" 2>&1 || {
        grep -A1 '^not ok' "$output" || tail -n 3 "$output"
        return 1
    }
}

for test in 'test_kernels short' test_steps test_state; do
    # shellcheck disable=SC2086
    {
        verdict "$test: streams run late" run late lazy forward $test
        verdict "$test: streams run early" run early eager forward $test
        verdict "$test: the same numbers" cmp "$folder/late" "$folder/early"
        verdict "$test: blocks and threads in reverse" run reverse lazy reverse $test
    }
done
echo "1..$number"
exit $failed
