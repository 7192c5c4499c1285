#!/usr/bin/python3 -B
"""Tests of scripts/rows.py, table.py, plot.py, demo.sh, one_class.py, train-teacher.sh and
draw_boxes.py, in TAP.

Proves: every row trains with the momenta that its method has; the table's
search holds out training images only and grows its grid by the rule; a table
comes out, goes on from what is there, and stops at a run that fails; its means
are those of the runs' last accuracies; the demo comes to its end and its table
says what the CSV files say; the one-class scenes are the same scenes; figures
are drawn whole or not at all. Classifiers and detectors alike.

All with a teacher of random weights and a few pictures, or with STUB in place of
darknet: nothing here is about accuracy. To add a case: a function with @test
before it.
"""
import argparse
import glob
import json
import math
import os
import shutil
import re
import subprocess
import sys
import time

import tap
from tap import DARKNET, ENVIRONMENT, PYTHON, ROOT, check_ran, check_refused, test

import numpy as np
from PIL import Image

sys.path[:0] = [os.path.join(ROOT, "scripts"), os.path.join(ROOT, "tests", "bench")]
# pylint: disable=wrong-import-position
import bench  # noqa: E402
import coco2darknet  # noqa: E402
import rows  # noqa: E402
import table  # noqa: E402



def warm(momenta, decays=0):
    """The groups as distill describes them: ("tog+ncg", .975), with the warm-up's ends."""
    texts = []
    for i, (names, momentum) in enumerate(momenta):
        end = math.ceil(momentum / (1 - momentum) / .05 * (1 - 1e-6))
        texts.append(f"{names} {momentum:g} from batch {end}"
                     + (" (weight decay)" if i == decays else ""))
    return ", ".join(texts)


def momenta_of(base):
    """{row: its line} for a [net] momentum."""
    cold = f"tog+tcg+ncg {base:g} (weight decay)"
    sgd = warm([("tog+tcg+ncg", base)])
    deepkd = warm([("tog+ncg", base + .075), ("tcg", base - .075)])
    apart = warm([("tog", base + .075), ("tcg", base - .075), ("ncg", base + .075)])
    dot = warm([("tog", base - .075), ("tcg+ncg", base + .075)])
    # the deltas of DKD, MLKD and CRLD
    three = warm([("tog", base + .075), ("tcg", base - .075), ("ncg", base + .05)])
    by_trainer = {"": sgd, "dot": dot, "deepkd": three}
    return {"alone": cold, "kd-plain": cold, "kd": sgd, "dkd": sgd,
            "dot": dot,
            "deepkd": deepkd, "deepkd-gsnr": apart, "deepkd-dtm": deepkd,
            "deepkd-official": f"tog+tcg {base - .075:g} (weight decay), ncg {base + .075:g}",
            "kd-objectness": sgd, "kd-dense": sgd, "deepkd-objectness": deepkd,
            "deepkd-boxes": deepkd, "deepkd-bckd": deepkd,
            **{row: sgd if row.startswith("kd") else deepkd for row in rows.IN_FEW_BITS},
            **{row: deepkd if row.startswith("deepkd") else sgd for row in rows.BEYOND},
            **{row: by_trainer[row.partition("-")[2]] for row in rows.BY_TRAINER}}


CLASSIFIERS, DETECTORS = momenta_of(.9), momenta_of(.8)  # the scenes' student has momentum=.8
MOMENTA = {"fmnist": {row: CLASSIFIERS[row] for row in rows.CLASSIFIERS},
           "cifar10": {row: CLASSIFIERS[row] for row in rows.TASKS["cifar10"].rows},
           "scenes": {row: DETECTORS[row] for row in rows.SCENES},
           "one-class": {row: DETECTORS[row]
                         for row in ("alone", "kd", "kd-objectness", "deepkd-objectness")}}
TRAINING = "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,"
CSV = TRAINING + "valid_loss,valid_top1,valid_topk\n"
DETECTOR_CSV = TRAINING + "iou,class,obj,no_obj,r50,r75,count,valid_loss,valid_map50,valid_map\n"
GSNR_CSV = ("batch,layer,component,signal,noise,gsnr,buffer_signal,buffer_noise,bsnr,momentum,"
            "cos_tog,cos_tcg,cos_ncg\n")
TINY = ["--batches", "2", "--rows", "alone,deepkd", "--seeds", "2"]

