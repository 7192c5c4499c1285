#!/usr/bin/python3 -B
"""Networks as ONNX files, in TAP.

Proves: what `darknet deepkd export -onnx` writes passes onnx's checker, and ONNX Runtime and
OpenCV's DNN module find with it what this build's library finds with cfg and weights, to 1e-4, on
photographs and noise, images one by one and in a batch: for the shipped teachers, for small nets of
random weights with every layer and activation that has an ONNX form, and for detectors of eight
kinds; heads in three forms; batch norm folded or not; float16 to 1e-2, with boxes that overlap by
.99. Its metadata says what docs/onnx.md says, whose example is run; quantised by
scripts/quantize_onnx.py it finds the same. What can't be written is one line, and leaves no file.

What is not installed skips its tests: onnx and ONNX Runtime (scripts/deps.sh install onnx),
OpenCV. To add a network: a row in CLASSIFIERS or DETECTORS.
"""
import importlib.util
import json
import multiprocessing
import os
import re
import subprocess
import sys

import small_nets
import tap
from small_nets import FAMILIES, SIZE, conv, need_library, shortcut
from tap import DARKNET, ENVIRONMENT, PYTHON, ROOT, test

import numpy as np
from PIL import Image

sys.path.append(os.path.join(ROOT, "build", "python"))
BUILD = os.path.dirname(DARKNET)
CLOSE, HALF = 1e-4, 1e-2  # of numbers above 1: their share
IOU, IOU_OF_NOISE = .99, .98  # the second: of random weights in float16
CLASSES = 6
PHOTOS = ("dog", "eagle", "giraffe", "horses", "kite", "person", "scream")
SHIPPED = {"fmnist-teacher": (28, 28), "scenes-teacher": (112, 112), "bccd4-teacher": (224, 160)}

# Nets of random weights; images are SIZE x SIZE unless a [net] says more

END = [("avgpool", {}), ("connected", {"output": CLASSES, "activation": "linear"}), ("softmax", {})]
SMOOTH = "logistic loggy relu relie leaky ramp elu selu tanh mish swish".split()
BENT = "relu6 hardtan lhtan plse hard_mish".split()  # by ONNX's Clip, which OpenCV 4 does not read


def section(name, **options):
    """from_= is from="""
    return name, {key.rstrip("_"): value for key, value in options.items()}


def shortcuts(*sources, **options):
    return section("shortcut", from_=",".join(map(str, sources)), **{"activation": "linear",
                                                                     **options})


MAX = section("maxpool", size=16, stride=16)  # or images of noise look the same at the end


def each_activation(names):
    return [layer for name in names for layer in (conv(8, 1, name), shortcuts(-2, alpha=.7))]


