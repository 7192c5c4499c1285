#!/usr/bin/python3 -B
"""The COCO pairs of cfg/ at their real size, in TAP.

Proves, for YOLOv3 -> YOLOv3-tiny and YOLOv2 -> YOLOv2-tiny: the student's cfg is what `deepkd
wrap` makes of Darknet's own, with its training batch; a whole iteration runs on Darknet's
picture of a dog, with teacher's weights of the right size (random: what is learnt here is
nothing), at random=1's largest size; what it leaves is finite and as large as stock's weights.
Each needs up to 1.6 GB and some seconds of a core.
"""
import os
import re
import struct

from tap import DARKNET, ROOT, main, test

import numpy as np

BUILD = os.path.dirname(DARKNET)
TRAINING = {"batch": 64, "subdivisions": 16}  # in the place of Darknet's 1 and 1, for testing
PAIRS = (
    # student, teacher, bytes of the teacher's and of the student's weights files
    ("yolov3-tiny", "yolov3", 248007048, 35434956),
    ("yolov2-tiny", "yolov2", 203934264, 44948600),
)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read().replace("\r", "")


def set_keys(text, **net):
    for key, value in net.items():
        text = re.sub(rf"^{key} *=.*$", f"{key}={value}", text, count=1, flags=re.MULTILINE)
    return text


def training_cfg(text):
    """Darknet's cfg with its training batch, and without what says how to get it."""
    text = re.sub(r"^# *(Testing|Training|batch=.*|subdivisions=.*)\n", "", text,
                  flags=re.MULTILINE)
    return set_keys(text, **TRAINING)


def write_weights(path, size):
    """Small positive numbers: also the variances are, so that nothing grows."""
    with open(path, "wb") as file:
        file.write(struct.pack("<iiiQ", 0, 2, 0, 0))
        numbers = np.random.default_rng(1).uniform(.001, .02, (size - 20) // 4)
        file.write(numbers.astype("<f4").tobytes())


def prepare(folder, student, teacher, size):
    os.symlink(os.path.join(BUILD, "cfg"), folder.at("cfg"))
    os.makedirs(folder.at("coco/images"))
    os.makedirs(folder.at("coco/labels"))
    os.symlink(os.path.join(BUILD, "data/dog.jpg"), folder.at("coco/images/dog.jpg"))
    folder.write("coco/labels/dog.txt", "16 .28 .67 .24 .55\n1 .45 .48 .58 .52\n7 .75 .22 .28 .16\n")
    folder.write("dog.list", "coco/images/dog.jpg\n")
    folder.write("coco.data", "classes=80\ntrain=dog.list\nvalid=dog.list\nbackup=backup\n")
    folder.write("student.cfg", set_keys(read(folder.at(f"cfg/{student}-deepkd.cfg")), batch=1,
                                         subdivisions=1, max_batches=1))
    write_weights(folder.at("teacher.weights"), size)


def wrapped(student, teacher):
    def run(folder):
        stock = read(os.path.join(BUILD, f"cfg/{student}.cfg"))
        folder.write("plain.cfg", training_cfg(stock))
        os.symlink(os.path.join(BUILD, "cfg"), folder.at("cfg"))
        result = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", f"cfg/{teacher}.cfg")
        expected = read(os.path.join(ROOT, f"cfg/{student}-deepkd.cfg"))
        assert result.check(0).out == expected, "differs"
    test(run, f"cfg/{student}-deepkd.cfg is wrapped from Darknet's own")


def iterates(student, teacher, size, student_size):
    def run(folder):
        prepare(folder, student, teacher, size)
        result = folder.darknet("distill", "coco.data", "student.cfg", "teacher.weights", "-seed",
                                "1").check(0)
        assert re.search(r"^1: .*, tcg [0-9.]+, .*count: 3,", result.out, re.MULTILINE), result.out
        content = folder.read("backup/student_final.weights")
        assert len(content) == student_size, f"{len(content)} bytes"
        assert np.isfinite(np.frombuffer(content, np.float32, offset=20)).all(), "not finite"
    test(run, f"{teacher} teaches {student} for an iteration at 608 x 608")


for names in PAIRS:
    wrapped(*names[:2])
    iterates(*names)
main()
