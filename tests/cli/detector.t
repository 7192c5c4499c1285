#!/usr/bin/python3 -B
"""Darknet's own `detector` commands under the patches, on a toy set, in TAP.

Proves: a [region] net learns on the CPU, max= is obeyed, image ids, label files
and JSON come out right for any folder, and what stock Darknet overran, skipped
or crashed on (heads, labels, short lists) fails with one line, or works. What
the heads compute is not looked at here, nor anything of distill.
"""
import configparser
import glob
import json
import os
import re

import tap
from tap import DARKNET, cfg, floats, lines, test

import numpy as np
from PIL import Image

BUILD = os.path.dirname(DARKNET)
SIDE = 32
IMAGES, BOXES = 4, 2  # pictures, and boxes in each
NET = {"batch": 4, "width": SIDE, "height": SIDE, "learning_rate": ".002", "max_batches": 1}
BODY = [("convolutional", {"batch_normalize": 1, "filters": 8, "size": 3, "stride": stride,
                           "pad": 1, "activation": "leaky"}) for stride in (2, 2, 2)]
YOLO = {"mask": "0,1", "anchors": "6,6, 12,12", "classes": 2, "num": 2, "jitter": ".2",
        "ignore_thresh": ".7", "truth_thresh": 1}
REGION = {"anchors": "1,1, 2,2", "classes": 2, "num": 2, "coords": 4, "jitter": ".2",
          "softmax": 1, "bias_match": 1, "rescore": 1, "object_scale": 5, "thresh": ".6"}
HEADS = {"yolo": YOLO, "region": REGION}
ANY_BOX = "0 .5 .5 .2 .2\n"


# The toy set

def head_cfg(name, filters=14, net=None, **options):
    """A cfg's text: a small net with one head; None leaves a key of it out."""
    conv = ("convolutional", {"filters": filters, "size": 1, "stride": 1, "pad": 1,
                              "activation": "linear"})
    return cfg([*BODY, conv, (name, {**HEADS[name], **options})], **{**NET, **(net or {})})


