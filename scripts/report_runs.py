"""The runs that scripts/report.py is about, and the figures of their CSV files.

This is a module; scripts/report.py is the command.
"""
import collections
import csv
import os
import re
import statistics

import numpy as np

# pylint: disable=wrong-import-position
from plot import (COLOURS, COMPONENTS, GSNR_PANELS, LOSSES, SCORES, is_taught, plt, read_column,
                  read_gsnr, read_run, smooth)
from oneline import InputError

# runs: of plot.py, one a seed; gsnr: what read_gsnr gives, of those that have it; seeds: of each
# run the number that its folder ends in, or None
Method = collections.namedtuple("Method", "name colour dashes runs gsnr seeds files")
# Of what the figures are drawn. baseline: one of the methods, or None; teacher: the file of its
# logits or detections, truth: COCO's JSON, names: the classes', or None
Given = collections.namedtuple("Given", "methods baseline teacher truth names temperature images")
# draw(given) gives a figure, or None where there is nothing to show
Part = collections.namedtuple("Part", "name title caption draw")

DASHES = ("-", "--", ":", "-.")  # with the colour, for print in grey
SPEED = "images_per_s"  # its column
BESIDE = ("_gsnr.csv", "_landscape.csv", "_logits.npy", "_detections.json")  # NAME.csv: NAME...


# Reading

def find_files(paths):
    """All CSV files of runs, without what stands beside them."""
    found = []
    for path in paths:
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file or folder")
        files = [path] if os.path.isfile(path) else sorted(
            os.path.join(folder, name) for folder, _, names in os.walk(path)
            for name in names if name.endswith(".csv"))
        files = [file for file in files if not file.endswith(BESIDE)]
        if not files and os.path.isdir(path):
            raise InputError(f"{path}: found no CSV file, expected those of darknet distill")
        found += files
    if not found:
        raise InputError(f"{paths[0]}: found no run, expected a CSV file of darknet distill")
    return list(dict.fromkeys(found))


def find_beside(path, end):
    """The file beside a run's CSV file whose name ends so, or None."""
    found = os.path.splitext(path)[0] + end
    return found if os.path.exists(found) else None


def find_all_beside(path):
    return [found for found in (find_beside(path, end) for end in BESIDE) if found]


def seed_of(path):
    """The number that the run's folder ends in, past backup/; or None."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.basename(folder) == "backup":
        folder = os.path.dirname(folder)
    found = re.search(r"(\d+)$", folder)
    return int(found[1]) if found else None


def read_one(name, colour, path):
    """plot.py's Run, with its speed."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if text and not text.endswith("\n"):
        raise InputError(f"{path}: line {text.count(chr(10)) + 1}: found no end of the line, "
                         "expected a whole CSV file")
    one = read_run(name, colour, path)
    lines = list(csv.DictReader(text.splitlines()))
    one.values[SPEED] = read_column(path, lines, SPEED)
    return one


def read_method(i, name, files):
    colour, dashes = COLOURS[i], DASHES[i % len(DASHES)]
    runs, gsnr = [], []
    for path in files:
        runs.append(read_one(name, colour, path))
        if find_beside(path, "_gsnr.csv"):
            gsnr.append(read_gsnr(find_beside(path, "_gsnr.csv")))
    return Method(name, colour, dashes, runs, gsnr, [seed_of(path) for path in files], files)


def read_methods(paths):
    files = {}
    for path in find_files(paths):
        files.setdefault(os.path.splitext(os.path.basename(path))[0], []).append(path)
    if len(files) > len(COLOURS):
        raise InputError(f"found {len(files)} methods, expected at most {len(COLOURS)}")
    methods = [read_method(i, *row) for i, row in enumerate(files.items())]
    scores = {one.score: path for method in methods
              for one, path in zip(method.runs, method.files)}
    if len(scores) > 1:
        (one, path), (other, there) = list(scores.items())[:2]
        raise InputError(f"{there}: found {SCORES[other]}, expected {SCORES[one]}, as in {path}")
    return methods


# Figures

def band(curves):
    """Batches that all curves have, and the least, the mean and the greatest of their values."""
    shared = sorted(set.intersection(*(set(batches) for batches, _ in curves)))
    rows = np.array([[dict(zip(*curve))[batch] for batch in shared] for curve in curves])
    return np.array(shared), rows.min(0), rows.mean(0), rows.max(0)


def draw_band(axes, method, curves, factor=1, label=None, marker=None):
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return
    batches, least, mean, most = band(curves)
    least, mean, most = factor * least, factor * mean, factor * most
    axes.plot(batches, mean, method.dashes, color=method.colour, marker=marker, markersize=4,
              label=label or method.name)
    if len(curves) > 1:
        axes.fill_between(batches, least, most, color=method.colour, alpha=.2, linewidth=0)


def start(columns, width=5):
    figure, axes = plt.subplots(1, columns, figsize=(width * columns, 3.8), squeeze=False)
    for place in axes[0]:
        place.set_xlabel("batch")
    return figure, axes[0]


def finish(figure, axes):
    if not any(place.lines for place in axes):
        plt.close(figure)
        return None
    if axes[0].get_legend_handles_labels()[1]:
        axes[0].legend(loc="best")
    figure.tight_layout()
    return figure


