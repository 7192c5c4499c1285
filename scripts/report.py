#!/usr/bin/python3
"""One page about runs of `darknet distill`, finished or running: figures and a table.

    scripts/report.py FOLDER|RUN.csv [...] -o OUT [--baseline NAME] [--teacher FILE] ...

FOLDER is searched for backup/<student>.csv, at any depth, and for NAME_gsnr.csv, NAME_logits.npy,
NAME_landscape.csv and NAME_detections.json beside it; docs/report.md says what makes them. Runs
whose CSV files have one name, in several folders, are one method with several seeds: drawn as
their mean, with a band from the least to the greatest. All are classifiers, or all detectors.

    OUT/index.html   everything, in one file that needs no other and no network
    OUT/*.png        its figures, at twice the size
    OUT/runs.csv, OUT/runs.tex
                     the table: last scores by method, mean and standard deviation over the runs

With --baseline each method's last score is also compared with that method's, run by run: those
whose folders end alike in a number, as scripts/table.py's end in their seed.

Figures are those of report_runs.py, report_logits.py, report_landscape.py and report_boxes.py; this
puts them on the page.
"""
import argparse
import base64
import csv
import html
import io
import os
import re
import shlex
import statistics
import sys

# pylint: disable=wrong-import-order
from plot import SCORES, plt, set_style
from oneline import InputError, run, write_bytes
from report_runs import SPEED, Given, find_all_beside, last_scores, read_methods
import report_boxes
import report_landscape
import report_logits
import report_runs
import numpy as np

PARTS = (*report_runs.PARTS, *report_logits.PARTS, *report_landscape.PARTS, *report_boxes.PARTS,
         report_runs.COST)


def temperature(text):
    """An argparse type: a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="FOLDER|RUN.csv", nargs="+")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a folder, made anew")
    parser.add_argument("--baseline", metavar="NAME", help="the method that others are compared "
                        "with: a CSV file's name without .csv")
    parser.add_argument("--teacher", metavar="FILE", help="the teacher's logits (`darknet deepkd "
                        "logits`) or, of detectors, detections (`darknet deepkd map -out`)")
    parser.add_argument("--temperature", type=temperature, default=4, metavar="T", help="of the "
                        "students, for what the mask keeps (default: 4)")
    parser.add_argument("--truth", metavar="INSTANCES.json", help="of detectors: COCO's JSON of "
                        "the validation list's boxes")
    parser.add_argument("--images", metavar="FOLDER", help="of detectors: where its images are, to "
                        "draw the worst")
    parser.add_argument("--names", metavar="FILE", help="the classes' names, one a line")
    return parser.parse_args()


def check_task(args, methods):
    """Of detectors, or of classifiers, are the words that go with them."""
    detects = SCORES[methods[0].runs[0].score] != "top-1"
    if args.truth and not detects:
        raise InputError(f"--truth {args.truth}: found classifiers, expected it with detectors")
    for flag, value in (("--images", args.images), ("--teacher", detects and args.teacher)):
        if value and not args.truth:
            raise InputError(f"{flag} {value}: expected --truth along with it")


def read_names(path):
    if not path:
        return None
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


# The table

def paired(method, baseline):
    """Mean and standard error of the differences, run by run, as text; "" where there are none."""
    ours, theirs = (dict(last_scores(one)) for one in (method, baseline))
    apart = [ours[seed] - theirs[seed] for seed in ours if seed is not None and seed in theirs]
    if method is baseline or not apart:
        return ""
    text = f"{statistics.mean(apart):+.2f}"
    return f"{text} ± {statistics.stdev(apart) / len(apart) ** .5:.2f}" if len(apart) > 1 else text


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
    check_task(args, methods)
    baseline = methods[names.index(args.baseline)] if args.baseline else None
    given = Given(methods, baseline, args.teacher, args.truth, read_names(args.names),
                  args.temperature, args.images)
    set_style()
    drawn = [(part, part.draw(given)) for part in PARTS]
    pictures = [(part, to_png(figure)) for part, figure in drawn if figure]
    rows = table_rows(methods, baseline)
    if os.path.exists(args.out) and not os.path.isdir(args.out):
        raise InputError(f"-o {args.out}: found a file, expected a folder")
    os.makedirs(args.out, exist_ok=True)
    files = [path for method in methods for path in method.files]
    used = [path for path in [*(other for path in files for other in find_all_beside(path)),
                              args.teacher, args.truth] if path]
    texts = {"runs.csv": to_csv(rows), "runs.tex": to_latex(rows),
             "index.html": page(rows, pictures, shlex.join(sys.argv), files + used)}
    contents = {**{part.name + ".png": png for part, png in pictures},
                **{name: text.encode() for name, text in texts.items()}}
    for name, content in contents.items():
        write_bytes(os.path.join(args.out, name), content)
    print(f"wrote {os.path.join(args.out, 'index.html')}: {len(files)} runs, "
          f"{len(methods)} methods")


if __name__ == "__main__":
    run(main, "nothing was written")
