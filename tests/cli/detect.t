#!/usr/bin/python3 -B
"""Tests of `darknet deepkd detect`, in TAP.

Proves: it finds what `deepkd map` finds, letterboxed and stretched, above the threshold; JSON, label
files, lines and pictures say the same of an image, in the order it was given, whatever its name or
its classes' are; label files can be learnt from; the same words give the same bytes; nothing is
written over labels or images; a run that fails leaves nothing that is half written;
what is wrong is one line that names it.

To add a case: a function with @test before it, or a bad() at the end.
"""
import json
import os
import re
import shutil

import tap
from tap import CATEGORIES, YOLO_TEACHER, case, detector_data, teacher_detector_cfg, test

import numpy as np
from PIL import Image

WORDS = ("deepkd", "detect", "deepkd.data", "teacher.cfg", "teacher.weights")
VALID = [f"images/val/{number:012d}.png" for number in range(101, 119)]
LOW = ("-thresh", ".005")


def detect(folder, *words):
    return folder.darknet(*WORDS, *words).check(0)


def frames(folder, *words):
    """{path: [objects]}, in the JSON's order."""
    detect(folder, *words, "-json", "found.json")
    found = json.loads(folder.read("found.json"))
    assert [f["frame_id"] for f in found] == list(range(1, len(found) + 1)), found
    return {f["filename"]: f["objects"] for f in found}


def shares(thing):
    place = thing["relative_coordinates"]
    return [place[key] for key in ("center_x", "center_y", "width", "height")]


