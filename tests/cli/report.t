#!/usr/bin/python3 -B
"""Tests of scripts/report.py, in TAP.

Proves: two real runs of each of two methods, one with gsnr_interval=, become one page with all
figures, whose table has the CSV files' means, deviations and differences by seed; the page needs
nothing from elsewhere; a run in progress and one that measures nothing are drawn; what stands
beside the runs has its figures: logits, landscapes, detections, whose numbers are what loops over single
images count; wrong input is one line, and no page. A browser shows the page where there is one.

To add a case: a function with @test before it.
"""
import base64
import csv
import html.parser
import io
import json
import os
import shutil
import statistics
import subprocess
import sys

import tap
from tap import PYTHON, ROOT, check_ran, check_refused, test

import numpy as np
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
            assert image.format == "PNG" and image.width > 900, image
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


# What stands beside a run

def write_logits(path, seed, images=40, classes=5):
    random = np.random.RandomState(seed)
    found = np.zeros(images, [("target", "<i4"), ("logits", "<f4", (classes,))])
    found["target"] = np.arange(images) % classes
    own = np.eye(classes)[found["target"]]
    found["logits"] = 2 * random.normal(size=own.shape) + 4 * own
    np.save(path, found)
    return found


def write_landscape(path, points=7):
    places = np.linspace(-1, 1, points)
    rows = [f"{x},{y},{'inf' if x == y == -1 else .5 + x * x + 2 * y * y},.5"
            for y in places for x in places]
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(["x,y,loss,top1", *rows]) + "\n")


def figures(folder, *words):
    check_ran(report(*words, "-o", folder.at("out")))
    read_page(folder)
    return {name[:-4] for name in os.listdir(folder.at("out")) if name.endswith(".png")} - {
        "scores", "losses", "mask", "speed"}


@test
def beside(folder):
    """logits, landscapes and a constant K have figures; the page lists their files"""
    for name in ("kd", "deepkd-topk-2"):
        for seed in (1, 2):
            path = write_run(folder, name, seed, [.5, .6])
            write_logits(path[:-4] + "_logits.npy", seed)
        write_landscape(path[:-4] + "_landscape.csv")
    runs = [folder.at(f"{name}-{seed}") for name in ("kd", "deepkd-topk-2") for seed in (1, 2)]
    assert figures(folder, *runs) == {"classes", "principal", "sweep"}  # no first run has a landscape
    shutil.copy(path[:-4] + "_landscape.csv", folder.at("kd-1/backup/kd_landscape.csv"))
    write_logits(folder.at("teacher.npy"), 9)
    found = figures(folder, *runs, "--baseline", "kd", "--teacher", folder.at("teacher.npy"))
    assert found == {"classes", "principal", "sweep", "landscape", "kept", "confidence",
                     "difference"}, found
    text = folder.read("out/index.html").decode()
    for name in ("teacher.npy", "kd-2/backup/kd_logits.npy", "kd_landscape.csv"):
        assert name + "</code>" in text, name


@test
def logits_numbers(folder):
    """kept shares, accuracies, distances and components are what loops and other formulas give"""
    need_matplotlib()
    import report_logits as of  # pylint: disable=import-outside-toplevel
    teacher, other = (write_logits(folder.at(f"{seed}.npy"), seed) for seed in (1, 2))
    shares = of.kept_shares(teacher, 3)
    for k in range(5):
        by_hand = []
        for target, row in teacher:
            powers = [np.exp(float(z) / 3) for j, z in enumerate(row) if j != target]
            by_hand.append(sum(sorted(powers)[len(powers) - k:]) / sum(powers))
        assert abs(shares[k] - np.mean(by_hand)) < 1e-9, k
    for j, found in enumerate(of.accuracies([teacher, other])):
        right = [row.argmax() == j for one in (teacher, other) for target, row in one
                 if target == j]
        assert abs(found - 100 * np.mean(right)) < 1e-9, j
    centred = [(target, row - row.mean()) for target, row in teacher]
    assert np.allclose(of.mean_logits(teacher)[3],
                       np.mean([row for target, row in centred if target == 3], 0), atol=1e-5)
    one, two = (teacher["logits"][:, j].astype(float) for j in (1, 4))
    expected = ((one - one.mean()) * (two - two.mean())).mean() / one.std() / two.std()
    assert abs(of.correlations(teacher)[1, 4] - expected) < 1e-9
    places, share = of.principal(teacher["logits"].astype(float))
    sizes = np.linalg.eigvalsh(np.cov(teacher["logits"].astype(float), rowvar=False))
    assert np.allclose(places.var(0, ddof=1), sizes[:-3:-1]) and \
        abs(share - sizes[-2:].sum() / sizes.sum()) < 1e-9


@test
def landscape_numbers(folder):
    """a landscape is read row by row, and as sharp as `deepkd landscape` says"""
    need_matplotlib()
    import report_landscape as of  # pylint: disable=import-outside-toplevel
    folder.distill().check(0)
    said = folder.darknet("deepkd", "landscape", "deepkd.data", "student.cfg",
                          "backup/student_final.weights", "-points", "9", "-out",
                          "plane.csv").check(0).out
    x, y, loss = of.read_landscape(folder.at("plane.csv"))
    rows = folder.rows("plane.csv")
    assert len(x) == len(y) == 9 and loss[2, 5] == float(rows[2 * 9 + 5]["loss"])
    assert float(rows[2 * 9 + 5]["x"]) == x[5] and float(rows[2 * 9 + 5]["y"]) == y[2]
    assert f"sharpness {of.sharpness(loss):.4g} %" in said, said