CLASSIFIERS = {
    "activations": [conv(8, stride=2), *each_activation(SMOOTH), section("activation", activation="relu"),
                    MAX, *END[:2], section("softmax", temperature=5)],
    "bent activations": [conv(8, stride=2), *each_activation(BENT), *END],
    "windows": [
        conv(8, stride_y=2), conv(8, dilation=2, stride_x=2), section("maxpool", size=3, stride=2),
        section("maxpool", size=2, stride=1), section("maxpool", size=2, stride=1, padding=2),
        section("maxpool", size=4, stride=2, stride_x=1, padding=0),
        section("maxpool", maxpool_depth=1, out_channels=3), conv(12, groups=3),
        section("local_avgpool", size=3, stride=2), section("dropout", probability=.5), END[0],
        section("connected", output=9, batch_normalize=1, activation="relu"), *END[1:]],
    "images": [
        section("crop", crop_width=56, crop_height=48, flip=1, angle=0, saturation=1, exposure=1),
        conv(8), section("reorg3d", stride=2), conv(8, 1), section("reorg", stride=2), conv(16, 1),
        section("reorg", stride=2, reverse=1),
        section("deconvolutional", filters=6, size=4, stride=2, padding=1, batch_normalize=1,
                activation="leaky"),
        section("deconvolutional", filters=4, size=2, stride=2, activation="linear"),
        section("normalization", size=5, alpha=.1, beta=.75, kappa=1), section("batchnorm"),
        section("upsample", stride=2, scale=.5), section("l2norm"), conv(5, activation="tanh"),
        MAX, END[0], section("logistic"), END[1], section("softmax", temperature=.2)],
    "shortcuts": [
        conv(12), conv(8, stride=2), shortcuts(-2, activation="leaky"), conv(12, stride=2),
        shortcuts(-2, activation="mish"), shortcuts(-2, alpha=.5, beta=2), conv(12), conv(16),
        conv(12), shortcuts(-2, -3),
        shortcuts(-2, -3, weights_type="per_channel", weights_normalization="softmax",
                  activation="leaky"),
        shortcuts(-2, -4, weights_type="per_feature", weights_normalization="relu"),
        section("route", layers="-1,-2", groups=2, group_id=1), conv(12), *END, END[1],
        section("softmax", temperature=.2)],
}
REGION = ("region", {"anchors": "1,1, 1.75,3", "classes": 3, "num": 2, "bias_match": 1, "softmax": 1})
DETECTORS = {
    **FAMILIES,
    "YOLOv2": [conv(8, stride=2), conv(8, stride=2), conv(16, stride=2), section("reorg", stride=2),
               section("route", layers=-2), conv(16, stride=2), section("route", layers="-1,-3"),
               conv(16), conv(16, 1, "linear"), REGION],
    "YOLOv2, logistic": [conv(8, stride=4), conv(16, 1, "linear"),
                         ("region", {**REGION[1], "softmax": 0})],
}
NET = {"YOLOv2": {"width": 96, "height": 64}}  # others are SIZE x SIZE
FORMS = {"YOLOv3-tiny": ("yolov8", "raw"), "YOLOv7": ("yolov8", "raw"), "YOLOv2": ("yolov8", "raw")}


# Programs

def need(module, package):
    """Without importing it: what is imported before a fork may hang after it."""
    if not importlib.util.find_spec(module):
        raise tap.missing(package)


def need_onnx():
    need("onnx", "onnx (scripts/deps.sh install onnx)")


def need_runtime():
    need_onnx()
    need("onnxruntime", "onnxruntime (scripts/deps.sh install onnx)")


def need_opencv():
    need_onnx()
    need("cv2", "python3-opencv")


def export(folder, cfg, weights, *flags, file="net.onnx"):
    """Writes the file; its path"""
    out = folder.darknet("deepkd", "export", cfg, weights, "-onnx", file, *flags).check(0).out
    assert out.startswith(f"{file}: images [batch, 3, "), out
    assert file + ".tmp" not in folder.names("."), folder.names(".")
    return folder.at(file)


class Runtime:
    """ONNX Runtime with a file"""
    HALF = True

    def __init__(self, path):
        import onnxruntime as runtime  # pylint: disable=import-outside-toplevel
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def find(self, images):
        """[output][image]..."""
        return self.session.run(None, {"images": images})


class OpenCV:
    """OpenCV with a file; 4.6 does not know float16"""
    HALF = False

    def __init__(self, path):
        import cv2  # pylint: disable=import-outside-toplevel
        self.net = cv2.dnn.readNetFromONNX(path)

    def find(self, images):
        """One by one"""
        found, names = [], self.net.getUnconnectedOutLayersNames()
        names = sorted(names, key=lambda name: int(re.sub(r"\D", "", name) or 0))
        for image in images:
            self.net.setInput(image[None])
            found.append(self.net.forward(names))
        return [np.concatenate(output) for output in zip(*found)]


# What they find

def photographs(width, height):
    """[photograph][c][h][w] of 0 to 1: this needs no exact letterbox, all get the same"""
    paths = [os.path.join(BUILD, "data", f"{name}.jpg") for name in PHOTOS]
    images = [Image.open(path).convert("RGB").resize((width, height)) for path in paths]
    return np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) / 255 for image in images])


def noise(width, height, seed, count=2):
    draw = np.random.default_rng(seed)
    return draw.uniform(0, 1, (count, 3, height, width)).astype(np.float32)


