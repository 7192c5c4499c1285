#!/usr/bin/python3 -B
"""Tests of scripts/make_scenes.py, in TAP.

Proves: the test-size set has the checksum that is written there, twice; ids,
sizes, boxes and labels agree; boxes are tight, by the pixels; too little of a
garment never shows; train scenes hold training images only, val scenes test
images only; wrong input leaves no list.

The garments are Debian's Fashion-MNIST (or FASHION_MNIST's); without it the
tests that need it are skipped. To add a case: a function with @test before it.
"""
import json
import os
import signal
import struct
import subprocess
import sys
import time

import tap
from tap import ENVIRONMENT, PYTHON, ROOT, check_ran, test

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import make_scenes  # noqa: E402
from fashion_mnist import DEBIAN  # noqa: E402
from imagelist import Split  # noqa: E402
from make_scenes import Garment  # noqa: E402

FASHION = os.environ.get("FASHION_MNIST") or DEBIAN
SMALL = "--train", "24", "--val", "12"  # its checksum is known
TINY = "--train", "6", "--val", "5"


def command(*args):
    return [PYTHON, "-B", os.path.join(ROOT, "scripts/make_scenes.py"), *args]


def make(folder, *args, **env):
    """Runs the script in the folder."""
    if not os.path.isdir(FASHION):
        raise tap.missing("dataset-fashion-mnist")
    return subprocess.run(command(*args), check=False, cwd=folder.path, capture_output=True,
                          text=True, env={**ENVIRONMENT, **env})


def check_refused(result, status, *words):
    assert result.returncode == status, f"exit {result.returncode}: {result.stderr}"
    for word in words:
        assert word in result.stderr, f"no {word!r} in: {result.stderr}"


def files(folder, name):
    """{path: content} of all files in the folder."""
    top = folder.at(name)
    paths = [os.path.relpath(os.path.join(where, file), top)
             for where, _, names in os.walk(top) for file in names]
    return {path: folder.read(os.path.join(name, path)) for path in paths}


def instances(folder, name):
    return json.loads(folder.read(name))


