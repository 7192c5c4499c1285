#!/usr/bin/python3 -B
"""What distill writes, in other programs, in TAP.

Proves: Debian's Darknet, which knows nothing of the patches, and OpenCV's DNN
module load the plain cfg and the distilled weights, and find the same
probabilities as this build on real pictures: the first 100 of Fashion-MNIST's
test set, for cfg/fmnist-student.cfg after a few batches; and that what distill
says OpenCV can't read, OpenCV can't. A program that is not
installed skips its test.
"""
import os
import re
import subprocess

import tap
from tap import DARKNET, ENVIRONMENT, PATIENCE, PYTHON, ROOT, STUDENT_LAYERS, test

import numpy as np

STOCK = "/usr/bin/darknet"
COUNT = 100
BATCHES = 150
CLASSES = 10


def cfg_of(name, **net):
    """A cfg of the repository, with keys of [net] replaced."""
    with open(os.path.join(ROOT, "cfg", name), encoding="ascii") as file:
        text = file.read()
    for key, value in net.items():
        text, count = re.subn(rf"^{key}=.*$", f"{key}={value}", text, flags=re.M)
        assert count, f"{name}: no {key}="
    return text


def set_up(folder):
    """The pictures, made once, and a teacher that has learned a little."""
    data = os.path.join(os.path.dirname(folder.path), "fashion-mnist")
    if not os.path.exists(data):
        script = os.path.join(ROOT, "scripts", "fashion_mnist.py")
        made = subprocess.run([PYTHON, "-B", script, data, "--limit", str(COUNT), "--prefix",
                               "data"], capture_output=True, text=True, check=False)
        tap.check_ran(made)
    os.symlink(data, folder.at("data"))
    folder.write("deepkd.data", tap.data_file(
        classes=CLASSES, train="data/train.list", valid="data/valid.list",
        labels="data/labels.txt", names="data/labels.txt"))
    layers = [*tap.TEACHER_LAYERS[:-2], *head()]
    folder.write("teacher.cfg", tap.teacher_cfg(layers, width=28, height=28))
    tap.make_teacher(folder, layers, width=28, height=28)


def head():
    return [("connected", {"output": CLASSES, "activation": "linear"}), ("softmax", {})]


def distil(folder, student):
    """Distils a student's cfg text; the names of the plain cfg and the weights."""
    folder.write("student.cfg", student)
    folder.distill().check(0)
    return "backup/student.cfg", "backup/student_final.weights"


def small_batches(name):
    return cfg_of(name, batch=8, max_batches=BATCHES, burn_in=0, learning_rate=".02")


def pictures(folder):
    return folder.read("data/valid.list").decode().split()