# Says what darknet would of a detector whose mAP is best at a rate of .02 and grows with the seed,
# up to 2; rates from .04 on diverge in a search, whose seed is 1000, and so does seed 3. With a cfg that is "broken", the row deepkd fails,
# and kd takes long.
STUB = f"""#!{PYTHON}
import re, sys, time
words = sys.argv[1:]
known = "teacher: mAP@0.50 61.25 %, mAP@[.50:.95] 36.02 % on some.list"
if words[0] == "deepkd":
    open(words[words.index("-out") + 1], "w").write("[]")
    sys.exit(print(known))
data, cfg = (open(name).read() for name in words[1:3])
if "broken" in cfg and "trainer=deepkd" in cfg:
    sys.exit("cfg: broken")
if "broken" in cfg and "teacher_weight=0" not in cfg:
    time.sleep(60)
print(known)
rate, batches = (float(re.search("^" + key + "=(.*)", cfg, re.M)[1]) for key in
                 ("learning_rate", "max_batches"))
seed = words[words.index("-seed") + 1]
if rate > .039 and seed == "1000" or seed == "3":
    sys.exit("batch 3: tog is not finite")
score = .5 - abs(rate - .02) + int(words[words.index("-seed") + 1]) % 1000 / 500
name = re.search("^backup=(.*)", data, re.M)[1] + "/" + re.search(r"([\\w-]+)\\.cfg$", words[2])[1]
open(name + ".csv", "w").write("{DETECTOR_CSV[:-1]}\\n" + "".join(
    f"{{batch:.0f}},1,1" + "," * 16 + f"1,{{part * score}},{{part * score / 2}}\\n"
    for batch, part in ((batches / 2, 1.5), (batches, 1))))
"""


# A run folder like build/, with a few pictures

