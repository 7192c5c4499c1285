#!/bin/sh
# The Debian packages that the build, the tests and the demo need.
#
#   deps.sh check GROUP...     exits 1 with one line that names the missing packages
#   deps.sh install GROUP...   installs the missing ones (root or sudo), else says what to type
#   deps.sh try GROUP...       the same, but what can't be installed, or what this Debian does not
#                              have, is named, a line each, and that is no error: the tests that
#                              need it are skipped
#
# A version that we can't use is an error of all three, before anything is compiled.
#
# Where there is no dpkg-query, nothing is known to be missing, and all exit 0.
#
# pycocotools, ONNX Runtime and TensorBoard are not in Debian 12. `install coco`, `install onnx` and
# `install tensorboard` put them into build/python, by pip, unless Python finds them already; some scripts and their tests alone use
# them, so failing is no error.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-/usr/bin/python3}

# group package: what it is for. Two numbers behind the package: its least and its last major
# version.
table() {
    cat <<'END'
build  gcc: compiles Darknet and the plugin
build  g++: compiles Darknet's image_opencv.cpp
build  make: runs the Makefiles
build  patch: applies patches/
blas   libopenblas-dev: matrix products (not needed with BLAS=0)
cjson  libcjson-dev: reads COCO's annotations (not needed with CJSON=0)
dnnl   libdnnl-dev 2 3: convolutions (not needed with DNNL=0)
images libjpeg-dev: reads JPEG (not needed with IMAGES=0)
images libpng-dev: reads PNG (not needed with IMAGES=0)
images libstb-dev: reads BMP, TGA and others (not needed with IMAGES=0)
mpi    libopenmpi-dev: processes that train as one (MPI=1 only)
mpi    openmpi-bin: mpicc, mpirun (MPI=1 only)
sqlite libsqlite3-dev: keeps teachers' logits (not needed with SQLITE=0)
ort    libonnxruntime-dev: teachers that are ONNX files (ORT=1 without ONNXRUNTIME= only)
opencv libopencv-dev: video and windows (OPENCV=1 only)
opencv pkg-config: finds OpenCV's flags (OPENCV=1 only)
source git: fetches the Darknet submodule
source ca-certificates: https
source xz-utils: unpacks Debian's copy of Darknet's source
prove  perl: prove, which runs the tests
python python3: the scripts, most tests and the emulator's compiler
test   darknet: stock Darknet, to read what we write
test   python3-opencv: OpenCV, to read what we write
test   libopencv-dev: to build with OPENCV=1
test   pkg-config: to build with OPENCV=1
test   strace: lets system calls fail
demo   python3-numpy: reads the data set, computes the tables
demo   python3-pil: writes images
demo   python3-matplotlib: draws the figures
demo   dataset-fashion-mnist: the data set
glyphs python3-numpy: draws the pictures
glyphs python3-pil: draws the characters, writes images
glyphs fonts-dejavu-core: characters to train on
glyphs fonts-liberation: characters to train on
glyphs fonts-freefont-ttf: characters to train on
glyphs fonts-ipafont-gothic: characters to train on
glyphs fonts-ipafont-mincho: characters to train on
glyphs fonts-motoya-l-cedar: characters to train on
glyphs fonts-motoya-l-maruberi: characters to train on
glyphs fonts-konatu: characters to train on
glyphs fonts-linuxlibertine: characters to test with
glyphs fonts-open-sans: characters to test with
glyphs fonts-vlgothic: characters to test with
glyphs fonts-sawarabi-gothic: characters to test with
glyphs fonts-sawarabi-mincho: characters to test with
fuzz   clang: builds what make fuzz runs
fuzz   libclang-rt-dev: libFuzzer and the sanitizers of clang
fuzz   libomp-dev: clang's omp.h
tsan   clang: builds what make test-tsan runs
tsan   libclang-rt-dev: ThreadSanitizer
tsan   libomp-dev: clang's OpenMP
deb    build-essential: builds the package
deb    debhelper: builds the package
coco   python3-pip: fetches pycocotools
onnx   python3-pip: fetches onnx and ONNX Runtime
onnx   python3-numpy: what both compute with
tensorboard python3-pip: fetches TensorBoard
END
}

