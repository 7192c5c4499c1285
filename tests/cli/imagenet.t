#!/usr/bin/python3 -B
"""scripts/imagenet.py, in TAP: lists and labels of folders with a folder a class.

Proves, on a miniature of ImageNet's folders: the lists have every image once, the labels are in
PyTorch's order, and distill trains on them; folders that don't fit are refused in one line, and
nothing is written.
"""
import glob
import os
import subprocess

import tap
from tap import PYTHON, ROOT, check_ran, check_refused, data_file, student_cfg, test

from PIL import Image

SCRIPT = os.path.join(ROOT, "scripts", "imagenet.py")
LABELS = ["n01440764", "n01443537", "n02102040"]
COUNTS = {"train": 5, "val": 3}  # images a class; one class has one more


def make_image(folder, path):
    os.makedirs(os.path.dirname(folder.at(path)), exist_ok=True)
    Image.new("RGB", (16, 14), (len(path) % 250, 90, 30)).save(folder.at(path), format="JPEG")


def make_folders(folder):
    for split, count in COUNTS.items():
        for label in LABELS:
            for i in range(count + (label == LABELS[1])):
                make_image(folder, f"net/{split}/{label}/{label}_{i}.JPEG")
    folder.write("net/readme.txt", "not a class\n")
    folder.write("net/train/n01440764/notes.txt", "not an image\n")


def run(folder, *words):
    return subprocess.run([PYTHON, "-B", SCRIPT, "out", "net", *words], cwd=folder.path,
                          check=False, capture_output=True, text=True)


def lines(folder, name):
    return folder.read(f"out/{name}").decode().rstrip("\n").split("\n")


@test
def lists(folder):
    """every image once, labels in order, and distill trains on them"""
    make_folders(folder)
    folder.write("words.txt", "".join(f"{label} fish {i}, a fish\n" for i, label in
                                      enumerate(LABELS)) + "n09999999\tanother\n")
    out = check_ran(run(folder, "--words", "words.txt"))
    assert "16 images of 3 classes" in out and "10 images of 3 classes" in out, out
    assert lines(folder, "labels.txt") == LABELS
    assert lines(folder, "names.txt") == [f"fish {i}, a fish" for i in range(3)]
    for split, name in (("train", "train.list"), ("val", "valid.list")):
        expected = glob.glob(folder.at(f"net/{split}/*/*.JPEG"))
        assert sorted(lines(folder, name)) == sorted(expected), lines(folder, name)
    assert [path.split("/")[-2] for path in lines(folder, "train.list")[:3]] == LABELS
    layers = [*tap.STUDENT_LAYERS[:-2], ("connected", {"output": 3, "activation": "linear"}),
              ("softmax", {})]
    folder.write("student.cfg", student_cfg({"teacher_weight": 0, "trainer": "sgd"}, layers=layers))
    folder.write("teacher.cfg", tap.teacher_cfg(layers))
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    folder.write("deepkd.data", data_file(classes=3, train="out/train.list", valid="out/valid.list",
                                          labels="out/labels.txt", names="out/names.txt"))
    folder.distill().check(0)


@test
def some(folder):
    """--per-class N leaves the first N of each; without --words the names are the labels"""
    make_folders(folder)
    check_ran(run(folder, "--per-class", "2"))
    assert len(lines(folder, "train.list")) == len(lines(folder, "valid.list")) == 6
    assert lines(folder, "names.txt") == LABELS


def move_val(folder):
    for label in LABELS:
        for path in glob.glob(folder.at(f"net/val/{label}/*")):
            os.rename(path, folder.at(f"net/val/{os.path.basename(path)}"))
        os.rmdir(folder.at(f"net/val/{label}"))


def remove(folder, pattern):
    for path in glob.glob(folder.at(pattern)):
        os.unlink(path)


EDITS = {
    "a class without validation images": (
        lambda folder: make_image(folder, "net/train/n03000000/x.JPEG"),
        ["train/ has the class n03000000", "expected a folder val/n03000000"]),
    "validation images without class folders": (
        move_val, ["train/ has the class n01440764", "val/n01440764"]),
    "a class without images": (
        lambda folder: remove(folder, "net/val/n02102040/*"), ["val/n02102040: no images"]),
    "a path with two labels": (
        lambda folder: make_image(folder, "net/val/n02102040/n01440764_7.JPEG"),
        ["n01440764_7.JPEG", "n01440764, n02102040", "expected n02102040 alone"]),
    "no folder at all": (lambda folder: os.rename(folder.at("net"), folder.at("other")),
                         ["net/train", "No such file"]),
    "words of too few classes": (lambda folder: folder.write("words.txt", f"{LABELS[0]} a\n"),
                                 ["words.txt: no line for n01443537"]),
}


def refused(name, edit, words):
    def check(folder):
        make_folders(folder)
        folder.write("words.txt", "".join(f"{label} a\n" for label in LABELS))
        edit(folder)
        check_refused(run(folder, "--words", "words.txt"), "imagenet.py", *words)
        assert not os.path.exists(folder.at("out")), os.listdir(folder.at("out"))
    test(check, f"refused: {name}")


for title, (change, said) in EDITS.items():
    refused(title, change, said)


if __name__ == "__main__":
    tap.main()
