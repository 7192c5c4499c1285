#!/bin/bash
# Measures training steps: `make bench`, or on a GPU `make bench GPU=1`. README.md beside this file
# says how to read it.
# Words on the command line go to bench.py: tests/bench/bench.sh --repeat 1 --only gemm
#
# What the chosen parts need besides darknet is made first: images, the programs beside this file,
# and for gemm a second Darknet with its own loops ($BUILD-stock).
set -eu

ROOT=${ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
PYTHON=${PYTHON:-/usr/bin/python3}
cd "$ROOT"
BUILD=$(realpath "${BUILD:-build}")

[ -x "$BUILD/darknet" ] || { echo "bench: $BUILD/darknet: not there; make makes it" >&2; exit 1; }
STOCK=("$BUILD-stock")
if grep -qx GPU=1 "$BUILD/.switches"; then
    STOCK=()
fi
exec "$PYTHON" -B tests/bench/bench.py "$BUILD" "${STOCK[@]}" "$@"
