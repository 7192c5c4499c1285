"""Figures of scripts/report.py about detectors: what `darknet deepkd map -out` has found, as
NAME_detections.json beside NAME.csv, against COCO's JSON of truths; by pycocotools.

This is a module; scripts/report.py is the command.
"""
import collections
import functools
import types

import numpy as np

import draw_boxes
from evaluate_coco import evaluate, read_detections, read_truth
from plot import plt
from report_runs import Part, find_beside

THRESHOLD, OVERLAP = .25, .5  # of the confusion matrix: least score, least IoU
MOST_PANELS = 15  # classes with a curve of their own
MOST_NUMBERS = 12  # classes whose matrix has numbers
WORST = 4
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "**")

Judged = collections.namedtuple("Judged", "name colour dashes entries of")  # of: COCOeval


# Reading

@functools.lru_cache(None)
def truth_of(path):
    return read_truth(path)


@functools.lru_cache(None)
def judge(truth, path):
    """A file's detections, and pycocotools' word on them."""
    entries = read_detections(path, truth_of(truth))
    return entries, evaluate(truth_of(truth), entries)


def read_judged(given):
    """Of the methods whose first run has detections, and of the teacher."""
    if not given.truth:
        return []
    files = [(method.name, method.colour, method.dashes, find_beside(path, "_detections.json"))
             for method in given.methods for path in method.files[:1]]
    if given.teacher:
        files.append(("the teacher", "#666666", (0, (1, 1)), given.teacher))
    return [Judged(*looks, *judge(given.truth, path)) for *looks, path in files if path]


def category_names(given):
    return {entry["id"]: entry["name"] for entry in truth_of(given.truth)["categories"]}


def truths_by_class(given):
    """{category: how many}, the most first"""
    found = collections.Counter(entry["category_id"]
                                for entry in truth_of(given.truth)["annotations"])
    return dict(found.most_common())


# Figures

def precisions(of, category=None):
    """[recall] at an IoU of .5, of a category or the mean of all that have truths"""
    k = slice(None) if category is None else [of.params.catIds.index(category)]
    found = of.eval["precision"][0, :, k, 0, -1]
    return np.ma.masked_less(found, 0).mean(0 if found.shape[1] == len(of.params.recThrs) else 1)


def draw_precision(given):
    judged = read_judged(given)
    if not judged:
        return None
    names = category_names(given)
    panels = [None, *list(truths_by_class(given))[:MOST_PANELS]]
    rows = -(-len(panels) // 4)
    figure, grid = plt.subplots(rows, 4, figsize=(13, 3 * rows), squeeze=False, sharex=True,
                                sharey=True)
    for place in grid.flat[len(panels):]:
        place.set_axis_off()
    for axes, category in zip(grid.flat, panels):
        for one in judged:
            axes.plot(one.of.params.recThrs, precisions(one.of, category), linestyle=one.dashes,
                      color=one.colour, label=one.name)
        axes.set_title("all classes" if category is None else names[category])
    for place in grid[:, 0]:
        place.set(ylabel="precision", ylim=(0, 1.02))
    for place in grid[-1]:
        place.set_xlabel("recall")
    grid[0, 0].legend(loc="best")
    figure.tight_layout()
    return figure


def draw_sizes(given):
    """COCO's AP, and that of small, medium and large boxes"""
    judged = read_judged(given)
    if not judged:
        return None
    figure, axes = plt.subplots(figsize=(8, 3.8))
    width = .8 / len(judged)
    for i, one in enumerate(judged):
        shares = 100 * np.maximum(one.of.stats[[0, 3, 4, 5]], 0)
        bars = axes.bar(np.arange(4) + i * width, shares, .92 * width, color=one.colour,
                        hatch=HATCHES[i % len(HATCHES)], edgecolor="white", label=one.name)
        axes.bar_label(bars, [f"{share:.1f}" if there >= 0 else "none" for share, there in
                              zip(shares, one.of.stats[[0, 3, 4, 5]])], fontsize=8)
    axes.set_xticks(np.arange(4) + .4 - width / 2,
                    ["all", "small, below 32²", "medium", "large, above 96²"])
    axes.set(ylabel="mAP@[.50:.95], %", axisbelow=True)
    axes.legend(loc="best")
    figure.tight_layout()
    return figure


def overlaps(box, others):
    """IoU of a box with [n] others, as x, y, w, h"""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:],
                                                               others[:, :2] + others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / np.maximum(box[2:].prod() + others[:, 2:].prod(1) - shared, 1e-12)


