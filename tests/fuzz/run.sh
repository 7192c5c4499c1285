#!/bin/bash
# Fuzzes the readers of fuzz.c, built by `make fuzz`: run.sh SECONDS [READER ...]. Each begins
# with tests/fuzz/corpus/READER, and with what earlier runs found interesting, which is kept in
# build-fuzz/corpus; its words are those of the source that reads them. A find is left in
# build-fuzz/finds, with the command that repeats it, and makes the exit status 1.
set -u
cd "$(dirname "$0")/../.." || exit

seconds=$1
shift
# A refused network leaves its memory; a fork that has too much of it is replaced. What is asked
# for and not written to is no memory
flags=(-fork=1 -ignore_ooms=1 -rss_limit_mb=3000 -malloc_limit_mb=1000000 -timeout=20
       -max_total_time="$seconds" -close_fd_mask=3)
ulimit -n "$(ulimit -Hn)" # a refused cache stays open
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export DARKNET_MAX_PIXELS=1000000 # the many of a small file take their time, which is no hang
readers=${*:-$(FUZZ='' build-fuzz/tests/fuzz 2>&1 | sed 's/.*one of//')}
status=0

words_of() { # READER: the source with the words that it looks for
    case $1 in
    cfg | stock | export) echo plugin/net/strict.c ;;
    data) echo plugin/cli/arguments.c ;;
    json) echo plugin/data/annotations.c ;;
    *) echo /dev/null ;;
    esac
}

for reader in $readers; do
    corpus=build-fuzz/corpus/$reader
    finds=build-fuzz/finds/$reader
    log=build-fuzz/$reader.log
    words=build-fuzz/$reader.dict
    mkdir -p "$corpus" "$finds"
    own=("${flags[@]}" -artifact_prefix="$finds/")
    grep -ohE '"[[:alnum:]_]+"' "$(words_of "$reader")" | sort -u >"$words"
    [ ! -s "$words" ] || own+=(-dict="$words")
    own+=("$corpus")
    [ ! -d "tests/fuzz/corpus/$reader" ] || own+=("tests/fuzz/corpus/$reader")
    FUZZ=$reader FUZZ_SEED=$corpus/seed build-fuzz/tests/fuzz "${own[@]}" >"$log" 2>&1
    runs=$(sed -n 's/^#\([0-9]*\):.*/\1/p' "$log" | tail -n 1)
    found=$(find "$finds" -type f | wc -l)
    echo "fuzz: $reader: ${runs:-0} runs, $found finds"
    if [ "$found" != 0 ] || [ -z "$runs" ]; then
        status=1
        echo "    FUZZ=$reader build-fuzz/tests/fuzz $finds/*; $log" >&2
    fi
done
exit $status
