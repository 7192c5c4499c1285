#!/usr/bin/python3
"""Prints pycocotools' twelve figures for a detector's boxes.

    scripts/evaluate_coco.py instances_val.json detections.json [--per-class]

INSTANCES is COCO's JSON, or that of scripts/make_scenes.py. DETECTIONS is a list of
{"image_id", "category_id", "bbox", "score"}, such as stock Darknet's coco_results.json; category_id
is the id in INSTANCES, not Darknet's class. An image without detections counts as one in which
nothing was found.

pycocotools does the computing; this checks what goes in, because pycocotools trusts it, and labels
what comes out. Figures are 0 to 1, or - where INSTANCES has no box of that size.
"""
import argparse
import contextlib
import json
import os
import sys

import coco2darknet
import imagelist
from coco2darknet import is_finite, is_whole
from imagelist import InputError

# where scripts/deps.sh puts pycocotools; searched last
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                             "build", "python"))

# COCO's name of a figure, what it is; in the order of COCOeval.stats
FIGURES = (
    ("AP", "average precision, mean over IoU 0.50 to 0.95"),
    ("AP50", "at IoU 0.50"),
    ("AP75", "at IoU 0.75"),
    ("APs", "of small boxes, below 32x32 pixels"),
    ("APm", "of medium boxes"),
    ("APl", "of large boxes, above 96x96 pixels"),
    ("AR1", "average recall with 1 detection an image"),
    ("AR10", "with 10"),
    ("AR100", "with 100"),
    ("ARs", "with 100, of small boxes"),
    ("ARm", "with 100, of medium boxes"),
    ("ARl", "with 100, of large boxes"),
)


def truth_fault(entry, images, categories, seen):
    """What is wrong with an annotation for pycocotools, or None."""
    if entry.get("id") == 0:
        return "id 0, which pycocotools takes for a box that was not found"
    if not is_finite(entry.get("area")):
        return f"area {entry.get('area')!r}, expected a number"
    return coco2darknet.box_fault(entry, images, categories, seen)


def read_truth(path):
    """The content of INSTANCES, with `iscrowd` wherever it was left out."""
    truth = coco2darknet.read_instances(path)
    categories = coco2darknet.read_categories(path, truth["categories"])
    images, seen = set(), set()
    for entry in truth["images"]:
        if not is_whole(entry.get("id")) or entry["id"] in images:
            raise InputError(f"{path}: image id {entry.get('id')!r}, expected whole numbers, each "
                             "once")
        images.add(entry["id"])
    for entry in truth["annotations"]:
        fault = truth_fault(entry, images, categories, seen)
        if fault:
            raise InputError(f"{path}: annotation {entry.get('id')!r}: {fault}")
        seen.add(entry["id"])
        entry.setdefault("iscrowd", 0)
    return truth


def detection_fault(entry, images, categories):
    """What is wrong with a detection, or None."""
    if not isinstance(entry, dict):
        return "no object"
    if not is_whole(entry.get("image_id")) or entry["image_id"] not in images:
        return f"unknown image {entry.get('image_id')!r}"
    if not is_whole(entry.get("category_id")) or entry["category_id"] not in categories:
        return f"unknown category {entry.get('category_id')!r}"
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_finite(v) for v in box) \
            or box[2] < 0 or box[3] < 0:
        return f"bbox {box!r}, expected [left, top, width, height]"
    if not is_finite(entry.get("score")):
        return f"score {entry.get('score')!r}, expected a number"
    return None


def read_detections(path, truth):
    with open(path, encoding="utf-8-sig") as file:
        text = file.read()
    if text.strip() == "]":  # stock Darknet's file without detections: "[" is overwritten
        return []
    try:
        detections = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}), expected a list of detections") from error
    if not isinstance(detections, list):
        raise InputError(f"{path}: expected a list of detections")
    images, categories = ({entry["id"] for entry in truth[key]} for key in ("images", "categories"))
    for i, entry in enumerate(detections, 1):
        fault = detection_fault(entry, images, categories)
        if fault:
            raise InputError(f"{path}: detection {i}: {fault}")
    return detections


def evaluate(truth, detections):
    """pycocotools' COCOeval, done; what it prints is dropped."""
    try:
        # pylint: disable=import-outside-toplevel
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError(f"no pycocotools ({error}); to install, type: scripts/deps.sh install coco") from error
    with open(os.devnull, "w", encoding="ascii") as null, contextlib.redirect_stdout(null):
        wanted, found = COCO(), COCO()
        wanted.dataset = truth
        wanted.createIndex()
        if detections:
            found = wanted.loadRes(detections)
        evaluation = COCOeval(wanted, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def figure(value):
    return f"{'-':>6}" if value < 0 else f"{value:6.4f}"


def mean(values):
    """pycocotools' mean: -1 stands for no value."""
    values = values[values > -1]
    return values.mean() if values.size else -1


def print_classes(evaluation, truth):
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    width = max(len(name) for name in names.values())
    print(f"\n{'':{width}}      AP    AP50")
    for k, category in enumerate(evaluation.params.catIds):
        # precision: IoU, recall, class, area (0: all), detections an image (-1: 100)
        precision = evaluation.eval["precision"][:, :, k, 0, -1]
        print(f"{names[category]:{width}}  {figure(mean(precision))}  {figure(mean(precision[0]))}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", metavar="INSTANCES")
    parser.add_argument("detections", metavar="DETECTIONS")
    parser.add_argument("--per-class", action="store_true", help="also the AP of each category")
    args = parser.parse_args()
    truth = read_truth(args.instances)
    evaluation = evaluate(truth, read_detections(args.detections, truth))
    for (name, meaning), value in zip(FIGURES, evaluation.stats):
        print(f"{name:5}  {figure(value)}  {meaning}")
    if args.per_class:
        print_classes(evaluation, truth)


if __name__ == "__main__":
    imagelist.run(main, "nothing is written")