# What pip fetches for a group, with all that it takes besides NumPy
from_pip() {
    case $1 in
    coco) echo pycocotools==2.0.11 ;;
    onnx) echo onnx==1.19.1 ml_dtypes==0.5.3 protobuf==7.36.2 typing_extensions==4.16.0 \
        onnxruntime==1.32.0 flatbuffers==25.12.19 packaging==26.4 ;;
    tensorboard) echo tensorboard==2.21.0 absl_py==2.5.1 protobuf==7.36.2 packaging==26.4 ;;
    esac
}

# sys.path's last, as the scripts have it: what is installed comes first
has_modules() { # GROUP
    case $1 in
    coco) modules=pycocotools.cocoeval ;;
    onnx) modules='onnx, onnxruntime' ;;
    tensorboard) modules=tensorboard.summary.writer.event_file_writer ;;
    *) return 0 ;;
    esac
    "$python" -c "import sys; sys.path.append(sys.argv[1]); import $modules" \
        "$root/build/python" 2>/dev/null
}

install_modules() { # GROUP
    packages=$(from_pip "$1")
    echo "installing $packages into build/python"
    # shellcheck disable=SC2086
    "$python" -m pip --quiet --disable-pip-version-check install --root-user-action=ignore \
        --retries 1 --timeout 15 --only-binary :all: --no-deps --upgrade \
        --target "$root/build/python" $packages ||
        echo "note: no $packages (pip says why above); scripts of $1 need them" >&2
}

# What installing $missing takes from the network
download() {
    # shellcheck disable=SC2086
    apt-get -qq --print-uris install --no-install-recommends $missing 2>/dev/null |
        LC_ALL=C awk '{ bytes += $3 } END { printf "%d packages, %.1f MB", NR, bytes / 1e6 }'
}

leave_out_unknown() { # of $missing
    missing=$(for package in $missing; do
        ! apt-cache show "$package" >/dev/null 2>&1 || printf ' %s' "$package"
    done | cut -c 2-)
}

install_packages() { # those in $missing
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=sudo
        if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            echo "missing: $missing; to install, type as root:" \
                "apt-get install --no-install-recommends $missing" >&2
            exit 1
        fi
    fi
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get -qq update || true # a broken third-party entry need not stop us
    [ "$action" != try ] || leave_out_unknown
    [ -n "$missing" ] || return 0
    echo "installing $missing ($(download) to download)"
    # shellcheck disable=SC2086
    $sudo apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing || {
        echo "could not install $missing; apt-get says why above" >&2
        exit 1
    }
}

# shellcheck disable=SC2086
find_missing() { # of $wanted
    present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
        sed -n 's/^installed //p') || true
    missing=$(for package in $wanted; do
        echo "$present" | grep -qx -- "$package" || echo "$package"
    done | tr '\n' ' ' | sed 's/ $//')
}

name_missing() { # GROUP...: those in $missing, a line each
    for group; do
        for package in $missing; do
            table | sed -n "s/^$group  *\($package: .*\)/missing: \1; tests of it are skipped/p"
        done
    done >&2
}

check_versions() { # GROUP...: of what is installed
    for group; do
        table | sed -n "s/^$group  *\([^ :]*\) \([0-9]*\) \([0-9]*\): /\1 \2 \3 /p"
    done | while read -r package least last purpose; do
        version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null | sed 's/^[0-9]*://')
        major=$(expr "$version" : '\([0-9]*\)') || continue
        if [ "$major" -lt "$least" ] || [ "$major" -gt "$last" ]; then
            echo "$package: found version $version, expected $least to $last: $purpose" >&2
            exit 1
        fi
    done
}

action=$1
shift
wanted=$(for group in "$@"; do
    [ -z "$(from_pip "$group")" ] || ! has_modules "$group" || continue
    table | sed -n "s/^$group  *\([^ :]*\).*/\1/p"
done)

command -v dpkg-query >/dev/null || exit 0
find_missing

if [ "$action" = check ]; then
    [ -z "$missing" ] || { echo "missing: $missing; to install, type: make deps" >&2 && exit 1; }
elif [ "$action" = try ]; then
    [ -z "$missing" ] || { (install_packages) || true; find_missing; name_missing "$@"; }
else
    [ -z "$missing" ] || install_packages
fi
check_versions "$@"
[ "$action" != check ] || exit 0
for group; do
    has_modules "$group" || install_modules "$group"
done