def make_list(build, labels, split, count, data="fashion-mnist"):
    folder = f"data/{data}/{split}"
    os.makedirs(os.path.join(build, folder))
    random = np.random.RandomState(count)
    paths = [f"{folder}/{labels[i % 10]}_{i:05d}.png" for i in range(count)]
    for path in paths:
        pixels = random.randint(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(os.path.join(build, path))
    table.write_lines(os.path.join(build, folder + ".list"), paths)


def make_folder(folder):
    """A run folder with the program and the cfgs; the scenes' for smaller images."""
    build = folder.at("build")
    os.makedirs(os.path.join(build, "cfg"))
    os.symlink(DARKNET, os.path.join(build, "darknet"))
    for name in os.listdir(os.path.join(ROOT, "cfg")):
        if name.startswith(("fmnist-", "cifar10", "scenes", "deepkd")) and not name.endswith(".weights"):
            text = table.read(os.path.join(ROOT, "cfg", name))
            table.write_text(os.path.join(build, "cfg", name), text.replace("=112\n", "=64\n"))
    table.write_lines(os.path.join(build, ".switches"), ["BLAS=1"])
    return build


def make_build(folder, data="fashion-mnist", task="fmnist"):
    build = make_folder(folder)
    labels = [f"{i}_label" for i in range(10)]
    make_list(build, labels, "train", 24, data)
    make_list(build, labels, "valid", 6, data)
    table.write_lines(os.path.join(build, f"data/{data}/labels.txt"), labels)
    bench.make_weights(build, f"cfg/{task}-teacher.cfg",
                       os.path.join(build, f"cfg/{task}-teacher.weights"))
    return build


def make_photos(folder):
    """A run folder with a few images under CIFAR-10's names."""
    return make_build(folder, "cifar10", "cifar10")


def make_scenes(folder):
    """A run folder with a few scenes."""
    build = make_folder(folder)
    check_ran(script("make_scenes.py", os.path.join(build, "data/scenes"), "--train", "24",
                 "--val", "12"))
    bench.make_weights(build, "cfg/scenes-teacher.cfg",
                       os.path.join(build, "cfg/scenes-teacher.weights"))
    return build


def use_stub(build):
    os.unlink(os.path.join(build, "darknet"))
    table.write_text(os.path.join(build, "darknet"), STUB)
    os.chmod(os.path.join(build, "darknet"), 0o755)


def script(name, *args, **env):
    first = [] if name.endswith(".sh") else [PYTHON, "-B"]
    return subprocess.run([*first, os.path.join(ROOT, "scripts", name), *args], check=False,
                          capture_output=True, text=True, env={**ENVIRONMENT, "ROOT": ROOT, **env})


# rows.py

def check_rows(build, name):
    """Every row of a task trains two batches, but those that this processor refuses."""
    task, folder = rows.TASKS[name], os.path.join(build, "rows")
    os.makedirs(os.path.join(folder, "backup"))
    data = table.read(os.path.join(build, task.data))
    table.write_text(os.path.join(folder, "run.data"),
                     re.sub("^backup=.*", "backup=rows/backup", data, flags=re.MULTILINE))
    assert list(MOMENTA[name]) == check_ran(script("rows.py", name, "names")).split()
    for row, momenta in MOMENTA[name].items():
        text = check_ran(script("rows.py", name, "cfg", row, os.path.join(build, task.student),
                            "max_batches=2", "batch=4"))
        table.write_text(os.path.join(folder, "student.cfg"), text)
        try:
            lines, _ = bench.run_darknet(build, ["distill", "rows/run.data", "rows/student.cfg",
                                                 task.weights, "-seed", "1", "-clear"])
        except bench.InputError as error:
            assert row in rows.IN_FEW_BITS and "which is oneDNN's" in str(error), error
            continue
        out = "".join(line for _, line in lines)
        assert f"momentum groups: {momenta}\n" in out, f"{row}: {out}"


@test
def each_row_trains(folder):
    """every row's cfg trains two batches, with its method's momenta"""
    check_rows(make_build(folder), "fmnist")


@test
def each_photo_row_trains(folder):
    """so does every row of photographs, with each method by each trainer"""
    check_rows(make_photos(folder), "cifar10")


@test
def each_detector_row_trains(folder):
    """so does every row of the scenes and of the one-class scenes"""
    build = make_scenes(folder)
    check_rows(build, "scenes")
    shutil.rmtree(os.path.join(build, "rows"))
    one = os.path.join(build, "data/one-class")
    check_ran(script("one_class.py", os.path.join(build, "data/scenes"), one))
    bench.make_weights(build, os.path.join(one, "one-class-teacher.cfg"),
                       os.path.join(one, "one-class-teacher.weights"))
    check_rows(build, "one-class")


@test
def options_are_set(_):
    """rows.py replaces an option in its own section only, adds or drops one, and counts percents"""
    text = "[net]\nrate=1\nsteps=2\n[teacher]\nrate=1\n"
    assert rows.set_option(text, "net", "rate", 3) == text.replace("rate=1", "rate=3", 1)
    assert rows.set_option(text, "teacher", "rate", 3).endswith("[teacher]\nrate=3\n")
    assert rows.set_option(text, "teacher", "a", 3).endswith("[teacher]\na=3\nrate=1\n")
    assert rows.set_option(text, "teacher", "rate", None) == text.removesuffix("rate=1\n")
    assert "warmup=80\n" in rows.row_cfg(rows.TASKS["fmnist"], "dkd", "[net]\n[deepkd_loss]\n",
                                         {"max_batches": 1000})
    check_refused(script("rows.py", "fmnist", "title", "dkb"), "dkb", "expected one of alone, kd")
    check_refused(script("rows.py", "scene", "names"), "scene", "expected one of fmnist, scenes")


@test
def steps_follow_the_budget(_):
    """with another max_batches, [net] steps= moves along"""
    text = "[net]\nmax_batches=1500\nsteps=1100,1350\n"
    assert rows.set_batches(text, 150) == "[net]\nmax_batches=150\nsteps=110,135\n"
    assert rows.set_batches("[net]\nmax_batches=9\n", 150) == "[net]\nmax_batches=150\n"


# table.py

@test
def held_out_images(_):
    """the search holds out 5,000 of 60,000 images, always the same ones"""
    paths = [f"image-{i}.png" for i in range(60000)]
    train, valid = table.hold_out(paths)
    assert (len(train), len(valid)) == (55000, 5000)
    assert sorted(train + valid) == sorted(paths)
    assert table.hold_out(paths[::-1]) == (train, valid)


@test
def rates_beyond(_):
    """the best rate wins, the lower of two; at an edge the grid grows by a factor 2"""
    assert table.best_rate({.4: .9, .1: .9, .2: .8}) == .1
    assert table.beyond({.1: .9, .2: .8, .4: .7}) == [.05]
    assert table.beyond({.1: .7, .2: .8, .4: .9}) == [.8]
    assert table.beyond({.1: .7, .2: .8, .4: .7}) == []


@test
def table_comes_out(folder):
    """a table of two rows comes out, and comes out again without a run"""
    build = make_build(folder)
    first = check_ran(script("table.py", *TINY, BUILD=build))
    for row in ("the teacher", "student alone", "DeepKD"):
        assert re.search(rf"^\| {re.escape(row)} \|", first, re.MULTILINE), first
    assert len(re.findall(r"^\[\d/4\] .*, test, .*: top-1", first, re.MULTILINE)) == 4, first
    again = check_ran(script("table.py", *TINY, BUILD=build))
    report = check_ran(script("table.py", *TINY, "--report", BUILD=build))
    text = table.read(os.path.join(build, "table/table.md"))
    assert "] alone" not in again and text in report, again
    assert text.split("- command")[0] in first, f"{text}\n{first}"


@test
def sweep(folder):
    """--sweep topk: DeepKD with a constant K, at the rate that DeepKD's own search finds"""
    for classes, expected in ((2, []), (3, [1]), (10, [1, 2, 4, 8]), (11, [1, 2, 4, 8])):
        found = list(table.rows.sweep_topk(table.rows.TASKS["fmnist"], classes).rows)
        assert found == ["deepkd", *(f"deepkd-topk-{k}" for k in expected)], found
    build = make_build(folder)
    words = ["--batches", "2", "--seeds", "1", "--sweep", "topk", "--rows", "deepkd,deepkd-topk-4"]
    said = check_ran(script("table.py", *words, BUILD=build))
    rates = re.findall(r"^\| (DeepKD|DeepKD, K = 4) \| ([.\d]+) \|", said, re.MULTILINE)
    assert len(rates) == 2 and rates[0][1] == rates[1][1], said
    found = glob.glob(os.path.join(build, "table/runs/deepkd-topk-4-test-*/deepkd-topk-4.cfg"))
    assert "topk_schedule=static\n" in table.read(found[0]) and "topk=4\n" in table.read(found[0])


@test
def search_seeds(_):
    """--search-seeds: the mean decides, and a rate that diverged once loses"""
    args = argparse.Namespace(search_seeds=3)
    scores = {.1: (.8, .9, .7), .2: (.9, .9, .9), .4: (.95, table.DIVERGED, .95)}
    runs = table.search_runs(args, {"kd": list(scores)})
    assert [(run.rate, run.seed) for run in runs[:4]] == \
        [(.1, 1000), (.1, 1001), (.1, 1002), (.2, 1000)] and len(runs) == 9, runs
    found = {run: {"scores": [scores[run.rate][run.seed - 1000]]} for run in runs}
    tried = {rate: table.mean_score(args, found, "kd", rate) for rate in scores}
    assert abs(tried[.1] - .8) < 1e-9 and tried[.4] == table.DIVERGED, tried
    assert table.best_rate(tried) == .2


@test
def labelled_share(folder):
    """--labelled: each N-th image has labels; the others come in rows of unlabelled images alone"""
    train, valid = [f"image-{i}.png" for i in range(10)], ["valid.png"]
    task = table.rows.TASKS["bccd4"]
    args = argparse.Namespace(out=os.path.join(table.BUILD, "labelled-test"), labelled=4, task=task,
                              batches=7, data="classes=3\ntrain=all.list\n")
    os.makedirs(args.out)
    try:
        args.lists = {"test": table.make_split(args, "test", train, valid)}
        for row in ("deepkd-all", "deepkd-unlabelled"):
            run = argparse.Namespace(row=row, split="test")
            shows = table.shows_rest(args, run)
            data = table.data_file(args, "test", folder.path, shows)
            assert shows == ("unlabelled=" in data) == (row == "deepkd-unlabelled"), data
        files = [table.read(os.path.join(table.BUILD, name)).split() for name in args.lists["test"][:3]]
        assert files[0] == train[::4] and files[1] == valid, files
        assert sorted(files[0] + files[2]) == train, files
        args.labelled = 1
        assert table.make_split(args, "test", train, valid).rest is None
    finally:
        shutil.rmtree(args.out)


@test
def table_goes_on(folder):
    """a table does only the runs whose results are not there, and names what a report lacks"""
    build = make_build(folder)
    words = ["--search-only", "--batches", "1", "--rows", "alone"]
    check_refused(script("table.py", *words[1:], "--report", BUILD=build), "are missing")
    check_ran(script("table.py", *words, BUILD=build))
    results = os.path.join(build, "table/results.jsonl")
    table.write_text(results, "\n".join(table.read(results).splitlines()[1:]))
    out = check_ran(script("table.py", *words, BUILD=build))
    assert out.count(", search, ") == 1, out


@test
def table_starts(folder):
    """with --start students begin with these weights; --results keeps a line for each run"""
    build = make_build(folder)
    kept = os.path.join(build, "kept.jsonl")
    words = ["--batches", "1", "--rows", "kd", "--seeds", "1", "--results", kept]
    first = check_ran(script("table.py", *words, BUILD=build))
    weights = "table/runs/kd-test-0.003125-1/backup/kd_final.weights"
    again = check_ran(script("table.py", *words, "--start", os.path.join(build, weights),
                             BUILD=build))
    assert again.count(", search, ") == first.count(", search, ") == 8, again
    assert f"-start {weights} -clear" in again, again
    lines = table.read(kept).splitlines()
    assert len(lines) == len({json.loads(line)["key"] for line in lines}) > 8, lines
    check_refused(script("table.py", *words, "--start", "none.weights", BUILD=build),
                  "none.weights: no such file")


@test
def caches_by_views(folder):
    """rows of two views share a cache of their own; --baseline is what the others are set against"""
    build = make_photos(folder)
    words = ["table.py", "--task", "cifar10", "--batches", "1", "--seeds", "2", "--rows",
             "kd,mlkd,crld-deepkd", "--baseline", "mlkd"]
    out = check_ran(script(*words, BUILD=build))
    assert "| to MLKD, paired |" in out and out.count(", test, ") == 6, out
    caches = os.listdir(os.path.join(build, "table-cifar10/caches"))
    files = [name for name in caches if name.endswith(".sqlite")]
    assert sorted(name.rsplit("-", 1)[0] for name in files) == \
        ["search-1000"] * 2 + ["test-1"] * 2 + ["test-2"] * 2, files
    check_refused(script(*words[:-1], "mlk", BUILD=build), "mlk: no such row")


@test
def table_stops(folder):
    """a run that fails stops the table with the last line of its log"""
    build = make_build(folder)
    teacher = os.path.join(build, "cfg/fmnist-teacher.weights")
    os.truncate(teacher, 1000)
    check_refused(script("table.py", *TINY, BUILD=build), ".log: exit status 1: ", "1000 bytes")
    assert not os.path.exists(os.path.join(build, "table/results.jsonl"))
    check_refused(script("table.py", "--rows", "alone,dkb", BUILD=build), "dkb")


def parse_table(text):
    """{title: cells} of the first Markdown table in the text."""
    lines = [line for line in text.split("\n\n")[0].split("\n") if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]]
                                              for line in lines)}


