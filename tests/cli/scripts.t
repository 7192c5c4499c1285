#!/usr/bin/python3 -B
"""Tests of scripts/rows.py, table.py, plot.py and demo.sh, in TAP.

Proves: every row trains with the momenta that its method has; the table's
search holds out training images only and grows its grid by the rule; a table
comes out, goes on from what is there, and stops at a run that fails; the demo
comes to its end and its table says what the CSV files say; figures are drawn
whole or not at all.

All with a teacher of random weights and a few pictures of noise: nothing here
is about accuracy. To add a case: a function with @test before it.
"""
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image

import tap
from tap import DARKNET, ENVIRONMENT, PYTHON, ROOT, test

sys.path[:0] = [os.path.join(ROOT, "scripts"), os.path.join(ROOT, "tests", "bench")]
# pylint: disable=wrong-import-position
import bench  # noqa: E402
import rows  # noqa: E402
import table  # noqa: E402

MOMENTA = {
    "alone": "tog+tcg+ncg 0.9 (weight decay)",
    "kd": "tog+tcg+ncg 0.9 (weight decay)",
    "dkd": "tog+tcg+ncg 0.9 (weight decay)",
    "dot": "tog 0.825 (weight decay), tcg+ncg 0.975",
    "deepkd-nomask": "tog+ncg 0.975 (weight decay), tcg 0.825",
    "deepkd": "tog+ncg 0.975 (weight decay), tcg 0.825",
    "deepkd-dkd": "tog 0.975 (weight decay), tcg 0.825, ncg 0.95",
    "deepkd-official": "tog+tcg 0.825 (weight decay), ncg 0.975",
}
CSV = "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,valid_loss,valid_top1," \
    "valid_topk\n"
TINY = ["--batches", "2", "--rows", "alone,deepkd", "--seeds", "2"]


# A run folder like build/, with a few pictures

