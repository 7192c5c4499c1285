#!/usr/bin/python3 -B
"""`darknet deepkd logits`, in TAP.

Proves: NumPy reads the file; targets are the list's, in its order; the logits' cross-entropy and
top-1 are those of `distill`'s evaluation, and those of one image are what Darknet's own `classifier
predict` makes of it; student and teacher; what is wrong is one line, and no file.
"""
import os

import numpy as np

import tap
from tap import CLASSES, LABELS, VALID, check_error, test


def logits(folder, *flags, data="deepkd.data", cfg="student.cfg", weights="student.weights",
           out="logits.npy"):
    return folder.darknet("deepkd", "logits", data, cfg, weights, "-out", out, *flags)


def train(folder):
    folder.distill().check(0)
    os.replace(folder.at("backup/student_final.weights"), folder.at("student.weights"))


def probabilities(rows):
    shifted = np.exp(rows - rows.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@test
def classifier(folder):
    """targets in the list's order, and logits whose loss and top-1 are distill's"""
    train(folder)
    said = logits(folder).check(0).out
    found = np.load(folder.at("logits.npy"))
    assert found.shape == (VALID,) and found["logits"].shape == (VALID, CLASSES), found.shape
    paths = folder.read("valid.list").decode().split()
    expected = [next(i for i, label in enumerate(LABELS) if label in path) for path in paths]
    assert found["target"].tolist() == expected, found["target"]
    last = [row for row in folder.rows() if row["valid_loss"]][-1]
    own = probabilities(found["logits"].astype(float))[range(VALID), expected]
    assert abs(-np.log(own).mean() - float(last["valid_loss"])) < 1e-4, last
    top = (found["logits"].argmax(1) == expected).mean()
    assert abs(top - float(last["valid_top1"])) < 1e-6 and f"top-1 {100 * top:.2f} %" in said, said
    whole = folder.read("logits.npy")
    logits(folder, "-threads", "1").check(0)
    assert folder.read("logits.npy") == whole


@test
def one_image(folder):
    """a teacher's logits of an image are those of the stock command"""
    logits(folder, cfg="teacher.cfg", weights="teacher.weights").check(0)
    row = probabilities(np.load(folder.at("logits.npy"))["logits"][4])
    image = folder.read("valid.list").decode().split()[4]
    said = folder.darknet("classifier", "predict", "deepkd.data", "teacher.cfg", "teacher.weights",
                          image).check(0).out
    for line in said.splitlines():
        share, _, label = line.strip().partition("%: ")
        if label in LABELS:
            assert abs(float(share) / 100 - row[LABELS.index(label)]) < 1e-4, (said, row)
    assert sum(label in said for label in LABELS) >= 2, said


@test
def refused(folder):
    """weights of another cfg, a detector, no such folder, numbers that are not finite"""
    for words, names in ((["teacher.weights: found "], {"weights": "teacher.weights"}),
                         (["detector.cfg: found a detector, expected a classifier"],
                          {"cfg": "detector.cfg"}),
                         (["none/logits.npy"], {"out": "none/logits.npy"}),
                         (["broken.weights", "not finite"], {"weights": "broken.weights"})):
        if "student.weights" not in folder.names("."):
            train(folder)
            content = bytearray(folder.read("student.weights"))
            content[-192:] = np.full(48, 2e38, np.float32).tobytes()
            folder.write("broken.weights", content)
            folder.write("detector.cfg", tap.plain_detector_cfg())
        check_error(logits(folder, **names).check(1), words)
        assert not os.path.exists(folder.at("logits.npy"))


if __name__ == "__main__":
    tap.main()