def picture(number):
    """A dark picture with a red and a green box, and its label file's text."""
    random = np.random.RandomState(number)
    pixels = random.randint(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    label = []
    for channel in range(BOXES):
        (x, y), (w, h) = random.randint(2, 16, 2), random.randint(6, 14, 2)
        pixels[y:y + h, x:x + w, channel] = 220
        numbers = [(x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE]
        label.append(" ".join([str(channel), *(f"{number:.6f}" for number in numbers)]) + "\n")
    return Image.fromarray(pixels), "".join(label)


def add_picture(folder, path, number=0):
    os.makedirs(os.path.dirname(folder.at(path)) or folder.path, exist_ok=True)
    image, label = picture(number)
    image.save(folder.at(path))
    return label


def add_label(folder, path, text):
    os.makedirs(os.path.dirname(folder.at(path)) or folder.path, exist_ok=True)
    folder.write(path, text)


def use_list(folder, *paths):
    folder.write("toy.list", "".join(path + "\n" for path in paths))


def prepare(folder, **options):
    """toy.data, toy.list, its pictures and labels, yolo.cfg and region.cfg."""
    paths = [f"toy/images/{number}.png" for number in range(IMAGES)]
    for number, path in enumerate(paths):
        label = add_picture(folder, path, number)
        add_label(folder, f"toy/labels/{number}.txt", label)
    use_list(folder, *paths)
    folder.write("toy.names", "red\ngreen\n")
    os.makedirs(folder.at("results"))
    folder.write("toy.data", "\n".join(lines({
        "classes": 2, "train": "toy.list", "valid": "toy.list", "names": "toy.names",
        "backup": "backup", "results": "results", "eval": "coco", **options})) + "\n")
    for name in HEADS:
        folder.write(f"{name}.cfg", head_cfg(name))


def train(folder, name, *more):
    return folder.darknet("detector", "train", "toy.data", f"{name}.cfg", *more)


def check_last(result, *words):
    """Exit 1, and every word in stderr's last line."""
    last = result.check(1).err.rstrip("\n").split("\n")[-1]
    for word in words:
        assert word in last, f"no {word!r}: {result.describe()}"


def random_weights(folder, name):
    folder.darknet("partial", f"{name}.cfg", "", f"{name}.weights", "99").check(0)


# Learning

def losses(out):
    return [float(loss) for loss in re.findall(r"^\d+: ([\d.]+), ", out, re.M)]


def learns(name, filters=14, **options):
    def run(folder):
        prepare(folder)
        folder.write("toy.tree", "red -1\ngreen -1\ndark 1\nlight 1\n")
        folder.write(f"{name}.cfg", head_cfg(name, filters, {"max_batches": 80}, **options))
        random_weights(folder, name)
        result = train(folder, name, f"{name}.weights").check(0)
        loss = losses(result.out)
        assert len(loss) == 80, f"{len(loss)} losses"
        first, last = np.mean(loss[:5]), np.mean(loss[-5:])
        assert last < first / 2, f"loss: {first}, then {last}"
        before, after = (floats(folder.read(path)) for path in
                         (f"{name}.weights", f"backup/{name}_final.weights"))
        assert np.isfinite(after).all() and (before != after).mean() > .9
    words = " ".join(["", *lines(options)])
    test(run, f"a [{name}]{words} net learns on the CPU: other weights, a lower loss")


learns("yolo")
learns("region")
learns("region", softmax=0)
learns("region", 2 * (4 + 5), classes=4, tree="toy.tree")


def counts(folder, name, boxes, **options):
    """Truths that the head counts in a batch of pictures with so many boxes each."""
    for number in range(IMAGES):
        folder.write(f"toy/labels/{number}.txt", ANY_BOX * boxes)
    folder.write(f"{name}.cfg", head_cfg(name, **options))
    found = re.findall(r"^Region .*count: (\d+)$", train(folder, name).check(0).out, re.M)
    assert len(found) == 1, f"{len(found)} lines"
    return int(found[0])


def obeys_max(name, default):
    def run(folder):
        prepare(folder)
        for boxes, options, wanted in ((3, {"max": 4}, 3), (9, {"max": 4}, 4),
                                       (150, {"max": 200}, 150), (250, {"max": 200}, 200),
                                       (1000, {}, default)):
            count = counts(folder, name, boxes, **options)
            assert count == 4 * wanted, f"{boxes} boxes, {options}: {count} in 4 pictures"
    test(run, f"[{name}] max=: each picture's boxes count, up to max or {default}")


obeys_max("yolo", 90)
obeys_max("region", 30)


@test
def resizing(folder):
    """random=1 trains at another size, with both heads"""
    prepare(folder)
    for name in HEADS:
        folder.write(f"{name}.cfg", head_cfg(name, random=1, net={"batch": 1}))
        assert "Resizing\n608\n" in train(folder, name).check(0).out


# Heads

def head_fails(name, changes, *words, filters=14):
    def run(folder):
        folder.write("toy.tree", "thing -1\n")
        folder.write("bad.cfg", head_cfg(name, filters, **changes))
        check_last(folder.darknet("ops", "bad.cfg"), "bad.cfg: ", f"[{name}]", *words)
    changed = " ".join([*lines(changes), f"filters={filters}"])
    test(run, f"[{name}] {changed[:60]}: exit 1")


head_fails("yolo", {"anchors": "6,6, 12"}, "anchors: 3 numbers", "expected 4")
head_fails("yolo", {"anchors": "6,6"}, "anchors: 1 pairs", "at least 2")
head_fails("yolo", {"anchors": "1,1,2,2,3,3"}, "anchors: 6 numbers", "expected 4", "num=2")
head_fails("yolo", {"anchors": ",".join(["6"] * 3000)}, "3000 numbers")
for bad in ("6,6,12,x", "6,6,,12", "6,6,12,", "nan,6,12,12", "-inf,6,12,12", "0x6,6", "6;6"):
    head_fails("yolo", {"anchors": bad}, "anchors: expected numbers")
head_fails("yolo", {"anchors": "6 6 12 12"}, "anchors: 1 numbers")  # Darknet drops blanks
for bad in ("0,6,12,12", "6,-6,12,12", "1e999,6,12,12"):
    head_fails("yolo", {"anchors": bad}, "expected more than 0")
    head_fails("region", {"anchors": bad}, "expected more than 0")
head_fails("region", {"anchors": "1,1"}, "anchors: 1 pairs", "at least 2")
head_fails("region", {"anchors": "1,1,2,2,3,3"}, "anchors: 6 numbers", "expected 4")
head_fails("region", {"anchors": "1,1,2,two"}, "anchors: expected numbers", "two")
head_fails("yolo", {"mask": "0,2"}, "mask: 2", "expected 0 to 1")
head_fails("yolo", {"mask": "-1,0"}, "mask: -1", "expected 0 to 1")
head_fails("yolo", {"mask": "1,1"}, "mask: 1", "once")
head_fails("yolo", {"mask": "0,1.5"}, "mask: 1.5")
head_fails("yolo", {"mask": "0,b"}, "mask: expected numbers", "b")
for head in HEADS:
    head_fails(head, {"classes": 0}, "classes=0")
    head_fails(head, {"classes": -3}, "classes=-3")
    head_fails(head, {"num": 0}, "num=0")
    head_fails(head, {"max": 0}, "max=0")
    head_fails(head, {"max": -5}, "max=-5")
    head_fails(head, {"classes": 3}, "filters=14", "expected 16")
    head_fails(head, {}, "filters=255", "expected 14", "(classes=2 + 5) x 2", filters=255)
head_fails("region", {"coords": 3}, "coords=3", filters=12)
head_fails("region", {"tree": "toy.tree"}, "tree: 1 classes", "expected classes=2")


def two_heads(second):
    conv = ("convolutional", {"filters": 14, "size": 1, "stride": 1, "activation": "linear"})
    wide = ("convolutional", {"filters": 16, "size": 1, "stride": 1, "activation": "linear"})
    return cfg([conv, ("yolo", YOLO), ("route", {"layers": "0"}),
                wide if "classes" in second else conv, ("yolo", {**YOLO, **second})], **NET)


@test
def heads_disagree(folder):
    """heads with other classes, or room for other numbers of truths, are refused"""
    folder.write("two.cfg", two_heads({}))
    folder.darknet("ops", "two.cfg").check(0)
    for second, word in (({"classes": 3}, "classes=3"), ({"max": 50}, "max=50")):
        folder.write("two.cfg", two_heads(second))
        check_last(folder.darknet("ops", "two.cfg"), "two.cfg: ", word, "as in layer 1")


@test
def defaults(folder):
    """a head may have anchors for its mask alone, or none at all"""
    for name, options in (("yolo", {"anchors": "6,6, 12,12", "num": 5}),
                          ("yolo", {"anchors": None}), ("yolo", {"mask": None}),
                          ("region", {"anchors": None})):
        folder.write("good.cfg", head_cfg(name, **options))
        folder.darknet("ops", "good.cfg").check(0)
    folder.write("good.cfg", head_cfg("region", 2 * (2 + 9), coords=8))
    folder.darknet("ops", "good.cfg").check(0)


def heads_of(path):
    """The heads of a cfg: [(name, its options as text)]."""
    with open(path, encoding="utf-8") as file:
        sections = re.split(r"^\[(\w+)\]", file.read(), flags=re.M)
    return [(name, text) for name, text in zip(sections[1::2], sections[2::2])
            if name in HEADS]


def filters_of(text):
    parser = configparser.ConfigParser(strict=False)
    parser.read_string("[head]\n" + re.sub(r"^\s+", "", text, flags=re.M))
    head = parser["head"]
    boxes = len(head["mask"].split(",")) if "mask" in head else int(head["num"])
    return boxes * (int(head["classes"]) + int(head.get("coords", 4)) + 1)


@test
def shipped_heads(folder):
    """each [yolo] and [region] of Darknet's cfg files and of ours parses"""
    os.symlink(os.path.join(BUILD, "data"), folder.at("data"))  # a tree and a map
    seen = 0
    for path in sorted(glob.glob(os.path.join(BUILD, "cfg", "*.cfg"))):
        for name, text in heads_of(path):
            conv = ("convolutional", {"filters": filters_of(text), "size": 1,
                                      "stride": 1, "activation": "linear"})
            folder.write("head.cfg", cfg([conv], width=2, height=2, batch=1) +
                         f"[{name}]{text}")
            folder.darknet("ops", "head.cfg").check(0)
            seen += 1
    assert seen >= 20, f"{seen} heads"


# Labels

LABEL_PATHS = {
    "images/a.png": "labels/a.txt",
    "drawings/images/a.jpeg": "drawings/labels/a.txt",
    "images/old/images/a.png": "images/old/labels/a.txt",
    "raw/images/train/a.jpg": "raw/labels/train/a.txt",
    "my_images_2/a.b.png": "my_labels_2/a.b.txt",
    "JPEGImages/images.raw.png": "labels/images.raw.txt",
    "raw/a.bmp": "labels/a.txt",
    "photos/a.jpg.png": "photos/a.jpg.txt",
    "images.png": "images.txt",
    "imagesets/images-of-images/.a.png": "imagesets/labels-of-images/.a.txt",
    "/".join(["n" * 200, "images", "m" * 200, "a.png"]):
        "/".join(["n" * 200, "labels", "m" * 200, "a.txt"]),
}


@test
def label_paths(folder):
    """the label file is found for folders and files of any name"""
    prepare(folder)
    for image, label in LABEL_PATHS.items():
        add_picture(folder, image)
        use_list(folder, image)
        check_last(train(folder, "yolo"), label, "No such file")
        add_label(folder, label, "hello\n")
        check_last(train(folder, "yolo"), f"{label}: line 1: ", "found: hello")
        add_label(folder, label, ANY_BOX)
        train(folder, "yolo").check(0)
        folder.remove(label)


def label_fails(line, *words):
    def run(folder):
        prepare(folder)
        use_list(folder, "toy/images/0.png")
        folder.write("toy/labels/0.txt", f"{ANY_BOX}\n{line}\n{ANY_BOX}")
        for name in HEADS:
            result = train(folder, name)
            check_last(result, "toy/labels/0.txt: line 3: ", *words)
            assert result.err.count("toy/labels/0.txt") == 1, result.describe()
    test(run, f"a label {line!r}: exit 1, in one line")


for bad in ("2 .5 .5 .2 .2", "-1 .5 .5 .2 .2", "99999999999 .5 .5 .2 .2", "1.5 .5 .5 .2 .2",
            "0 .5 .5 .2", "0 .5 .5 .2 .2 .9", "0 .5 .5 .2 big", "0,.5,.5,.2,.2",
            "0 nan .5 .2 .2", "0 .5 .5 inf .2", "0 .5 .5 .2 1e999", "0 0x1 .5 .2 .2"):
    label_fails(bad, "expected class (0 to 1) x y w h", f"found: {bad}")


@test
def odd_labels(folder):
    """labels that are no error: none, Windows line ends, boxes at and beyond the border"""
    prepare(folder)
    for text in ("", "\n \n\n", ANY_BOX.strip(), ANY_BOX.replace("\n", "\r\n") * 3,
                 "0 1 1 .2 .2\n", "0 0 0 .2 .2\n", "1 0 1 1 1\n", "1 .5 .5 1 1\n",
                 "0 1.5 -2 .3 .3\n", "0 .5 .5 0 0\n", "0 .5 .5 -1 .2\n", "0 .5 .5 9 9\n"):
        for number in range(IMAGES):
            folder.write(f"toy/labels/{number}.txt", text)
        for name in HEADS:
            result = train(folder, name).check(0)
            assert np.isfinite(losses(result.out)).all(), f"{text!r}: {result.out}"


@test
def maps(folder):
    """map=: labels may have its classes, and it only the net's"""
    prepare(folder)
    folder.write("toy.map", "0\n1\n1\n0\n")
    use_list(folder, "toy/images/0.png")
    for name in HEADS:
        folder.write(f"{name}.cfg", head_cfg(name, map="toy.map"))
        folder.write("toy/labels/0.txt", "3 .5 .5 .2 .2\n2 .3 .5 .2 .2\n")
        train(folder, name).check(0)
        folder.write("toy/labels/0.txt", "4 .5 .5 .2 .2\n")
        check_last(train(folder, name), "toy/labels/0.txt: line 1: ", "class (0 to 3)")
        folder.write("bad.map", "0\n2\n")
        folder.write("bad.cfg", head_cfg(name, map="bad.map"))
        check_last(train(folder, "bad"), "bad.cfg: ", "bad.map: line 2: 2", "0 to 1")


# Detections

def valid(folder, name, *more, verb="valid"):
    return folder.darknet("detector", verb, "toy.data", f"{name}.cfg", f"{name}.weights", *more)


def detections(folder):
    return json.loads(folder.read("results/coco_results.json"))


def use_silent_net(folder):
    """silent.cfg and .weights: a [yolo] that finds nothing anywhere."""
    conv = ("convolutional", {"filters": 14, "size": 1, "stride": 8, "activation": "linear"})
    folder.write("silent.cfg", cfg([conv, ("yolo", YOLO)], **NET))
    numbers = np.array([-20] * 14 + [0] * 42, np.float32)
    header = np.array([0, 2, 0, 0, 0], np.int32)
    folder.write("silent.weights", header.tobytes() + numbers.tobytes())


COCO_IDS = {
    "val2017/000000000042.png": 42,
    "my_set_1/val/000000000043.png": 43,
    "val_2014/COCO_val2014_000000000007.png": 7,
    "v_9/img8.png": 8,
}


@test
def coco_ids(folder):
    """valid: the ids of COCO 2014 and 2017 names, in any folder, in valid JSON"""
    prepare(folder)
    for path in COCO_IDS:
        add_picture(folder, path)
    use_list(folder, *COCO_IDS)
    for name in HEADS:
        random_weights(folder, name)
        valid(folder, name).check(0)
        found = detections(folder)
        assert {one["image_id"] for one in found} == set(COCO_IDS.values())
        assert {one["category_id"] for one in found} <= {1, 2}
        assert all(len(one["bbox"]) == 4 and 0 < one["score"] <= 1 for one in found)


@test
def no_detections(folder):
    """valid and valid2: an empty JSON list where nothing was found"""
    prepare(folder)
    use_silent_net(folder)
    for verb in ("valid", "valid2"):
        valid(folder, "silent", verb=verb).check(0)
        assert detections(folder) == []


@test
def short_lists(folder):
    """valid and valid2 of 1, 3 and 5 pictures"""
    prepare(folder)
    random_weights(folder, "yolo")
    for count in (1, 3, 5):
        paths = [f"toy/images/{10 + number}.png" for number in range(count)]
        for path in paths:
            add_picture(folder, path)
        use_list(folder, *paths)
        for verb in ("valid", "valid2"):
            valid(folder, "yolo", verb=verb).check(0)
            assert {one["image_id"] for one in detections(folder)} == set(range(10, 10 + count))


@test
def results(folder):
    """valid: a missing folder, too few names, more classes than COCO has: exit 1"""
    prepare(folder, eval="voc")
    use_silent_net(folder)
    valid(folder, "silent").check(0)
    assert folder.names("results") == [f"comp4_det_test_{name}.txt" for name in ("green", "red")]
    folder.write("toy.names", "red\n")
    check_last(valid(folder, "silent"), "toy.names: 1 names", "2 classes")
    folder.write("toy.data", folder.read("toy.data").replace(b"eval=voc", b"eval=coco"))
    valid(folder, "silent").check(0)
    os.rename(folder.at("results"), folder.at("gone"))
    check_last(valid(folder, "silent"), "results/coco_results.json", "No such file")
    folder.write("yolo.cfg", head_cfg("yolo", 2 * 86, classes=81))
    random_weights(folder, "yolo")
    check_last(valid(folder, "yolo"), "80 classes")


@test
def predictions(folder):
    """test draws boxes into a JPEG, of a picture with a long path too; recall counts them"""
    prepare(folder)
    random_weights(folder, "yolo")
    os.makedirs(folder.at("data"))
    os.symlink(os.path.join(BUILD, "data", "labels"), folder.at("data/labels"))
    path = "/".join(["n" * 200, "images", "a.png"])
    add_label(folder, path.replace("images", "labels").replace("png", "txt"),
              add_picture(folder, path))
    folder.darknet("detector", "test", "toy.data", "yolo.cfg", "yolo.weights",
                   "./" + "/".join([path.split("/")[0], "..", path]), "-thresh", ".1").check(0)
    assert Image.open(folder.at("predictions.jpg")).size == (SIDE, SIDE)
    folder.write("data/coco_val_5k.list", path + "\n")
    result = folder.darknet("detector", "recall", "toy.data", "yolo.cfg", "yolo.weights")
    assert re.search(rf"^ +0 +\d+ +{BOXES}\t", result.check(0).err, re.M), result.describe()


tap.main()
