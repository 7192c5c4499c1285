#!/usr/bin/python3
"""One page about runs of `darknet distill`, finished or running: figures and a table.

    scripts/report.py FOLDER|RUN.csv [...] -o OUT [--baseline NAME]

FOLDER is searched for backup/<student>.csv, at any depth, and the NAME_gsnr.csv beside it. Runs
whose CSV files have one name, in several folders, are one method with several seeds: drawn as
their mean, with a band from the least to the greatest. All are classifiers, or all detectors.

    OUT/index.html   everything, in one file that needs no other and no network
    OUT/*.png        its figures, at twice the size
    OUT/runs.csv, OUT/runs.tex
                     the table: last scores by method, mean and standard deviation over the runs

With --baseline each method's last score is also compared with that method's, run by run: those
whose folders end alike in a number, as scripts/table.py's end in their seed.

It reads the CSV files' own numbers and computes no others.
"""
import argparse
import base64
import collections
import csv
import html
import io
import os
import re
import shlex
import statistics
import sys

# pylint: disable=wrong-import-order
from plot import (COLOURS, COMPONENTS, GSNR_PANELS, LOSSES, SCORES, is_gsnr, is_taught, plt,
                  read_column, read_gsnr, read_run, set_style, smooth)
from oneline import InputError, run, write_bytes
import numpy as np

# runs: of plot.py, one a seed; gsnr: what read_gsnr gives, of those that have it; seeds: of each
# run the number that its folder ends in, or None
Method = collections.namedtuple("Method", "name colour dashes runs gsnr seeds files")
# draw(methods) gives a figure, or None where there is nothing to show
Part = collections.namedtuple("Part", "name title caption draw")

DASHES = ("-", "--", ":", "-.")  # with the colour, for print in grey
SPEED = "images_per_s"  # its column


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="FOLDER|RUN.csv", nargs="+")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a folder, made anew")
    parser.add_argument("--baseline", metavar="NAME", help="the method that others are compared "
                        "with: a CSV file's name without .csv")
    return parser.parse_args()


# Reading

def find_files(paths):
    """All CSV files of runs, without those of gsnr_interval=."""
    found = []
    for path in paths:
        if os.path.isfile(path):
            found.append(path)
        elif os.path.isdir(path):
            found += sorted(os.path.join(folder, name) for folder, _, names in os.walk(path)
                            for name in names if name.endswith(".csv"))
        else:
            raise InputError(f"{path}: no such file or folder")
    found = [path for path in dict.fromkeys(found) if not is_gsnr(path)]
    if not found:
        raise InputError(f"{paths[0]}: found no CSV file, expected those of darknet distill")
    return found


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
        beside = path[:-len(".csv")] + "_gsnr.csv"
        if os.path.exists(beside):
            gsnr.append(read_gsnr(beside))
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


def draw_points(axes, methods):
    """Of runs that were evaluated once: a point for each, side by side."""
    axes.set(xlabel="", xticks=range(len(methods)), xticklabels=[one.name for one in methods])
    axes.margins(x=.2)
    for i, method in enumerate(methods):
        scores = [score for _, score in last_scores(method)]
        axes.plot([i] * len(scores), scores, "o", color=method.colour, alpha=.5)
        axes.plot(i, statistics.mean(scores), "_", color=method.colour, markersize=40)


def draw_scores(methods):
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


def draw_losses(methods):
    figure, axes = start(len(LOSSES), 4.4)
    for place, (key, title) in zip(axes, LOSSES):
        place.set(title=title)
        for method in methods:
            draw_band(place, method, [(batches, smooth(loss)) for batches, loss in
                                      (one.values[key] for one in method.runs) if loss.any()])
        place.set_ylim(bottom=0)
    return finish(figure, axes)


def draw_mask(methods):
    figure, axes = start(1, 8)
    for method in methods:
        curves = [one.values["k"] for one in method.runs if is_taught(one)]
        draw_band(axes[0], method, curves)
    axes[0].set(ylabel="other classes that teach (K)")
    axes[0].set_ylim(bottom=0)
    return finish(figure, axes)


def draw_gsnr(methods):
    """A row for each method that was measured, its components in each panel."""
    measured = [method for method in methods if method.gsnr]
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


def draw_speed(methods):
    figure, axes = start(2, 6)
    for method in methods:
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
    Part("speed", "Learning rate and cost", "Images a second, waiting for images included.",
         draw_speed),
)


# The table

def last_scores(method):
    """[(seed, %)] of the runs that were evaluated."""
    found = [(seed, one.values[one.score][1]) for seed, one in zip(method.seeds, method.runs)]
    return [(seed, 100 * score[-1]) for seed, score in found if len(score)]


