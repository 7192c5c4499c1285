"""Small detectors of the kinds that cfgs have, random weights for any cfg, and what this build's
library finds with both. A module that tests share.
"""
import ctypes
import os
import struct

import tap
from tap import DARKNET

import numpy as np

SIZE = 64
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


def write_cfg(folder, layers, **net):
    sections = [("net", {"batch": 1, "width": SIZE, "height": SIZE, "channels": 3, **net}), *layers]
    folder.write("net.cfg", "\n".join(f"[{name}]\n" + "\n".join(f"{key}={value}" for key, value in
                                                                options.items()) + "\n"
                                      for name, options in sections))


def norm(draw, filters):
    return [draw.uniform(.5, 1.5, filters), draw.uniform(-.3, .3, filters),
            draw.uniform(.5, 2, filters)]


def numbers_of(name, options, inputs, draw):
    """A layer's arrays, in the file's order; they keep the sizes of numbers as they are."""
    filters = options.get("filters", options.get("output"))
    normalized = norm(draw, filters) if "batch_normalize" in options else []
    biases = [] if filters is None else [draw.uniform(-.5, .5, filters)]
    window = inputs // options.get("groups", 1) * options.get("size", 1) ** 2
    if name == "convolutional":
        return biases + normalized + [draw.normal(0, 1.4 / window ** .5, filters * window)]
    if name == "deconvolutional":
        return biases + normalized + [draw.normal(0, 1.4 / inputs ** .5, filters * window)]
    if name == "connected":
        return biases + [draw.normal(0, 1.4 / inputs ** .5, filters * inputs)] + normalized
    if name == "batchnorm":
        return norm(draw, inputs)
    if name == "shortcut" and options.get("weights_type", "none") != "none":
        each = inputs if options["weights_type"] == "per_channel" else 1
        return [draw.normal(.5, 1, each * (1 + len(str(options["from"]).split(","))))]
    return []


def channels_of(name, options, channels, now):
    """How many come out, of `now` that come in and those of the layers above"""
    if name == "route":
        places = [int(place) for place in str(options["layers"]).split(",")]
        return sum(channels[place] for place in places) // options.get("groups", 1)
    if name == "scale_channels":
        return channels[options["from"]]
    if name in ("reorg", "reorg3d"):
        area = options["stride"] ** 2
        return now // area if options.get("reverse") else now * area
    return options.get("filters", options.get("output", options.get("out_channels", now)))


def write_weights(folder, layers, draw):
    """Random ones for the layers, of images of three channels; a [connected] behind an [avgpool]"""
    channels, now, parts = [], 3, []
    for name, options in layers:
        parts += numbers_of(name, options, now, draw)
        now = channels_of(name, options, channels, now)
        channels.append(now)
    numbers = np.concatenate(parts).astype("<f4").tobytes()
    folder.write("net.weights", struct.pack("<iiiq", 0, 2, 0, 0) + numbers)


def need_library():
    """Skips where no other program can load it."""
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="utf-8") as file:
        switches = dict(line.strip().split("=", 1) for line in file if "=" in line)
    if switches.get("SANITIZE", "0") not in ("", "0") or switches.get("GPU") == "1":
        raise tap.Skip("a build that no other program can load")


class Network:
    """This build's library with a cfg and weights, which prints what it likes."""

    def __init__(self, cfg, weights):
        self.library, pointer = ctypes.CDLL(LIBRARY), ctypes.c_void_p
        self.library.load_network.restype = pointer
        self.library.network_predict.restype = ctypes.POINTER(ctypes.c_float)
        self.library.get_network_boxes.restype = ctypes.POINTER(Detection)
        self.library.get_network_boxes.argtypes = [pointer, ctypes.c_int, ctypes.c_int,
                                                   ctypes.c_float, ctypes.c_float, pointer,
                                                   ctypes.c_int, pointer]
        self.net = pointer(self.library.load_network(
            *(ctypes.c_char_p(os.fsencode(name)) for name in (cfg, weights)), 0))
        self.library.set_batch_network(self.net, 1)

    def predict(self, image, count):
        """The first `count` numbers of the network's output for an image [c][h][w] of float32"""
        out = self.library.network_predict(self.net, image.ctypes.data_as(ctypes.c_void_p))
        return np.array(out[:count])

    def boxes(self, image, classes):
        """[boxes][x y w h objectness, classes], in parts of the image"""
        count = ctypes.c_int()
        self.predict(image, 0)
        side = image.shape[-1], image.shape[-2]
        found = self.library.get_network_boxes(self.net, *side, -1, .5, None, 1,
                                               ctypes.byref(count))
        return np.array([[d.box.x, d.box.y, d.box.w, d.box.h, d.objectness, *d.prob[:classes]]
                         for d in found[:count.value]])
