#!/usr/bin/python3
"""Writes map_vectors.txt: what pycocotools says about scenes of truth boxes and detections.

It is the reference for plugin/math/average_precision.c: COCO's official evaluation itself (COCOeval,
boxes, areas "all", maxDets 100). tests/unit/test_average_precision.c reads the result, so the
tests need no Python.

    python3 -m venv /tmp/coco && /tmp/coco/bin/pip install pycocotools
    /tmp/coco/bin/python make_map_vectors.py           writes map_vectors.txt beside it
    /tmp/coco/bin/python make_map_vectors.py --check   compares the file with a new run

To add a case, yield it from one of the *_cases functions and run the script.

Left out: an annotation with the id 0, which pycocotools takes for none when it counts matches,
and boxes of more than 1e10 pixels.
"""
import contextlib
import io
import math
import os
import random
import sys
from collections import namedtuple

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "map_vectors.txt")
SEED = 20250515
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]

Truth = namedtuple("Truth", "image cls box crowd")     # box: [x, y, w, h]
Detection = namedtuple("Detection", "image cls box score")
Case = namedtuple("Case", "name classes truths detections")

HEADER = """\
# Average precision of scenes, from pycocotools. Written by tests/reference/make_map_vectors.py,
# seed %d; do not edit. Numbers are decimal and exact: they read back as the very same doubles.
#
#   cases N                                how many cases follow; each is these lines:
#   case NAME CLASSES TRUTHS DETECTIONS
#   t IMAGE CLASS X Y W H CROWD            [TRUTHS]
#   d IMAGE CLASS X Y W H SCORE            [DETECTIONS]
#   map AP50 AP                            -1: no class has truths
#   ap50 ...                               [CLASSES] -1: no truths of this class
#   ap ...                                 [CLASSES]
"""


# ---- pycocotools ----------------------------------------------------------

def coco(images, classes, annotations):
    result = COCO()
    result.dataset = {"images": [{"id": i} for i in images], "annotations": annotations,
                      "categories": [{"id": 3 * c + 2} for c in range(classes)]}
    result.createIndex()
    return result


def annotation(number, box, **fields):
    return {"id": number, "image_id": box.image, "category_id": 3 * box.cls + 2,
            "bbox": box.box, "area": box.box[2] * box.box[3], **fields}


