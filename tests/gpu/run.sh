#!/bin/sh
# The tests on a GPU: builds Darknet and this folder's programs in build-gpu, without a package
# that they don't need, and runs them; then some of them under compute-sanitizer, where there is
# one. Skipped, with exit status 0, where there is no GPU.
#
#   tests/gpu/run.sh [SWITCH=VALUE...]     the top Makefile's switches; `make gpu-test` calls it
set -eu
cd "$(dirname "$0")/../.."

cuda=/usr/local/cuda build=build-gpu cudnn=0
for switch; do
    case $switch in
    CUDA=?*) cuda=${switch#*=} ;;
    BUILD=?*) build=${switch#*=} ;;
    esac
done
[ ! -e "$cuda/include/cudnn.h" ] || cudnn=1
mkdir -p "$build"
build=$(cd "$build" && pwd) passed=0 failed=0

skip() {
    echo "gpu-test: skipped: no GPU found ($1)"
    exit 0
}

# A program's output: its verdicts are counted, and that it came to its end
run() {
    echo "# $*"
    "$@" >"$build/gpu-test.log" 2>&1 || true
    cat "$build/gpu-test.log"
    passed=$((passed + $(grep -c '^ok' "$build/gpu-test.log" || true)))
    failed=$((failed + $(grep -c '^not ok' "$build/gpu-test.log" || true)))
    grep -q '^1\.\.' "$build/gpu-test.log" || {
        echo "not ok - $* did not come to its end"
        failed=$((failed + 1))
    }
}

# compute-sanitizer PROGRAM OPTIONS: one verdict
sanitize() {
    program=$1
    shift
    if "$cuda/bin/compute-sanitizer" "$@" --error-exitcode 9 \
        "$build/tests/gpu/$program" short >"$build/gpu-test.log" 2>&1; then
        echo "ok - $program, $*"
        passed=$((passed + 1))
    else
        cat "$build/gpu-test.log"
        echo "not ok - $program, $*"
        failed=$((failed + 1))
    fi
}

[ -e "$cuda/include/cuda_runtime.h" ] || skip "no CUDA toolkit in $cuda; CUDA=DIR says where"
${CC:-cc} tests/gpu/find_gpu.c -o "$build/find_gpu" -I"$cuda/include" -L"$cuda/lib64" \
    -Wl,-rpath,"$cuda/lib64" -lcudart -lstdc++ -lm -pthread
gpu=$("$build/find_gpu") || skip "$gpu"

echo "gpu-test: $gpu; building in $build, which takes minutes the first time"
${MAKE:-make} --no-print-directory gpu-programs GPU=1 CUDNN=$cudnn BLAS=0 CJSON=0 DNNL=0 IMAGES=0 SQLITE=0 \
    "$@" BUILD="$build" >"$build/gpu-test.log" 2>&1 || {
    tail -n 30 "$build/gpu-test.log" >&2
    exit 1
}
for program in test_kernels test_steps test_state; do run "$build/tests/gpu/$program"; done
if [ -x "$cuda/bin/compute-sanitizer" ]; then
    # what cuBLAS and cuDNN try inside, and how their kernels use shared memory, is theirs
    sanitize test_kernels --tool memcheck --report-api-errors no
    sanitize test_steps --tool memcheck --report-api-errors no
    sanitize test_kernels --tool racecheck
else
    echo "# no compute-sanitizer in $cuda/bin: memcheck and racecheck are not run"
fi
echo "gpu-test: $passed passed, $failed failed ($gpu)"
[ "$failed" = 0 ]