def paired(method, baseline):
    """Mean and standard error of the differences, run by run, as text; "" where there are none."""
    ours, theirs = (dict(last_scores(one)) for one in (method, baseline))
    apart = [ours[seed] - theirs[seed] for seed in ours if seed is not None and seed in theirs]
    if method is baseline or not apart:
        return ""
    error = statistics.stdev(apart) / len(apart) ** .5 if len(apart) > 1 else float("nan")
    return f"{statistics.mean(apart):+.2f} ± {error:.2f}"


def table_rows(methods, baseline):
    name = SCORES[methods[0].runs[0].score]
    rows = [["method", "runs", f"last {name}, %", "sd", "least", "greatest", "images/s"] +
            ([f"to {baseline.name}, paired"] if baseline else [])]
    for method in methods:
        scores = [score for _, score in last_scores(method)]
        speeds = [np.median(one.values[SPEED][1]) for one in method.runs]
        rows.append([method.name, str(len(method.runs))] + (
            [f"{statistics.mean(scores):.2f}",
             f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "",
             f"{min(scores):.2f}", f"{max(scores):.2f}"] if scores else [""] * 4) +
            [f"{statistics.mean(speeds):.0f}"] + ([paired(method, baseline)] if baseline else []))
    return rows


def to_csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def to_latex(rows):
    def cell(text):
        text = re.sub(r"([&%$#_{}])", r"\\\1", text)
        return text.replace("±", r"$\pm$")
    lines = [" & ".join(map(cell, row)) + r" \\" for row in rows]
    return "\n".join([rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", r"\hline", lines[0],
                      r"\hline", *lines[1:], r"\hline", r"\end{tabular}", ""])


# The page

STYLE = "body{font:16px/1.5 sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;" \
    "color:#222;background:#fff}table{border-collapse:collapse}th,td{padding:.25em .8em;" \
    "border-bottom:1px solid #ccc;text-align:right}th:first-child,td:first-child{text-align:left}" \
    "img{max-width:100%}figure{margin:0 0 2em}figcaption,footer{color:#555;font-size:.9em}" \
    "code{overflow-wrap:anywhere}"


def html_table(rows):
    lines = ["".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row)
             for tag, row in zip(["th"] + ["td"] * len(rows), rows)]
    return "<table>\n" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>\n"


def page(rows, pictures, command, files):
    body = "".join(
        f'<h2>{part.title}</h2>\n<figure><img alt="{part.title}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{html.escape(part.caption)} {part.name}.png</figcaption></figure>\n"
        for part, png in pictures)
    listed = "".join(f"<li><code>{html.escape(path)}</code></li>" for path in files)
    return f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>darknet ' \
        f"distill: report</title>\n<style>{STYLE}</style></head><body>\n<h1>darknet distill</h1>" \
        f"\n{html_table(rows)}<p>Last evaluations; a line is a method's mean, a band from its " \
        f"least run to its greatest.</p>\n{body}<footer><p>Command: <code>{html.escape(command)}" \
        f"</code></p><p>Data:</p><ul>{listed}</ul></footer>\n</body></html>\n"


def to_png(figure):
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=200)
    plt.close(figure)
    return data.getvalue()


def main():
    args = arguments()
    methods = read_methods(args.runs)
    names = [method.name for method in methods]
    if args.baseline and args.baseline not in names:
        raise InputError(f"--baseline {args.baseline}: expected one of {', '.join(names)}")
    baseline = methods[names.index(args.baseline)] if args.baseline else None
    set_style()
    drawn = [(part, part.draw(methods)) for part in PARTS]
    pictures = [(part, to_png(figure)) for part, figure in drawn if figure]
    rows = table_rows(methods, baseline)
    if os.path.exists(args.out) and not os.path.isdir(args.out):
        raise InputError(f"-o {args.out}: found a file, expected a folder")
    os.makedirs(args.out, exist_ok=True)
    files = [path for method in methods for path in method.files]
    texts = {"runs.csv": to_csv(rows), "runs.tex": to_latex(rows),
             "index.html": page(rows, pictures, shlex.join(sys.argv), files)}
    contents = {**{part.name + ".png": png for part, png in pictures},
                **{name: text.encode() for name, text in texts.items()}}
    for name, content in contents.items():
        write_bytes(os.path.join(args.out, name), content)
    print(f"wrote {os.path.join(args.out, 'index.html')}: {len(files)} runs, "
          f"{len(methods)} methods")


if __name__ == "__main__":
    run(main, "nothing was written")
