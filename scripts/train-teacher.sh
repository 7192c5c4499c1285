#!/bin/sh
# Trains the Fashion-MNIST teacher, puts its weights into cfg/fmnist-teacher.weights, where they
# are committed, and prints its validation accuracy. Takes about 20 minutes on one core.
#
# Darknet's own `classifier train` draws from an unseeded generator: a second run gives another
# teacher of about the same accuracy, not the same file.
set -eu

ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
cd "$ROOT"
cd "${BUILD:-build}"
./darknet classifier train cfg/deepkd.data cfg/fmnist-teacher.cfg
cp backup/fmnist-teacher.weights "$ROOT/cfg/fmnist-teacher.weights.tmp"
mv "$ROOT/cfg/fmnist-teacher.weights.tmp" "$ROOT/cfg/fmnist-teacher.weights"
./darknet classifier valid cfg/deepkd.data cfg/fmnist-teacher.cfg backup/fmnist-teacher.weights |
    tail -n 1
