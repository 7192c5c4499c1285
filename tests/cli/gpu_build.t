#!/usr/bin/python3 -B
"""The matrix GPU x CUDNN x OPENCV with the real nvcc, in TAP: it builds, links and runs.

Proves: every combination compiles and links without a warning of ours (in plugin/, in lines of
Darknet that patches/ has changed, or of the linker); needs no driver to link or to start; without
a GPU says so and trains as the CPU build; nvcc takes the architectures that are the default.
What needs a GPU is in `make gpu-test`; GPU=0 CUDNN=0 is what the other tests are about.

To save minutes one GPU architecture is compiled, and all but the first build are without
optimisation of host code, so that gcc's warnings that need it are looked for in one build alone.
"""
import difflib
import functools
import os
import re
import shutil
import subprocess
import tempfile
from unittest import mock

import tap
from tap import DARKNET, ROOT, Skip, student_cfg, test, without_time

import numpy as np

CUDA = os.environ.get("CUDA") or "/usr/local/cuda"
NVCC = os.path.join(CUDA, "bin", "nvcc")
SOURCE = os.path.join(ROOT, "build", "source")
BUILDS = tempfile.TemporaryDirectory(prefix="deepkd.gpu_build.")
SWITCHES = ("GPU", "CUDNN", "OPENCV")
MATRIX = [(1, 1, 1), (1, 1, 0), (1, 0, 1), (1, 0, 0), (0, 1, 1), (0, 1, 0)]
FINAL = "backup/student_final.weights"


def output(*command):
    """What a program prints; "" if there is none, or it fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


HAS_GPU = bool(output("nvidia-smi", "-L"))
HAS_CUDNN = any(os.path.exists(os.path.join(folder, "cudnn.h"))
                for folder in (os.path.join(CUDA, "include"), "/usr/include"))
HAS_OPENCV = bool(output("pkg-config", "--modversion", "opencv4")
                  or output("pkg-config", "--modversion", "opencv"))


def name_missing(gpu, cudnn, opencv):
    """What a combination needs and this machine does not have, in words; "" if nothing."""
    if gpu and cudnn and not HAS_CUDNN:
        return f"found no cudnn.h in {CUDA}/include or /usr/include"
    if opencv and not HAS_OPENCV:
        return "pkg-config finds no OpenCV; make deps OPENCV=1 installs libopencv-dev"
    return ""


def run_make(*words, **options):
    clean = {key: value for key, value in os.environ.items()
             if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD", "CUDA")}
    return subprocess.run(["make", *words], env=clean, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def architecture():
    """The oldest that this nvcc knows"""
    return "-arch=" + output(NVCC, "--list-gpu-code").split()[0]


def build(*values):
    """Its folder, and what make printed."""
    folder = os.path.join(BUILDS.name, "".join(map(str, values)))
    words = [f"{name}={value}" for name, value in zip(SWITCHES, values)]
    if values != MATRIX[0]:
        words.append("OPTS=-O0")
    done = run_make("-j2", f"BUILD={folder}", f"CUDA={CUDA}", f"ARCH={architecture()}", *words,
                    cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:]
    return folder, done.stdout


# Warnings

@functools.lru_cache(None)
def changed_lines(path, folder):
    """The numbers of the lines of a build's file that Darknet has not, or not like this."""
    texts = []
    for root in (SOURCE, folder):
        try:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                texts.append(file.read().split("\n"))
        except FileNotFoundError:
            texts.append([])
    steps = difflib.SequenceMatcher(None, *texts, autojunk=False).get_opcodes()
    return {line for kind, _, _, begin, end in steps if kind != "equal"
            for line in range(begin + 1, end + 1)}


def is_ours(warning, folder):
    """Whether a line of make's with "warning" in it is about what we wrote; if in doubt it is."""
    place = re.match(r"([^\s:(]+\.(?:cu|h|c|cpp|hpp))[:(](\d+)[:)]", warning)
    if not place:
        return True
    file = os.path.normpath(os.path.join(folder, place[1]))
    if not file.startswith(folder + os.sep):
        return file.startswith(ROOT + os.sep)
    return int(place[2]) in changed_lines(os.path.relpath(file, folder), folder)


def check_warnings(log, folder):
    ours = [line for line in log.split("\n") if re.search(r"\bwarning\b", line, re.I)
            and is_ours(line, folder)]
    assert not ours, "\n".join(ours[:9])


# The program

