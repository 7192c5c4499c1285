#!/usr/bin/python3
"""A network judged in PyTorch: what `make bench` sets beside `deepkd map` and top-1.

    peer_evaluate.py CFG WEIGHTS LIST (--labels FILE | --annotations JSON) [--batch 64]
        [--threads 2] [--amp]

Prints one line of JSON: top1 of a classifier, or map50 and map of a detector, and the seconds
from the first file's bytes to that. Images are decoded by Pillow in as many processes as there
are threads; boxes are found by torchvision's NMS and judged by pycocotools, at the plugin's
thresholds (plugin/run/detect.h). Detectors see images letterboxed, classifiers as they are: those
have to be of the network's size. --amp: as peer_pytorch.py's.
"""
import argparse
import json
import os
import re
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from peer_pytorch import Autocast, Detector, open_network

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts"))
# pylint: disable=wrong-import-position
import evaluate_coco  # noqa: E402

THRESHOLD, NMS = .005, .45


class Images(Dataset):
    """image [3, h, w]; its left and upper edge on the input and its scale; its place in the list"""

    def __init__(self, paths, size, letterbox):
        self.paths, self.size, self.letterbox = paths, size, letterbox

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i]).convert("RGB")
        place = torch.zeros(3)
        if self.letterbox:
            height, width = self.size
            scale = min(width / image.width, height / image.height)
            small = image.resize((int(image.width * scale), int(image.height * scale)),
                                 Image.Resampling.BILINEAR)
            image = Image.new("RGB", (width, height), (128, 128, 128))
            left, top = (width - small.width) // 2, (height - small.height) // 2
            image.paste(small, (left, top))
            place = torch.tensor([left, top, scale])
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return pixels, place, i


def hits(network, outputs, _, numbers, judge):
    """1 or 0 of each image"""
    found = network.rows(outputs, None).argmax(1)
    return (found == judge.targets[numbers]).tolist()


def boxes(network, outputs, places, numbers, judge):
    """COCO's results"""
    from torchvision.ops import batched_nms  # pylint: disable=import-outside-toplevel
    p, found = network.predictions(outputs), []
    centre = (p[..., :2].sigmoid() + network.cell) / network.grid * network.size
    size = p[..., 2:4].exp() * network.anchor
    edges = (places[:, None, :2].repeat(1, 1, 2), places[:, None, 2:])
    corners = (torch.cat((centre - size / 2, centre + size / 2), 2) - edges[0]) / edges[1]
    sure = p[..., 4:5].sigmoid()
    scores = sure * p[..., 5:].sigmoid() * (sure > THRESHOLD)
    for k, number in enumerate(numbers.tolist()):
        rows, classes = (scores[k] > THRESHOLD).nonzero(as_tuple=True)
        kept = batched_nms(corners[k, rows], scores[k, rows, classes], classes, NMS)
        rows, classes = rows[kept], classes[kept]
        width, height = judge.sizes[number]
        box = corners[k, rows].clamp(min=0).minimum(torch.tensor([width, height] * 2))
        box[:, 2:] -= box[:, :2]
        found += [{"image_id": judge.ids[number], "category_id": judge.categories[category],
                   "bbox": place, "score": score} for category, place, score in
                  zip(classes.tolist(), box.tolist(), scores[k, rows, classes].tolist())]
    return found


class Classes:
    """Judges a classifier: an image's class is the label that its path has in it."""
    find = staticmethod(hits)

    def __init__(self, labels, paths):
        with open(labels, encoding="utf-8") as file:
            names = file.read().split()
        self.targets = torch.tensor([max(k for k, name in enumerate(names) if name in path)
                                     for path in paths])

    def score(self, found):
        return {"top1": sum(found) / len(found)}


class Coco:
    """Judges a detector."""
    find = staticmethod(boxes)

    def __init__(self, annotations, paths):
        with open(annotations, encoding="utf-8") as file:
            self.truth = json.load(file)
        sizes = {image["id"]: (image["width"], image["height"]) for image in self.truth["images"]}
        self.ids = [int(re.search(r"(\d+)\.\w+$", path)[1]) for path in paths]
        self.sizes = [sizes[number] for number in self.ids]
        self.categories = sorted(category["id"] for category in self.truth["categories"])

    def score(self, found):
        stats = evaluate_coco.evaluate(self.truth, found).stats
        return {"map50": stats[1], "map": stats[0]}


def evaluate(args, network, paths, judge):
    letterbox = isinstance(network, Detector)
    loader = DataLoader(Images(paths, network.network.size, letterbox), args.batch,
                        num_workers=args.threads)
    run = Autocast(network.network.to(memory_format=torch.channels_last)) if args.amp \
        else network.network
    found = []
    with torch.inference_mode():
        for images, places, numbers in loader:
            if args.amp:
                images = images.contiguous(memory_format=torch.channels_last)
            found += judge.find(network, run(images), places, numbers, judge)
    return judge.score(found)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cfg", "weights", "list"):
        parser.add_argument(name, metavar=name.upper())
    judge = parser.add_mutually_exclusive_group(required=True)
    judge.add_argument("--labels", metavar="FILE")
    judge.add_argument("--annotations", metavar="JSON")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--amp", action="store_true")
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    network = open_network(args.cfg, "cpu", weights=args.weights)
    network.network.eval()
    with open(args.list, encoding="utf-8") as file:
        paths = file.read().split()
    judge = Coco(args.annotations, paths) if args.annotations else Classes(args.labels, paths)
    began = time.perf_counter()
    scores = evaluate(args, network, paths, judge)
    print(json.dumps({**scores, "seconds": time.perf_counter() - began, "amp": args.amp,
                      "torch": torch.__version__}))


if __name__ == "__main__":
    main()
