#!/bin/sh
# kernels.sh COMMAND...: runs COMMAND as often as there are lines below, each time with the code
# that OpenBLAS and oneDNN choose on another processor, or on fewer cores: `make test-kernels`.
# A line that this processor can't run is named and left out. Exits 1 if one failed.
set -u
failed=

# cores, OpenBLAS's kernels, oneDNN's instructions, what the processor must have for them
while read -r cores blas dnnl flag; do
    name="cores=$cores OPENBLAS_CORETYPE=$blas ONEDNN_MAX_CPU_ISA=$dnnl"
    if ! grep -qw "$flag" /proc/cpuinfo; then
        echo "== $name: not on this processor, which has no $flag"
        continue
    fi
    echo "== $name"
    OPENBLAS_CORETYPE=$blas ONEDNN_MAX_CPU_ISA=$dnnl taskset -c "$cores" "$@" </dev/null ||
        failed="$failed$name
"
done <<END
0 Prescott SSE41 sse4_1
0,1 Nehalem SSE41 sse4_2
0,1 Sandybridge AVX avx
0,1 Haswell AVX2 avx2
0,1 Zen AVX2 avx2
0 SkylakeX AVX512_CORE avx512bw
0,1 SkylakeX AVX512_CORE_VNNI avx512_vnni
0,1 SkylakeX AVX512_CORE_AMX amx_tile
END

[ -z "$failed" ] || { printf 'failed:\n%s' "$failed" && exit 1; } >&2
