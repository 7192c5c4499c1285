#!/usr/bin/python3
"""Draws what `darknet distill` logged, one run or several for comparison.

    scripts/plot.py OUT.png RUN.csv [RUN.csv ...] [--labels a,b,c]

RUN.csv is backup/<student>.csv, all of classifiers or all of detectors. Six
panels over the batches, one colour a run: the validation top-1 (of detectors:
mAP@0.50), the losses of the three components (TOG the task, TCG the target
class, NCG the other classes), the number K of other classes that teach, and the
learning rate. Losses are running means (of one run, the logged values too,
pale); a component that a run does without is left out.

It reads the CSV files' own numbers and computes no others. A run in progress
can be drawn; its CSV only has fewer rows. This is the chart.png of a build
without OpenCV: scripts/plot.py chart.png backup/<student>.csv

    scripts/plot.py OUT.png NAME_gsnr.csv

draws what gsnr_interval= measured of one run, of all layers together: the GSNR of the components'
gradients and of their momenta, the momenta, and the cosines between the components' gradients.
"""
import argparse
import collections
import csv
import os

import matplotlib
matplotlib.use("Agg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402
import numpy as np  # noqa: E402

from imagelist import InputError, replace_file, run  # noqa: E402

# Okabe and Ito's colours, told apart by the colour-blind too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
COLUMNS = ("batch", "tog", "tcg", "ncg", "k", "rate")
SCORES = {"valid_top1": "top-1", "valid_map50": "mAP@0.50"}  # a CSV file has one of them
LOSSES = (("tog", "Task loss (TOG)"), ("tcg", "Target-class loss (TCG)"),
          ("ncg", "Non-target-class loss (NCG)"))
WINDOWS = 40  # a run's rows / WINDOWS are averaged into one point

# values: {column: (batches, numbers)}, rows without a number left out; score: in SCORES
Run = collections.namedtuple("Run", "label colour score values")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.png")
    parser.add_argument("runs", metavar="RUN.csv", nargs="+")
    parser.add_argument("--labels", type=lambda text: text.split(","),
                        help="the runs' names (default: the files')")
    return parser.parse_args()


def number(path, line, key, text):
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}: line {line}: {key} is {text!r}, expected a number") from None


def read_column(path, lines, key):
    """Batches and numbers of the lines that have this column."""
    pairs = [(number(path, i, "batch", line["batch"]), number(path, i, key, line[key]))
             for i, line in enumerate(lines, 2) if line[key]]
    return np.array(pairs).reshape(-1, 2).T


def read_run(label, colour, path):
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        score = next((key for key in SCORES if key in columns), "valid_top1")
        missing = [key for key in (*COLUMNS, score) if key not in columns]
        if missing:
            raise InputError(f"{path}: found no column {missing[0]}, expected a CSV file of "
                             "darknet distill")
        lines = list(reader)
    if not lines:
        raise InputError(f"{path}: found no logged batch yet")
    return Run(label, colour, score,
               {key: read_column(path, lines, key) for key in (*COLUMNS, score)})


def read_runs(args):
    labels = args.labels or [os.path.splitext(os.path.basename(path))[0] for path in args.runs]
    if len(labels) != len(args.runs):
        raise InputError(f"--labels: found {len(labels)} names, expected {len(args.runs)}, one a "
                         "run")
    if len(labels) > len(COLOURS):
        raise InputError(f"found {len(labels)} runs, expected at most {len(COLOURS)}")
    runs = [read_run(*row) for row in zip(labels, COLOURS, args.runs)]
    for path, other in zip(args.runs, runs):
        if other.score != runs[0].score:
            raise InputError(f"{path}: found {SCORES[other.score]}, expected "
                             f"{SCORES[runs[0].score]}, as in {args.runs[0]}")
    return runs