@test
def detector_table(folder):
    """a table of detectors comes out; the search reads truths from labels, the test COCO's"""
    build = make_scenes(folder)
    check_ran(script("table.py", "--task", "scenes", "--batches", "1", "--rows", "deepkd", "--seeds",
                 "1", BUILD=build))
    text = table.read(os.path.join(build, "table-yolo/table.md"))
    assert [len(cells) for cells in parse_table(text).values()] == [11] * 4, text
    for run, words in (("search-0.005-1000", 0), ("test-0.00015625-1", 1)):
        data = table.read(os.path.join(build, f"table-yolo/runs/deepkd-{run}/deepkd.data"))
        assert data.count("annotations=") == words, data
        assert data.count("train=table-yolo/") == data.count("backup=table-yolo/") == 1, data


@test
def table_pairs(_):
    """rows are compared seed by seed: the mean difference and its standard error"""
    assert table.paired((.5, .6, .7), (.4, .4, .6)) == "+13.33 ± 3.33"
    assert table.paired((.5, table.DIVERGED), (.5, .4)) == "-20.00 ± 20.00"
    assert table.paired((.5, .6), (.5, .6)) == table.paired((.5,), (.4,)) == ""


@test
def table_counts(folder):
    """the best rate of a grown grid, means and spreads of both mAPs, from the CSVs' last lines"""
    build = make_scenes(folder)
    use_stub(build)
    words = ["table.py", "--task", "scenes", "--rows", "kd", "--seeds"]
    out = check_ran(script(*words, "2", BUILD=build))
    text = table.read(os.path.join(build, "table-yolo/table.md"))
    found = parse_table(text)
    assert found["the teacher"] == ["", "61.25", "", "", "", "", "36.02", "", "", "", ""], text
    assert found["KD"] == ["0.02", "50.30", "0.14", "50.20", "50.40", "",
                           "25.15", "0.07", "25.10", "25.20", ""], text
    assert "\n| KD | 48.25 | 48.50 | 49.00 | **50.00** | diverged |\n" in text, text
    assert "kd has the rate 0.04, the search found 0.02" in out, out
    out = check_ran(script(*words[:4], "kd-objectness,kd-dense", "--seeds", "1", BUILD=build))
    assert "| KD + objectness | 0.02 |" in out and "| KD on dense rows | 0.02 |" in out, out
    assert "\n| KD | 48.25 |" in out and "\n| KD on dense rows | 48.25 |" not in out, out
    differs = rows.rate(rows.TASKS["scenes"], "kd-objectness") != .02
    assert ("kd-objectness has the rate" in out) == differs, out
    text = check_ran(script(*words, "3", BUILD=build))
    assert "| KD | 0.02 | 33.53 | 29.04 | 0.00 | 50.40 | |" in text.replace("|  |", "| |"), text
    assert "final runs that diverged, and count as 0 %: kd\n" in text, text