def predict(program, folder, cfg, weights):
    """[picture][class]: probabilities that a darknet prints, percents with two decimals."""
    done = subprocess.run(
        [program, "classifier", "predict", "deepkd.data", cfg, weights, "-t", str(CLASSES)],
        cwd=folder.path, env=ENVIRONMENT, input="\n".join(pictures(folder)) + "\n", text=True,
        capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, f"{program}: exit {done.returncode}: {done.stderr[-500:]}"
    labels = folder.read("data/labels.txt").decode().split()
    found = [(float(percent) / 100, labels.index(label)) for percent, label in
             re.findall(r"([\d.]+)%: (\w+)$", done.stdout, re.M)]
    assert len(found) == COUNT * CLASSES, f"{program}: {len(found)} lines"
    result = np.empty((COUNT, CLASSES))
    for i, (probability, label) in enumerate(found):
        result[i // CLASSES, label] = probability
    return result


def check_close(found, expected, tolerance):
    assert np.abs(expected.sum(1) - 1).max() < 1e-3, "no probabilities"
    spread = expected.std(0).max()
    assert spread > .05, f"all pictures look the same to this network: {spread}"
    worst = np.abs(found - expected).max()
    assert worst <= tolerance + 1e-9, f"differ by {worst}, tolerance {tolerance}"


def with_stock(folder, student):
    if not os.path.exists(STOCK):
        raise tap.missing("darknet")
    set_up(folder)
    files = distil(folder, student)
    check_close(predict(STOCK, folder, *files), predict(DARKNET, folder, *files), 1e-4)


def with_opencv(folder, student):
    try:
        import cv2  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise tap.missing("python3-opencv") from None
    set_up(folder)
    files = distil(folder, student)
    net = cv2.dnn.readNetFromDarknet(*map(folder.at, files))
    found = []
    for path in pictures(folder):
        blob = cv2.dnn.blobFromImage(cv2.imread(folder.at(path)), 1 / 255, (28, 28), swapRB=True,
                                     crop=False)
        net.setInput(blob)
        found.append(net.forward().reshape(-1))
    check_close(np.array(found), predict(DARKNET, folder, *files), 1e-3)


def residual():
    """A student with a shortcut, a 1x1 convolution and a dropout."""
    return tap.student_cfg(layers=[*STUDENT_LAYERS[:-2], *head()], width=28, height=28,
                           max_batches=BATCHES)


STUDENTS = {"cfg/fmnist-student.cfg": lambda: small_batches("fmnist-student.cfg").replace(
                "cfg/fmnist-teacher.cfg", "teacher.cfg"),
            "a residual student": residual}
for name, student in STUDENTS.items():
    test(lambda folder, student=student: with_stock(folder, student()),
         f"Debian's Darknet: {name}, probabilities within 1e-4")
    test(lambda folder, student=student: with_opencv(folder, student()),
         f"OpenCV's DNN: {name}, probabilities within 1e-3")


@test
def plain_of_fmnist(folder):
    """the export of cfg/fmnist-student.cfg is cfg/fmnist-student-plain.cfg, but for comments"""
    folder.write("student.cfg", cfg_of("fmnist-student.cfg"))
    out = folder.darknet("deepkd", "export", "student.cfg").check(0).out
    found, expected = ([line for line in text.split("\n") if line and line[0] != "#"]
                       for text in (out, cfg_of("fmnist-student-plain.cfg")))
    assert found == expected, out


# Which cfgs OpenCV reads: layers before a classifier's end, and what `distill` says it can't read

def before_end(*layers):
    return [tap.conv(8), *layers, ("avgpool", {}), *STUDENT_LAYERS[-2:]]


CROP = ("crop", {"crop_height": 12, "crop_width": 12, "flip": 0, "angle": 0, "saturation": 1,
                 "exposure": 1})
LRN = ("normalization", {"alpha": ".1", "beta": ".7", "size": 5, "kappa": 1})
KINDS = {  # name: (layers, words or None, replaced in the cfg)
    "plain": (before_end(), None),
    "[network]": (before_end(), "[network]", "[net]", "[network]"),
    "[crop]": ([CROP, *before_end()], "[crop]"),
    "[conv]": (before_end(), "[conv]", "[convolutional]", "[conv]"),
    "[normalization]": (before_end(LRN), "[normalization]"),
    "[activation]": (before_end(("activation", {"activation": "leaky"})), "[activation]"),
    "activation=elu": (before_end(tap.conv(8, activation="elu")), "activation=elu"),
    "activation=logistic": (before_end(tap.conv(8, activation="logistic")), None),
    "activation=tanh": (before_end(tap.conv(8, activation="tanh")), None),
    "a strided [shortcut]": (before_end(tap.conv(8, 2), ("shortcut", {
        "from": -2, "activation": "linear"})), "a [shortcut] from another size"),
    "a [shortcut] of other channels": (before_end(tap.conv(12), ("shortcut", {
        "from": -2, "activation": "leaky"})), None),
    "a weighted [shortcut]": (before_end(tap.conv(8), ("shortcut", {
        "from": -2, "activation": "linear", "alpha": ".5", "beta": ".5"})), "beta=.5 in [shortcut]"),
    "a [shortcut] from several layers": (before_end(tap.conv(8), tap.conv(8), ("shortcut", {
        "from": "-2,-3", "activation": "logistic"})), "a [shortcut] from several layers"),
    "a [shortcut] with weights": (before_end(tap.conv(8), tap.conv(8), ("shortcut", {
        "from": "-2,-3", "activation": "logistic", "weights_type": "per_channel"})),
                                  "weights_type=per_channel in [shortcut]"),
    "[reorg]": (before_end(("reorg", {"stride": 2})), None),
    "[reorg3d]": (before_end(("reorg3d", {"stride": 2})), "[reorg3d]"),
    "[reorg] reverse=1": (before_end(("reorg", {"stride": 2, "reverse": 1})),
                          "reverse=1 in [reorg]"),
    "[maxpool]": (before_end(("maxpool", {"size": 3, "stride": 2})), None),
    "[maxpool] without stride": (before_end(("maxpool", {"size": 3})),
                                 "a [maxpool] without stride="),
    "a 1x1 [convolutional] with a stride": (before_end(tap.conv(6, 2, size=1, activation="tanh")), None),
    "stride_x=": (before_end(tap.conv(6, stride_x=2)), "stride_x=2 in [convolutional]"),
    "dilation=": (before_end(tap.conv(6, dilation=2)), "dilation=2 in [convolutional]"),
    "[maxpool] stride_y=": (before_end(("maxpool", {"size": 2, "stride": 2, "stride_y": 1})),
                            "stride_y=1 in [maxpool]"),
    "[maxpool] maxpool_depth=": (before_end(("maxpool", {
        "size": 1, "stride": 1, "maxpool_depth": 1, "out_channels": 2})),
                                 "maxpool_depth=1 in [maxpool]"),
    "[local_avgpool]": (before_end(("local_avgpool", {"size": 2, "stride": 2})), "[local_avgpool]"),
    "[shuffle]": (before_end(("shuffle", {"groups": 2})), "[shuffle]"),
    "[batchnorm]": (before_end(("batchnorm", {"affine": 1})), "[batchnorm]"),
    "activation=mish": (before_end(tap.conv(6, activation="mish")), None),
    "activation=swish": (before_end(tap.conv(6, activation="swish")), None),
    "activation=relu6": (before_end(tap.conv(8, activation="relu6")), "activation=relu6"),
    "parts of a layer": (before_end(tap.conv(6), ("route", {
        "layers": -1, "groups": 2, "group_id": 1})), None),
    "parts of two layers": (before_end(tap.conv(8), ("route", {
        "layers": "-1,-2", "groups": 2})), "groups= of several layers"),
    "[upsample], [dropout], [route]": (before_end(
        ("upsample", {"stride": 2}), ("dropout", {"probability": ".1"}), tap.conv(6),
        ("route", {"layers": "-1,-2"})), None),
}


def opencv_output(cv2, folder, path):
    """The plain cfg's last layer for a picture; None: OpenCV throws."""
    try:
        net = cv2.dnn.readNetFromDarknet(folder.at("backup/student.cfg"),
                                         folder.at("backup/student_final.weights"))
        net.setInput(cv2.dnn.blobFromImage(cv2.imread(folder.at(path)), 1 / 255, (12, 12),
                                           swapRB=True, crop=False))
        return net.forward().reshape(-1)
    except cv2.error:
        return None


def darknet_output(folder, path):
    out = folder.darknet("classifier", "predict", "deepkd.data", "backup/student.cfg",
                         "backup/student_final.weights", path, "-t", str(tap.CLASSES)).check(0).out
    found = {label: float(percent) / 100
             for percent, label in re.findall(r"([\d.]+)%: (\S+)$", out, re.M)}
    assert set(found) == set(tap.LABELS), out
    return np.array([found[label] for label in tap.LABELS])


@test
def opencv_rules(folder):
    """distill says what OpenCV can't read of a cfg, and OpenCV can't; else it finds the same"""
    try:
        import cv2  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise tap.missing("python3-opencv") from None
    for name, (layers, words, *replaced) in KINDS.items():
        cfg = tap.student_cfg({"trainer": "sgd"}, layers=layers, learning_rate=".001")
        folder.write("student.cfg", cfg.replace(*replaced) if replaced else cfg)
        out = folder.distill().check(0).out.rstrip("\n").split("\n")[-1]
        said = f"; OpenCV does not read {words}" if words else "for stock Darknet and OpenCV, "
        assert said in out, f"{name}: {out}"
        path = "images/valid/class-b-1.png"
        found = opencv_output(cv2, folder, path)
        if found is None:
            assert words, f"{name}: OpenCV can't read it"
            continue
        expected = darknet_output(folder, path)
        assert expected.max() < .999, f"{name}: {expected} would hide a difference"
        same = np.abs(found - expected).max() < 1e-3
        assert same == (not words), f"{name}: OpenCV found {found}, Darknet {expected}"


tap.main()
