#!/bin/bash
# Measures training steps: `make bench`, or on a GPU `make bench GPU=1`. On the CPU it first builds
# Darknet a second time with its own loops ($BUILD-stock, BLAS=0 OPENMP=0 DNNL=0). README.md beside
# this file says how to read it.
# Words on the command line go to bench.py: tests/bench/bench.sh --repeat 1 --only gemm
#
# It needs the images of `make data`; on the CPU about 15 minutes on two idle cores.
set -eu

ROOT=${ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}
cd "$ROOT"
BUILD=$(realpath "${BUILD:-build}")

[ -x "$BUILD/darknet" ] || { echo "bench: $BUILD/darknet: not there; make makes it" >&2; exit 1; }
mkdir -p "$BUILD/bench"
if grep -qx GPU=1 "$BUILD/.switches"; then
    exec "$PYTHON" -B tests/bench/bench.py "$BUILD" "$@"
fi
# Every other switch at its default, whatever the calling make was told
env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory BUILD="$BUILD-stock" \
    BLAS=0 OPENMP=0 DNNL=0 >"$BUILD/bench/stock.log" 2>&1 || {
    echo "bench: $BUILD/bench/stock.log: $(tail -n 1 "$BUILD/bench/stock.log")" >&2
    exit 1
}
exec "$PYTHON" -B tests/bench/bench.py "$BUILD" "$BUILD-stock" "$@"