# one_class.py, train-teacher.sh

def read_json(*path):
    return json.loads(table.read(os.path.join(*path)))


@test
def one_class(folder):
    """the one-class scenes have the same images and boxes, and cfgs whose filters fit"""
    build = make_scenes(folder)
    scenes, one = (os.path.join(build, "data", name) for name in ("scenes", "one-class"))
    for _ in range(2):  # the second time over the first's files
        check_ran(script("one_class.py", scenes, one))
    for split in ("train", "val"):
        paths = table.read(os.path.join(one, split + ".list"))
        assert paths.replace("one-class", "scenes") == table.read(
            os.path.join(scenes, split + ".list"))
        for path in paths.split():
            label = os.path.join(build, coco2darknet.label_path(path))
            assert os.path.exists(os.path.join(build, path)), path
            assert table.read(label) == re.sub(
                "^[0-9]+", "0", table.read(label.replace("one-class", "scenes")),
                flags=re.MULTILINE)
        old, new = (read_json(place, f"annotations/instances_{split}.json")["annotations"]
                    for place in (scenes, one))
        assert [box["bbox"] for box in old] == [box["bbox"] for box in new]
        assert {box["category_id"] for box in new} == {1}
    os.unlink(os.path.join(one, "images"))
    os.mkdir(os.path.join(one, "images"))
    check_refused(script("one_class.py", scenes, one), "images: a folder")