def boxes_of(network, images, heads, classes):
    """What the library finds, in the order of an ONNX file: [image][box][x y w h objectness,
    probabilities], in pixels; of a [yolo] Darknet has all anchors of a cell, then the next cell's."""
    sides = np.array([images.shape[3], images.shape[2]] * 2)
    found = []
    for image in images:
        boxes, parts, at = network.boxes(image, classes), [], 0
        boxes[:, :4] *= sides
        for head in heads:
            anchors, cells = len(head["anchors"]), head["grid"][0] * head["grid"][1]
            part = boxes[at:at + anchors * cells]
            if head["type"] == "yolo":
                part = part.reshape(cells, anchors, -1).transpose(1, 0, 2)
            parts.append(part.reshape(anchors * cells, -1))
            at += anchors * cells
        assert at == len(boxes), f"{at} boxes, expected {len(boxes)}"
        found.append(np.concatenate(parts))
    return np.array(found)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def decode(logits, head, sides):
    """A raw head, [image][channel][row][column], as docs/onnx.md says: as boxes_of"""
    anchors, (columns, rows) = np.array(head["anchors"]), head["grid"]
    x = logits.astype(np.float64).reshape(len(logits), len(anchors), -1, rows, columns)
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    s, n = head["scale_x_y"], anchors[:, :, None, None]
    cx = (sigmoid(x[:, :, 0]) * s - (s - 1) / 2 + column) * sides[0] / columns
    cy = (sigmoid(x[:, :, 1]) * s - (s - 1) / 2 + row) * sides[1] / rows
    w, h = ((4 * sigmoid(x[:, :, i]) ** 2 if head["new_coords"] else np.exp(x[:, :, i])) *
            n[:, i - 2] for i in (2, 3))
    objectness, classes = sigmoid(x[:, :, 4]), sigmoid(x[:, :, 5:])
    if head["softmax"]:
        e = np.exp(x[:, :, 5:] - x[:, :, 5:].max(2, keepdims=True))
        classes = e / e.sum(2, keepdims=True)
    parts = np.concatenate([np.stack([cx, cy, w, h, objectness], 2),
                            classes * objectness[:, :, None]], 2)
    return np.moveaxis(parts, 2, -1).reshape(len(logits), -1, parts.shape[2])


def to_boxes(outputs, metadata, sides):
    """Outputs of any form as boxes_of; of yolov8 the objectness, which it has not, is 1."""
    if metadata["form"] == "raw":
        return np.concatenate([decode(output, head, sides) for output, head in
                               zip(outputs, json.loads(metadata["heads"]))], 1)
    boxes, = outputs
    if metadata["form"] == "yolov8":
        boxes = boxes.transpose(0, 2, 1)
        return np.insert(boxes, 4, 1, axis=2)
    return np.concatenate([boxes[:, :, :5], boxes[:, :, 5:] * boxes[:, :, 4:5]], 2)


def overlaps(a, b):
    """IoU of boxes x y w h"""
    low = np.maximum(a[..., :2] - a[..., 2:4] / 2, b[..., :2] - b[..., 2:4] / 2)
    high = np.minimum(a[..., :2] + a[..., 2:4] / 2, b[..., :2] + b[..., 2:4] / 2)
    both = np.maximum(high - low, 0).prod(-1)
    return both / (a[..., 2:4].prod(-1) + b[..., 2:4].prod(-1) - both)


def check_close(found, expected, tolerance, what):
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    error = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
    assert error.max() <= tolerance, f"{what}: differs by {error.max()} (tolerance {tolerance})"


def check_boxes(found, expected, tolerance, what, metadata):
    least = overlaps(found, expected).min()
    assert least > (IOU if tolerance == CLOSE or "teacher" in what else IOU_OF_NOISE), \
        f"{what}: boxes overlap by {least}"
    columns = list(range(5, expected.shape[2])) if metadata["form"] == "yolov8" else slice(4, None)
    if tolerance == CLOSE:
        check_close(found[..., :4], expected[..., :4], tolerance, f"{what}: boxes")
    check_close(found[..., columns], expected[..., columns], tolerance, f"{what}: classes")


