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
import shutil
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
    "activations": [conv(8, stride=2), *each_activation(SMOOTH),
                    section("activation", activation="relu"), MAX, *END[:2],
                    section("softmax", temperature=5)],
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
    "PyTorch's layers": [
        section("batchnorm", affine=1), conv(12, stride=2), section("shuffle", groups=3),
        section("local_avgpool", size=3, stride=2, count_padding=1), conv(12, groups=12),
        section("shuffle", groups=4), section("batchnorm", affine=1), *END],
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
REGION = ("region", {"anchors": "1,1, 1.75,3", "classes": 3, "num": 2, "softmax": 1})
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
    probabilities], in pixels. Of a [yolo] it has all anchors of a cell, then the next cell's."""
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

def once(folder, *words):
    """The file of an export with these words; both readers' tests take the same."""
    shared = os.path.join(os.path.dirname(folder.path), "files")
    os.makedirs(shared, exist_ok=True)
    path = os.path.join(shared, re.sub(r"\W+", "-", "-".join(words)) + ".onnx")
    if not os.path.exists(path):
        os.replace(export(folder, *words), path)
    return path


def random_case(folder, name, layers, is_detector):
    """Writes NAME.cfg and NAME.weights"""
    net = {"width": SIZE, "height": SIZE, **NET.get(name, {})}
    small_nets.write_cfg(folder, layers, **net)
    small_nets.write_weights(folder, layers, np.random.default_rng(len(name)))
    files = [f"{name}.{end}" for end in ("cfg", "weights")]
    for file in files:
        os.replace(folder.at(f"net.{file.split('.')[-1]}"), folder.at(file))
    images = np.concatenate([photographs(net["width"], net["height"])[:3],
                             noise(net["width"], net["height"], 1)])
    case = Case(*map(folder.at, files), images, is_detector)
    return case, lambda *flags: once(folder, *files, *flags)


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
        case.check(once(folder, *files), reader, CLOSE, name)
        if reader.HALF:
            case.check(once(folder, *files, "-half"), reader, HALF, f"{name} -half")


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


NAMES = ["rëd", "green", "blue"]
TEACHER = [os.path.join(ROOT, "cfg", f"scenes-teacher.{end}") for end in ("cfg", "weights")]


def write_detector(folder, layers=None, **net):
    layers = layers or FAMILIES["YOLOv4-tiny"]
    small_nets.write_cfg(folder, layers, **{"width": 96, "height": 64, "letter_box": 1, **net})
    small_nets.write_weights(folder, layers, np.random.default_rng(1))
    folder.write("names.txt", "\n".join(NAMES) + "\n")


@test
def metadata(folder):
    """the metadata has names, sizes, classes, how images are placed, and the heads"""
    need_runtime()
    write_detector(folder, letter_box=0)
    model = Runtime(export(folder, "net.cfg", "net.weights", "-names", "names.txt"))
    heads = json.loads(model.metadata.pop("heads"))
    assert model.metadata == {
        "task": "detect", "width": "96", "height": "64", "channels": "3", "classes": "3",
        "names": json.dumps(NAMES, ensure_ascii=False), "resize": "stretch", "colours": "RGB",
        "scale": str(1 / 255), "form": "yolov5"}, model.metadata
    assert heads[1] == {"layer": 17, "type": "yolo", "grid": [24, 16], "new_coords": 0,
                        "softmax": 0, "scale_x_y": 1.05,
                        "anchors": [[4, 6], [8, 5], [7, 12]]}, heads
    shapes = [(value.name, value.shape) for value in
              (*model.session.get_inputs(), *model.session.get_outputs())]
    assert shapes == [("images", ["batch", 3, 64, 96]),
                      ("boxes", ["batch", 3 * (12 * 8 + 24 * 16), 8])], shapes
    folder.write("student.cfg", tap.student_cfg())
    folder.darknet("partial", "student.cfg", "", "student.weights", "99").check(0)
    found = Runtime(export(folder, "student.cfg", "student.weights")).metadata
    assert found["task"] == "classify" and found["resize"] == "crop", found
    assert json.loads(found["names"]) == [f"class {i}" for i in range(tap.CLASSES)], found