def write_detector(folder):
    """A run, and COCO's JSON of two images with a box of each of two classes"""
    os.makedirs(folder.at("yolo-1/backup"))
    folder.write("yolo-1/backup/yolo.csv",
                 HEADER.replace("valid_top1,valid_top5", "valid_map50,valid_map") +
                 "10,.1,640,1,1,1,0,0,9,.01,900,,,\n10,.1,640,,,,,,,,,1,.5,.25\n")
    boxes = [[10, 10, 20, 20], [60, 60, 30, 30]]
    os.makedirs(folder.at("scenes"))
    for number in (1, 2):
        Image.new("RGB", (100, 100), (90, 90, 90)).save(folder.at(f"scenes/{number}.png"))
    folder.write("truth.json", json.dumps({
        "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [{"id": 2 * i + j, "image_id": i, "category_id": (3, 7)[j], "iscrowd": 0,
                         "bbox": boxes[j], "area": boxes[j][2] * boxes[j][3]}
                        for i in (1, 2) for j in (0, 1)]}))
    return boxes


def detections(folder, name, *rows):
    folder.write(name, json.dumps([{"image_id": image, "category_id": category, "bbox": box,
                                    "score": score} for image, category, box, score in rows]))


@test
def boxes(folder):
    """detections have figures, the teacher's among them; boxes are matched the surest first"""
    true = write_detector(folder)
    near = [12, 12, 20, 20]
    detections(folder, "yolo-1/backup/yolo_detections.json", (1, 3, true[0], .9), (1, 7, near, .95),
               (1, 7, [0, 80, 9, 9], .5), (2, 7, true[1], .8), (2, 7, true[1], .1))
    detections(folder, "teacher.json", (1, 3, true[0], .9))
    words = [folder.at("yolo-1"), "--truth", folder.at("truth.json")]
    done = report(*words, "-o", folder.at("out"))
    if "no pycocotools" in done.stderr:
        raise tap.missing("pycocotools (scripts/deps.sh install coco)")
    assert figures(folder, *words) == {"precision", "sizes", "confusion"}
    words += ["--teacher", folder.at("teacher.json"), "--images", folder.at("scenes")]
    assert figures(folder, *words) == {"precision", "sizes", "confusion", "worst"}
    need_matplotlib()
    import report_boxes as of  # pylint: disable=import-outside-toplevel
    given = of_given(truth=folder.at("truth.json"))
    entries, judged = of.judge(given.truth, folder.at("yolo-1/backup/yolo_detections.json"))
    pairs = of.match_all(given, entries)
    assert pairs[1] == [(3, 7), (None, 3), (None, 7), (7, None)], pairs
    assert pairs[2] == [(7, 7), (3, None)], pairs
    assert of.overlaps(np.array([0., 0, 2, 2]), np.array([[1., 1, 2, 2], [5, 5, 1, 1]])).tolist() \
        == [1 / 7, 0]
    curve = of.precisions(judged, 3)
    assert np.allclose(curve, np.where(np.arange(101) <= 50, 1, 0)), curve


def of_given(**values):
    import report_runs  # pylint: disable=import-outside-toplevel
    return report_runs.Given(**{**dict.fromkeys(report_runs.Given._fields), **values})


def need_matplotlib():
    sys.path[:0] = [os.path.join(ROOT, "scripts")]
    try:
        import report_runs  # noqa: F401  # pylint: disable=import-outside-toplevel,unused-import
    except ImportError as error:
        raise tap.missing("python3-matplotlib") from error


@test
def refused_beside(folder):
    """files beside a run, or of a teacher, that don't fit: one line, and no page"""
    path, out = write_run(folder, "kd", 1, [.5, .6]), folder.at("out")
    beside_it, teacher = path[:-4] + "_logits.npy", folder.at("teacher.npy")
    write_logits(teacher, 1)
    for change, *words in (
            (lambda: folder.write("kd-1/backup/kd_logits.npy", "no array"), "found no logits"),
            (lambda: np.save(beside_it, np.zeros(3)), "found no logits"),
            (lambda: write_logits(beside_it, 1, images=39), "found 39 images, expected 40"),
            (lambda: write_logits(beside_it, 1, classes=4), "found 4 classes, expected 5"),
            (lambda: write_logits(beside_it, 1), "found 3 names", "expected 5")):
        change()
        folder.write("names.txt", "a\nb\nc\n")
        check_refused(report(path, "-o", out, "--teacher", teacher, "--names",
                             folder.at("names.txt")), *words)
    found = write_logits(beside_it, 1)
    found["target"][0] = 1
    np.save(beside_it, found)
    check_refused(report(path, "-o", out, "--teacher", teacher), "another validation list")
    os.unlink(beside_it)
    write_logits(teacher, 1, classes=3)
    check_refused(report(path, "-o", out, "--teacher", teacher), "kd.csv: found K=3", "at most 2")
    write_landscape(path[:-4] + "_landscape.csv")
    text = folder.read("kd-1/backup/kd_landscape.csv")
    for content, *words in ((text[:200], "landscape.csv: line 7: y is"),
                            (text[:text.rindex(b"\n", 0, -1) + 1], "found 48 points"),
                            (b"a,b\n", "x,y,loss")):
        folder.write("kd-1/backup/kd_landscape.csv", content)
        check_refused(report(path, "-o", out), *words)
    os.unlink(folder.at("kd-1/backup/kd_landscape.csv"))
    check_refused(report(path, "-o", out, "--truth", "t.json"), "--truth t.json", "classifiers")
    check_refused(report(path, "-o", out, "--images", "all"), "--images all", "expected --truth")
    os.makedirs(folder.at("empty"))
    check_refused(report(path, folder.at("empty"), "-o", out), "empty: found no CSV file")
    assert not os.path.exists(out)


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
