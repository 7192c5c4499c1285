#!/usr/bin/python3 -B
"""Every cfg that Darknet ships, as a teacher's, in TAP.

Proves: distill's strict reading takes each of them for what Darknet takes it for, to the point
where its weights are opened; or one line says why that network cannot teach. A key that is there
twice, as in yolov3-openimages.cfg, is a notice.

A cfg that is not in `WHY_NOT` must be taken.
"""
import glob
import os

import tap
from tap import DARKNET, ROOT, student_cfg, test

CFGS = os.path.join(ROOT, "build", "source", "cfg")
BUILD = os.path.dirname(DARKNET)
NO_OUTPUT = "found no [softmax], [yolo] or [region] as the network's output"
WHY_NOT = {
    "darknet9000": "[softmax] with groups=1 and a tree",
    "go": "channels=1: expected 3",
    "go.test": "channels=1: expected 3",
    "gru": "[net] inputs=256: expected width x height x channels",
    "jnet-conv": NO_OUTPUT,
    "rnn": "[rnn] hidden=1024: expected a key that Darknet knows",
    "rnn.train": "[rnn] output=1024: expected a batch that time_steps=576 divides",
    "t1.test": NO_OUTPUT,
    "vgg-conv": NO_OUTPUT,
    "writing": NO_OUTPUT,
    "yolo9000": "[region] with tree=",
    "yolov1": NO_OUTPUT,
    "yolov1-tiny": NO_OUTPUT,
}
TWICE = {"yolov3-openimages": ("batch= more than once: 1 counts, 64 does not",
                               "subdivisions= more than once: 1 counts, 16 does not")}


def is_sanitized():
    with open(os.path.join(BUILD, ".switches"), encoding="ascii") as file:
        return "SANITIZE=1" in file.read()


def teaches(path):
    name = os.path.basename(path)[:-len(".cfg")]

    def run(folder):
        if is_sanitized() and os.path.getsize(path) > 3000:
            raise tap.Skip("it takes a sanitizer too long")
        os.symlink(os.path.join(BUILD, "data"), folder.at("data"))  # trees and maps
        folder.write("student.cfg", student_cfg(teacher={"cfg": path}))
        result = folder.darknet("distill", "deepkd.data", "student.cfg", "none.weights").check(1)
        last = result.err.rstrip("\n").split("\n")[-1]
        expected = WHY_NOT.get(name, "none.weights: No such file or directory")
        assert expected in last, f"no {expected!r}: {result.describe()}"
        for words in TWICE.get(name, ()):
            assert words in result.err, f"no {words!r}: {result.describe()}"
    test(run, f"{name}.cfg {'cannot teach' if name in WHY_NOT else 'teaches'}")


for shipped in sorted(glob.glob(os.path.join(CFGS, "*.cfg")), key=os.path.getsize):
    teaches(shipped)


@test
def all_there(_folder):
    """the table names no cfg that is not there"""
    names = {os.path.basename(path)[:-len(".cfg")] for path in glob.glob(f"{CFGS}/*.cfg")}
    assert len(names) > 40 and not {*WHY_NOT, *TWICE} - names, {*WHY_NOT, *TWICE} - names


tap.main()
