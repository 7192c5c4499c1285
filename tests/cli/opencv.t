#!/usr/bin/python3 -B
"""OPENCV=1: it builds, loads the same pixels, and draws the run's chart, in TAP.

Builds ./darknet with the switches of the build under test and OPENCV=1, on the
CPU. Proves: PNG images give the pixels, and training the numbers, of the build
without OpenCV; an image that can't be read ends the run with one line; chart.png
is written, whole, with what the CSV has, and -dont_show or a missing display
means no window. That a window shows the chart is not looked at.
"""
import ctypes
import functools
import io
import os
import shutil
import signal
import subprocess
import tempfile
import zlib
from unittest import mock

import tap
from tap import (DARKNET, ENVIRONMENT, ROOT, Skip, check_error, data_file, student_cfg, test,
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

class Pixels(ctypes.Structure):
    """Darknet's `image`"""
    _fields_ = [("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int),
                ("data", ctypes.POINTER(ctypes.c_float))]


def loaders():
    """Of OpenCV and of stb_image, in one library: (name, channels) -> array of c x h x w."""
    build()
    if "SANITIZE=1" in switches():
        raise Skip("a library with sanitizers can't be loaded into Python")
    library = ctypes.CDLL(os.path.join(BUILD, "libdarknet.so"))

    def loader(function):
        function.restype, function.argtypes = Pixels, [ctypes.c_char_p, ctypes.c_int]

        def load(name, channels):
            image = function(os.fsencode(name), channels)
            return np.ctypeslib.as_array(image.data, (image.c, image.h, image.w))
        return load
    return loader(library.load_image_cv), loader(library.load_image_stb)


def noise(*shape):
    return np.random.RandomState(len(shape)).randint(0, 256, shape).astype(np.uint8)


KINDS = {  # of PNG and the like, that lose nothing
    "rgb.png": Image.fromarray(noise(13, 17, 3)), "rgba.png": Image.fromarray(noise(13, 17, 4)),
    "grey.png": Image.fromarray(noise(13, 17)), "bits.png": Image.fromarray(noise(13, 17) > 99),
    "grey-alpha.png": Image.fromarray(noise(13, 17, 2), "LA"),
    "palette.png": Image.fromarray(noise(13, 17, 3)).quantize(50),
    "sixteen-bits.png": Image.fromarray(noise(13, 34).view(np.uint16)),
    "rgb.bmp": Image.fromarray(noise(13, 17, 3))}


@test
def pixels(folder):
    """PNG and BMP of any kind, asked for 1 to 4 channels: the pixels that stb_image gives"""
    load_cv, load_stb = loaders()
    for name, image in KINDS.items():
        image.save(folder.at(name))
        for channels in (3, 1, 2, 4):
            found = load_cv(folder.at(name), channels)
            assert found.shape == (channels, 13, 17), (name, found.shape)
            assert (found == load_stb(folder.at(name), channels)).all(), (name, channels)
    red = load_cv(folder.at("rgb.png"), 3)[0]
    assert (red == (noise(13, 17, 3)[..., 0] / 255.).astype(np.float32)).all(), "not RGB, /255"


@test
def jpeg(folder):
    """JPEG: within four levels of stb_image's, and not turned as the camera was"""
    load_cv, load_stb = loaders()
    y, x = np.mgrid[:120, :160]
    image = Image.fromarray(np.stack([x, 2 * y, 127 + 99 * np.sin(x / 9)], 2).astype(np.uint8))
    exif = image.getexif()
    exif[0x112] = 6  # turned right
    image.save(folder.at("a.jpg"), exif=exif)
    found, expected = load_cv(folder.at("a.jpg"), 3), load_stb(folder.at("a.jpg"), 3)
    assert found.shape == expected.shape == (3, 120, 160), found.shape
    assert abs(found - expected).max() <= 4 / 255 + 1e-6, abs(found - expected).max() * 255


def predict(folder, path):
    with opencv():
        return folder.darknet("classifier", "predict", "deepkd.data", "teacher.cfg",
                              "teacher.weights", path)


@test
def losses(folder):
    """training on PNG images: the losses of the build without OpenCV, to 1e-5"""
    rows = []
    for run in (folder.distill, functools.partial(distill, folder)):
        run().check(0)
        rows.append([[float(value or 0) for value in row.values()]
                     for row in without_time(folder.rows())])
    assert np.allclose(*rows, rtol=1e-5, atol=1e-6), rows


def refuse(name, words, spoil, notes=(), path="class-a.png"):
    """Adds a test: an image that spoil(its path) has made ends Darknet's own `predict`."""
    def run_case(folder):
        spoil(folder.at(path))
        names = folder.names(".")
        result = predict(folder, path).check(1)
        check_error(result, [f'Cannot load image "{path}"', *words], notes)
        assert folder.names(".") == names, folder.names(".")
    test(run_case, f"{name}: an error of one line, and no file")


def writer(content):
    def spoil(path):
        with open(path, "wb") as file:
            file.write(content)
    return spoil


def cut(path):
    Image.fromarray(noise(64, 64, 3)).save(path)
    os.truncate(path, os.path.getsize(path) // 2)


def too_large(path):
    """A PNG of 200,000 x 200,000 pixels, it says."""
    Image.fromarray(noise(1, 1, 3)).save(path)
    with open(path, "r+b") as file:
        header = b"IHDR" + (200000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
        file.seek(12)
        file.write(header + zlib.crc32(header).to_bytes(4, "big"))


def cut_jpeg(path):
    """It ends early; its thumbnail does not."""
    image = Image.fromarray(noise(64, 64, 3))
    thumbnail = io.BytesIO()
    image.resize((8, 8)).save(thumbnail, "jpeg")
    image.save(path, exif=b"Exif\0\0" + thumbnail.getvalue())
    os.truncate(path, os.path.getsize(path) - 1000)


refuse("an image that is text", ["damaged"], writer(b"hello\n"))
refuse("an image of no bytes", ["damaged"], writer(b""))
refuse("a PNG that ends early", ["damaged"], cut, ["libpng error: Read Error"])
refuse("a JPEG that ends early", ["damaged"], cut_jpeg, path="class-a.jpg")
refuse("an image too large", ["size"], too_large)
refuse("an image that is not there", ["No such file"], lambda path: None)
refuse("a text whose name is a shell command", ["damaged"], writer(b"hello\n"),
       path="$(touch a) `touch b`; touch c; class-a.png")


@test
def many_threads(folder):
    """Darknet's 64 threads and an image that can't be read: one of them ends the run, in order"""
    folder.write("class-a.png", "hello\n")
    folder.write("train.list", folder.read("train.list").decode() + "class-a.png\n" * 9)
    for _ in range(3):
        with opencv():
            result = folder.darknet("classifier", "train", "deepkd.data", "teacher.cfg").check(1)
        check_error(result, ['Cannot load image "class-a.png"'])


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
        folder.distill_until(lambda line: line.startswith("6, "), signal.SIGTERM, "-dont_show")
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