def check_libraries(program, gpu, cudnn, opencv):
    """It is linked with what its switches say, and never with the driver."""
    needed = re.findall(r"NEEDED.*\[lib(\w+)\.so", output("readelf", "-d", program))
    assert "c" in needed, "readelf names no libraries"
    found = ["cudart" in needed and "cublas" in needed and "curand" in needed, "cudnn" in needed,
             "opencv_core" in needed]
    assert found == [bool(gpu), bool(gpu and cudnn), bool(opencv)], needed
    assert "cuda" not in needed, needed


def outcome(folder, *flags):
    result = folder.distill("-clear", "-dont_show", *flags).check(0)
    return without_time(folder.rows()), tap.floats(folder.read(FINAL)), result.err


def check_close(found, expected):
    for row, other in zip(found[0], expected[0]):
        values = [[float(value or "nan") for value in line.values()] for line in (row, other)]
        assert np.allclose(*values, 1e-4, 1e-5, True), f"{row}\nand {other}"
    assert len(found[0]) == len(expected[0]), len(found[0])
    assert np.abs(found[1] - expected[1]).max() < 1e-4, "the weights differ"


def check_runs(folder, program, gpu):
    """Trains as the CPU build does; where there is no GPU, by itself."""
    expected = outcome(folder)
    with mock.patch.object(tap, "DARKNET", program):
        for flags in ([], ["-nogpu"]):
            if HAS_GPU and not flags:
                continue  # dropout and rounding: see `make gpu-test`
            found = outcome(folder, *flags)
            said = [line for line in found[2].split("\n") if "GPU" in line]
            wanted = [r"no GPU found \(.+\): going on on the CPU"] if gpu and not flags else []
            assert len(said) == len(wanted) and all(map(re.fullmatch, wanted, said)), said
            check_close(found, expected)


@functools.lru_cache(None)
def scenes():
    """The detectors' fixture"""
    fixture = tap.DetectorFolder(os.path.join(BUILDS.name, "scenes"))
    fixture.fill()
    return fixture.path


def try_combination(folder, *values):
    missing = name_missing(*values)
    if missing:
        raise Skip(missing)
    where, log = build(*values)
    try:
        check_warnings(log, where)
        check_libraries(os.path.join(where, "darknet"), *values)
        folder.write("student.cfg", student_cfg({"method": "dkd"}))
        check_runs(folder, os.path.join(where, "darknet"), values[0])
        check_runs(tap.DetectorFolder(folder.at("detectors"), scenes()),
                   os.path.join(where, "darknet"), values[0])
    finally:
        shutil.rmtree(where)


for combination in MATRIX:
    text = " ".join(f"{name}={value}" for name, value in zip(SWITCHES, combination))
    test(lambda folder, combination=combination: try_combination(folder, *combination),
         f"{text}: builds, no warning of ours, links without a driver, trains as the CPU build")


@test
def default_architectures(folder):
    """nvcc takes the default ARCH, and the one that is given"""
    where = os.path.dirname(DARKNET)
    for given in ("", "-arch=sm_90"):
        words = [f"CUDA={CUDA}", "GPU=1", "PLUGIN=0"] + ([f"ARCH={given}"] if given else [])
        log = run_make("-n", "-B", *words, "obj/blas_kernels.o", "./obj/blas_kernels.o",
                       cwd=where).stdout
        found = re.findall(r"^\S*nvcc ((?:-arch=\S+ +|-gencode \S+ +)+)", log, re.M)
        assert found and (not given or found[0].strip() == given), log[-2000:]
        folder.write("a.cu", "__global__ void f(float *x) { x[threadIdx.x] = 0; }\n")
        done = subprocess.run([NVCC, *found[0].split(), "-Wno-deprecated-gpu-targets", "-c", "a.cu",
                               "-o", "a.o"], cwd=folder.path, check=False, text=True,
                              capture_output=True)
        assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def name_obstacle():
    """Why none of this can be tried; "" if it can."""
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="utf-8") as file:
        if "SANITIZE=1" in file.read():
            return "sanitizers have no part in it"
    if not os.access(NVCC, os.X_OK):
        return f"found no {NVCC}; CUDA=... says where CUDA is"
    return "CUDA=... is the emulator" if "emulator" in output(NVCC, "--version") else ""


def main():
    obstacle = name_obstacle()
    if obstacle:
        print(f"1..0 # SKIP {obstacle}")
        return
    with BUILDS:
        tap.main()


if __name__ == "__main__":
    main()
