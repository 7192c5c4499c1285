#!/usr/bin/python3 -B
"""Anchors by k-means as others have it, for docs/detectors.md: YOLOv2's distance 1 - IoU, centres
moved to the mean or the median of their boxes, 20 random starts, centres rounded to whole pixels.

    cd build && ../tests/reference/anchors.py LIST WIDTH HEIGHT LETTER_BOX N [N ...] [-- DARKNET DATA]

prints for each number of anchors the mean IoU in %, of all starts and of the best; with DARKNET and
DATA first that of `DARKNET deepkd anchors DATA`. Nothing is shared with plugin/math/shapes.c.
"""
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image

STARTS = 20


def fitted(path, width, height, letter_box):
    """An image's sides on the input, as Darknet's letterbox_image has them."""
    with Image.open(path) as image:
        w, h = image.size
    if not letter_box:
        return width, height
    return (width, h * width // w) if width / w < height / h else (w * height // h, height)


def read_boxes(name, width, height, letter_box):
    """[n][2] pixels of all boxes of a list of images."""
    found = []
    with open(name, encoding="utf-8") as file:
        paths = file.read().split()
    for path in paths:
        across, down = fitted(path, width, height, letter_box)
        label = os.path.splitext(path.replace("/images/", "/labels/"))[0] + ".txt"
        with open(label, encoding="ascii") as file:
            for line in file:
                numbers = [float(word) for word in line.split()]
                if numbers:
                    found.append((numbers[3] * across, numbers[4] * down))
    return np.array(found)


def ious(boxes, centres):
    both = np.minimum(boxes[:, None], centres).prod(2)
    return both / (boxes.prod(1)[:, None] + centres.prod(1) - both)


def mean_iou(boxes, centres):
    return 100 * ious(boxes, np.maximum(1, np.round(centres))).max(1).mean()


def k_means(boxes, centres, middle):
    last = None
    for _ in range(300):
        owners = ious(boxes, centres).argmax(1)
        if last is not None and (owners == last).all():
            break
        last = owners
        centres = np.array([middle(boxes[owners == j], axis=0) if (owners == j).any() else centre
                            for j, centre in enumerate(centres)])
    return mean_iou(boxes, centres)


def ours(boxes, words, number, darknet, data):
    words = ["-n", number, "-width", words[0], "-height", words[1], "-letter_box", words[2]]
    out = subprocess.run([darknet, "deepkd", "anchors", data, *words], check=True,
                         capture_output=True, text=True).stdout
    sides = re.findall(r"\d+", out.split("anchors = ")[1])
    return mean_iou(boxes, np.array(sides, float).reshape(-1, 2))


def main():
    own = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    name, *words = sys.argv[1:own]
    boxes = read_boxes(name, *map(int, words[:3]))
    for number in words[3:]:
        random, rows = np.random.RandomState(1), []
        for _ in range(STARTS):
            first = boxes[random.choice(len(boxes), int(number), False)]
            rows.append([k_means(boxes, first, middle) for middle in (np.mean, np.median)])
        said = [ours(boxes, words, number, *sys.argv[own + 1:])] if own < len(sys.argv) else []
        rows = np.array(rows)
        figures = [*said, *np.stack([rows.mean(0), rows.max(0)], 1).flatten()]
        print(f"{len(boxes)} boxes, {number} anchors:", *(f"{figure:.2f}" for figure in figures))


if __name__ == "__main__":
    main()
