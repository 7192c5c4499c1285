#!/usr/bin/python3 -B
"""`darknet deepkd landscape`, in TAP.

Proves: at points of the plane the loss is that of weights which NumPy has moved there, by the
paper's formula and directions drawn by itself, of convolutions with and without batch norm and in
groups, [connected], [deconvolutional] and [local], classifiers and detectors; the centre is what
`distill` says of these weights; sharpness is its formula; one seed gives the same bytes; images
are spread over the list; the weights file stays; what is stopped or wrong leaves nothing.
"""
import csv
import os
import signal
import subprocess

import numpy as np

import tap
from tap import CLASSES, STUDENT_LAYERS, YOLO_TEACHER, check_error, detector_cfg, test

MASK = (1 << 64) - 1


def landscape(folder, *flags, out="plane.csv", data="deepkd.data", cfg="student.cfg",
              weights="student.weights"):
    return folder.darknet("deepkd", "landscape", data, cfg, weights, "-out", out, *flags)


def plane(folder, *flags, **names):
    """{(x, y): (loss, top1)}, and what was said"""
    said = landscape(folder, *flags, **names).check(0).out
    with open(folder.at(names.get("out", "plane.csv")), encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(float(row["x"]), float(row["y"])): (float(row["loss"]), row["top1"])
            for row in rows}, said


# Its own directions

def derive(seed, numbers):
    """plugin/support.c's derive_seed, SplitMix64's mixing, as numbers in (0, 1)"""
    z = np.uint64(seed * 0x9E3779B97F4A7C15 & MASK) + numbers.astype(np.uint64) + np.uint64(1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(float) / 2 ** 32 + .5 ** 33


def normal(seed, numbers):
    """Box and Muller's"""
    return np.sqrt(-2 * np.log(derive(seed, 2 * numbers))) * \
        np.cos(2 * np.pi * derive(seed, 2 * numbers + 1))


def move(content, layout, seed, x, y):
    """A weights file at x, y of its plane. layout: of each layer (numbers before the filters,
    filters, numbers of one)"""
    numbers, at, drawn = tap.floats(content).copy(), 0, 0
    for before, filters, size in layout:
        at += before
        part = numbers[at:at + filters * size].reshape(filters, size)
        own = np.linalg.norm(part, axis=1, keepdims=True)
        moved = part.astype(float)
        for d, distance in enumerate((x, y)):
            way = normal(seed, 2 * (drawn + np.arange(part.size)) + d).reshape(part.shape)
            way *= own / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-10)
            moved += distance * way
        part[:] = moved
        at, drawn = at + part.size, drawn + part.size
    assert at == len(numbers), (at, len(numbers))
    return content[:20] + numbers.tobytes()


def close(found, expected):
    return abs(found - expected) <= 1e-4 * (1 + abs(expected))


def check_moved(folder, layout, seed=5, **names):
    points, _ = plane(folder, "-points", "5", "-range", ".5", "-seed", str(seed), **names)
    assert len(points) == 25
    content = folder.read("student.weights")
    for x, y in ((.25, 0), (0, -.25), (.5, -.5), (-.25, .5)):
        folder.write("moved.weights", move(content, layout, seed, x, y))
        there, _ = plane(folder, "-points", "5", out="moved.csv", weights="moved.weights", **names)
        assert close(there[0, 0][0], points[x, y][0]), (x, y, there[0, 0], points[x, y])
        assert there[0, 0][1] == points[x, y][1], (x, y, there[0, 0], points[x, y])
    assert folder.read("student.weights") == content
    return points


def random_weights(folder, text):
    folder.write("student.cfg", text)
    folder.darknet("partial", "student.cfg", "", "student.weights", "99").check(0)


def train(folder):
    folder.distill().check(0)
    os.replace(folder.at("backup/student_final.weights"), folder.at("student.weights"))


# filters with batch norm have biases, scales, means and variances before them
STUDENT = [(4 * 8, 8, 27), (4 * 8, 8, 8), (8, 8, 72), (6, 6, 8)]
TWO_HEADS = [(4 * 8, 8, 27), (4 * 16, 16, 72), (4 * 24, 24, 144), (4 * 24, 24, 216), (16, 16, 24),
             (16, 16, 40)]


@test
def classifier(folder):
    """a classifier: points are weights moved by the formula, the centre is distill's evaluation"""
    train(folder)
    points = check_moved(folder, STUDENT)
    last = [row for row in folder.rows() if row["valid_loss"]][-1]
    assert close(points[0, 0][0], float(last["valid_loss"])), (points[0, 0], last)
    assert abs(float(points[0, 0][1]) - float(last["valid_top1"])) < 1e-6, (points[0, 0], last)


