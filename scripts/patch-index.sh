#!/bin/sh
# patch-index.sh [PATCHES]: prints docs/patches.md, from the headers of the patches that
# PATCHES/series names. What no header says (the folders, what stays) stands here.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
patches=$(cd "${1:-$root/patches}" && pwd)

folder_title() { # folder_title FOLDER: its heading and what belongs there
    case $1 in
    hooks) echo "ways in for code from outside
Unset, a hook changes nothing; a function is there for whoever calls it." ;;
    fixes) echo "Darknet computes or behaves wrongly
On the CPU, or on both, wherever \`distill\` or its teacher may come by." ;;
    libraries) echo "BLAS, OpenCV and the decoders of images
What Darknet does when it is built with a library, on any machine." ;;
    gpu) echo "CUDA and cuDNN
How \`GPU=1\` and \`CUDNN=1\` build, compute and fail. Where the CPU did the same wrong, its lines are
there too." ;;
    stock) echo "Darknet's own commands
\`distill\` would learn the same without them." ;;
    layers) echo "what the cfgs of later Darknets ask for
Keys, activations and layers of AlexeyAB's Darknet, on the CPU and the GPU. A cfg without them is
what it was." ;;
    *) echo "patches/$1: a folder that scripts/patch-index.sh does not know" >&2; return 1 ;;
    esac
}

heading() { # heading FOLDER
    title=$(folder_title "$1")
    printf '\n## %s: %s\n\n' "$1" "$(echo "$title" | head -n 1)"
    printf '%s\n\n' "$(echo "$title" | tail -n +2)"
}

entry() { # entry PATH: name and purpose, then why; a * of the header's is no Markdown
    name=$(basename "$1" .patch)
    [ "$(head -c 13 "$patches/$1")" = "Description: " ] ||
        { echo "patches/$1: found no Description: in its first line" >&2; return 1; }
    sed -n -e '/^Forwarded:/q' -e 's/\*/\\*/g' \
        -e "1s|^Description: \(.*\)|- **[$name](../patches/$1)**: \1.|p" -e '1!s/^/ /p' "$patches/$1"
}

cat <<'END'
# What is changed in Darknet

Which patches are there, what is each for, and why? What stays as Darknet has it? How is a patch
added?

The submodule is never edited: `make` patches a copy. Each file in `patches/` has one purpose and
says it in its header, from which `scripts/patch-index.sh` writes this page. `patches/series` has
their order; each applies at the exact lines, without fuzz, as `scripts/check-patches.sh` proves.
None knows of DeepKD: with `PLUGIN=0` they make a Darknet that is mended, and every stock command
goes on working.
END
sed 's/#.*//; /^ *$/d' "$patches/series" | {
    folder=
    while read -r path; do
        [ "$folder" = "${path%/*}" ] || heading "${path%/*}"
        folder=${path%/*}
        entry "$path"
    done
}
cat <<'END'

## What stays as it is

A `[dropout]` behind a logistic or tanh layer, and `[normalization]`, have only approximate
gradients.

## To add a patch

1. Make it in a tree with the others applied, as `build/` is after `make`; `diff -u`, paths with
   `a/` and `b/`.
2. Put a header in front, in the form of the others: `Description:` and its purpose in one line,
   below it why, indented by a space, then `Forwarded:` and `---`.
3. Name it in `patches/series`, behind those of its folder if it can be; one that only mends
   another of ours is folded into that one.
4. `scripts/check-patches.sh && scripts/patch-index.sh >docs/patches.md`; `tests/cli/patches.t`
   checks both, and that each patch which a comment names by folder and number is there.
END
