#!/usr/bin/python3 -B
"""OPENCV=1: it builds, learns the same, and draws the run's chart, in TAP.

Builds ./darknet with the switches of the build under test and OPENCV=1, on the
CPU. Proves: training gives the numbers of the build without OpenCV; an image that
can't be read ends the run with one line (images.t has all about them, for both
builds read them by the same function); chart.png is written, whole, with what the CSV has, and -dont_show or a missing display
means no window. That a window shows the chart is not looked at.
"""
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from unittest import mock

import tap
from tap import (DARKNET, ENVIRONMENT, ROOT, check_error, data_file, student_cfg, test,
                 without_time)

import numpy as np
from PIL import Image

BUILD = os.path.join(tempfile.gettempdir(), f"deepkd.opencv.{os.getpid()}")
OPENCV = os.path.join(BUILD, "darknet")
NO_DISPLAY = {key: value for key, value in ENVIRONMENT.items()
              if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
BAD_DISPLAY = {**NO_DISPLAY, "DISPLAY": ":4711"}  # who opens a window there comes to grief


def switches():
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="utf-8") as file:
        return file.read().splitlines()


@functools.lru_cache(None)
def build():
    """What make printed; once."""
    clean = {key: value for key, value in os.environ.items()
             if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD")}
    words = [*switches(), "GPU=0", "CUDNN=0", "OPENCV=1", f"BUILD={BUILD}"]
    done = subprocess.run(["make", "-j2", *words], cwd=ROOT, env=clean, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def opencv():
    """While this lasts, the run folders' darknet is the build with OpenCV."""
    build()
    return mock.patch.object(tap, "DARKNET", OPENCV)


def distill(folder, *flags, **options):
    """Of the build with OpenCV; without a window."""
    with opencv():
        return folder.distill("-dont_show", *flags, **{"env": BAD_DISPLAY, **options})


@test
def builds(_):
    """OPENCV=1 builds, and nothing of ours is warned of"""
    warned = [line for line in build().splitlines() if "warning:" in line]
    assert not [line for line in warned if "plugin/" in line or "opencv" in line], warned


# Images

@test
def losses(folder):
    """training on PNG images: the losses of the build without OpenCV, to 1e-5"""
    rows = []
    for run in (folder.distill, functools.partial(distill, folder)):
        run().check(0)
        rows.append([[float(value or 0) for value in row.values()]
                     for row in without_time(folder.rows())])
    assert np.allclose(*rows, rtol=1e-5, atol=1e-6), rows


@test
def unreadable(folder):
    """an image that is none: Darknet's predict ends with one line, and writes no file"""
    path = "$(touch a) `touch b`; touch c; class-a.png"
    folder.write(path, "hello\n")
    names = folder.names(".")
    with opencv():
        result = folder.darknet("classifier", "predict", "deepkd.data", "teacher.cfg",
                                "teacher.weights", path).check(1)
    check_error(result, [f'Cannot load image "{path}"', "found no image"])
    assert folder.names(".") == names, folder.names(".")


# The chart

def chart(folder):
    """How many of chart.png's pixels are rather blue, and rather red."""
    assert "chart.png.tmp" not in folder.names("."), folder.names(".")
    with Image.open(folder.at("chart.png")) as image:
        assert image.size == (1000, 720) and image.mode == "RGB", (image.size, image.mode)
        red, green, blue = np.moveaxis(np.asarray(image).astype(int), 2, 0)
    assert (red + green + blue > 750).mean() > .5, "is not white, mostly"
    return int((blue - red > 100).sum()), int((red - np.maximum(green, blue) > 100).sum())


@test
def chart_of_a_classifier(folder):
    """chart.png: the loss in blue, top-1 in red, and no file more; -dont_show opens no window"""
    before = folder.names(".")
    distill(folder).check(0)
    assert folder.names(".") == sorted([*before, "chart.png"]), folder.names(".")
    assert min(chart(folder)) > 200, chart(folder)


@test
def chart_without_display(folder):
    """where no display is, no window is opened either"""
    with opencv():
        folder.distill(env=NO_DISPLAY).check(0)
    assert min(chart(folder)) > 200, chart(folder)


@test
def chart_of_a_detector(folder):
    """a detector's: mAP in red with -map, without it the loss alone"""
    detector = tap.DetectorFolder(folder.at("detector"))
    detector.fill()
    detector.write_texts()
    distill(detector, "-map").check(0)
    assert min(chart(detector)) > 200, chart(detector)
    distill(detector, "-clear").check(0)
    blue, red = chart(detector)
    assert blue > 200 and not red, (blue, red)


@test
def chart_of_a_resumed_run(folder):
    """a run that was stopped and resumed ends with the chart of one that was not"""
    folder.write("student.cfg", student_cfg(max_batches=12))
    folder.write("deepkd.data", data_file(eval_interval=4))
    distill(folder).check(0)
    whole = folder.read("chart.png")
    with opencv():
        folder.distill_until(lambda line: line.startswith("6, "), signal.SIGTERM, "-dont_show",
                             "-clear")
    assert folder.read("chart.png") != whole, "the run was not stopped"
    distill(folder, "-resume", seed=None).check(0)
    assert folder.read("chart.png") == whole, "the charts differ"


@test
def chart_that_can_not_be_written(folder):
    """a chart that can't be written costs one line, not the run"""
    os.mkdir(folder.at("chart.png"))
    result = distill(folder).check(0)
    lines = [line for line in result.err.split("\n") if "chart.png" in line]
    assert lines == ["chart.png: Is a directory; the run goes on without it"], lines
    assert "chart.png.tmp" not in folder.names("."), folder.names(".")


def main():
    found = [subprocess.run(["pkg-config", "--exists", name], check=False).returncode == 0
             for name in ("opencv4", "opencv") if shutil.which("pkg-config")]
    if not any(found):
        print("1..0 # SKIP missing: libopencv-dev or pkg-config")
        return
    try:
        tap.main()
    finally:
        shutil.rmtree(BUILD, ignore_errors=True)


if __name__ == "__main__":
    main()
