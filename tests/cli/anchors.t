#!/usr/bin/python3 -B
"""Tests of `darknet deepkd anchors`, in TAP.

Proves: the line is one of a cfg, whole pixels by area, and with its comment a cfg takes it as it
is; the mean IoU is what a few lines of Python say of the same boxes, letterboxed and stretched, of
JPEGs that lie on their side, too; it is as good as k-means here; the same on every run and for
every order of the list; a cfg's input, letter_box= and anchors are the defaults, a [region]'s
anchors are in cells; what is wrong is one line that names it.

To add a case: a function with @test before it, or a case() at the end.
"""
import re

import tap
from tap import REGION, SCENES, YOLO, case, detector_data, plain_detector_cfg, scene, test

import numpy as np
from PIL import Image

WORDS = ("deepkd", "anchors", "deepkd.data")
SIZE = ("-width", "96", "-height", "64")
LINE = re.compile(r"anchors = (\d+,\d+(?:,  \d+,\d+)*)\n")


def anchors(folder, *words):
    """[k][2], and the mean IoU that it says."""
    out = folder.darknet(*WORDS, *words).check(0).out
    comment, rest = out.split("\n", 1)
    found = LINE.fullmatch(rest[rest.index("anchors"):])
    assert comment.startswith("# ") and found, out
    numbers = np.array([int(n) for n in re.findall(r"\d+", found[1])]).reshape(-1, 2)
    return numbers, float(re.search(r"anchors ([\d.]+) %$", comment)[1])


def boxes(width, height, stretched=False):
    """[n][2] pixels of the training scenes' boxes, on an input of this size."""
    sizes = []
    _, first, count = SCENES["train"]
    for number in range(first, first + count):
        pixels, labels = scene(number)
        h, w = pixels.shape[:2]
        across, down = (width, height) if stretched else \
            (width, h * width // w) if width / w < height / h else (w * height // h, height)
        sizes += [(bw / w * across, bh / h * down) for _, _, _, bw, bh in labels]
    return np.array(sizes)


def mean_iou(sizes, shapes):
    both = np.minimum(sizes[:, None], np.asarray(shapes, float)).prod(2)
    area = sizes.prod(1)[:, None] + np.asarray(shapes, float).prod(1) - both
    return 100 * (both / area).max(1).mean()


def k_means(sizes, k):
    """The best mean IoU of 20 random starts, with means, as YOLOv2 has it."""
    random, best = np.random.RandomState(0), 0
    for _ in range(20):
        shapes = sizes[random.choice(len(sizes), k, False)]
        for _ in range(50):
            both = np.minimum(sizes[:, None], shapes).prod(2)
            owner = (both / (sizes.prod(1)[:, None] + shapes.prod(1) - both)).argmax(1)
            shapes = np.array([sizes[owner == j].mean(0) if (owner == j).any() else shapes[j]
                               for j in range(k)])
        best = max(best, mean_iou(sizes, shapes))
    return best


@test
def mean_is_true(folder):
    """the mean IoU is that of the printed anchors, and no worse than k-means'; sorted by area"""
    for stretched in (False, True):
        sizes = boxes(96, 64, stretched)
        for k in (1, 3, 6):
            flags = ["-letter_box", "0"] if stretched else []
            shapes, said = anchors(folder, "-n", str(k), *SIZE, *flags)
            assert shapes.shape == (k, 2), shapes
            areas = shapes.prod(1)
            assert (np.diff(areas) >= 0).all(), shapes
            true = mean_iou(sizes, shapes)
            assert abs(true - said) < .06, f"{k}: {said}, {true}"  # labels have six digits
            assert said > k_means(sizes, k) - .5, f"{k}: {said}, k-means {k_means(sizes, k)}"


@test
def repeatable(folder):
    """the same on every run, and for every order of the list"""
    words = [*WORDS, "-n", "5", *SIZE]
    out = folder.darknet(*words).check(0).out
    assert folder.darknet(*words).check(0).out == out
    folder.write("train.list", "\n".join(reversed(folder.read("train.list").decode().split())))
    assert folder.darknet(*words).check(0).out == out


@test
def from_cfg(folder):
    """a cfg has the number, size and letter_box, which flags replace, and its own mean IoU"""
    folder.write("plain.cfg", plain_detector_cfg(width=96, height=64))
    shapes, said = anchors(folder, "plain.cfg")
    assert (shapes == anchors(folder, "-n", "2", *SIZE)[0]).all()
    own = re.search(r"# with those of plain.cfg: ([\d.]+) %",
                    folder.darknet(*WORDS, "plain.cfg").out)[1]
    true = mean_iou(boxes(96, 64), [[8, 8], [14, 14]])
    assert abs(float(own) - true) < .06 and float(own) < said, f"{own}, {true}, {said}"
    folder.write("plain.cfg", plain_detector_cfg(width=96, height=64, letter_box=0))
    stretched = anchors(folder, "-n", "2", *SIZE, "-letter_box", "0")
    assert (anchors(folder, "plain.cfg")[0] == stretched[0]).all()
    for flags, words in ((["-letter_box", "1"], SIZE), (["-width", "48"], ("-width", "48",
                                                                         "-height", "64"))):
        letter = [] if "-letter_box" in flags else ["-letter_box", "0"]
        assert (anchors(folder, "plain.cfg", *flags)[0] ==
                anchors(folder, "-n", "2", *words, *letter)[0]).all(), flags
    assert len(anchors(folder, "plain.cfg", "-n", "3")[0]) == 3


@test
def in_cells(folder):
    """a [region]'s anchors are in cells"""
    folder.write("plain.cfg", plain_detector_cfg(REGION, width=96, height=64))
    out = folder.darknet(*WORDS, "plain.cfg").check(0).out
    cells = [float(n) for n in out.split("anchors = ")[1].split(",")]
    shapes = anchors(folder, "-n", "2", *SIZE)[0]
    assert cells == (shapes / 8).flatten().tolist(), f"{cells} {shapes}"


@test
def pasted(folder):
    """a cfg takes what was printed, comments too"""
    out = folder.darknet(*WORDS, "-n", "2", *SIZE).check(0).out
    text = plain_detector_cfg()
    assert "anchors=8,8, 14,14\n" in text
    folder.write("plain.cfg", text.replace("anchors=8,8, 14,14\n", out))
    folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", "teacher.cfg").check(0)
    again = folder.darknet(*WORDS, "plain.cfg", *SIZE).check(0).out
    said = re.search(r"anchors ([\d.]+) %", out)[1]
    assert f"# with those of plain.cfg: {said} %" in again, f"{out}{again}"


@test
def turned(folder):
    """a JPEG that EXIF says lies on its side counts as it is looked at; a header is enough"""
    folder.own("images"), folder.own("labels")
    name = "images/train/000000000001.jpg"
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (80, 40)).save(folder.at(name), exif=exif)
    folder.write(name, folder.read(name)[:-20])
    folder.write("labels/train/000000000001.txt", "0 .5 .5 .5 .5\n")
    folder.write("train.list", name)
    assert anchors(folder, "-n", "1", *SIZE)[0].tolist() == [[16, 32]]  # 40 x 80 becomes 32 x 64
    assert anchors(folder, "-n", "1", *SIZE, "-letter_box", "0")[0].tolist() == [[48, 32]]