@test
def one_class_teacher(folder):
    """train-teacher.sh makes the one-class scenes and a teacher; a table goes on with it"""
    build = make_scenes(folder)
    task = rows.TASKS["one-class"]
    check_refused(script("table.py", "--task", "one-class", BUILD=build),
                  "scripts/train-teacher.sh one-class makes it")
    check_ran(script("one_class.py", os.path.join(build, "data/scenes"),
                 os.path.join(build, "data/one-class")))
    cfg = os.path.join(build, task.teacher)
    table.write_text(cfg, rows.set_batches(table.read(cfg), 2))
    out = check_ran(script("train-teacher.sh", "one-class", BUILD=build))
    assert "name = garment, ap = " in out and "(mAP@[.50:.95]) = " in out, out
    out = check_ran(script("table.py", "--task", "one-class", "--batches", "1", "--rows",
                       "deepkd-objectness", "--seeds", "1", BUILD=build))
    assert "| DeepKD + objectness | 0.005 |" in out and "search: none" in out, out


# plot.py

def write_csv(folder, name, scale, header=CSV):
    lines, figures = [], "," * (header.count(",") - CSV.count(","))
    for batch in range(10, 500, 10):
        lines.append(f"{batch},{batch / 938},{64 * batch},1,1,{scale},{100 / batch},{scale},"
                     f"{batch // 100 + 1},{.1 - batch / 1e4},900{figures},,,\n")
        if batch % 100 == 0:
            lines.append(f"{batch},{batch / 938},{64 * batch},,,,,,,,{figures},1,"
                         f"{batch / 1000},.9\n")
    folder.write(name, header + "".join(lines))
    return folder.at(name)