def squares(count, label):
    """A data set of squares, 10 pixels wide, in the middle of 28."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 9:19, 9:19] = 255
    return Split("squares", images, np.full(count, label))


# The files

@test
def same_again(folder):
    """the set has the known checksum, and comes out the same in another folder"""
    check_ran(make(folder, "scenes", *SMALL))
    check_ran(make(folder, "again/scenes", *SMALL))
    first = files(folder, "scenes")
    assert first == files(folder, "again/scenes")
    assert len(first) == 2 * 36 + 5, sorted(first)


def check_split(folder, name, numbers):
    """Ids, sizes, boxes inside and labels of one split."""
    content = instances(folder, f"scenes/annotations/instances_{name}.json")
    assert [entry["id"] for entry in content["images"]] == list(numbers)
    assert [entry["id"] for entry in content["categories"]] == list(range(1, 11))
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])
    listed = folder.read(f"scenes/{name}.list").decode().split()
    for image, path in zip(content["images"], listed):
        assert path == f"data/scenes/images/{name}/{image['id']:012d}.png"
        with Image.open(folder.at(path[5:])) as pixels:
            size = pixels.size
            assert pixels.format == "PNG" and pixels.mode == "RGB"
        assert size == (image["width"], image["height"])
        assert all(112 <= side <= 160 for side in size), size
        boxes = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        assert len(boxes) <= 8
        check_labels(boxes, size, folder.read(f"scenes/labels/{name}/{image['id']:012d}.txt"))


def check_labels(boxes, size, text):
    """The boxes are in the canvas, and the label file says the same."""
    lines = text.decode().splitlines()
    assert len(lines) == len(boxes), f"{len(lines)} lines, {len(boxes)} boxes"
    for entry, line in zip(boxes, lines):
        left, top, width, height = entry["bbox"]
        assert min(left, top) >= 0 < min(width, height), entry
        assert left + width <= size[0] and top + height <= size[1], entry
        assert 0 < entry["area"] <= width * height and entry["iscrowd"] == 0, entry
        expected = [entry["category_id"] - 1, (left + width / 2) / size[0],
                    (top + height / 2) / size[1], width / size[0], height / size[1]]
        assert np.allclose([float(word) for word in line.split()], expected, 0, 1e-8), line


@test
def everything_agrees(folder):
    """ids, sizes, boxes, labels, lists and names agree, and all boxes are in their canvas"""
    check_ran(make(folder, "scenes", *SMALL))
    check_split(folder, "train", range(1, 25))
    check_split(folder, "val", range(100001, 100013))
    assert len(folder.read("scenes/names.txt").decode().splitlines()) == 10


@test
def seeds_and_sizes(folder):
    """a scene depends on the seed, not on how many there are"""
    check_ran(make(folder, "small", *SMALL))
    check_ran(make(folder, "tiny", *TINY))
    check_ran(make(folder, "other", *TINY, "--seed", "2"))
    small, tiny, other = (files(folder, name) for name in ("small", "tiny", "other"))
    images = [path for path in tiny if path.endswith(".png")]
    assert len(images) == 11
    for path in images:
        assert small[path] == tiny[path] != other[path], path


def blank_copy(folder, name, stem, count):
    """Fashion-MNIST with black images in one of its splits."""
    os.makedirs(folder.at(name))
    for file in os.listdir(FASHION):
        if not file.startswith(stem + "-images"):
            os.symlink(os.path.abspath(os.path.join(FASHION, file)),
                       os.path.join(folder.at(name), file))
    path = f"{name}/{stem}-images-idx3-ubyte"
    folder.write(path, struct.pack(">4I", 2051, count, 28, 28))
    os.truncate(folder.at(path), 16 + count * 28 * 28)
    return folder.at(name)


@test
def splits_never_mix(folder):
    """black test images empty the val scenes and change no train scene; the other way round too"""
    check_ran(make(folder, "real", *TINY))
    real = files(folder, "real")
    for stem, count, black, same in (("t10k", 10000, "val", "train"),
                                     ("train", 60000, "train", "val")):
        source = blank_copy(folder, stem, stem, count)
        check_ran(make(folder, f"no-{black}", *TINY, FASHION_MNIST=source))
        found = files(folder, f"no-{black}")
        content = instances(folder, f"no-{black}/annotations/instances_{black}.json")
        assert content["annotations"] == []
        shown = [path for path in real if f"/{same}/" in path or f"_{same}." in path]
        assert len(shown) > 10 and all(found[path] == real[path] for path in shown)


# The scenes

def changed(seed, number, pixels):
    """Where a scene differs from its background."""
    canvas = make_scenes.background(make_scenes.Random(seed, number))
    empty = np.floor(np.clip(canvas, 0, 255)).astype(np.uint8)
    return (pixels != empty).any(axis=2)


@test
def tight_boxes(_):
    """by the pixels, every garment is inside its box and reaches its four sides"""
    source, alone, empty = squares(5, 3), 0, 0
    for number in range(1, 301):
        pixels, garments = make_scenes.draw_scene(7, number, source)
        rest = changed(7, number, pixels)
        if len(garments) == 1:
            assert make_scenes.bounds(rest) == make_scenes.box(garments[0]), number
            alone += 1
        for garment in garments:
            rest[make_scenes.box(garment)] = False
            assert make_scenes.annotation(1, 1, garment)["category_id"] == 4
            assert garment.mask[1:-1, 1:-1].all() and max(garment.mask.shape) <= 2 * 12
        assert not rest.any(), f"{number}: painted outside of the boxes"
        empty += not garments
    assert alone > 15 > empty > 0, (alone, empty)


@test
def visible_garments(_):
    """later boxes cover at most half of a box, and 1 to 8 garments show"""
    source, counts = squares(5, 3), set()
    for number in range(1, 201):
        pixels, garments = make_scenes.draw_scene(3, number, source)
        counts.add(len(garments))
        places = [make_scenes.box(garment) for garment in garments]
        for i, place in enumerate(places):
            hidden = np.zeros(pixels.shape[:2], bool)
            for later in places[i + 1:]:
                hidden[later] = True
            assert hidden[place].mean() <= .5, (number, i)
    assert counts >= set(range(1, 9)) and max(counts) == 8, counts


@test
def clipped_garments(_):
    """a garment of which 60 % are inside is cut at the border, tightly; one of 59 % is not used"""
    mask = np.ones((10, 100), bool)
    mask[:, 60:64] = False
    for left, top, expected in ((0, 0, (0, 0, 10, 100)), (-40, 0, (0, 0, 10, 60)),
                                (-41, 0, None), (80, 0, (80, 0, 10, 60)), (76, 0, (76, 0, 10, 60)),
                                (0, -4, (0, 0, 6, 100)), (0, 94, (0, 94, 6, 100)),
                                (0, 95, None), (-20, -4, None), (500, 500, None)):
        garment = make_scenes.clipped(Garment(0, mask * 1., mask, left, top), 100, 140)
        found = garment and (garment.left, garment.top, *garment.mask.shape)
        assert found == expected, f"{left} {top}: {found}, expected {expected}"


@test
def bilinear_values(_):
    """bilinear values between four corners, and beyond them"""
    corners = np.array([[0., 8.], [16., 24.]])
    found = make_scenes.bilinear(corners, np.array([-1, .5, 1]), np.array([0, .25, 9]))
    assert found.tolist() == [[0, 2, 8], [8, 10, 16], [16, 18, 24]], found
    image = np.arange(9, dtype=np.uint8).reshape(3, 3) * 28
    assert np.array_equal(make_scenes.enlarged(image, 1)[1:-1, 1:-1], image / 255)


# Bad input

def no_lists(folder):
    assert not [name for name in folder.names("scenes") if name.endswith(".list")]


@test
def wrong_checksum(folder):
    """other garments, so another checksum, are an error, and leave no list"""
    check_ran(make(folder, "scenes", *TINY))
    source = blank_copy(folder, "black", "t10k", 10000)
    result = make(folder, "scenes", *SMALL, FASHION_MNIST=source)
    check_refused(result, 1, "24 train, 12 val, seed 1: expected ")
    assert result.stderr.count("\n") == 1, result.stderr
    no_lists(folder)


@test
def wrong_input(folder):
    """counts out of range and missing garments are refused, and nothing is touched"""
    check_ran(make(folder, "scenes", *TINY))
    before = files(folder, "scenes")
    for words in (("--train", "0"), ("--val", "100000"), ("--seed", "x")):
        check_refused(make(folder, "scenes", *words), 2, words[0])
    check_refused(make(folder, "scenes", *TINY, FASHION_MNIST="none"), 1, "none/train-images")
    assert files(folder, "scenes") == before
    folder.write("a-file", "")
    check_refused(make(folder, "a-file", *TINY), 1, "a-file")


@test
def killed(folder):
    """a run that is killed leaves no list"""
    check_ran(make(folder, "scenes", *TINY))
    last = folder.at(f"scenes/images/train/{20:012d}.png")
    with subprocess.Popen(command("scenes", "--train", "4000"), cwd=folder.path, env=ENVIRONMENT,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + tap.PATIENCE
        while not os.path.exists(last) and process.poll() is None and time.monotonic() < end:
            time.sleep(.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, process.returncode
    no_lists(folder)


tap.main()