def pixels(folder, path):
    with Image.open(folder.at(path)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def check_same(folder, found):
    """What `deepkd map` writes of the validation list."""
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    folder.darknet("deepkd", "map", *WORDS[2:], "-out", "map.json").check(0)
    expected = {}
    for box in json.loads(folder.read("map.json")):
        expected.setdefault(box["image_id"], []).append(box)
    total = 0
    for path, things in found.items():
        boxes = expected.get(int(path[-16:-4]), [])
        assert len(boxes) == len(things), path
        height, width = pixels(folder, path).shape[:2]
        boxes.sort(key=lambda box: -box["score"])
        for box, thing in zip(boxes, things):
            assert abs(box["score"] - thing["confidence"]) < 2e-5, f"{box} {thing}"
        total += len(things)
        for thing in things:
            x, y, w, h = np.array(shares(thing)) * (width, height, width, height)
            own = [box for box in boxes if box["category_id"] == CATEGORIES[thing["class_id"]]]
            off = min(np.abs(np.array(box["bbox"]) - (x - w / 2, y - h / 2, w, h)).max()
                      for box in own)
            assert off < 2e-3, f"{path}: {thing}: {off} pixels off"
    assert total > 40, total


@test
def as_map(folder):
    """it finds what deepkd map finds; without images those of valid=, in its order"""
    found = frames(folder, *LOW)
    assert list(found) == VALID, list(found)
    check_same(folder, found)


@test
def stretched(folder):
    """with [net] letter_box=0, too, and then it finds something else"""
    before = frames(folder, *LOW)
    folder.write("teacher.cfg", teacher_detector_cfg(letter_box=0))
    found = frames(folder, *LOW)
    assert found != before
    check_same(folder, found)


@test
def suppression(folder):
    """as nms_kind= says: with another one other boxes stay"""
    before = frames(folder, *LOW)
    kind = {"nms_kind": "diounms", "beta_nms": ".1"}
    folder.write("teacher.cfg", teacher_detector_cfg(
        [(name, {**options, **(kind if name == "yolo" else {})}) for name, options in YOLO_TEACHER]))
    found = frames(folder, *LOW)
    assert sum(map(len, found.values())) > sum(map(len, before.values()))


@test
def lines(folder):
    """a line an image and a box, the surest first; -ext_output has places; -dont_show nothing"""
    images = [VALID[2], VALID[0]]
    things = frames(folder, *images, "-thresh", ".1")
    out = detect(folder, *images, "-thresh", ".1", "-ext_output", "-dont_show").out.split("\n")
    plain = detect(folder, *images, "-thresh", ".1").out.split("\n")
    assert plain == [line.split("\t")[0] for line in out], plain
    for path in images:
        assert out.pop(0) == f"{path}: {len(things[path])}", out
        size = pixels(folder, path).shape[1::-1] * 2
        scores = [thing["confidence"] for thing in things[path]]
        assert scores == sorted(scores, reverse=True) and min(scores, default=1) > .1, scores
        for thing in things[path]:
            line = out.pop(0)
            assert line.startswith(f"{thing['name']}: "), line
            percent, *place = map(int, re.findall(r"-?\d+", line.split(": ", 1)[1]))
            x, y, w, h = np.array(shares(thing)) * size
            assert abs(percent - 100 * thing["confidence"]) < .51, line
            assert np.abs(np.array(place) - (x - w / 2, y - h / 2, w, h)).max() < .51, line
    assert out == [""], out


@test
def pictures(folder):
    """-out: pictures with the boxes' frames, all else as it was; PNG of PNG, else JPEG"""
    Image.open(folder.at(VALID[1])).save(folder.at("one.BMP"))
    things = frames(folder, *VALID[:3], "one.BMP", "-out", "drawn")
    assert folder.names("drawn") == sorted([*(os.path.basename(path) for path in VALID[:3]),
                                            "one.jpg"])
    assert any(things.values())
    for path in VALID[:3]:
        before, after = pixels(folder, path), pixels(folder, "drawn/" + os.path.basename(path))
        assert before.shape == after.shape
        changed = (before != after).any(2)
        assert changed.any() == bool(things[path]), path
        inside = np.zeros_like(changed)
        for thing in things[path]:
            x, y, w, h = np.array(shares(thing)) * (before.shape[1::-1] * 2)
            left, top = int(x - w / 2), int(y - h / 2)
            inside[max(0, top - 8):int(y + h / 2) + 2, left:int(x + w / 2) + 99] = True
            assert changed[top + 3, left], f"{path}: {thing}"
        assert not (changed & ~inside).any(), path
    with Image.open(folder.at("drawn/one.jpg")) as image:
        assert image.format == "JPEG"


def label_rows(folder, name):
    return [line.split() for line in folder.read(name).decode().splitlines()]


def check_labels(folder, name, things):
    """A row for each box, its best class's."""
    best = {}
    for thing in things:
        best.setdefault(tuple(shares(thing)), thing["class_id"])
    found = [(tuple(float(n) for n in row[1:]), int(row[0])) for row in label_rows(folder, name)]
    assert found == list(best.items()), f"{found}\n{best}"


@test
def labels(folder):
    """-save_labels, into -out: each box with its best class; none: an empty file; all is read"""
    things = frames(folder, "-out", "drawn", "-save_labels", "-thresh", ".3")
    for path, objects in things.items():
        check_labels(folder, "drawn/" + os.path.basename(path)[:-3] + "txt", objects)
    assert any(not objects for objects in things.values())
    folder.write("valid.list", "".join(f"drawn/{os.path.basename(path)}\n" for path in VALID))
    for path in VALID:  # without the frames
        shutil.copy(folder.at(path), folder.at("drawn"))
    out = folder.darknet("deepkd", "map", *WORDS[2:]).check(0).out
    assert float(re.search(r"mAP@0.50\) = ([\d.]+)", out)[1]) > .85, out


@test
def labels_in_place(folder):
    """without -out label files go where Darknet looks for them, and over no others"""
    folder.own("labels")
    label = "labels/val/000000000102.txt"
    before = folder.read(label)
    result = folder.darknet(*WORDS, "-save_labels", "-json", "found.json").check(1)
    tap.check_error(result, ["labels/val/000000000101.txt: found labels", "-out FOLDER"])
    assert not os.path.exists(folder.at("found.json"))
    folder.remove(label)
    things = frames(folder, VALID[1], "-save_labels", *LOW)
    check_labels(folder, label, things[VALID[1]])
    assert folder.read(label) != before
    shutil.copy(folder.at(VALID[0]), folder.at("here.png"))
    things = frames(folder, "here.png", "-save_labels", *LOW)
    check_labels(folder, "here.txt", things["here.png"])


@test
def odd_names(folder):
    """class names that are no UTF-8, or have quotes, leave JSON that others can read"""
    folder.remove("names.txt")
    folder.write("names.txt", b"caf\xe9\n\"q\\\xc3\xa9\ngr\xc3\n")
    frames(folder, *VALID, *LOW)
    names = {thing["name"] for frame in json.loads(folder.read("found.json"))
             for thing in frame["objects"]}
    assert names == {"caf\u00e9", "\"q\\\u00e9", "gr\u00c3"}, names


@test
def several_lists(folder):
    """images and lists (.txt, .list) in any number, in their order; an image twice"""
    folder.write("a.list", f"{VALID[4]}\n{VALID[3]}\n")
    folder.write("b.TXT", VALID[5] + "\n")
    detect(folder, "a.list", VALID[7], "b.TXT", VALID[7], "-json", "found.json")
    found = [f["filename"] for f in json.loads(folder.read("found.json"))]
    assert found == [VALID[4], VALID[3], VALID[7], VALID[5], VALID[7]], found


@test
def odd_names(folder):
    """names with quotes, letters of UTF-8 and control characters; without names= numbers"""
    names = ['a "quoted" \\ one', "größer", "tab\there"]
    folder.write("names.txt", "\n".join(names) + "\n")
    image = 'an "image" größer\\.png'
    shutil.copy(folder.at(VALID[1]), folder.at(image))
    things = frames(folder, image, "-out", "dr awn", *LOW)[image]
    assert {thing["name"] for thing in things} <= set(names), things
    assert all(thing["name"] == names[thing["class_id"]] for thing in things)
    assert folder.names("dr awn") == [image]
    folder.write("deepkd.data", detector_data(names=None))
    for thing in frames(folder, VALID[1], *LOW)[VALID[1]]:
        assert thing["name"] == f"class {thing['class_id']}", thing


@test
def repeatable(folder):
    """the same words, the same bytes; with other cores no other boxes"""
    results = []
    for threads in ("1", "2", "2"):
        out = folder.darknet(*WORDS, "-out", "drawn", "-json", "found.json", "-save_labels",
                             env={**tap.ENVIRONMENT, "OMP_NUM_THREADS": threads}).check(0).out
        results.append((out, folder.read("found.json"), folder.snapshot("drawn")))
        shutil.rmtree(folder.at("drawn"))
    assert results[1] == results[2]
    assert results[0][0] == results[1][0]


@test
def failed(folder):
    """an image that can't be decoded: no JSON, no labels, no half picture; a full disk is an error"""
    folder.darknet(*WORDS, VALID[0], VALID[0], "-out", "drawn").check(1)
    assert not os.path.exists(folder.at("drawn"))
    folder.write("broken.png", folder.read(VALID[0])[:300])
    result = folder.darknet(*WORDS, VALID[0], "broken.png", "-out", "drawn", "-save_labels",
                            "-json", "found.json").check(1)
    assert '"broken.png": ' in result.err, result.err
    assert folder.names("drawn") == [os.path.basename(VALID[0])]
    assert not os.path.exists(folder.at("found.json"))
    with open("/dev/full", "wb") as full:
        done = tap.subprocess.run(**folder.command(*WORDS, stdout=full), check=False,
                                  stderr=tap.subprocess.PIPE)
    assert done.returncode == 1 and b"standard output" in done.stderr.lower(), done.stderr


def bad(name, *words, flags="", args=None, **files):
    case(name, *words, args=args or f"{' '.join(WORDS)} {flags}", **files)


USAGE = "usage: darknet deepkd detect DATA CFG WEIGHTS"
for value in ("-.1", "1.1", "nan", "x", "", ".5x"):
    if value:
        bad(f"-thresh {value}", f"-thresh {value}: expected a number from 0 to 1",
            flags=f"-thresh {value}")
bad("-thresh without a number", "-thresh: its value is missing", USAGE, flags="-thresh")
bad("no weights", "found no WEIGHTS", USAGE, args="deepkd detect deepkd.data teacher.cfg")
bad("an image that is not there", "no.png: No such file", flags="no.png")
bad("a list that is not there", "no.list: No such file", flags="no.list")
bad("a list with an image that is not there", "a.list: no.png: No such file", flags="a.list",
    a_list="no.png\n")
bad("an empty list", "a.list", "empty", flags="a.list", a_list="")
bad("a folder for an image", "images: found no file, expected an image", flags="images")
bad("an image that can't be decoded", "names.png", "expected JPEG, PNG", flags="names.png",
    names_png="red\n")
bad("no list at all", "deepkd.data: found no valid=", data=detector_data(valid=None))
bad("a classifier", "teacher.cfg: found a classifier, expected a detector",
    teacher=tap.teacher_cfg())
bad("names of another number", "names.txt: found 2 labels, expected 3", names_txt="a\nb\n")
bad("weights of another network", "teacher.weights", "bytes", teacher_weights=b"\0" * 99)
bad("other classes", "deepkd.data: classes=4: expected 3", data=detector_data(classes=4))
bad("-out of a file", "-out names.txt: found a file, expected a folder", flags="-out names.txt")
bad("-out of JSON", "-out result.json: expected a folder", "-json FILE", flags="-out result.json")
bad("-out in no folder", "-out no/drawn: No such file", flags="-out no/drawn")
bad("-out where the images are", "-out images/val: the picture would take the place of "
    f"{VALID[0]}", flags="-out images/val")
bad("two images of one name", "drawn/000000000101.png: found two results", "other names",
    flags=f"{VALID[0]} {VALID[0]} -out drawn")
bad("-json in no folder", "no/found.json: No such file", flags=f"{VALID[0]} -json no/found.json")
for name in ("teacher.weights", "teacher.cfg", "deepkd.data", "names.txt", VALID[0], "valid.list"):
    bad(f"-json over {name}", f"-json {name}: would take the place of {name}",
        flags=f"{VALID[0]} -json {name}")
for name in ("-", "images"):
    bad(f"-json {name}", f"-json {name}: expected a file's name", flags=f"{VALID[0]} -json {name}")
bad("-json over a picture", "drawn/000000000101.png: found two results",
    flags=f"{VALID[0]} -out drawn -json drawn/000000000101.png")
bad("labels beside labels", "labels/val/000000000101.txt: found labels", "another -out FOLDER",
    flags=f"{VALID[0]} -out labels/val -save_labels",
    edit=lambda f: f.own("labels"))
bad("a net that finds what is no number", "teacher.weights", "not finite",
    edit=lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-4] + b"\0\0\xc0\x7f"))

if __name__ == "__main__":
    tap.main(tap.DetectorFolder)
