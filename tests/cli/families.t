#!/usr/bin/python3 -B
"""Detectors of YOLOv3's, YOLOv4's and YOLOv7's kind, judged by OpenCV's DNN module, in TAP.

Proves: for small nets with the layers and keys that those cfgs have, and random weights, this
build's library and OpenCV, which reads the same cfg and weights, find the same boxes and the same
probabilities. (Objectness of a new_coords head is another column in OpenCV 4.6: there, boxes and
probabilities alone are compared.) A build that no other program can load skips it.
"""
import ctypes
import multiprocessing
import os
import struct

import tap
from tap import DARKNET, test

import numpy as np

SIZE = 64
CLOSE = 1e-4  # relative, of numbers that are .01 and more
LIBRARY = os.path.join(os.path.dirname(DARKNET), "libdarknet.so")


class Box(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in "xywh"]


class Detection(ctypes.Structure):
    _fields_ = [("box", Box), ("classes", ctypes.c_int), ("prob", ctypes.POINTER(ctypes.c_float)),
                ("mask", ctypes.POINTER(ctypes.c_float)), ("objectness", ctypes.c_float),
                ("sort_class", ctypes.c_int)]


def conv(filters, size=3, activation="leaky", **options):
    norm = {} if activation in ("linear", "logistic") else {"batch_normalize": 1}
    return ("convolutional", {**norm, "filters": filters, "size": size, "pad": 1, "stride": 1,
                              **options, "activation": activation})


def route(*layers, **options):
    return ("route", {"layers": ",".join(map(str, layers)), **options})


def pool(size, stride):
    return ("maxpool", {"size": size, "stride": stride})


def shortcut(source, activation="linear"):
    return ("shortcut", {"from": source, "activation": activation})


def head(mask, last="linear", **options):
    """Three classes; the last convolution and its [yolo]."""
    return [conv(8 * len(mask.split(",")), 1, last),
            ("yolo", {"mask": mask, "anchors": "4,6,8,5,7,12,14,10,11,24,28,22", "classes": 3,
                      "num": 6, **options})]