def bad(name, *words, flags="-n 2 -width 96 -height 64", **files):
    case(name, *words, args=f"{' '.join(WORDS)} {flags}", **files)


def only(content):
    """An edit: all training labels have this content."""
    def edit(folder):
        folder.own("labels")
        for label in folder.names("labels/train"):
            folder.write(f"labels/train/{label}", content)
    return edit


bad("no boxes at all", "train.list: found no boxes in the labels of its 44 images",
    "expected at least 2", edit=only(""))
bad("one size for two anchors", "train.list: found 1 different sizes of boxes", "96 x 64",
    "expected at least 2", edit=only("0 .5 .5 .5 .5\n1 .6 .6 .5 .5\n"),
    flags="-n 2 -width 96 -height 64 -letter_box 0")
bad("more anchors than sizes", "train.list: found ", "different sizes", "expected at least 100",
    flags="-n 100 -width 96 -height 64")
for n in ("0", "-1", "101", "x", "2.5"):
    bad(f"-n {n}", f"-n {n}: expected a whole number from 1 to 100",
        flags=f"-n {n} -width 96 -height 64")
for n in ("0", "65536", "wide"):
    bad(f"-width {n}", f"-width {n}: expected a whole number from 1 to 65535",
        flags=f"-n 2 -width {n} -height 64")
bad("-letter_box 2", "-letter_box 2: expected 0 or 1",
    flags="-n 2 -width 96 -height 64 -letter_box 2")
for flag, flags in (("-n N", "-width 96 -height 64"), ("-width W", "-n 2 -height 64"),
                    ("-height H", "-n 2 -width 96")):
    bad(f"no {flag}", f"found neither {flag} nor CFG", "usage: darknet deepkd anchors", flags=flags)
bad("no list", "deepkd.data: found no train=", data=detector_data(train=None))
bad("a list that is not there", "no.list", "No such file", data=detector_data(train="no.list"))
bad("a class too many", "expected a whole number from 0 to 0", "labels/train/",
    data=detector_data(classes=1))
bad("a classifier's cfg", "plain.cfg: found a classifier, expected a detector", flags="plain.cfg",
    plain_cfg=tap.plain_cfg())
bad("a cfg of other classes", "deepkd.data: classes=2: expected 3, as in plain.cfg",
    flags="plain.cfg", plain_cfg=plain_detector_cfg(YOLO), data=detector_data(classes=2))
bad("an image that can't be decoded", "images/train/000000000001.png: cannot be decoded: ",
    edit=lambda f: f.own("images") or f.write("images/train/000000000001.png", b"no"))
bad("a cfg of 101 anchors", "plain.cfg: found 101 anchors, expected at most 100, or -n N",
    flags="plain.cfg",
    plain_cfg=plain_detector_cfg([*tap.BODY, *tap.head("yolo", ", ".join(101 * ["8,8"]))]))
case("a .data file that is not there", "no.data", "No such file",
     args="deepkd anchors no.data -n 2 -width 96 -height 64")

if __name__ == "__main__":
    tap.main(tap.DetectorFolder)