class Case:
    """A network of the library's, images, and what it finds in them"""

    def __init__(self, cfg, weights, images, is_detector):
        self.network = small_nets.Network(cfg, weights)
        self.images, self.is_detector = images, is_detector
        self.expected = None

    def check(self, path, reader, tolerance, what):
        metadata = Runtime(path).metadata
        found = reader(path).find(self.images)
        if not self.is_detector:
            if self.expected is None:
                self.expected = np.array([self.network.predict(image, int(metadata["classes"]))
                                          for image in self.images])
            return check_close(found[0], self.expected, tolerance, what)
        if self.expected is None:
            self.expected = boxes_of(self.network, self.images, json.loads(metadata["heads"]),
                                     int(metadata["classes"]))
        boxes = to_boxes(found, metadata, (self.images.shape[3], self.images.shape[2]))
        return check_boxes(boxes, self.expected, tolerance, what, metadata)


def apart(function, *args):
    """Calls it in a process of its own: the library prints what it likes, and stays."""
    need_library()
    folder = args[0]

    def run():
        for number, name in ((1, "/dev/null"), (2, folder.at("log"))):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        function(*args)
    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join()
    log = folder.read("log").decode("utf-8", "replace")
    assert child.exitcode == 0, f"exit {child.exitcode}: {log[-1500:]}"


# The tests

def random_case(folder, name, layers, is_detector):
    """Writes net.cfg and net.weights"""
    net = {"width": SIZE, "height": SIZE, **NET.get(name, {})}
    small_nets.write_cfg(folder, layers, **net)
    small_nets.write_weights(folder, layers, np.random.default_rng(len(name)))
    images = np.concatenate([photographs(net["width"], net["height"])[:3],
                             noise(net["width"], net["height"], 1)])
    case = Case(folder.at("net.cfg"), folder.at("net.weights"), images, is_detector)
    return case, lambda *flags: export(folder, "net.cfg", "net.weights", *flags)


def check_says_something(case, name):
    """Or a comparison would prove nothing."""
    last = case.expected[..., 5:] if case.is_detector else case.expected
    assert last.std(0).max() > 1e-3, f"{name}: {last.std(0)}"


def compare_random(folder, name, layers, is_detector, reader):
    case, write = random_case(folder, name, layers, is_detector)
    forms = ("yolov5", *FORMS.get(name, ())) if is_detector else (None,)
    for form in forms:
        flags = ("-heads", form) if form else ()
        case.check(write(*flags), reader, CLOSE, f"{name} {form}")
    case.check(write("-batchnorm"), reader, CLOSE, f"{name} -batchnorm")
    if reader.HALF:
        case.check(write("-half"), reader, HALF, f"{name} -half")
    check_says_something(case, name)


def compare_shipped(folder, reader):
    for name, (width, height) in SHIPPED.items():
        files = [os.path.join(ROOT, "cfg", f"{name}.{end}") for end in ("cfg", "weights")]
        images = np.concatenate([photographs(width, height), noise(width, height, 2)])
        case = Case(*files, images, is_detector=name != "fmnist-teacher")
        case.check(export(folder, *files), reader, CLOSE, name)
        if reader.HALF:
            case.check(export(folder, *files, "-half"), reader, HALF, f"{name} -half")


READERS = {"ONNX Runtime": (Runtime, need_runtime), "OpenCV": (OpenCV, need_opencv)}


def compare(function, reader, need_reader):
    def run(folder, *args):
        need_runtime()
        need_reader()
        apart(function, folder, *args, reader)
    return run


for client, (reader, need_reader) in READERS.items():
    test(compare(compare_shipped, reader, need_reader), f"{client}: the shipped teachers")
    for kind, nets in enumerate((CLASSIFIERS, DETECTORS)):
        for name, layers in nets.items():
            if client == "OpenCV" and name == "bent activations":
                continue
            test(lambda folder, args=(name, layers, kind == 1), run=compare(
                compare_random, reader, need_reader): run(folder, *args),
                f"{client}: {'detector' if kind else 'classifier'}, {name}")


class Bare(tap.Folder):
    """Each test writes what it needs."""
    FILES = FOLDERS = ()

    def fill(self):
        pass


tap.main(Bare)