@test
def nodes(folder):
    """float16 and -batchnorm are what they say; a classifier's raw heads are its logits"""
    need_runtime()
    import onnx  # pylint: disable=import-outside-toplevel
    sizes, kinds = [], []
    for flags in ((), ("-half",), ("-batchnorm",)):
        path = export(folder, *TEACHER, *flags)
        sizes.append(os.path.getsize(path))
        kinds.append({node.op_type for node in onnx.load(path).graph.node})
    assert sizes[1] < .53 * sizes[0] < sizes[2], sizes
    assert kinds[1] - kinds[0] == {"Cast"} and kinds[2] - kinds[0] == {"BatchNormalization"}, kinds
    files = [file.replace("scenes", "fmnist") for file in TEACHER]
    images = photographs(28, 28)
    logits, = Runtime(export(folder, *files, "-heads", "raw")).find(images)
    found, = Runtime(export(folder, *files)).find(images)
    e = np.exp(logits - logits.max(1, keepdims=True))
    check_close(found, e / e.sum(1, keepdims=True), 1e-6, "logits")


def scenes(folder):
    """A folder with scenes and a teacher that finds something in them, made once"""
    path = os.path.join(os.path.dirname(folder.path), "scenes")
    shared = tap.DetectorFolder.__new__(tap.DetectorFolder)
    shared.path = path
    if not os.path.exists(path):
        shared = tap.DetectorFolder(path)
        shared.fill()
    return shared


def found_by_darknet(folder, image):
    """[(name, score)] of `deepkd detect`, the surest first"""
    out = folder.darknet("deepkd", "detect", "deepkd.data", "teacher.cfg", "teacher.weights",
                         image).check(0).out
    return [(name, int(percent) / 100) for name, percent in re.findall(r"(\w+): (\d+)%", out)]