@test
def other_layers(folder):
    """a convolution in groups, [deconvolutional] and [local], whose filters each place has"""
    random_weights(folder, tap.cfg([
        ("convolutional", {"filters": 8, "size": 3, "stride": 2, "pad": 1, "activation": "leaky"}),
        ("convolutional", {"filters": 6, "size": 3, "stride": 1, "pad": 1, "groups": 2,
                           "activation": "leaky"}),
        ("deconvolutional", {"filters": 4, "size": 2, "stride": 2, "activation": "leaky"}),
        ("local", {"filters": 5, "size": 3, "stride": 3, "pad": 0, "activation": "leaky"}),
        ("connected", {"output": CLASSES, "activation": "linear"}),
        ("softmax", {"groups": 1})]))
    places = 16
    check_moved(folder, [(8, 8, 27), (6, 6, 36), (4, 6, 16), (5 * places, 5 * places, 36),
                         (6, 6, 5 * places)])


@test
def detector(folder):
    """a detector: its task loss, and no top-1"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    detectors.write("student.cfg", detector_cfg({"teacher_weight": 0}, YOLO_TEACHER))
    train(detectors)
    points = check_moved(detectors, TWO_HEADS)
    assert {top for _, top in points.values()} == {""}
    said = detectors.darknet("deepkd", "map", "deepkd.data", "student.cfg",
                             "student.weights").check(0).out
    assert close(points[0, 0][0], float(said.split("loss ")[1].split()[0])), said


@test
def formula(folder):
    """sharpness is 100 (max L - L(0)) / (1 + L(0)) of the inner half"""
    train(folder)
    points, said = plane(folder, "-points", "7")
    inner = [loss for (x, y), (loss, _) in points.items() if max(abs(x), abs(y)) < .5]
    centre = points[0, 0][0]
    assert len(points) == 49 and len(inner) == 9
    expected = 100 * (max(inner) - centre) / (1 + centre)
    assert f"sharpness {expected:.4g} % within 0.333" in said, said


@test
def repeats(folder):
    """one seed gives the same bytes, with any number of threads, another seed others"""
    train(folder)
    whole = {}
    for name, flags in (("a", ()), ("b", ("-seed", "1", "-threads", "1")), ("c", ("-seed", "2"))):
        landscape(folder, "-points", "5", *flags, out=name).check(0)
        whole[name] = folder.read(name)
    assert whole["a"] == whole["b"] != whole["c"]


@test
def images(folder):
    """-images takes every third of a list with three times as many"""
    train(folder)
    points, said = plane(folder, "-points", "5", "-images", "6")
    assert "\n6 images, loss " in said, said
    folder.write("some.list", b"\n".join(folder.read("valid.list").split()[::3]) + b"\n")
    folder.write("some.data", tap.data_file(valid="some.list"))
    assert plane(folder, "-points", "5", data="some.data")[0] == points


@test
def not_finite(folder):
    """a point whose loss is not finite is one in the file; the centre is an error"""
    train(folder)
    content = bytearray(folder.read("student.weights"))
    content[-192:] = np.full(48, 2e38, np.float32).tobytes()
    folder.write("student.weights", content)
    check_error(landscape(folder, "-points", "5").check(1), ["student.weights", "not finite"])
    assert not os.path.exists(folder.at("plane.csv"))


@test
def stopped(folder):
    """Ctrl-C ends it, and leaves no file"""
    train(folder)
    words = ["deepkd", "landscape", "deepkd.data", "student.cfg", "student.weights", "-out",
             "plane.csv", "-points", "201"]
    with subprocess.Popen(**folder.command(*words), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130, process.returncode
    assert not [name for name in os.listdir(folder.path) if name.startswith("plane")]


REFUSED = {
    "an even number of points": (("-points", "8"), {}, ["-points 8", "odd number from 5"]),
    "too few points": (("-points", "3"), {}, ["-points 3", "odd number from 5"]),
    "no range": (("-range", "0"), {}, ["-range 0", "above 0"]),
    "a range beyond 1": (("-range", "2"), {}, ["-range 2", "from 0 to 1"]),
    "weights of another cfg": ((), {"weights": "teacher.weights"},
                               ["teacher.weights: found ", "expected "]),
    "no weights there": ((), {"weights": "none.weights"}, ["none.weights"]),
    "a folder that is not there": ((), {"out": "none/plane.csv"}, ["none/plane.csv"]),
    "no labels": ((), {"data": "bare.data"}, ["bare.data", "labels="]),
    "other classes": ((), {"data": "seven.data"}, ["seven.data: classes=7", "expected 6"]),
}


def try_refused(folder, flags, names, words):
    random_weights(folder, tap.cfg(STUDENT_LAYERS))
    folder.write("bare.data", tap.data_file(labels=None))
    folder.write("seven.data", tap.data_file(classes=7))
    before = folder.names(".")
    check_error(landscape(folder, *flags, **names).check(1), words)
    assert folder.names(".") == before, folder.names(".")


for title, row in REFUSED.items():
    test(lambda folder, of=row: try_refused(folder, *of), f"refused: {title}")


if __name__ == "__main__":
    tap.main()