def make_list(build, labels, split, count):
    folder = f"data/fashion-mnist/{split}"
    os.makedirs(os.path.join(build, folder))
    random = np.random.RandomState(count)
    paths = [f"{folder}/{labels[i % 10]}_{i:05d}.png" for i in range(count)]
    for path in paths:
        pixels = random.randint(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(os.path.join(build, path))
    table.write_lines(os.path.join(build, folder + ".list"), paths)


def make_build(folder):
    build = folder.at("build")
    os.makedirs(os.path.join(build, "cfg"))
    os.symlink(DARKNET, os.path.join(build, "darknet"))
    for name in ("fmnist-student.cfg", "fmnist-teacher.cfg", "deepkd.data"):
        os.symlink(os.path.join(ROOT, "cfg", name), os.path.join(build, "cfg", name))
    labels = [f"{i}_label" for i in range(10)]
    make_list(build, labels, "train", 24)
    make_list(build, labels, "valid", 6)
    table.write_lines(os.path.join(build, "data/fashion-mnist/labels.txt"), labels)
    table.write_lines(os.path.join(build, ".switches"), ["BLAS=1"])
    bench.make_weights(build, "cfg/fmnist-teacher.cfg",
                       os.path.join(build, "cfg/fmnist-teacher.weights"))
    return build


def script(name, *args, **env):
    first = [] if name.endswith(".sh") else [PYTHON, "-B"]
    return subprocess.run([*first, os.path.join(ROOT, "scripts", name), *args], check=False,
                          capture_output=True, text=True, env={**ENVIRONMENT, "ROOT": ROOT, **env})


def check(result):
    assert result.returncode == 0, f"exit {result.returncode}: {result.stdout}\n{result.stderr}"
    return result.stdout


def check_refused(result, *words):
    assert result.returncode == 1, f"exit {result.returncode}: {result.stderr}"
    assert result.stderr.count("\n") == 1, f"not one line: {result.stderr}"
    for word in words:
        assert word in result.stderr, f"no {word!r} in: {result.stderr}"


# rows.py

@test
def each_row_trains(folder):
    """every row's cfg trains two batches, with its method's momenta"""
    build = make_build(folder)
    os.makedirs(os.path.join(build, "rows/backup"))
    table.write_lines(os.path.join(build, "rows/run.data"), [
        "classes=10", "train=data/fashion-mnist/train.list",
        "valid=data/fashion-mnist/valid.list", "labels=data/fashion-mnist/labels.txt",
        "backup=rows/backup"])
    assert list(MOMENTA) == check(script("rows.py", "names")).split()
    for row, momenta in MOMENTA.items():
        text = check(script("rows.py", "cfg", row, os.path.join(ROOT, "cfg/fmnist-student.cfg"),
                            "max_batches=2"))
        table.write_text(os.path.join(build, "rows/student.cfg"), text)
        out = bench.run_darknet(build, ["distill", "rows/run.data", "rows/student.cfg",
                                        "cfg/fmnist-teacher.weights", "-seed", "1"]).stdout
        assert f"momentum groups: {momenta}\n" in out, f"{row}: {out}"


@test
def options_are_set(_):
    """rows.py replaces an option in its own section only, adds a new one, and counts percents"""
    text = "[net]\nrate=1\nsteps=2\n[teacher]\nrate=1\n"
    assert rows.set_option(text, "net", "rate", 3) == text.replace("rate=1", "rate=3", 1)
    assert rows.set_option(text, "teacher", "rate", 3).endswith("[teacher]\nrate=3\n")
    assert rows.set_option(text, "teacher", "a", 3).endswith("[teacher]\na=3\nrate=1\n")
    assert "warmup=80\n" in rows.row_cfg("dkd", "[net]\n[deepkd_loss]\n", {"max_batches": 1000})
    check_refused(script("rows.py", "title", "dkb"), "dkb", "expected one of alone, kd")


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
    first = check(script("table.py", *TINY, BUILD=build))
    for row in ("the teacher", "student alone", "DeepKD (KD)"):
        assert re.search(rf"^\| {re.escape(row)} \|", first, re.MULTILINE), first
    assert len(re.findall(r"^\[\d/4\] .*, test, .*: top-1", first, re.MULTILINE)) == 4, first
    again = check(script("table.py", *TINY, BUILD=build))
    report = check(script("table.py", *TINY, "--report", BUILD=build))
    text = table.read(os.path.join(build, "table/table.md"))
    assert "] alone" not in again and text in report, again
    assert text.split("- command")[0] in first, f"{text}\n{first}"


@test
def table_goes_on(folder):
    """a table does only the runs whose results are not there, and names what a report lacks"""
    build = make_build(folder)
    words = ["--search-only", "--batches", "1", "--rows", "alone"]
    check_refused(script("table.py", *words[1:], "--report", BUILD=build), "are missing")
    check(script("table.py", *words, BUILD=build))
    results = os.path.join(build, "table/results")
    os.unlink(os.path.join(results, sorted(os.listdir(results))[0]))
    out = check(script("table.py", *words, BUILD=build))
    assert out.count(", search, ") == 1, out


@test
def table_stops(folder):
    """a run that fails stops the table with the last line of its log"""
    build = make_build(folder)
    teacher = os.path.join(build, "cfg/fmnist-teacher.weights")
    os.truncate(teacher, 1000)
    check_refused(script("table.py", *TINY, BUILD=build), ".log: exit status 1: ", "1000 bytes")
    assert not os.path.exists(os.path.join(build, "table/results"))
    check_refused(script("table.py", "--rows", "alone,dkb", BUILD=build), "dkb")


# plot.py

def write_csv(folder, name, scale):
    lines = []
    for batch in range(10, 500, 10):
        lines.append(f"{batch},{batch / 938},{64 * batch},1,1,{scale},{100 / batch},{scale},"
                     f"{batch // 100 + 1},{.1 - batch / 1e4},900,,,\n")
        if batch % 100 == 0:
            lines.append(f"{batch},{batch / 938},{64 * batch},,,,,,,,,1,{batch / 1000},.9\n")
    folder.write(name, CSV + "".join(lines))
    return folder.at(name)


@test
def figures(folder):
    """plot.py draws one run, three, and one without an evaluation yet"""
    runs = [write_csv(folder, f"{i}.csv", i) for i in (1, 2, 3)]
    folder.write("young.csv", CSV + "10,.1,640,1,1,1,0,0,9,.01,900,,,\n")
    for args in (runs[:1], [*runs, "--labels", "a,b,c"], [folder.at("young.csv")]):
        out = folder.at("out.png")
        check(script("plot.py", out, *args))
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
    check_refused(script("plot.py", out, folder.at("none.csv")), "none.csv")
    check_refused(script("plot.py", out, run, "--labels", "a,b"), "2 names, expected 1")
    check_refused(script("plot.py", folder.at("out.gif"), run), "out.gif")
    assert not [name for name in folder.names(".") if name.startswith("out.")]


# demo.sh

@test
def demo(folder):
    """the demo comes to its end; its table says what the CSV files say"""
    build = make_build(folder)
    out = check(script("demo.sh", BUILD=build, BATCHES="3"))
    for row in ("alone", "kd", "deepkd"):
        name = f"build/demo/{row}/{row}"
        values = [float(line["valid_top1"]) for line in folder.rows(name + ".csv")
                  if line["valid_top1"]]
        expected = rf"^{re.escape(rows.ROWS[row].title)} +{100 * values[-1]:.2f} % +" \
            rf"{100 * max(values):.2f} % +\d+  \S+{row}_final\.weights$"
        assert re.search(expected, out, re.MULTILINE), f"{expected}\n{out}"
        assert os.path.exists(folder.at(name + "_final.weights"))
        assert f"$ ./darknet distill demo/{row}.data demo/{row}.cfg cfg/fmnist-" in out
    with Image.open(os.path.join(build, "demo/demo.png")) as image:
        assert image.format == "PNG"


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