@test
def figures(folder):
    """plot.py draws one run, three, a detector's, and one without an evaluation yet"""
    runs = [write_csv(folder, f"{i}.csv", i) for i in (1, 2, 3)]
    detector = write_csv(folder, "detector.csv", 1, DETECTOR_CSV)
    folder.write("gsnr.csv", GSNR_CSV + "".join(
        f"{batch},{layer},{name},1,2,.5,3,1,3,.9,1,.5,.2\n" for batch in (50, 100)
        for layer in (-1, 0) for name in ("tog", "tcg", "ncg")))
    folder.write("young.csv", CSV + "10,.1,640,1,1,1,0,0,9,.01,900,,,\n")
    for args in (runs[:1], [*runs, "--labels", "a,b,c"], [detector], [folder.at("young.csv")],
                 [folder.at("gsnr.csv")]):
        out = folder.at("out.png")
        check_ran(script("plot.py", out, *args))
        with Image.open(out) as image:
            assert image.format == "PNG" and image.width > 800, image
        os.unlink(out)


@test
def figures_refused(folder):
    """plot.py answers wrong input with one line and no figure"""
    run, out = write_csv(folder, "1.csv", 1), folder.at("out.png")
    folder.write("other.csv", "a,b\n1,2\n")
    folder.write("broken.csv", CSV + "10,.1,640,1,1,x,0,0,9,.01,900,,,\n")
    folder.write("empty.csv", CSV)
    check_refused(script("plot.py", out, folder.at("other.csv")), "other.csv", "no column batch")
    check_refused(script("plot.py", out, folder.at("broken.csv")), "line 2: tog is 'x'")
    check_refused(script("plot.py", out, folder.at("empty.csv")), "no logged batch")
    folder.write("young_gsnr.csv", GSNR_CSV)
    check_refused(script("plot.py", out, folder.at("young_gsnr.csv")), "no sample")
    check_refused(script("plot.py", out, run, folder.at("young_gsnr.csv")), "expected it alone")
    check_refused(script("plot.py", out, folder.at("none.csv")), "none.csv")
    detector = write_csv(folder, "detector.csv", 1, DETECTOR_CSV)
    check_refused(script("plot.py", out, run, detector), "found mAP@0.50, expected top-1")
    check_refused(script("plot.py", out, run, "--labels", "a,b"), "2 names, expected 1")
    check_refused(script("plot.py", folder.at("out.gif"), run), "out.gif")
    assert not [name for name in folder.names(".") if name.startswith("out.")]


# draw_boxes.py

def make_sheet(folder, **options):
    """Two black images; box of class 1 in the first, and detections as given."""
    names = [f"{i:012d}.png" for i in (1, 2)]
    for name in names:
        Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(folder.at(name))
    truth = {"images": [{"id": i, "file_name": name, "width": 100, "height": 100}
                        for i, name in enumerate(names, 1)],
             "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 30, 40, 50],
                              "area": 2000}],
             "categories": [{"id": 1, "name": "coat"}, {"id": 2, "name": "bag"}]}
    found = {"image_id": 1, "category_id": 2, "bbox": [10, 40, 60, 50], "score": .5, **options}
    folder.write("truth.json", json.dumps(truth))
    folder.write("found.json", json.dumps([found, {**found, "score": .1, "category_id": 1}]))


def draw_sheet(folder, *args):
    return script("draw_boxes.py", folder.at("out.png"), folder.at("truth.json"), folder.path,
                  f"found={folder.at('found.json')}", *args)


@test
def boxes(folder):
    """draw_boxes.py draws the truth and what was found above the threshold, each in its colour"""
    make_sheet(folder)
    check_ran(draw_sheet(folder, "--scenes", "2"))
    with Image.open(folder.at("out.png")) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert abs(pixels.shape[1] - 1200) <= 1, pixels.shape
    top, side = pixels.shape[0] - 2 * 600, 6  # of the title; pixels of the sheet, in an image's

    def has(colour, column, x, y):
        """Is that colour within a few pixels of the image's (x, y)?"""
        row, place = round(top + side * y), round(600 * column + side * x)
        part = pixels[row - 9:row + 10, place - 9:place + 10]
        return (abs(part - colour).max(axis=2) < 40).any()
    coat, bag = (31, 119, 180), (255, 127, 14)
    assert has(coat, 0, 20, 70) and has(coat, 0, 60, 70) and has(coat, 0, 50, 80)
    assert has(bag, 1, 10, 70) and has(bag, 1, 70, 70) and has(bag, 1, 50, 90)
    assert not has(bag, 0, 10, 70) and not has(coat, 1, 20, 70)