def evaluate(case):
    """(AP50, AP, AP50 of each class, AP of each class)"""
    images = list({b.image for b in case.truths + case.detections})
    truths = [annotation(i, t, iscrowd=t.crowd) for i, t in enumerate(case.truths, 1)]
    detections = [annotation(i, d, iscrowd=0, score=d.score)
                  for i, d in enumerate(case.detections, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(coco(images, case.classes, truths),
                         coco(images, case.classes, detections), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, -1]  # [threshold][recall][class]
    return (judge.stats[1], judge.stats[0], precision[0].mean(axis=0),
            precision.mean(axis=(0, 1)))


# ---- scenes ---------------------------------------------------------------

def random_box(rng):
    return [round(rng.uniform(0, 90), 1), round(rng.uniform(0, 90), 1),
            round(rng.uniform(5, 60), 1), round(rng.uniform(5, 60), 1)]


def near(rng, box, spread):
    x, y, w, h = box
    return [round(x + rng.gauss(0, spread) * w, 1), round(y + rng.gauss(0, spread) * h, 1),
            round(w * math.exp(rng.gauss(0, spread)), 1),
            round(h * math.exp(rng.gauss(0, spread)), 1)]


def scene(rng, images, classes, objects, crowds=0.1, misses=0.2, extras=0.5, digits=3):
    """Objects everywhere; detections near most of them, some twice, and some near nothing.
    `digits` of the scores: with few, many are equal."""
    truths = [Truth(rng.choice(images), rng.randrange(classes), random_box(rng),
                    int(rng.random() < crowds)) for _ in range(objects)]
    detections = []
    for t in truths:
        while rng.random() > misses and len(detections) < 3 * objects:
            cls = t.cls if rng.random() < 0.9 else rng.randrange(classes)
            detections.append(Detection(t.image, cls, near(rng, t.box, 0.1),
                                        round(rng.betavariate(3, 2), digits)))
            if rng.random() < 0.7:
                break
    for _ in range(int(extras * objects)):
        detections.append(Detection(rng.choice(images), rng.randrange(classes), random_box(rng),
                                    round(rng.betavariate(2, 3), digits)))
    rng.shuffle(detections)
    return truths, detections


def random_cases(rng):
    for classes, images, objects, crowds, digits in [
            (1, 1, 5, 0, 3), (1, 6, 40, 0.2, 3), (3, 5, 40, 0.1, 1), (5, 12, 90, 0.1, 3),
            (10, 20, 120, 0.05, 2), (4, 8, 60, 0.5, 1), (2, 2, 60, 0.3, 1), (30, 10, 60, 0, 3)]:
        ids = rng.sample(range(1, 600000), images)
        yield Case("random", classes, *scene(rng, ids, classes, objects, crowds, digits=digits))


def lattice_cases(rng):
    """Boxes on a grid of whole numbers and few scores: equal overlaps and equal scores."""
    def box():
        return [rng.randrange(4), rng.randrange(4), rng.randrange(1, 5), rng.randrange(1, 5)]

    for i in range(24):
        images, classes, crowds = [9, 3, 7][:1 + i % 3], 1 + i % 2, [0, 0.3, 0.7][i // 2 % 3]
        truths = [Truth(rng.choice(images), rng.randrange(classes), box(),
                        int(rng.random() < crowds)) for _ in range(rng.randrange(4, 16))]
        detections = [Detection(rng.choice(images), rng.randrange(classes), box(),
                                rng.choice([0.25, 0.5, 0.75])) for _ in range(40)]
        yield Case("lattice", classes, truths, detections)


def threshold_cases(rng):
    """Overlaps that are a threshold's double, the one below it and the one above it."""
    for crowd in [0, 1]:
        truths, detections = [], []
        for t in THRESHOLDS:
            for overlap in [math.nextafter(t, 0), t, math.nextafter(t, 1)]:
                image = len(truths) + 1
                truths.append(Truth(image, 0, [0, 0, 1, 1], 0))
                detections.append(Detection(image, 0, [0, 0, overlap, 1],
                                            round(rng.random(), 3)))
                if crowd:  # as much of the detection lies in it
                    truths[-1] = Truth(image, 0, [0, 0, overlap, 1], image % 2)
                    detections[-1] = detections[-1]._replace(box=[0, 0, 1, 1])
        yield Case("threshold", 1, truths, detections)
    truths = [Truth(i, 0, [10, 10, 100, 100], 0) for i in range(45, 101)]
    detections = [Detection(i, 0, [10, 10, i, 100], i / 128) for i in range(45, 101)]
    yield Case("threshold", 1, truths, detections)


def many_cases(rng):
    """More than 100 detections of an image and class; the truths' own are anywhere among them."""
    for digits in [1, 4]:
        truths, detections = scene(rng, [4, 2], 2, 12, extras=0)
        detections += [Detection(4, 0, random_box(rng), round(rng.random(), digits))
                       for _ in range(180)]
        detections += [Detection(2, 1, random_box(rng), round(rng.random(), digits))
                       for _ in range(101)]
        yield Case("many", 2, truths, detections)


def missing_cases(rng):
    truths, detections = scene(rng, [1, 2, 3, 4, 5], 6, 50)
    yield Case("no-truths-of-classes-0-and-5", 6, [t for t in truths if t.cls not in (0, 5)],
               detections)
    yield Case("no-detections-of-classes-0-and-3", 6, truths,
               [d for d in detections if d.cls not in (0, 3)])
    yield Case("classes-1-and-2-crowds", 6,
               [t._replace(crowd=1) if t.cls in (1, 2) else t for t in truths], detections)
    yield Case("no-truths-in-images-1-and-4", 6,
               [t for t in truths if t.image not in (1, 4)], detections)
    yield Case("no-detections-in-images-2-and-5", 6, truths,
               [d for d in detections if d.image not in (2, 5)])
    yield Case("no-truths", 6, [], detections[:20])
    yield Case("no-detections", 6, truths, [])
    yield Case("crowds-alone", 6, [t._replace(crowd=1) for t in truths], detections[:20])
    yield Case("nothing-in-common", 2, truths_of(truths, 0), [
        d._replace(cls=1) for d in detections[:20]])


def truths_of(truths, cls):
    return [t for t in truths if t.cls == cls]


def special_cases(rng):
    truths, detections = scene(rng, [1, 2, 3], 3, 30)
    yield Case("perfect", 3, [t._replace(crowd=0) for t in truths],
               [Detection(t.image, t.cls, t.box, 0.5) for t in truths])
    yield Case("each-three-times", 3, truths, detections * 3)
    yield Case("one-score", 3, truths, [d._replace(score=0.5) for d in detections])
    yield Case("no-size", 3, [t._replace(box=[*t.box[:2], 0, t.box[3]]) if t.image == 1 else t
                              for t in truths],
               [d._replace(box=[*d.box[:3], 0]) if d.image == 2 else d for d in detections])
    yield Case("large-ids", 3, [t._replace(image=2 ** 53 - t.image) for t in truths],
               [d._replace(image=2 ** 53 - d.image) for d in detections])
    yield Case("beyond-the-image", 3, truths,
               [d._replace(box=[d.box[0] - 40, d.box[1], 900, 900]) if d.score > 0.7 else d
                for d in detections])


def all_cases():
    rng = random.Random(SEED)
    families = [random_cases, lattice_cases, threshold_cases, many_cases, missing_cases,
                special_cases]
    return [case for family in families for case in family(rng)]


# ---- the file -------------------------------------------------------------

def number(x):
    """The shortest decimal that reads back as the same double."""
    return repr(int(x)) if x == int(x) and abs(x) < 1e6 else repr(float(x))


def numbers(xs):
    return " ".join(number(x) for x in xs)


def case_lines(index, case):
    ap50, ap, ap50s, aps = evaluate(case)
    return ([f"case {index}-{case.name} {case.classes} {len(case.truths)} "
             f"{len(case.detections)}"] +
            [f"t {t.image} {t.cls} {numbers(t.box)} {t.crowd}" for t in case.truths] +
            [f"d {d.image} {d.cls} {numbers([*d.box, d.score])}" for d in case.detections] +
            ["map " + numbers([ap50, ap]), "ap50 " + numbers(ap50s), "ap " + numbers(aps)])


def file_text():
    cases = all_cases()
    lines = [line for i, case in enumerate(cases) for line in case_lines(i, case)]
    return HEADER % SEED + f"cases {len(cases)}\n" + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_map_vectors.py [--check]")
    if not sys.argv[1:]:
        with open(FILE, "w", encoding="utf-8") as f:
            f.write(file_text())
        return
    with open(FILE, encoding="utf-8") as f:
        if f.read() != file_text():
            sys.exit(f"{FILE}: a new run gives another file")
    print(f"{FILE}: agrees with a new run")


if __name__ == "__main__":
    main()