def last_scores(method):
    """[(seed, %)] of the runs that were evaluated."""
    found = [(seed, one.values[one.score][1]) for seed, one in zip(method.seeds, method.runs)]
    return [(seed, 100 * score[-1]) for seed, score in found if len(score)]


def draw_points(axes, methods):
    """Of runs that were evaluated once: a point for each, side by side."""
    axes.set(xlabel="", xticks=range(len(methods)), xticklabels=[one.name for one in methods])
    axes.margins(x=.2)
    for i, method in enumerate(methods):
        scores = [score for _, score in last_scores(method)]
        axes.plot([i] * len(scores), scores, "o", color=method.colour, alpha=.5)
        axes.plot(i, statistics.mean(scores), "_", color=method.colour, markersize=40)


def draw_scores(given):
    methods = given.methods
    figure, axes = start(1, 8)
    name = SCORES[methods[0].runs[0].score]
    if all(len(one.values[one.score][0]) == 1 for method in methods for one in method.runs):
        draw_points(axes[0], methods)
    else:
        for method in methods:
            draw_band(axes[0], method, [one.values[one.score] for one in method.runs], 100,
                      marker="o")
    axes[0].set_ylabel("images right, %" if name == "top-1" else f"{name}, %")
    return finish(figure, axes)


def draw_losses(given):
    figure, axes = start(len(LOSSES), 4.4)
    for place, (key, title) in zip(axes, LOSSES):
        place.set(title=title)
        for method in given.methods:
            draw_band(place, method, [(batches, smooth(loss)) for batches, loss in
                                      (one.values[key] for one in method.runs) if loss.any()])
        place.set_ylim(bottom=0)
    return finish(figure, axes)


def draw_mask(given):
    figure, axes = start(1, 8)
    for method in given.methods:
        curves = [one.values["k"] for one in method.runs if is_taught(one)]
        draw_band(axes[0], method, curves)
    axes[0].set(ylabel="other classes that teach (K)")
    axes[0].set_ylim(bottom=0)
    return finish(figure, axes)


def draw_gsnr(given):
    """A row for each method that was measured, its components in each panel."""
    measured = [method for method in given.methods if method.gsnr]
    if not measured:
        return None
    figure, rows = plt.subplots(len(measured), len(GSNR_PANELS), squeeze=False,
                                figsize=(13, .6 + 3.2 * len(measured)), sharex=True)
    for axes, method in zip(rows, measured):
        for place, (key, title, unit) in zip(axes, GSNR_PANELS):
            for name, colour, dashes in zip(COMPONENTS, COLOURS, DASHES):
                one = method._replace(colour=colour, dashes=dashes)
                curves = [values[name][key] for values in method.gsnr]
                draw_band(place, one, [(at, smooth(values)) for at, values in curves], label=name)
            place.set(title=f"{method.name}: {title}", ylabel=unit, xlabel="batch")
            place.set_ylim(bottom=0)
        axes[0].legend(loc="best")
    figure.tight_layout()
    return figure


def draw_sweep(given):
    """The last scores of methods that are named by their constant K."""
    points = [(int(found[1]), [score for _, score in last_scores(method)])
              for method in given.methods for found in [re.search(r"-topk-(\d+)$", method.name)]
              if found]
    points = sorted((k, scores) for k, scores in points if scores)
    if not points:
        return None
    figure, (axes,) = start(1, 8)
    at, means = zip(*((k, statistics.mean(scores)) for k, scores in points))
    axes.plot(at, means, "o-", color=COLOURS[0], label="K throughout")
    for k, scores in points:
        axes.plot([k] * len(scores), scores, "_", color=COLOURS[0], markersize=12)
    for method in given.methods:
        scores = [score for _, score in last_scores(method)]
        if scores and not method.name.rpartition("-topk-")[1]:
            axes.axhline(statistics.mean(scores), color=method.colour, linestyle=method.dashes,
                         label=method.name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, at)
    axes.set(xlabel="other classes that teach (K)",
             ylabel=f"last {SCORES[given.methods[0].runs[0].score]}, %")
    return finish(figure, [axes])


def draw_speed(given):
    figure, axes = start(2, 6)
    for method in given.methods:
        draw_band(axes[0], method, [one.values["rate"] for one in method.runs])
        draw_band(axes[1], method, [one.values[SPEED] for one in method.runs])
    axes[0].set(title="Learning rate", ylabel="rate")
    axes[1].set(title="Speed", ylabel="images a second")
    for place in axes:
        place.set_ylim(bottom=0)
    return finish(figure, axes)


PARTS = (
    Part("scores", "Validation", "The score of each evaluation.", draw_scores),
    Part("losses", "Losses", "Of the task (TOG), the target class (TCG) and the other classes "
         "(NCG), running means.", draw_losses),
    Part("gsnr", "Signal and noise", "What gsnr_interval= measured, all layers together: the "
         "gradients' and the momenta's ratio of signal to noise, and the momenta; running means.",
         draw_gsnr),
    Part("mask", "Top-k mask", "How many of the other classes the teacher speaks of.", draw_mask),
    Part("sweep", "Constant K", "The last scores of `scripts/table.py --sweep topk`: means, and "
         "each run's.", draw_sweep),
)

COST = Part("speed", "Learning rate and cost", "Images a second, waiting for images included.",
         draw_speed)
