#!/usr/bin/python3 -B
"""What tests/bench/bench.sh makes before it measures, in TAP.

Proves: a part gets the data and programs that it needs and are not there, and no other; a part
that there is not is one line that lists those there are, before anything is made; what can't be
made stops the bench with one line that says why; floors that can't be measured are left out, which
is said once. FAKE stands for make. Nothing here is about time.
"""
import argparse
import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

import tap
from tap import ENVIRONMENT, PYTHON, ROOT, check_refused, test

sys.path[:0] = [os.path.join(ROOT, "scripts"), os.path.join(ROOT, "tests", "bench")]
# pylint: disable=wrong-import-position
import bench  # noqa: E402

# Notes its arguments; the data `scenes` can't be made, and floor.c does not compile with BLAS=0
FAKE = """#!/bin/sh
echo "$*" >>"${0%/bin/make}/made"
case "$*" in
*" scenes "*) echo "No space left"; echo "make: *** [Makefile:1: scenes] Error 1"; exit 2 ;;
*bench-programs*BLAS=0*) echo "floor.c:6:10: fatal error: cblas.h: No such file"
    echo "compilation terminated."; echo "make: *** Error 1"; exit 2 ;;
esac
"""


def make_build(folder, *switches):
    """A build folder with a program that does nothing, and make's stand-in."""
    build = folder.at("build")
    os.makedirs(os.path.join(build, "tests"))
    os.makedirs(folder.at("bin"))
    folder.write("build/.switches", "\n".join(["GPU=0", *switches]) + "\n")
    for name, text in {"build/darknet": "#!/bin/sh\n", "bin/make": FAKE}.items():
        folder.write(name, text)
        os.chmod(folder.at(name), 0o755)
    return build


def path_of(folder):
    return f"{folder.at('bin')}:{os.environ['PATH']}"


def run_bench(folder, *words, **env):
    return subprocess.run(
        [os.path.join(ROOT, "tests", "bench", "bench.sh"), *words], check=False, text=True,
        capture_output=True, timeout=tap.PATIENCE,
        env={**ENVIRONMENT, "PYTHON": PYTHON, "ROOT": ROOT, "BUILD": folder.at("build"),
             "PATH": path_of(folder), **env})


def made(folder):
    """What make was called for, the first word of its targets and values."""
    with contextlib.suppress(FileNotFoundError):
        with open(folder.at("made"), encoding="utf-8") as file:
            return [line.split()[1:] for line in file]
    return []


def chosen(build, *only):
    """The bench's arguments for these parts."""
    args = argparse.Namespace(build=build, stock=build + "-stock", only=list(only), batches=None,
                              cores=1)
    bench.choose_parts(args)
    return args


def provide(folder, args):
    with mock.patch.dict(os.environ, PATH=path_of(folder)), \
            contextlib.redirect_stderr(io.StringIO()) as said:
        bench.provide(args)
    return said.getvalue()


@test
def wrong_parts(folder):
    """--only with a part that there is not: one line with those there are, and nothing is made"""
    make_build(folder)
    for only in ("scene", "fmnist,scene", "scene,gemm"):
        check_refused(run_bench(folder, "--only", only), "--only: found scene, expected some of "
                      "gemm,fmnist,resnet,scenes,photos,yolo,yolov4-tiny,decode,evaluate,growth")
    assert not made(folder) and not os.path.exists(folder.at("build/bench")), made(folder)
    os.unlink(folder.at("build/darknet"))
    check_refused(run_bench(folder, "--only", "gemm"), "build/darknet: not there; make makes it")


@test
def needs(folder):
    """each part has its data made, and gemm the second build; what is there is not made again"""
    build = make_build(folder, "BLAS=1")
    programs = ["bench-programs", f"BUILD={build}", "GPU=0", "BLAS=1"]
    stock = [f"BUILD={build}-stock", "BLAS=0", "OPENMP=0", "DNNL=0"]
    pictures = ["fashion-mnist", f"BUILD={build}"]
    for only, expected in {("fmnist",): [pictures], ("resnet", "growth"): [pictures],
                           ("photos", "decode"): [],
                           ("gemm",): [pictures, stock], ("yolo",): []}.items():
        args = chosen(build, *only)
        provide(folder, args)
        assert made(folder) == [*expected, programs] and not args.notes, f"{only}: {made(folder)}"
        os.unlink(folder.at("made"))
    for only in (("scenes", "fmnist"), ("evaluate",)):
        assert bench.missing_data(chosen(build, *only)) == ["fashion-mnist", "scenes"], only
    os.makedirs(folder.at("build/data/fashion-mnist"))
    folder.write("build/data/fashion-mnist/train.list", "")
    provide(folder, chosen(build, "fmnist"))
    assert made(folder) == [programs], made(folder)


@test
def data_fails(folder):
    """data that can't be made: one line with the reason, and where the rest is"""
    make_build(folder)
    result = run_bench(folder, "--only", "scenes", MAKEFLAGS="w")
    assert result.returncode == 1 and result.stderr.split("\n")[0] == "bench: make scenes", result
    assert result.stderr.endswith(f"bench.py: make scenes: No space left; "
                                  f"{folder.at('build/bench/scenes.log')} has all of it\n"), result
    assert made(folder) == [["scenes", f"BUILD={folder.at('build')}"]], made(folder)


@test
def floors_fail(folder):
    """floors that can't be measured: the tables do without, and one note says why"""
    build = make_build(folder, "BLAS=0")
    args = chosen(build, "yolo")
    said = provide(folder, args)
    note, = args.notes
    assert note.startswith("no floors: make bench-programs: floor.c:6:10: fatal error: cblas.h: "
                           "No such file; ") and f"bench: {note}\n" in said, said
    assert bench.measure_peaks(args) == [] and args.notes == [note], args.notes
    good = '{"threads": 1, "gemm_gflops": 9.5, "copy_gb_s": 3.25}'
    for script, expected in {
            None: "bench_floor", "echo Illegal instruction >&2; exit 132":
            "exit status 132: Illegal instruction", "echo 5": "found '5\\n', expected JSON",
            "echo '{}'": "expected JSON", ":": "found peaks of [] threads, expected [1]",
            f"echo '{good.replace('1', '4', 1)}'": "found peaks of [4] threads"}.items():
        args = chosen(build, "yolo")
        if script:
            folder.write("build/tests/bench_floor", f"#!/bin/sh\n{script}\n")
            os.chmod(folder.at("build/tests/bench_floor"), 0o755)
        with contextlib.redirect_stderr(io.StringIO()):
            found = [bench.measure_peaks(args) for _ in range(2)]
        note, = args.notes
        assert found == [[], []] and note.startswith("no floors: ") and expected in note, note
    folder.write("build/tests/bench_floor", f"#!/bin/sh\necho '{good}'\n")
    args = chosen(build, "yolo")
    assert bench.measure_peaks(args) == [good + "\n"] and not args.notes, args.notes


if __name__ == "__main__":
    tap.main()