@test
def example(folder):
    """the example of docs/onnx.md finds in scenes what `deepkd detect` finds"""
    need_runtime()
    need_opencv()
    folder = scenes(folder)
    export(folder, "teacher.cfg", "teacher.weights", "-names", "names.txt")
    with open(os.path.join(ROOT, "docs", "onnx.md"), encoding="utf-8") as file:
        folder.write("example.py", re.search(r"```python\n(.*?)```", file.read(), re.S)[1])
    paths = [os.environ.get("PYTHONPATH"), os.path.join(ROOT, "build", "python")]
    same, count = 0, 0
    for image in folder.read("valid.list").decode().split()[:8]:
        done = subprocess.run([PYTHON, "example.py", "net.onnx", image], cwd=folder.path, text=True,
                              env={**ENVIRONMENT, "PYTHONPATH": ":".join(filter(None, paths))},
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        found = [(name, float(score)) for name, score in
                 re.findall(r"^(\w+) (\S+) \[", done.stdout, re.M)]
        expected = found_by_darknet(folder, image)
        count += len(expected)
        same += sum(any(name == other and abs(score - value) < .15 for other, value in found)
                    for name, score in expected)
    assert count > 5 and same >= .8 * count, f"{same} of {count} boxes"


def script(folder, name, *words):
    return subprocess.run([PYTHON, "-B", os.path.join(ROOT, "scripts", name), *words], check=False,
                          cwd=folder.path, env=ENVIRONMENT, capture_output=True, text=True)


def average_precision(folder, model):
    """mAP@0.50 by scripts/detect_onnx.py, and by our own evaluator's JSON form"""
    tap.check_ran(script(folder, "detect_onnx.py", model, "val.json", "images/val", "found.json"))
    out = tap.check_ran(script(folder, "evaluate_coco.py", "val.json", "found.json"))
    return float(re.search(r"^AP50 +(\S+)", out, re.M)[1])


@test
def quantised(folder):
    """INT8 of 16 images' ranges: smaller, the same boxes' mAP; float32's is that of `deepkd map`"""
    need_runtime()
    need("onnxruntime.quantization", "onnxruntime (scripts/deps.sh install onnx)")
    if not importlib.util.find_spec("pycocotools"):
        raise tap.missing("pycocotools (scripts/deps.sh install coco)")
    folder = scenes(folder)
    export(folder, "teacher.cfg", "teacher.weights")
    done = script(folder, "quantize_onnx.py", "net.onnx", "train.list", "int8.onnx", "--images",
                  "16")
    if "no ONNX Runtime that quantises" in done.stderr:
        raise tap.missing("an onnx that ONNX Runtime's quantisation knows")
    assert "16 images looked at" in tap.check_ran(done) and not done.stderr, done.stderr
    out = folder.darknet("deepkd", "map", "deepkd.data", "teacher.cfg",
                         "teacher.weights").check(0).out
    ours = float(re.search(r"mAP@0.50\) = (\S+),", out)[1])
    plain, int8 = (average_precision(folder, name) for name in ("net.onnx", "int8.onnx"))
    assert ours > .3 and abs(plain - ours) < .02, f"{plain}, expected {ours}"
    assert int8 > plain - .1, f"INT8: {int8}, float32: {plain}"
    size, small = (os.path.getsize(folder.at(name)) for name in ("net.onnx", "int8.onnx"))
    assert Runtime(folder.at("int8.onnx")).metadata["precision"] == "int8", "no metadata"
    assert small < size, (small, size)


@test
def scripts_refuse(folder):
    """detect_onnx.py and quantize_onnx.py: no ONNX file, one of others, another form, no images"""
    need_runtime()
    import onnx  # pylint: disable=import-outside-toplevel
    write_detector(folder)
    model = onnx.load(export(folder, "net.cfg", "net.weights", "-heads", "raw"))
    del model.metadata_props[:]
    onnx.save(model, folder.at("other.onnx"))
    folder.write("no.onnx", "no")
    folder.write("val.json", '{"images": [], "annotations": [], "categories": []}')
    folder.write("empty.list", "\n")
    folder.write("some.list", "nothing.png\n")
    before = folder.names(".")
    for file, said in (("no.onnx", "no.onnx: no ONNX file"), ("other.onnx", "no metadata of"),
                       ("gone.onnx", "No such file"), ("net.onnx", "its outputs are raw")):
        done = script(folder, "detect_onnx.py", file, "val.json", ".", "found.json")
        tap.check_refused(done, file, said)
    for words, said in ((("no.onnx", "some.list", "out.onnx"), "no.onnx: no ONNX file"),
                        (("net.onnx", "some.list", "out.onnx"), "nothing.png: No such file"),
                        (("net.onnx", "empty.list", "out.onnx"), "empty.list: found no paths"),
                        (("net.onnx", "some.list", "out"), "out: expected a name that ends with")):
        done = script(folder, "quantize_onnx.py", *words)
        if "no ONNX Runtime that quantises" not in done.stderr:
            tap.check_refused(done, said)
    assert folder.names(".") == before, folder.names(".")


# Bad input

ARGS = "net.cfg net.weights -onnx net.onnx"


def bad(name, words, change=None, flags="", args=ARGS):
    """Adds a test: one line with the words, exit status 1, and no file that is new or other.
    change: what is made of the folder with a detector before."""
    def run(folder):
        if "-onnx" in args:
            need_onnx()
        write_detector(folder)
        if change:
            change(folder)
        before = {file: os.path.getmtime(folder.at(file)) for file in folder.names(".")}
        result = folder.darknet("deepkd", "export", *args.split(), *flags.split()).check(1)
        tap.check_error(result, [words])
        assert not result.out, result.out
        after = {file: os.path.getmtime(folder.at(file)) for file in folder.names(".")}
        assert after == before, f"{after} before: {before}"
    test(run, f"refused: {name}")


def with_layers(*layers):
    return lambda folder: write_detector(folder, [*layers, *FAMILIES["YOLOv4-tiny"]])


def with_local(folder):
    """With Darknet's own random weights, which are as many as its pixels"""
    local = section("local", filters=3, size=1, stride=1, pad=0, activation="linear")
    write_detector(folder, [conv(4, stride=2), local, *FAMILIES["YOLOv4-tiny"]])
    folder.darknet("partial", "net.cfg", "", "net.weights", "99").check(0)


def reads_an_output(folder):
    write_detector(folder, [*FAMILIES["YOLOv4-tiny"], section("route", layers=11),
                            *small_nets.head("0,1,2")])


def as_classifier(folder):
    layers = [conv(8, stride=2), *END]
    small_nets.write_cfg(folder, layers)
    small_nets.write_weights(folder, layers, np.random.default_rng(1))


def with_a_million(folder):
    content = folder.read("net.weights")
    numbers = np.frombuffer(content[20:], np.float32).copy()
    numbers[40] = 1e6
    folder.write("net.weights", content[:20] + numbers.tobytes())


def shortened(folder):
    folder.write("net.weights", folder.read("net.weights")[:-4])


def with_names(text):
    return lambda folder: folder.write("names.txt", text)


def without_file(name):
    return lambda folder: folder.remove(name)


bad("a layer without an ONNX form", "net.cfg: layer 1, [local]: has no ONNX form", with_local)
bad("activation=stair", "layer 0, [convolutional]: activation=stair has no ONNX form",
    with_layers(conv(3, 1, "stair")))
bad("xnor=1", "layer 0, [convolutional]: binary=1 and xnor=1 have no ONNX form",
    with_layers(conv(3, 1, xnor=1)))
bad("[reorg] flatten=1", "layer 0, [reorg]: flatten= and extra=",
    with_layers(section("reorg", stride=1, flatten=1)))
bad("a [shortcut] from a smaller image", "layer 2, [shortcut]: from=0, a smaller image",
    with_layers(conv(3, stride=2), section("upsample", stride=2), shortcuts(-2)))
bad("a layer that reads an output", "layer 18, [route]: layer 11 is an output", reads_an_output)
bad("weights of another cfg", "net.weights: found 28208 bytes, expected 28212", shortened)
bad("no weights", "net.weights: No such file", without_file("net.weights"))
bad("no cfg", "net.cfg", without_file("net.cfg"))
bad("no WEIGHTS", "-onnx net.onnx: found no WEIGHTS", args="net.cfg -onnx net.onnx")
bad("WEIGHTS without -onnx", "net.weights: expected -onnx FILE along", args="net.cfg net.weights")
bad("a flag without -onnx", "-half: expected -onnx FILE along", args="net.cfg -half")
bad("another ending", "-onnx net.weights: expected a name that ends with .onnx",
    args="net.cfg net.weights -onnx net.weights")
bad("a folder that is not there", "nowhere/net.onnx.tmp: No such file",
    args="net.cfg net.weights -onnx nowhere/net.onnx")
bad("a folder as the file", "-onnx net.onnx: found a folder",
    lambda folder: os.mkdir(folder.at("net.onnx")))
bad("heads of another form", "-heads v9: expected yolov5, yolov8, raw", flags="-heads v9")
bad("heads of a classifier", "-heads yolov5: expected raw, or a detector", as_classifier,
    "-heads yolov5")
bad("-half and -batchnorm", "-half and -batchnorm: ", flags="-half -batchnorm")
bad("a number beyond float16", "numbers beyond float16's, expected no -half", with_a_million,
    "-half")
bad("too few names", "names.txt: found 2 names, expected 3", with_names("a\nb\n"),
    "-names names.txt")
bad("no names", "names.txt: No such file", without_file("names.txt"), "-names names.txt")


@test
def installed(folder):
    """a program that `make install` has put somewhere finds its script there"""
    need_runtime()
    write_detector(folder)
    for name in ("bin", "share/darknet-deepkd"):
        os.makedirs(folder.at(name))
    shutil.copy(DARKNET, folder.at("bin"))
    for name in ("export_onnx.py", "oneline.py"):
        shutil.copy(os.path.join(ROOT, "scripts", name), folder.at("share/darknet-deepkd"))
    paths = [os.environ.get("PYTHONPATH"), os.path.join(ROOT, "build", "python")]
    tap.check_ran(subprocess.run(
        [folder.at("bin/darknet"), "deepkd", "export", *ARGS.split()], cwd=folder.path, check=False,
        env={**ENVIRONMENT, "PYTHONPATH": ":".join(filter(None, paths))}, capture_output=True))
    assert folder.names("share/darknet-deepkd") == ["export_onnx.py", "oneline.py"], "more"
    assert json.loads(Runtime(folder.at("net.onnx")).metadata["names"])[0] == "class 0"


@test
def without_package(folder):
    """without the package onnx, Python or the script: one line"""
    write_detector(folder)
    words = ("deepkd", "export", *ARGS.split())
    folder.write("bare", f'#!/bin/sh\nexec {PYTHON} -S "$@"\n')
    os.chmod(folder.at("bare"), 0o755)
    for python, said in ((folder.at("bare"), "scripts/deps.sh install onnx"),
                         (folder.at("nothing"), "nothing: No such file or directory: expected Py")):
        result = folder.darknet(*words, env={**ENVIRONMENT, "PYTHON": python}).check(1)
        tap.check_error(result, [said])
    os.mkdir(folder.at("elsewhere"))
    program = folder.at("elsewhere/darknet")
    shutil.copy(DARKNET, program)
    done = subprocess.run([program, *words], cwd=folder.path, env=ENVIRONMENT, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "-onnx: found no export_onnx.py in " in done.stderr, done.stderr
    assert "net.onnx" not in folder.names("."), folder.names(".")


if __name__ == "__main__":
    tap.main(Bare)
