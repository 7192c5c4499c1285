#!/usr/bin/python3 -B
"""Tests of scripts/report.py, in TAP.

Proves: two real runs of each of two methods, one with gsnr_interval=, become one page with all
figures, whose table has the CSV files' means, deviations and differences by seed; the page needs
nothing from elsewhere; a run in progress and one that measures nothing are drawn; wrong input is
one line, and no page. A browser opens the page where there is one.

To add a case: a function with @test before it.
"""
import base64
import csv
import html.parser
import io
import os
import shutil
import statistics
import subprocess
import sys

import tap
from tap import PYTHON, ROOT, check_ran, check_refused, test

from PIL import Image

SCRIPT = os.path.join(ROOT, "scripts", "report.py")
HEADER = "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,valid_loss," \
    "valid_top1,valid_top5\n"


def report(*words):
    return subprocess.run([PYTHON, "-B", SCRIPT, *words], check=False, capture_output=True,
                          text=True)


def write_run(folder, name, seed, scores, method=1):
    """A CSV file as distill writes it: a validation every 10 batches."""
    os.makedirs(folder.at(f"{name}-{seed}/backup"), exist_ok=True)
    lines = [HEADER]
    for i, score in enumerate(scores, 1):
        lines += [f"{10 * i},1,640,1,1,{1 / i},{method / i},1,3,.1,{900 + seed},,,\n",
                  f"{10 * i},1,640,,,,,,,,,.5,{score},.9\n"]
    path = f"{name}-{seed}/backup/{name}.csv"
    folder.write(path, "".join(lines))
    return folder.at(path)


class Page(html.parser.HTMLParser):
    """Pictures, cells and what is asked for from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.cells, self.foreign, self.is_cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.is_cell = tag in ("td", "th")
        if tag == "img":
            self.pictures.append(base64.b64decode(attrs["src"].partition("base64,")[2]))
        self.foreign += [value for key, value in attrs.items()
                         if key in ("src", "href") and not value.startswith("data:")]

    def handle_data(self, data):
        if self.is_cell:
            self.cells.append(data.strip())


def read_page(folder, out="out"):
    page = Page(folder.read(f"{out}/index.html").decode())
    assert not page.foreign, page.foreign
    for png in page.pictures:
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG" and image.width > 1000, image
    return page


@test
def a_page(folder):
    """two methods with three seeds each: figures, mean, deviation and the paired difference"""
    scores = {"kd": [.70, .74, .72], "deepkd": [.71, .76, .75]}
    for name, last in scores.items():
        for seed, score in enumerate(last, 1):
            write_run(folder, name, seed, [.5, score], method=seed)
    out = folder.at("out")
    check_ran(report(folder.at("."), "-o", out, "--baseline", "kd"))
    rows = list(csv.DictReader(folder.read("out/runs.csv").decode().splitlines()))
    for row in rows:
        last = [100 * score for score in scores[row["method"]]]
        assert row["runs"] == "3" and row["images/s"] == "902", row
        assert row["last top-1, %"] == f"{statistics.mean(last):.2f}", row
        assert row["sd"] == f"{statistics.stdev(last):.2f}", row
    apart = [1, 2, 3]
    expected = f"{statistics.mean(apart):+.2f} ± {statistics.stdev(apart) / 3 ** .5:.2f}"
    found = {row["method"]: row["to kd, paired"] for row in rows}
    assert found == {"kd": "", "deepkd": expected}, found
    page = read_page(folder)
    assert len(page.pictures) == 4 and expected in page.cells, page.cells
    assert sorted(name for name in os.listdir(out) if name.endswith(".png")) == [
        "losses.png", "mask.png", "scores.png", "speed.png"]
    latex = folder.read("out/runs.tex").decode()
    assert latex.count(r"\\") == 3 and r"last top-1, \%" in latex, latex


@test
def real_runs(folder):
    """runs of distill with gsnr_interval=, one of which goes on: its signal and noise too"""
    folder.write("student.cfg", tap.student_cfg({"gsnr_interval": 1}, max_batches=4))
    folder.distill().check(0)
    check_ran(report(folder.at("backup"), "-o", folder.at("out")))
    assert os.path.exists(folder.at("out/gsnr.png"))
    assert len(read_page(folder).pictures) >= 4
    young = HEADER + "10,.1,640,1,1,1,0,0,9,.01,900,,,\n"
    folder.write("young.csv", young)
    check_ran(report(folder.at("young.csv"), "-o", folder.at("young")))
    read_page(folder, "young")


@test
def again(folder):
    """a second report takes the first one's place, and the same runs give the same figures"""
    path = write_run(folder, "kd", 1, [.5, .6])
    check_ran(report(path, "-o", folder.at("out")))
    first = folder.read("out/scores.png")
    check_ran(report(path, "-o", folder.at("out")))
    assert folder.read("out/scores.png") == first


@test
def refused(folder):
    """wrong input: one line, and no page"""
    path, out = write_run(folder, "kd", 1, [.5, .6]), folder.at("out")
    os.makedirs(folder.at("empty"))
    check_refused(report(folder.at("empty"), "-o", out), "found no CSV file")
    check_refused(report(folder.at("none"), "-o", out), "none", "no such file or folder")
    check_refused(report(path, "-o", out, "--baseline", "dkd"), "--baseline dkd", "kd")
    folder.write("file", "")
    check_refused(report(path, "-o", folder.at("file")), "file", "expected a folder")
    for name in ("cut", "other", "detector"):
        os.makedirs(folder.at(name))
    folder.write("cut/kd.csv", HEADER + "10,.1,640,1,1,1,0,0,9,.01,90")
    check_refused(report(folder.at("cut"), "-o", out), "kd.csv: line 2", "no end of the line")
    folder.write("other/b.csv", "a,b\n1,2\n")
    check_refused(report(folder.at("other"), "-o", out), "b.csv", "no column batch")
    folder.write("detector/yolo.csv", HEADER.replace("valid_top1,valid_top5",
                                                     "valid_map50,valid_map") +
                 "10,.1,640,1,1,1,0,0,9,.01,900,,,\n")
    check_refused(report(path, folder.at("detector"), "-o", out), "mAP@0.50", "expected top-1")
    assert not os.path.exists(out)


@test
def in_a_browser(folder):
    """a real browser shows the page, its figures included"""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if not browser:
        raise tap.Skip("no Chromium here")
    path = write_run(folder, "kd", 1, [.5, .6, .7])
    check_ran(report(path, "-o", folder.at("out")))
    shot = folder.at("shot.png")
    subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}",
                    "--window-size=1200,2400", "file://" + folder.at("out/index.html")],
                   check=True, capture_output=True, timeout=120)
    with Image.open(shot) as image:
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20)}
    assert (0, 0x72, 0xb2) in colours, "the figures' first colour is not on the page"


if __name__ == "__main__":
    tap.main()
