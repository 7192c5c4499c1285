#!/usr/bin/python3
"""Finds objects by an ONNX file, in all images of COCO's JSON, and writes COCO's JSON of results.

    scripts/detect_onnx.py MODEL.onnx ANNOTATIONS.json IMAGES OUT.json

MODEL is a detector that `darknet deepkd export -onnx` wrote, quantised or not, with heads in the
form yolov5 or yolov8; IMAGES is the folder of the images that ANNOTATIONS names. OUT is for
scripts/evaluate_coco.py: as `darknet deepkd map -out` writes it, boxes of a score above .005,
suppressed above an IoU of .45. (A cfg's nms_kind= is not followed.)
"""
import argparse
import json
import os
import time

from evaluate_coco import read_truth
from onnx_boxes import find_boxes, open_model, read_image
from oneline import InputError, run, write_bytes


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("annotations", metavar="ANNOTATIONS.json")
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("out", metavar="OUT.json")
    return parser.parse_args()


def detect(model, truth, folder):
    """COCO's results; class i is the category with the i-th lowest id."""
    categories = sorted(entry["id"] for entry in truth["categories"])
    if len(categories) != model.classes:
        raise InputError(f"found {len(categories)} categories, expected the model's "
                         f"{model.classes} classes")
    results = []
    for entry in truth["images"]:
        pixels = read_image(os.path.join(folder, entry["file_name"]))
        results += [{"image_id": entry["id"], "category_id": categories[box.label],
                     "bbox": [box.left, box.top, box.width, box.height], "score": box.score}
                    for box in find_boxes(model, pixels)]
    return results


def main():
    args = arguments()
    model = open_model(args.model)
    if model.form not in ("yolov5", "yolov8"):
        raise InputError(f"{args.model}: its outputs are {model.form}, expected a detector "
                         "exported with -heads yolov5 or yolov8")
    truth = read_truth(args.annotations)
    start = time.monotonic()
    results = detect(model, truth, args.images)
    write_bytes(args.out, json.dumps(results).encode())
    print(f"{args.out}: {len(results)} boxes of {len(truth['images'])} images, "
          f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run(main, "nothing was written")
