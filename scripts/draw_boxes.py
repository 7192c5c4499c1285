#!/usr/bin/python3
"""Draws scenes with their true boxes and with those that detectors found: a sheet to compare them.

    scripts/draw_boxes.py OUT.png ANNOTATIONS.json IMAGES LABEL=DETECTIONS.json ... [--scenes 4]

ANNOTATIONS is COCO's JSON of truths, IMAGES the folder of its images, DETECTIONS COCO's JSON of
results, as `darknet deepkd map ... -out DETECTIONS.json` writes it. A row shows one scene: the
truth, then each LABEL's boxes with a score of at least --threshold; a class has one colour.

Which scenes: the first ones of ANNOTATIONS, whatever was found in them. Boxes that overlap are
drawn as they are; nothing is suppressed here and nothing is judged. A name stands on its box's
upper edge, or below where another name is there.
"""
import argparse
import collections
import os

import matplotlib
matplotlib.use("Agg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

from evaluate_coco import read_detections, read_truth  # noqa: E402
from imagelist import InputError, positive, replace_file, run  # noqa: E402

WIDTH = 1200  # pixels of the sheet
DPI = 100
FONT = 7.5  # points
LETTER, LINE = .6, 1.5  # width of a letter and height of a name, in the font's size

# name: of the class; score: None of a truth; bbox: x, y, w, h in pixels
Box = collections.namedtuple("Box", "category score bbox")


def arguments():
    def pair(text):
        label, _, path = text.partition("=")
        if not label or not path:
            raise ValueError
        return label, path
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.png")
    parser.add_argument("annotations", metavar="ANNOTATIONS.json")
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("found", metavar="LABEL=DETECTIONS.json", nargs="+", type=pair)
    parser.add_argument("--scenes", type=positive, default=4, metavar="N", help="default: 4")
    parser.add_argument("--threshold", type=float, default=.3, metavar="S", help="default: 0.3")
    return parser.parse_args()


def boxes_by_image(entries):
    """{image id: [Box]}, the best score first."""
    boxes = collections.defaultdict(list)
    for entry in sorted(entries, key=lambda entry: -entry.get("score", 0)):
        boxes[entry["image_id"]].append(Box(entry["category_id"], entry.get("score"),
                                            entry["bbox"]))
    return boxes


def read_sheet(args):
    """The truths' content, and a sheet's columns: [(title, {image id: [Box]})]."""
    truth = read_truth(args.annotations)
    columns = [("truth", boxes_by_image(truth["annotations"]))]
    for label, path in args.found:
        entries = [entry for entry in read_detections(path, truth)
                   if entry["score"] >= args.threshold]
        columns.append((label, boxes_by_image(entries)))
    return truth, columns


def class_colours(truth):
    """{category id: colour}; ten, then they come again."""
    ids = sorted(entry["id"] for entry in truth["categories"])
    return {number: plt.cm.tab10(i % 10) for i, number in enumerate(ids)}


def overlap(a, b):
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def place_name(box, length, pixel, image, taken):
    """Where a name of that many letters goes; adds its x, y, w, h to those taken."""
    size = FONT * DPI / 72 * pixel
    width, height = length * LETTER * size, LINE * size
    place = [max(0, min(box.bbox[0], image["width"] - width)), max(0, box.bbox[1] - height), width,
             height]
    while any(overlap(place, other) for other in taken):
        place[1] += height
    taken.append(place)
    return place[:2]


def draw_scene(axes, pixels, image, boxes, names, colours):
    """pixels: (h, w, 3); boxes: the best first; names, colours: by category."""
    taken = []
    axes.imshow(pixels, interpolation="bilinear")
    axes.set_axis_off()
    pixel = image["width"] / (axes.get_position().width * WIDTH)  # of the sheet, in the image's
    for i, box in enumerate(boxes):
        colour, text = colours[box.category], names[box.category]
        if box.score is not None:
            text += f" {box.score:.2f}"
        x, y, width, height = box.bbox
        axes.add_patch(plt.Rectangle((x, y), width, height, fill=False, color=colour,
                                     linewidth=1.8, zorder=2 - i / 1000))
        axes.text(*place_name(box, len(text), pixel, image, taken), text, color="white",
                  fontsize=FONT, clip_on=True, va="top", zorder=3,
                  bbox={"facecolor": colour, "edgecolor": "none", "pad": 1, "alpha": .85})


def make_grid(images, columns):
    """A figure whose rows are as high as their scenes are."""
    heights = [image["height"] / image["width"] for image in images]
    side, top = WIDTH / DPI / columns, .3  # inches
    size = WIDTH / DPI, side * sum(heights) + top
    return plt.subplots(len(images), columns, squeeze=False, figsize=size, gridspec_kw={
        "height_ratios": heights, "left": 0, "right": 1, "bottom": 0, "top": 1 - top / size[1],
        "wspace": .02, "hspace": .02})


def draw(args, truth, columns):
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    colours = class_colours(truth)
    images = truth["images"][:args.scenes]
    figure, grid = make_grid(images, len(columns))
    for cells, image in zip(grid, images):
        with Image.open(os.path.join(args.images, image["file_name"])) as file:
            pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        for axes, (_, boxes) in zip(cells, columns):
            draw_scene(axes, pixels, image, boxes[image["id"]], names, colours)
    for axes, (title, _) in zip(grid[0], columns):
        axes.set_title(title, fontsize=11)
    return figure


def main():
    args = arguments()
    if not args.out.endswith(".png"):
        raise InputError(f"{args.out}: expected a name that ends with .png")
    figure = draw(args, *read_sheet(args))
    replace_file(args.out, lambda name: figure.savefig(name, format="png", dpi=DPI))


if __name__ == "__main__":
    run(main, "nothing was written")