def smooth(values):
    """The mean of each value and its neighbours, as many on both sides."""
    half = max(1, len(values) // WINDOWS)
    total = np.concatenate(([0], np.cumsum(values)))
    i = np.arange(len(values))
    reach = np.minimum(half, np.minimum(i, len(values) - 1 - i))
    return (total[i + reach + 1] - total[i - reach]) / (2 * reach + 1)


def is_taught(run):
    """Does a teacher take part at all?"""
    return any(run.values[key][1].any() for key in ("tcg", "ncg"))


def width(i, runs):
    """Equal lines lie on each other: the first is the widest, so that all of them show."""
    return 1.5 + .9 * (len(runs) - 1 - i)


def draw_score(axes, runs):
    for run in runs:
        batches, score = run.values[run.score]
        if not len(score):
            continue
        axes.plot(batches, 100 * score, "o-", color=run.colour, markersize=4,
                  label=f"{run.label}: {100 * score[-1]:.2f} %")
    name = SCORES[runs[0].score]
    axes.set(title=f"Validation {name} (last value in the legend)",
             ylabel="images right, %" if name == "top-1" else f"{name}, %")
    if axes.lines:
        axes.legend(loc="best")
    else:
        axes.text(.5, .5, "not evaluated yet", ha="center", transform=axes.transAxes)


def draw_loss(axes, runs, key, title):
    for run in runs:
        batches, loss = run.values[key]
        if not loss.any():
            continue
        if len(runs) == 1:
            axes.plot(batches, loss, color=run.colour, alpha=.25, linewidth=.8)
        axes.plot(batches, smooth(loss), color=run.colour)
    axes.set(title=title, ylabel="mean over the images")
    axes.set_ylim(bottom=0)


def draw_k(axes, runs):
    for i, run in enumerate(runs):
        if is_taught(run):
            axes.plot(*run.values["k"], color=run.colour, drawstyle="steps-post",
                      linewidth=width(i, runs))
    axes.set(title="Other classes that teach (K)", ylabel="classes")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def draw_rate(axes, runs):
    for i, run in enumerate(runs):
        axes.plot(*run.values["rate"], color=run.colour, linewidth=width(i, runs))
    axes.set(title="Learning rate", ylabel="rate")
    axes.set_ylim(bottom=0)


# What gsnr_interval= measured

COMPONENTS = ("tog", "tcg", "ncg")
GSNR_PANELS = (("gsnr", "GSNR of the gradients", "signal / noise"),
               ("bsnr", "GSNR of the momenta", "signal / noise"),
               ("momentum", "Momentum", "coefficient"))


def is_gsnr(path):
    with open(path, encoding="utf-8") as file:
        return file.readline().startswith("batch,layer,component,")


def read_gsnr(path):
    """{component: {column: (batches, numbers)}} of all layers together."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["layer"] == "-1"]
    if not lines:
        raise InputError(f"{path}: found no sample yet")
    columns = [key for key, *_ in GSNR_PANELS] + [f"cos_{name}" for name in COMPONENTS]
    return {name: {key: read_column(path, [line for line in lines if line["component"] == name],
                                    key) for key in columns} for name in COMPONENTS}


def draw_cosines(axes, values):
    for i, (one, other) in enumerate((("tog", "tcg"), ("tog", "ncg"), ("tcg", "ncg"))):
        axes.plot(*values[one][f"cos_{other}"], color=COLOURS[3 + i], label=f"{one}, {other}")
    axes.set(title="Directions of the gradients", ylabel="cosine", ylim=(-1.05, 1.05))
    axes.legend(loc="best")


def draw_gsnr(path):
    set_style()
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True)
    values = read_gsnr(path)
    for place, (key, title, unit) in zip(axes.flat, GSNR_PANELS):
        for name, colour, dashes in zip(COMPONENTS, COLOURS, ("-", "--", ":")):
            place.plot(*values[name][key], dashes, color=colour, label=name)
        place.set(title=title, ylabel=unit)
        place.set_ylim(bottom=0)
    axes[0, 0].legend(loc="best")
    draw_cosines(axes[1, 1], values)
    for place in axes[1]:
        place.set_xlabel("batch")
    figure.suptitle("darknet distill: " + os.path.splitext(os.path.basename(path))[0])
    figure.tight_layout()
    return figure


def set_style():
    plt.rcParams.update({"axes.grid": True, "grid.alpha": .3, "axes.spines.top": False,
                         "axes.spines.right": False, "axes.titlesize": 11, "legend.fontsize": 9})


def draw(runs):
    set_style()
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), sharex=True)
    draw_score(axes[0, 0], runs)
    draw_k(axes[0, 1], runs)
    draw_rate(axes[0, 2], runs)
    for place, (key, title) in zip(axes[1], LOSSES):
        draw_loss(place, runs, key, title)
        place.set_xlabel("batch")
    figure.suptitle("darknet distill" + (f": {runs[0].label}" if len(runs) == 1 else ""))
    figure.tight_layout(rect=(0, .04 if len(runs) > 1 else 0, 1, 1))
    if len(runs) > 1:
        lines = [plt.Line2D([], [], color=run.colour, label=run.label) for run in runs]
        figure.legend(handles=lines, loc="lower center", ncol=len(runs), frameon=False)
    return figure


def main():
    args = arguments()
    end = os.path.splitext(args.out)[1][1:]
    if end not in ("png", "svg", "pdf"):
        raise InputError(f"{args.out}: expected a name that ends with .png, .svg or .pdf")
    gsnr = [path for path in args.runs if is_gsnr(path)]
    if gsnr and (len(args.runs) > 1 or args.labels):
        raise InputError(f"{gsnr[0]}: expected it alone, and no --labels")
    figure = draw_gsnr(gsnr[0]) if gsnr else draw(read_runs(args))
    replace_file(args.out, lambda name: figure.savefig(name, format=end, dpi=110))


if __name__ == "__main__":
    run(main, "nothing was written")