def csp(filters, activation):
    """A stage whose half of the channels goes round a residual block."""
    return [conv(filters, activation=activation, stride=2), conv(filters // 2, 1, activation),
            route(-2), conv(filters // 2, 1, activation), conv(filters // 2, 1, activation),
            conv(filters // 2, 3, activation), shortcut(-3), conv(filters // 2, 1, activation),
            route(-1, -7), conv(filters, 1, activation)]


NEW = {"new_coords": 1, "scale_x_y": 2, "objectness_smooth": 1, "iou_loss": "ciou", "resize": 1.5,
       "nms_kind": "diounms"}
UP = ("upsample", {"stride": 2})
FAMILIES = {
    "YOLOv3-tiny": [conv(8, stride=2), pool(2, 2), conv(12), pool(2, 2), conv(16), pool(2, 1),
                    *head("3,4,5"), route(-4), conv(8, 1), UP, route(-1, 2), *head("0,1,2")],
    "YOLOv4-tiny": [conv(8, stride=2), conv(16, stride=2), conv(16), route(-1, groups=2, group_id=1),
                    conv(8), conv(8), route(-1, -2), conv(16, 1), route(-6, -1), pool(2, 2),
                    *head("3,4,5", scale_x_y=1.05, iou_loss="ciou", iou_normalizer=.07),
                    route(-3), conv(8, 1), UP, route(-1, 7), *head("0,1,2", scale_x_y=1.05)],
    "YOLOv4": [conv(8, activation="mish"), *csp(16, "mish"), *csp(16, "mish"), conv(8, 1), pool(5, 1),
               route(-2), pool(9, 1), route(-4), pool(13, 1), route(-1, -3, -5, -6), conv(16, 1),
               *head("3,4,5", scale_x_y=1.1, iou_thresh=.213, max_delta=5)],
    "YOLOv4-csp": [conv(8, activation="mish"), *csp(16, "mish"), *csp(16, "swish"),
                   conv(16, 1, "mish"), *head("3,4,5", "logistic", **NEW)],
    "YOLOv7": [conv(8, activation="swish"), conv(16, activation="swish", stride=2), pool(2, 2),
               conv(16, 1, "swish"), route(-3), conv(16, 1, "swish"),
               conv(16, activation="swish", stride=2), route(-1, -4), conv(16, 1, "swish"),
               *head("3,4,5", "logistic", **NEW), route(-3), conv(8, 1, "leaky"), UP,
               *head("0,1,2", "logistic", **NEW)],
    "EfficientNet": [conv(8, activation="swish", stride=2), conv(16, 1, "swish"),
                     conv(16, activation="swish", groups=16, stride=2), ("avgpool", {}),
                     conv(4, 1, "swish"), conv(16, 1, "logistic"), ("scale_channels", {"from": -4}),
                     conv(8, 1, "linear"), shortcut(-1), conv(16, 3, "leaky"), *head("3,4,5")],
    "attention": [conv(8, stride=2), conv(8, 1, "mish"), conv(8, 1, "logistic"),
                  ("sam", {"from": -2}), *head("3,4,5")],
}


def write_cfg(folder, layers):
    sections = [("net", {"batch": 1, "width": SIZE, "height": SIZE, "channels": 3}), *layers]
    folder.write("net.cfg", "\n".join(f"[{name}]\n" + "\n".join(f"{key}={value}" for key, value in
                                                                options.items()) + "\n"
                                      for name, options in sections))


def write_weights(folder, layers, draw):
    """Random ones that keep the sizes of numbers as they are, from layer to layer."""
    channels, now, parts = [], 3, []
    for i, (name, options) in enumerate(layers):
        if name == "convolutional":
            filters = options["filters"]
            window = now // options.get("groups", 1) * options["size"] ** 2
            parts.append(draw.uniform(-.5, .5, filters))
            if "batch_normalize" in options:
                parts += [draw.uniform(.5, 1.5, filters), draw.uniform(-.3, .3, filters),
                          draw.uniform(.5, 2, filters)]
            parts.append(draw.normal(0, 1.4 / window ** .5, filters * window))
            now = filters
        elif name == "route":
            places = [int(place) for place in options["layers"].split(",")]
            now = sum(channels[place if place >= 0 else i + place] for place in places)
            now //= options.get("groups", 1)
        elif name == "scale_channels":
            now = channels[i + options["from"]]
        channels.append(now)
    numbers = np.concatenate(parts).astype("<f4").tobytes()
    folder.write("net.weights", struct.pack("<iiiq", 0, 2, 0, 0) + numbers)


def find_ours(folder, images):
    """[boxes][x y w h objectness, classes]"""
    library = ctypes.CDLL(LIBRARY)
    pointer, count = ctypes.c_void_p, ctypes.c_int()
    library.load_network.restype = library.network_predict.restype = pointer
    library.get_network_boxes.restype = ctypes.POINTER(Detection)
    library.get_network_boxes.argtypes = [pointer, ctypes.c_int, ctypes.c_int, ctypes.c_float,
                                          ctypes.c_float, pointer, ctypes.c_int, pointer]
    files = [ctypes.c_char_p(os.fsencode(folder.at(name))) for name in ("net.cfg", "net.weights")]
    net = pointer(library.load_network(*files, 0))
    library.network_predict(net, images.ctypes.data_as(pointer))
    found = library.get_network_boxes(net, SIZE, SIZE, -1, .5, None, 1, ctypes.byref(count))
    return np.array([[d.box.x, d.box.y, d.box.w, d.box.h, d.objectness, *d.prob[:d.classes]]
                     for d in found[:count.value]])


def find_theirs(cv2, folder, images):
    net = cv2.dnn.readNetFromDarknet(folder.at("net.cfg"), folder.at("net.weights"))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(images)
    return np.concatenate([head.reshape(-1, head.shape[-1])
                           for head in net.forward(net.getUnconnectedOutLayersNames())])


def compare(cv2, folder):
    """In a process of its own, for the library prints what it likes."""
    for number, name in ((1, "/dev/null"), (2, folder.at("log"))):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    for seed, (name, layers) in enumerate(FAMILIES.items()):
        draw = np.random.default_rng(seed)
        write_cfg(folder, layers)
        write_weights(folder, layers, draw)
        images = draw.uniform(0, 1, (1, 3, SIZE, SIZE)).astype("f4")
        ours, theirs = find_ours(folder, images), find_theirs(cv2, folder, images)
        assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
        error = np.abs(ours - theirs) / np.maximum(np.abs(theirs), .01)
        error[theirs == 0] = 0  # OpenCV leaves out what is below its threshold
        if any("new_coords" in options for _, options in layers):
            error[:, 4] = 0
        assert (theirs[:, 5:] > .2).any() and theirs[:, :4].std() > .05, f"{name}: says nothing"
        assert error.max() < CLOSE, f"{name}: {error.max()} at {error.argmax()}"


@test
def families(folder):
    """small detectors of seven kinds: the boxes and probabilities that OpenCV finds"""
    try:
        import cv2  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise tap.missing("python3-opencv") from None
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="utf-8") as file:
        switches = dict(line.strip().split("=", 1) for line in file if "=" in line)
    if switches.get("SANITIZE", "0") not in ("", "0") or switches.get("GPU") == "1":
        raise tap.Skip("a build that no other program can load")
    child = multiprocessing.Process(target=compare, args=(cv2, folder))
    child.start()
    child.join()
    assert child.exitcode == 0, folder.read("log")[-1000:].decode()


tap.main()