@test
def boxes_refused(folder):
    """draw_boxes.py answers wrong input with one line and no figure"""
    make_sheet(folder, category_id=7)
    check_refused(draw_sheet(folder), "found.json", "category 7")
    make_sheet(folder)
    check_refused(script("draw_boxes.py", folder.at("out.gif"), folder.at("truth.json"),
                         folder.path, f"a={folder.at('found.json')}"), "out.gif")
    os.unlink(folder.at("000000000001.png"))
    check_refused(draw_sheet(folder), "000000000001.png")
    assert not [name for name in folder.names(".") if name.startswith("out.")]


# demo.sh

def german(folder):
    """Where awk has decimal commas: a locale made here, if Debian's package `locales` is there."""
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", folder.at("de_DE.UTF-8")],
                   check=False, capture_output=True)
    return {"LOCPATH": folder.path, "LC_ALL": "de_DE.UTF-8"}


@test
def demo(folder):
    """the demo comes to its end; its table says what the CSV files say, also in German"""
    build = make_build(folder)
    out = check_ran(script("demo.sh", BUILD=build, BATCHES="3", **german(folder)))
    assert "&& ./darknet classifier predict" in out, out
    for row in ("alone", "kd", "deepkd"):
        name = f"build/demo/{row}/{row}"
        values = [float(line["valid_top1"]) for line in folder.rows(name + ".csv")
                  if line["valid_top1"]]
        title = re.escape(rows.TASKS["fmnist"].rows[row].title)
        expected = rf"^{title} +{100 * values[-1]:.2f} % +{100 * max(values):.2f} % +" \
            rf"\d+  \S+{row}_final\.weights$"
        assert re.search(expected, out, re.MULTILINE), f"{expected}\n{out}"
        assert os.path.exists(folder.at(name + "_final.weights"))
        assert f"$ ./darknet distill demo/{row}.data demo/{row}.cfg cfg/fmnist-" in out
    with Image.open(os.path.join(build, "demo/demo.png")) as image:
        assert image.format == "PNG"


@test
def demo_yolo(folder):
    """the detectors' demo comes to its end, with curves and a sheet of boxes"""
    build = make_scenes(folder)
    out = check_ran(script("demo.sh", BUILD=build, BATCHES="3", TASK="scenes"))
    for row in ("alone", "kd", "deepkd"):
        name = f"build/demo-yolo/{row}/{row}"
        assert os.path.exists(folder.at(name + "_final.weights"))
        last = folder.rows(name + ".csv")[-1]
        assert last["batch"] == "3" and last["valid_map50"], last
        assert re.search(rf"^{row}: .* demo-yolo/{row}.cfg .* -map$", out, re.MULTILINE), out
    for name in ("demo.png", "boxes.png"):
        with Image.open(os.path.join(build, "demo-yolo", name)) as image:
            assert image.format == "PNG" and image.width >= 1199, name


@test
def demo_yolo_counts(folder):
    """its table says what the CSV files' last lines say; a row that fails ends it"""
    build = make_scenes(folder)
    use_stub(build)

    def wanted(title):
        row = next(row for row in rows.TASKS["scenes"].rows.values() if row.title == title)
        score = 50 - 100 * abs(row.rate - .02) + .2
        return f"{score:.2f} % +{score / 2:.2f}"
    out = check_ran(script("demo.sh", BUILD=build, BATCHES="4", TASK="scenes"))
    for title in ("student alone", "KD", "DeepKD"):
        assert re.search(rf"^{title} +{wanted(title)} % +\d+ ", out, re.MULTILINE), out
    assert re.search("^the teacher +61.25 % +36.02 % +", out, re.MULTILINE), out
    student = os.path.join(build, "cfg/scenes-student.cfg")
    table.write_text(student, table.read(student) + "# broken\n")
    began = time.monotonic()
    result = script("demo.sh", BUILD=build, BATCHES="4", TASK="scenes")
    assert result.returncode == 1 and "deepkd.log: cfg: broken" in result.stderr, result.stderr
    assert time.monotonic() - began < 50, "it waited for KD's run, which sleeps 60 s"
    check_refused(script("demo.sh", BUILD=build, TASK="one-class"), "expected fmnist or scenes")


@test
def demo_refused(folder):
    """the demo says which of its inputs is not there"""
    build = make_build(folder)
    os.unlink(os.path.join(build, "cfg/fmnist-teacher.weights"))
    check_refused(script("demo.sh", BUILD=build), "fmnist-teacher.weights")
    os.unlink(os.path.join(build, "darknet"))
    check_refused(script("demo.sh", BUILD=build), "make makes it")


if __name__ == "__main__":
    tap.main()