def by_image(entries):
    found = collections.defaultdict(list)
    for entry in entries:
        found[entry["image_id"]].append(entry)
    return found


def match(truths, found):
    """[(true category or None, found category or None)] of one image: the surest box first takes
    the truth that it overlaps most, of whatever class, if by OVERLAP at least."""
    boxes = np.array([entry["bbox"] for entry in truths], float).reshape(-1, 4)
    free, pairs = np.ones(len(truths), bool), []
    for entry in sorted(found, key=lambda entry: -entry["score"]):
        shares = np.where(free, overlaps(np.array(entry["bbox"], float), boxes), 0)
        best = shares.argmax() if len(truths) else 0
        if len(truths) and shares[best] >= OVERLAP:
            free[best] = False
            pairs.append((truths[best]["category_id"], entry["category_id"]))
        else:
            pairs.append((None, entry["category_id"]))
    return pairs + [(entry["category_id"], None) for entry, left in zip(truths, free) if left]


def match_all(given, entries):
    """{image id: pairs}"""
    content = truth_of(given.truth)
    truths = by_image(entry for entry in content["annotations"] if not entry["iscrowd"])
    found = by_image(entry for entry in entries if entry["score"] >= THRESHOLD)
    return {image["id"]: match(truths[image["id"]], found[image["id"]])
            for image in content["images"]}


def draw_confusion(given):
    judged = read_judged(given)
    if not judged:
        return None
    names = category_names(given)
    ids = [*sorted(names), None]
    labels = [names.get(i, "nothing") for i in ids]
    columns = min(3, len(judged))
    rows = -(-len(judged) // columns)
    figure, grid = plt.subplots(rows, columns, squeeze=False, layout="constrained",
                                figsize=(5 * columns, 4.8 * rows))
    for place in grid.flat[len(judged):]:
        place.set_axis_off()
    for axes, one in zip(grid.flat, judged):
        counts = np.zeros((len(ids), len(ids)), int)
        for pairs in match_all(given, one.entries).values():
            for true, found in pairs:
                counts[ids.index(true), ids.index(found)] += 1
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        axes.grid(False)
        axes.set(title=one.name, xlabel="found", ylabel="true")
        if len(names) > MOST_NUMBERS:
            continue
        axes.set_xticks(range(len(ids)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(ids)), labels, fontsize=8)
        for i, j in np.argwhere(counts):
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7,
                      color="white" if shares[i, j] > .5 else "black")
    return figure


def draw_worst(given):
    """The images with the most mistakes of all methods together: truth, methods, teacher"""
    judged = read_judged(given)
    if not judged or not given.images:
        return None
    mistakes = collections.Counter()
    for one in judged:
        for image, pairs in match_all(given, one.entries).items():
            if one.name != "the teacher":
                mistakes[image] += sum(true != found for true, found in pairs)
    worst = [image for image, _ in mistakes.most_common(WORST)]
    content = truth_of(given.truth)
    images = {image["id"]: image for image in content["images"]}
    columns = [("truth", draw_boxes.boxes_by_image(content["annotations"]))]
    for one in judged:
        columns.append((one.name, draw_boxes.boxes_by_image(
            entry for entry in one.entries if entry["score"] >= THRESHOLD)))
    return draw_boxes.draw(types.SimpleNamespace(scenes=WORST, images=given.images),
                           {**content, "images": [images[i] for i in worst]}, columns)


PARTS = (
    Part("precision", "Precision and recall", "At an IoU of .5, as pycocotools has them: the mean "
         f"of all classes, then at most {MOST_PANELS}, those with the most truths. Each method's "
         "first run.",
         draw_precision),
    Part("sizes", "Boxes by size", "COCO's AP, by pycocotools. Each method's first run.",
         draw_sizes),
    Part("confusion", "Confusion", f"Boxes of a score of {THRESHOLD} and more: the surest takes "
         f"the truth, of any class, that it overlaps most, by an IoU of {OVERLAP} at least; the "
         "shade is the share of the row. Each method's first run.", draw_confusion),
    Part("worst", "Worst images", "Those with the most mistakes (boxes missed, found where nothing "
         f"is, or of another class, at a score of {THRESHOLD}) of all methods together.",
         draw_worst),
)
