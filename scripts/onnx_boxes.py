"""Images into an ONNX file that `darknet deepkd export` wrote, and a detector's boxes out of it.

As Darknet does both: its bilinear resize, letterboxed, stretched or cropped as the metadata says,
and its suppression of boxes by class. A module; scripts/detect_onnx.py and scripts/quantize_onnx.py
are the commands. ONNX Runtime does the computing, on the CPU.
"""
import collections
import os
import sys

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oneline import InputError

# where scripts/deps.sh puts ONNX Runtime; searched last
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                             "build", "python"))
NEEDED = ("width", "height", "classes", "resize", "form")

# session: ONNX Runtime's; width, height: of what comes in; form, resize: the metadata's
Model = collections.namedtuple("Model", "session width height classes form resize")
# Where an image lies in what comes in, in pixels of that
Place = collections.namedtuple("Place", "left top width height")
Box = collections.namedtuple("Box", "label score left top width height")


def open_model(path):
    try:
        import onnxruntime  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise InputError(f"no ONNX Runtime ({error}); to install, type: scripts/deps.sh install "
                         "onnx") from error
    with open(path, "rb") as file:
        content = file.read()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # pylint: disable=broad-except  # whose classes are not Python's
        raise InputError(f"{path}: no ONNX file ({' '.join(str(error).split())})") from error
    found = session.get_modelmeta().custom_metadata_map
    if not all(key in found for key in NEEDED):
        raise InputError(f"{path}: no metadata of `darknet deepkd export`, expected a file of it")
    return Model(session, int(found["width"]), int(found["height"]), int(found["classes"]),
                 found["form"], found["resize"])


def read_image(path):
    """[h][w][3] of 0 to 1"""
    try:
        with Image.open(path) as file:
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"), np.float32) / 255
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: no image") from error


def resize(pixels, width, height):
    """Darknet's resize_image: the corners stay corners."""
    for axis, size in ((1, width), (0, height)):
        old = pixels.shape[axis]
        at = np.linspace(0, old - 1, size, dtype=np.float32)
        low = np.minimum(at.astype(int), old - 1)
        part = (at - low).reshape((1, -1, 1) if axis else (-1, 1, 1))
        pixels = pixels.take(low, axis) * (1 - part) + \
            pixels.take(np.minimum(low + 1, old - 1), axis) * part
    return pixels


def place_image(pixels, model):
    """What comes in, [3][h][w], and where the image is in it"""
    (h, w), (height, width) = pixels.shape[:2], (model.height, model.width)
    if model.resize == "crop":
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        pixels = pixels[top:top + side, left:left + side]
    if model.resize == "letterbox":
        width, height = (width, h * width // w) if width / w < height / h else \
            (w * height // h, height)
    left, top = (model.width - width) // 2, (model.height - height) // 2
    result = np.full((model.height, model.width, 3), .5, np.float32)
    result[top:top + height, left:left + width] = resize(pixels, width, height)
    place = Place((model.width - width) / 2, (model.height - height) / 2, width, height)
    return np.ascontiguousarray(result.transpose(2, 0, 1)), place


def overlaps(box, boxes):
    """IoU of one [left top right bottom] with [n] of them"""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.maximum(high - low, 0).prod(1)
    return both / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - both)


def suppress(corners, scores, limit):
    """Which boxes stay: those that no better one overlaps by more than the limit."""
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        kept.append(order[0])
        order = order[1:][overlaps(corners[order[0]], corners[order[1:]]) <= limit]
    return kept


def find_boxes(model, pixels, threshold=.005, limit=.45):
    """[Box] of an image, in its pixels"""
    image, place = place_image(pixels, model)
    found = model.session.run(None, {"images": image[None]})[0][0]
    if model.form == "yolov8":
        boxes, scores = found[:4].T, found[4:].T
    else:
        boxes, scores = found[:, :4], found[:, 5:] * found[:, 4:5]
    h, w = pixels.shape[:2]
    scale = np.array([w / place.width, h / place.height])
    centres = (boxes[:, :2] - (place.left, place.top)) * scale
    halves = boxes[:, 2:] * scale / 2
    corners = np.concatenate([centres - halves, centres + halves], 1)
    result = []
    for label in range(model.classes):
        which = np.flatnonzero(scores[:, label] > threshold)
        for i in which[suppress(corners[which], scores[which, label], limit)]:
            left, top, right, bottom = np.clip(corners[i], 0, (w, h, w, h))
            result.append(Box(label, float(scores[i, label]), *map(
                float, (left, top, right - left, bottom - top))))
    return result
