#!/usr/bin/python3 -B
"""./darknet distill and ./darknet deepkd map on detectors, from start to end, in TAP.

Proves: [yolo] and [region] teach each other whatever their heads, anchors and input sizes; what a
run prints and leaves; that a seed fixes it, to the byte, with any number of threads, and a stop and
-resume change nothing, also with -map and with random=1; that `_best` is what the evaluator says;
where labels and annotations are found; that Darknet's own commands take the student's cfg.

The scenes are coloured rectangles on 32 to 64 pixels, the networks a few filters.
"""
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess

import tap
from tap import (BATCH, BODY, CATEGORIES, DARKNET, ENVIRONMENT, NAMES, PYTHON, REGION, ROOT, SCENES,
                 YOLO, YOLO_TEACHER, Skip, conv, detector_cfg, detector_data, head,
                 plain_detector_cfg, scene, teacher_detector_cfg, test, without_time)

import numpy as np
from PIL import Image

BACKUP = ("student.cfg", "student.csv", "student.state", "student_best.weights",
          "student_final.weights", "student_last.weights")
FINAL, BEST = "backup/student_final.weights", "backup/student_best.weights"
TRAIN, VALID = SCENES["train"][2], SCENES["val"][2]
BOXES = {split: sum(len(scene(i)[1]) for i in range(first, first + count))
         for split, (_, first, count) in SCENES.items()}
NUMBER = r"-?\d+\.\d+"
TWO_HEADS = [*BODY, *head("yolo", "8,8, 14,14, 4,4", mask="0,1"), ("route", {"layers": -3}),
             ("upsample", {"stride": 2}), *head("yolo", "8,8, 14,14, 4,4", mask="2")]


def weights(folder, *flags, **options):
    folder.distill(*flags, **options).check(0)
    return folder.read(FINAL)


def batches(folder):
    return [row for row in folder.rows() if row["loss"]]


def evaluations(folder):
    return [row for row in folder.rows() if row["valid_loss"]]


def random_weights(folder, cfg="teacher.cfg", name="teacher.weights"):
    folder.darknet("partial", cfg, "", name, "99").check(0)


def measure(folder, *flags, cfg="student.cfg", name=FINAL):
    """What `deepkd map` prints."""
    return folder.darknet("deepkd", "map", "deepkd.data", cfg, name, *flags).check(0).out


def both_maps(out):
    """mAP@0.50 and mAP@[.50:.95] of what `deepkd map` printed, 0 to 1."""
    found = re.findall(r"^mean average precision \(mAP@(?:0\.50|\[\.50:\.95\])\) = "
                       r"(\d\.\d+), or (\d+\.\d\d) %$", out, re.M)
    assert len(found) == 2, out
    for share, percent in found:
        assert abs(100 * float(share) - float(percent)) < .006, out
    return [float(share) for share, _ in found]


# A run

@test
def files(folder):
    """a run leaves whole weights, a state, a CSV and the plain cfg, and no teacher is changed"""
    teacher = folder.read("teacher.weights")
    result = folder.distill().check(0)
    assert tuple(folder.names()) == BACKUP, folder.names()
    for name in BACKUP[3:]:
        tap.check_weights(folder.read(f"backup/{name}"), tap.DETECTOR_BYTES)
    assert folder.read(FINAL) == folder.read("backup/student_last.weights"), "last is not final"
    assert folder.read("backup/student.cfg").decode() == plain_detector_cfg()
    assert folder.read("teacher.weights") == teacher, "the teacher has changed"
    for name in (BEST, FINAL, "backup/student.cfg"):
        assert name in result.out, result.out


@test
def intent(folder):
    """the first lines: who teaches whom, sizes, activation, images without objects, the seed"""
    out = folder.distill("-map").check(0).out
    for pattern in (r"teacher: 11 layers, 11208 parameters, .* input 48 x 48 x 3",
                    r"student: 6 layers, \d+ parameters, .* input 32 x 32 x 3",
                    r"method kd, activation logistic, ",
                    r"train.list: 11 of 44 images without objects",
                    r"valid.list: 4 of 18 images without objects",
                    r"44 training images, 18 validation images, batch 8, 6 batches, seed 7",
                    r"teacher: mAP@0.50 \d+\.\d\d %, mAP@\[\.50:\.95\] \d+\.\d\d % on valid.list"):
        assert re.search(f"^{pattern}", out, re.M), f"no {pattern!r} in:\n{out}"
    found = float(re.search(r"teacher: mAP@0.50 (\S+) %", out)[1])
    assert found > 25, f"the teacher of these tests has an mAP@0.50 of {found} %"
    alone = both_maps(measure(folder, cfg="teacher.cfg", name="teacher.weights"))[0]
    assert abs(found - 100 * alone) < .006, f"{found}, {alone}"
    assert "teacher: mAP" not in folder.distill().check(0).out, "an evaluation without -map"


@test
def learning(folder):
    """the losses of the task and of both components go down, every weight changes"""
    folder.write("student.cfg", detector_cfg(max_batches=1, learning_rate=0))
    begin = tap.floats(weights(folder))
    for trainer in ("sgd", "deepkd"):
        folder.write("student.cfg", detector_cfg({"trainer": trainer, "topk_schedule": "off"},
                                                 max_batches=240))
        moved = tap.floats(weights(folder)) != begin
        assert moved.mean() > .99, f"{moved.mean()} of the weights have changed"
        rows = batches(folder)
        for key in ("tog", "tcg", "ncg"):
            first, last = (np.mean([float(row[key]) for row in part])
                           for part in (rows[:9], rows[-9:]))
            assert last < .7 * first, f"{trainer}, {key}: {first}, then {last}"


def header(seen):
    """Of a weights file, version 0.2."""
    return struct.pack("<iiiQ", 0, 2, 0, seen)


@test
def table(folder):
    """the CSV: its columns, a row a batch with the region figures, a row an evaluation"""
    folder.write("student.cfg", detector_cfg(max_batches=20))
    folder.write("deepkd.data", detector_data(eval_interval=8))
    for flags in (("-map",), ()):
        folder.distill(*flags).check(0)
        text = folder.read("backup/student.csv").decode().split("\n")
        assert text[0] == ("batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,iou,"
                           "class,obj,no_obj,r50,r75,count,valid_loss,valid_map50,valid_map")
        assert {line.count(",") for line in text[:-1]} == {20} and not text[-1], text
        rows, results = batches(folder), evaluations(folder)
        assert len(rows) + len(results) == len(folder.rows()), text
        assert [int(row["batch"]) for row in rows] == list(range(1, 21))
        assert [int(row["batch"]) for row in results] == [8, 16, 20]
        for i, row in enumerate(rows, 1):
            for key in ("loss", "avg_loss", "tog", "tcg", "ncg", "rate", "images_per_s"):
                assert 0 <= float(row[key]) < 1e6, row
            for key in ("iou", "class", "obj", "no_obj", "r50", "r75"):
                assert 0 <= float(row[key]) <= 1, row
            assert int(row["images"]) == i * BATCH and 0 < int(row["count"]) <= 3 * BATCH, row
            assert abs(float(row["tog"]) - float(row["loss"])) < 1e-4, row
            assert not row["valid_loss"] and not row["valid_map"], row
        for row in results:
            assert float(row["valid_loss"]) > 0 and not row["count"], row
            maps = [row["valid_map50"], row["valid_map"]]
            if flags:
                assert 0 <= float(maps[1]) <= float(maps[0]) <= 1, row
            else:
                assert maps == ["", ""], row


def figures(line):
    """{figure: number} of a line of ours or of Darknet's."""
    pairs = re.findall(r"(?:[\d,]|Region) +([A-Z.][^:,]*|count): ([^, ]+)", line)
    found = {name: float(number) for name, number in pairs}
    assert {"Avg IOU", "Class", "Obj", "No Obj", "count"} <= set(found), line
    return found


@test
def training_line(folder):
    """one line a batch, with Darknet's region figures; -verbose brings its own lines back"""
    for layers, parts in ((YOLO, 1), (TWO_HEADS, 2), (REGION, 1)):
        folder.write("student.cfg", detector_cfg(layers=layers, subdivisions=parts))
        quiet, verbose = folder.distill().check(0), folder.distill("-verbose").check(0)
        assert "Region" not in quiet.out + quiet.err, quiet.out
        assert "waited" not in quiet.out, quiet.out
        ours = [line for line in quiet.out.split("\n") if " images/s" in line]
        pattern = (rf"(\d+): {NUMBER}, {NUMBER} avg, {NUMBER} rate, {NUMBER} seconds, (\d+) images,"
                   rf" tog {NUMBER}, tcg {NUMBER}, ncg {NUMBER}, K \d, Avg IOU: {NUMBER}, "
                   rf"Class: {NUMBER}, Obj: {NUMBER}, No Obj: {NUMBER}, \.5R: {NUMBER}, "
                   rf"\.75R: {NUMBER}, count: \d+, \d+ images/s, 0m\d\ds left")
        found = [re.fullmatch(pattern, line) for line in ours]
        assert all(found) and len(found) == 6, ours
        assert [match.groups() for match in found] == \
            [(str(i), str(i * BATCH)) for i in range(1, 7)], ours
        for line, row in zip(ours, batches(folder)):
            found = [float(row[key]) for key in ("iou", "class", "obj", "no_obj", "r50", "r75",
                                                 "count")]
            assert np.abs(np.subtract(list(figures(line).values()), found)).max() < 6e-5, (line, row)
        check_verbose(verbose.out, ours, parts * parts)


def check_verbose(out, ours, calls):
    """Before each line of ours stand Darknet's, and their figures make ours; at the end stands
    how long the run waited for images."""
    waited = re.findall(r"^waited for data: (\d+\.\d\d) of (\d+\.\d\d) seconds \((\d+\.\d) %\)$",
                        out, re.M)
    assert len(waited) == 1 and float(waited[0][0]) <= float(waited[0][1]), out
    assert float(waited[0][2]) <= 100, out
    theirs = []
    lines = [line for line in out.split("\n") if "Avg IOU" in line]
    assert len(lines) == len(ours) * (1 + calls), out
    for line in lines:
        if "images/s" not in line:
            assert line.startswith("Region"), line
            theirs.append(figures(line))
            continue
        total, found = figures(ours.pop(0)), figures(line)
        assert total == found, f"{line}: other figures than without -verbose"
        count = sum(part["count"] for part in theirs)
        iou = sum(part["Avg IOU"] * part["count"] for part in theirs if part["count"])  # else nan
        assert len(theirs) == calls and total["count"] == count, f"{line}: {theirs}"
        if calls == 1:
            assert all(abs(total[name] - theirs[0][name]) < 2e-6
                       for name in set(total) & set(theirs[0])), f"{line}: {theirs}"
        assert abs(total["Avg IOU"] - iou / max(count, 1)) < 1e-4, f"{line}: {theirs}"
        theirs = []


@test
def dont_show(folder):
    """-dont_show and -verbose are taken and change no weights"""
    assert weights(folder) == weights(folder, "-dont_show") == weights(folder, "-verbose")


@test
def seeds(folder):
    """one seed, with mosaic=1: the same weights and rows with 1, 2 and 3 threads; another: others"""
    folder.write("student.cfg", detector_cfg(max_batches=14, mosaic=1))
    found = []
    for seed, threads in (("7", "1"), ("7", "2"), ("7", "3"), ("8", "3")):
        content = weights(folder, "-map", seed=seed, threads=threads)
        found.append((content, without_time(folder.rows())))
    assert found[0] == found[1] == found[2], "threads matter"
    assert found[0] != found[3] and found[0][1][0] != found[3][1][0], "the seed does not matter"


# Pairs

PAIRS = {
    "[yolo] of another grid from [yolo]": ([conv(8, 2), conv(12, 2), conv(16), *YOLO[4:]], None),
    "[yolo] of two heads from [yolo] of two": (TWO_HEADS, None),
    "[yolo] of two heads from [region]": (TWO_HEADS, REGION),
    "[region] from [yolo]": (REGION, None),
    "[region] from [region]": (REGION, [*BODY, *head("region", "2,1, 1,2, 2,2")]),
    "[region] of logistic classes from [yolo]": (
        [*BODY, *head("region", "1,1, 2,2", softmax=0, bias_match=0)], None),
}


def try_pair(folder, layers, teacher):
    if teacher:
        folder.train_teacher(teacher, width=64, height=40, max_batches=30)
    folder.write("student.cfg", detector_cfg({"topk_schedule": "off"}, layers))
    expected = folder.distill().check(0).out
    kind = "softmax" if any(options.get("softmax") for _, options in layers) else "logistic"
    assert f"activation {kind}" in expected, expected
    found = folder.read(FINAL)
    assert np.isfinite(tap.floats(found)).all(), "not finite"
    for row in batches(folder):
        assert float(row["tcg"]) > 0 and float(row["ncg"]) > 0, row
    half = tap.floats(folder.read("teacher.weights")) * np.float32(.5)
    folder.write("teacher.weights", folder.read("teacher.weights")[:20] + half.tobytes())
    assert weights(folder) != found, "the teacher does not matter"


for name, (layers, teacher) in PAIRS.items():
    test(lambda folder, layers=layers, teacher=teacher: try_pair(folder, layers, teacher), name)


@test
def idle_teacher(folder):
    """teacher_weight=0: the teacher's weights don't matter; -map still evaluates it"""
    found = []
    for i in (0, 1):
        folder.write("student.cfg", detector_cfg({"teacher_weight": 0}))
        result = folder.distill("-map").check(0)
        found.append(folder.read(FINAL))
        assert "teacher: mAP@0.50" in result.out, result.out
        assert not any(float(row["tcg"]) or float(row["ncg"]) for row in batches(folder))
        random_weights(folder)
    assert found[0] == found[1], "the teacher matters"


@test
def dense(folder):
    """rows=dense: what has no partner is named once; it, feature_nms and objectness_weight count"""
    layers = [*BODY, *head("yolo", "8,8, 14,14, 2,2, 5,5", mask="0,1,2"),
              ("convolutional", conv(8, 2)[1]), *head("yolo", "8,8, 14,14, 2,2, 5,5", mask="3")]
    found = []
    for options in ({}, {"rows": "dense"}, {"rows": "dense", "feature_nms": 1},
                    {"rows": "dense", "objectness_weight": 1}, {"objectness_weight": 1}):
        folder.write("student.cfg", detector_cfg(options, layers))
        out = folder.distill().check(0).out
        found.append(folder.read(FINAL))
        named = re.findall(r"^layer .*alone$", out, re.M)
        assert named == (["layer 5, anchor 2x2: the teacher has no such anchor there, it learns "
                          "from the task alone",
                          "layer 8, stride 16: the teacher has no such head, it learns from the "
                          "task alone"] if "rows" in options else []), out
    assert len(set(found)) == len(found), "an option without effect"


@test
def one_class(folder):
    """one class: rows=truth, rows=dense with objectness, [region] with activation=logistic"""
    folder.own("labels")
    for split, (_, first, count) in SCENES.items():
        for number in range(first, first + count):
            name = f"labels/{split}/{number:012d}.txt"
            folder.write(name, re.sub(rb"(?m)^\d", b"0", folder.read(name)))
    folder.write("names.txt", "thing\n")
    folder.write("deepkd.data", detector_data(classes=1))
    folder.train_teacher([*BODY, *head("yolo", "9,9, 15,15", 1)], max_batches=30)
    student = [*BODY, *head("yolo", "8,8, 14,14", 1)]
    region = [*BODY, *head("region", "1,1, 2,2", 1)]
    folder.write("deepkd.data", detector_data(classes=1, eval_interval=60))
    found = []
    for layers, options in ((student, {}), (student, {"rows": "dense", "objectness_weight": 1}),
                            (student, {"topk_schedule": "off"}),
                            (region, {"activation": "logistic"}),
                            ([*BODY, *head("region", "1,1, 2,2", 1, softmax=0)], {})):
        folder.write("student.cfg", detector_cfg(options, layers, max_batches=60))
        folder.distill("-map").check(0)
        found.append(folder.read(FINAL))
        for row in batches(folder):
            assert float(row["ncg"]) == 0 and float(row["tcg"]) > 0, row
    assert len(set(found)) == 4 and found[0] == found[2], "topk matters, or an option doesn't"
    assert "class_id = 0, name = thing, ap = " in measure(folder, "-per_class"), "no class 0"


@test
def most_boxes(folder):
    """max=10, 200 and none: the same weights, and every image of a batch has its boxes"""
    layers = {most: [*BODY, *head("yolo", "8,8, 14,14", **({"max": most} if most else {}))]
              for most in (None, 10, 200)}
    found = []
    for value in layers.values():
        folder.write("student.cfg", detector_cfg(layers=value, max_batches=11))
        found.append((weights(folder), without_time(folder.rows())))
    assert found[0] == found[1] == found[2], "max= matters"
    count = sum(int(row["count"]) for row in batches(folder))  # 2 epochs; jitter may hide a box
    assert .9 * 2 * BOXES["train"] < count <= 2 * BOXES["train"], count


@test
def many_boxes(folder):
    """150 boxes in an image with max=200, from a teacher with max=10; a [region] with max=200"""
    folder.own("labels")
    rows = "".join(f"{i % 3} {.05 + i % 15 * .06:.3f} {.1 + i // 15 * .08:.3f} .06 .07\n"
                   for i in range(150))
    for number in (1, 101):
        folder.write(f"labels/{'train' if number == 1 else 'val'}/{number:012d}.txt", rows)
    folder.write("teacher.cfg", folder.read("teacher.cfg").decode().replace(
        "jitter=", "max=10\njitter="))
    for layers in (YOLO, REGION):
        layers = [*layers[:-1], (layers[-1][0], {**layers[-1][1], "max": 200})]
        folder.write("student.cfg", detector_cfg(layers=layers, max_batches=80))
        folder.distill("-map").check(0)
        assert max(int(row["count"]) for row in batches(folder)) > 90, folder.rows()
        assert f" {BOXES['val'] - 1 + 150} truths, " in measure(folder)  # scene 101 had one


@test
def low_truth_threshold(folder):
    """truth_thresh below 1: predictions that overlap a truth learn it too"""
    found = []
    for threshold in (1, ".2"):
        folder.write("student.cfg", detector_cfg(
            layers=[*BODY, *head("yolo", "8,8, 14,14", truth_thresh=threshold)]))
        found.append(weights(folder))
        tap.check_weights(found[-1], tap.DETECTOR_BYTES)
    assert found[0] != found[1], "truth_thresh does not matter"


# Evaluation

@test
def best_by_map(folder):
    """-map: `_best` has the highest mAP@0.50; its figures are those of `deepkd map`"""
    folder.write("student.cfg", detector_cfg(max_batches=240))
    folder.write("deepkd.data", detector_data(eval_interval=20, log_interval=240))
    result = folder.distill("-map").check(0)
    rows = evaluations(folder)
    scores = [float(row["valid_map50"]) for row in rows]
    best = rows[scores.index(max(scores))]
    assert len(rows) == 12 and max(scores) > .05, f"nothing learned: {scores}"
    lines = re.findall(r"validation loss \S+, mAP@0\.50 (\S+) %, mAP@\[\.50:\.95\] (\S+) %, best "
                       r"mAP@0\.50 (\S+) % at batch (\d+)$", result.out, re.M)
    assert [line[3] for line in lines][-1] == best["batch"], result.out
    assert len(lines) == len(scores) and np.abs(np.subtract(
        [float(line[0]) for line in lines], 100 * np.array(scores))).max() < .0051, lines
    assert re.search(rf"^best mAP@0\.50 {lines[-1][2]} % at batch {best['batch']}: {BEST}$",
                     result.out, re.M), result.out
    assert lines[-1][2] == lines[scores.index(max(scores))][0], lines
    for name, row in ((BEST, best), (FINAL, rows[-1])):
        assert struct.unpack("<Q", folder.read(name)[12:20])[0] == BATCH * int(row["batch"])
        found = both_maps(measure(folder, name=name))
        expected = [float(row["valid_map50"]), float(row["valid_map"])]
        assert np.abs(np.subtract(found, expected)).max() < 2e-6, f"{name}: {found}, {row}"


@test
def not_finite(folder):
    """an evaluation that is not finite is no best one, and no file is named that is not there"""
    folder.write("student.cfg", detector_cfg(
        layers=[*BODY, *head("region", "1,1, 2,2", softmax=0)], max_batches=2, learning_rate=".05"))
    folder.write("deepkd.data", detector_data(eval_interval=1))
    out = folder.distill().check(0).out
    if not re.search(r"validation loss -?nan", out):
        raise Skip("every evaluation is finite on this processor")
    assert "no best yet" in out and "_best" not in out, out
    assert "student_best.weights" not in folder.names(), folder.names()


@test
def best_by_loss(folder):
    """without -map: `_best` has the lowest validation loss, which is that of `deepkd map`"""
    folder.write("student.cfg", detector_cfg(max_batches=60, learning_rate=".02", momentum=".8"))
    folder.write("deepkd.data", detector_data(eval_interval=4, log_interval=60))
    result = folder.distill().check(0)
    rows = evaluations(folder)
    losses = [float(row["valid_loss"]) for row in rows]
    best = rows[losses.index(min(losses))]
    lines = re.findall(r"^(\d+), \S+: validation loss (\S+), best loss (\S+) at batch (\d+)$",
                       result.out, re.M)
    assert [line[0] for line in lines] == [row["batch"] for row in rows], result.out
    assert lines[-1][3] == best["batch"], f"{lines[-1]}: {losses}"
    assert re.search(rf"^best loss \S+ at batch {best['batch']}: {BEST}$", result.out, re.M)
    assert struct.unpack("<Q", folder.read(BEST)[12:20])[0] == BATCH * int(best["batch"])
    found = float(re.search(r", loss (\S+)$", measure(folder, name=BEST), re.M)[1])
    assert abs(found - float(best["valid_loss"])) < 2e-5 * found, (found, best)


@test
def map_command(folder):
    """deepkd map: counts, AP by class, threads and the two sections don't matter"""
    folder.write("plain.cfg", tap.cfg(YOLO_TEACHER, **{**tap.DETECTOR, "width": 48, "height": 48}))
    out = measure(folder, "-per_class", cfg="plain.cfg", name="teacher.weights")
    truths = [sum(box[0] == label for i in range(101, 119) for box in scene(i)[1])
              for label in range(3)]
    rows = re.findall(r"^class_id = (\d), name = (\w+), ap = (\S+) %, ap@\[\.50:\.95\] = (\S+) %, "
                      r"truths = (\d+)$", out, re.M)
    assert [row[:2] + row[4:] for row in rows] == \
        [(str(i), NAMES[i], str(truths[i])) for i in range(3)], out
    for i, value in enumerate(both_maps(out)):
        assert abs(sum(float(row[2 + i]) for row in rows) / 3 - 100 * value) < .02, out
    assert re.search(rf"^{VALID} images, {BOXES['val']} truths, \d+ detections, loss {NUMBER}$",
                     out, re.M), out
    folder.write("student.cfg", detector_cfg(layers=YOLO_TEACHER, width=48, height=48))
    for words in (("-threads", "1"), ("-threads", "7")):
        assert measure(folder, "-per_class", *words, name="teacher.weights") == out, words
    del_names = detector_data(names=None, train=None, backup=None)
    folder.write("deepkd.data", del_names)
    assert measure(folder, name="teacher.weights") in re.sub("class_id.*\n", "", out)


def detections(folder, *flags, **options):
    """The JSON that `deepkd map -out` writes."""
    measure(folder, "-out", "found.json", *flags, **options)
    return json.loads(folder.read("found.json"))


@test
def map_out(folder):
    """deepkd map -out: COCO's results, boxes inside of their images, categories of annotations="""
    options = {"cfg": "teacher.cfg", "name": "teacher.weights"}
    plain = detections(folder, **options)
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    found = detections(folder, **options)
    assert len(found) == len(plain) > BOXES["val"], f"{len(found)} detections"
    for entry, other in zip(found, plain):
        assert sorted(entry) == ["bbox", "category_id", "image_id", "score"], entry
        height, width = scene(entry["image_id"])[0].shape[:2]
        x, y, w, h = entry["bbox"]
        assert 0 <= x and 0 <= y and w > 0 and h > 0, entry
        assert x + w <= width + 1e-3 and y + h <= height + 1e-3, entry
        assert .005 < entry["score"] <= 1, entry
        assert entry["category_id"] == CATEGORIES[other["category_id"] - 1], (entry, other)
        assert entry["image_id"] == other["image_id"] + 101, (entry, other)
        assert entry["bbox"] == other["bbox"] and entry["score"] == other["score"]
    assert {entry["category_id"] for entry in found} == set(CATEGORIES)
    folder.write("valid.list", folder.read("valid.list").split(b"\n")[3] + b"\n")  # no objects
    folder.write("teacher.weights", header(0) + bytes(len(folder.read("teacher.weights")) - 20))
    folder.write("none.cfg", teacher_detector_cfg().replace("num=4", "num=4\n"))
    assert isinstance(detections(folder, **options), list)


@test
def pycocotools(folder):
    """deepkd map says what pycocotools says of the same detections, within 0.001"""
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    ours = both_maps(measure(folder, "-out", "found.json", cfg="teacher.cfg",
                             name="teacher.weights"))
    script = os.path.join(ROOT, "scripts", "evaluate_coco.py")
    done = subprocess.run([PYTHON, "-B", script, "val.json", "found.json"], cwd=folder.path,
                          env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if "no pycocotools" in done.stderr:
        raise tap.missing("pycocotools")
    assert done.returncode == 0, done.stderr
    theirs = dict(line.split()[:2] for line in done.stdout.splitlines()[:12])
    for name, value in (("AP50", ours[0]), ("AP", ours[1])):
        assert abs(float(theirs[name]) - value) < .001, f"{name}: {value}, {done.stdout}"
    assert ours[0] > .2, ours


@test
def annotations(folder):
    """annotations= gives the truths that the labels give, and an image may have no label file"""
    out = measure(folder, "-per_class", cfg="teacher.cfg", name="teacher.weights")
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    again = measure(folder, "-per_class", cfg="teacher.cfg", name="teacher.weights")
    assert np.abs(np.subtract(both_maps(out), both_maps(again))).max() < .001, f"{out}{again}"
    folder.own("labels")
    empty = [i for i in range(101, 119) if not scene(i)[1]]
    for number in empty:
        folder.remove(f"labels/val/{number:012d}.txt")
    assert measure(folder, "-per_class", cfg="teacher.cfg", name="teacher.weights") == again
    result = folder.distill("-map").check(0)
    assert f"valid.list: {len(empty)} of {VALID} images without objects\n" in result.out, result.out
    full = next(i for i in range(101, 119) if scene(i)[1])
    folder.remove(f"labels/val/{full:012d}.txt")
    assert f"{full:012d}.txt" in folder.distill("-map", "-clear").check(1).err


@test
def coco_names(folder):
    """image ids of COCO 2014 and 2017 names, in folders with digits and underscores"""
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    options = {"cfg": "teacher.cfg", "name": "teacher.weights"}
    expected = measure(folder, **options)
    paths = []
    for i in range(101, 119):
        new = (f"val_2014/images_9/COCO_val2014_{i:012d}.png" if i % 2 else
               f"data_1_2/{i:012d}.png")
        old = f"images/val/{i:012d}.png"
        os.makedirs(os.path.dirname(folder.at(new)), exist_ok=True)
        shutil.copy(folder.at(old), folder.at(new))
        paths.append(new)
        labels = new.replace("images_9", "labels_9").replace(".png", ".txt")
        os.makedirs(os.path.dirname(folder.at(labels)), exist_ok=True)
        shutil.copy(folder.at(old.replace("images", "labels").replace("png", "txt")),
                    folder.at(labels))
    folder.write("valid.list", "\n".join(paths) + "\n")
    assert both_maps(expected)[0] > .2 and measure(folder, **options) == expected


# Files

@test
def odd_folders(folder):
    """labels are found beside images, for JPEGImages, raw, a second images; any extension"""
    expected = weights(folder)
    places = ("images/train/{}.png", "a b/{}.PNG", "VOC/JPEGImages/{}.png", "images/raw/{}.x.png",
              "images/images/{}.jpeg", "my-images-2/{}", "drawings/{}.png", "raw/images/s/{}.bmp")
    found = ("labels/train/{}.txt", "a b/{}.txt", "VOC/labels/{}.txt", "images/labels/{}.x.txt",
             "images/labels/{}.txt", "my-labels-2/{}.txt", "drawings/{}.txt",
             "raw/labels/s/{}.txt")
    lines = folder.read("train.list").decode().split()
    sources = [(folder.read(line), folder.read(line.replace("images", "labels")
                                               .replace("png", "txt"))) for line in lines]
    for name in ("images", "labels"):
        folder.own(name)
        shutil.rmtree(folder.at(f"{name}/train"))
    paths = []
    for i, (picture, labels) in enumerate(sources):
        for place, content in ((places[i % 8], picture), (found[i % 8], labels)):
            name = place.format(i)
            os.makedirs(os.path.dirname(folder.at(name)), exist_ok=True)
            folder.write(name, content)
        paths.append(places[i % 8].format(i))
    folder.write("train.list", "\n".join(paths) + "\n")
    assert weights(folder) == expected


@test
def windows_files(folder):
    """Windows line ends in cfg, data file, lists, labels, names and annotations change nothing"""
    folder.write("deepkd.data", detector_data(annotations="val.json"))
    expected = weights(folder, "-map"), measure(folder, "-per_class")
    folder.own("labels")
    names = ["student.cfg", "teacher.cfg", "deepkd.data", "train.list", "valid.list", "names.txt",
             "val.json", *(f"labels/{split}/{name}" for split in SCENES
                           for name in folder.names(f"labels/{split}"))]
    folder.write("val.json", json.dumps(json.loads(folder.read("val.json")), indent=1))
    for name in names:
        folder.write(name, folder.read(name).rstrip(b"\n").replace(b"\n", b"\r\n"))
    assert (weights(folder, "-map"), measure(folder, "-per_class")) == expected


@test
def no_objects(folder):
    """lists of images without objects alone: finite losses, an mAP of 0 that is no NaN"""
    for list_name, first, count in SCENES.values():
        lines = folder.read(list_name).decode().split()
        folder.write(list_name, "".join(f"{lines[i - first]}\n" for i in range(first, first + count)
                                        if not scene(i)[1]))
    for flags in ((), ("-map",)):
        result = folder.distill(*flags).check(0)
        assert "nan" not in result.out.lower() and b"nan" not in folder.read("backup/student.csv")
        assert "train.list: 11 of 11 images without objects" in result.out, result.out
        for row in batches(folder):
            assert row["count"] == "0" and float(row["tog"]) > 0, row
            assert float(row["tcg"]) == float(row["ncg"]) == 0, row
    assert "nan" not in measure(folder, "-per_class").lower()
    assert "class_id = 0, name = red, no truths" in measure(folder, "-per_class")


def without_labels(folder, **data):
    """The last half of train.list goes to more.list, where its labels are not looked for."""
    images = folder.read("train.list").decode().split()
    half = len(images) // 2
    folder.remove("train.list")
    folder.write("train.list", "\n".join(images[:half]) + "\n")
    folder.write("more.list", "\n".join(images[half:]) + "\n")
    folder.own("labels")
    for image in images[half:]:
        folder.remove(image.replace("images/", "labels/").replace(".png", ".txt"))
    folder.write("deepkd.data", detector_data(unlabelled="more.list", **data))
    return images[half:]


@test
def unlabelled(folder):
    """unlabelled=: taught as images without objects are, and the task says nothing of them"""
    options = {"rows": "dense", "objectness_weight": 1, "box_weight": 1, "trainer": "sgd"}
    images = without_labels(folder)
    found = {}
    for weight in (0, 1):
        folder.write("student.cfg", detector_cfg({**options, "task_weight": weight}, max_batches=8))
        result = folder.distill().check(0)
        assert "44 training images, 22 of them without labels, " in result.out, result.out
        found[weight] = (folder.read(FINAL), batches(folder))
    folder.write("train.list", folder.read("train.list") + folder.read("more.list"))
    for image in images:
        folder.write(image.replace("images/", "labels/").replace(".png", ".txt"), "")
    folder.write("deepkd.data", detector_data())
    for weight in (0, 1):
        folder.write("student.cfg", detector_cfg({**options, "task_weight": weight}, max_batches=8))
        assert (weights(folder) == found[weight][0]) == (weight == 0), f"task_weight={weight}"
    less = [float(row["tog"]) for row in found[1][1]]
    more = [float(row["tog"]) for row in batches(folder)]
    assert less[0] < more[0], f"{less}\n{more}"


EXPECTED = ": expected sizes above 0, to 1"
REPAIRS = (  # labels, what is said of them
    ("0 .1 .5 .4 .2\n1 .5 .5 .2 .2\n0 .5 .9 .1 .4\n",
     "2 boxes beyond the image clipped (line 1: 0.4 x 0.2)"),
    ("0 .1 .5 0 .2\n1 .5 .5 .2 .2\n0 .5 .9 .1 -.4\n",
     "1 boxes of negative size left out (line 3: 0.1 x -0.4), "
     "1 boxes of size 0 left out (line 1: 0 x 0.2)" + EXPECTED),
    ("0 .1 .5 .4 .2\n0 .1 .5 0 .2\n",
     "1 boxes beyond the image clipped (line 1: 0.4 x 0.2), "
     "1 boxes of size 0 left out (line 2: 0 x 0.2)" + EXPECTED),
)


@test
def repaired_labels(folder):
    """boxes beyond the image and boxes without an area: one notice a file, and the run goes on"""
    folder.own("labels")
    name = "labels/train/{:012d}.txt"
    for number, (text, _) in enumerate(REPAIRS, 1):
        folder.write(name.format(number), text)
    folder.write(name.format(4), "0 .25 .5 .5002 1.0005\n")  # rounded, no notice
    result = folder.distill().check(0)
    notices = [line for line in result.err.split("\n") if "labels/" in line]
    assert notices == [f"{name.format(number)}: {said}"
                       for number, (_, said) in enumerate(REPAIRS, 1)], notices
    found = folder.read(FINAL)
    for number, text in enumerate(("0 .15 .5 .3 .2\n1 .5 .5 .2 .2\n0 .5 .85 .1 .3\n",
                                   "1 .5 .5 .2 .2\n", "0 .15 .5 .3 .2\n",
                                   "0 .25005 .5 .5001 1\n"), 1):
        folder.write(name.format(number), text)
    assert np.abs(tap.floats(weights(folder)) - tap.floats(found)).max() < 1e-4


@test
def odd_pictures(folder):
    """pictures of one pixel, long ones, grey, with a palette, with alpha, JPEG and BMP"""
    folder.own("images")
    folder.own("labels")
    random = np.random.RandomState(1)
    pictures = {f"{w}x{h}.png": Image.fromarray(random.randint(0, 255, (h, w, 3), np.uint8))
                for w, h in ((1, 1), (300, 1), (1, 300), (2, 2))}
    for name, mode in (("alpha.png", "RGBA"), ("grey.png", "L"), ("palette.png", "P"),
                       ("a %s \u00e9.jpg", "RGB"), ("bitmap.bmp", "RGB")):
        pixels = random.randint(0, 255, (40, 50, 3), np.uint8)
        pictures[name] = Image.fromarray(pixels).convert(mode)
    for name, picture in pictures.items():
        picture.save(folder.at(f"images/{name}"))
        folder.write(f"labels/{name[:-4]}.txt", "0 .5 .5 .5 .5\n1 0 0 .2 .2\n2 1 1 .2 .2\n")
    for name in ("train.list", "valid.list"):
        folder.write(name, "".join(f"images/{name}\n" for name in pictures))
    for net in ({}, {"width": 64, "height": 32}, {"width": 24, "height": 96}):
        folder.write("student.cfg", detector_cfg(max_batches=12, **net))
        folder.distill("-map").check(0)
        assert max(int(row["count"]) for row in batches(folder)) > BATCH, folder.rows()
    assert detections(folder, cfg="teacher.cfg", name="teacher.weights")


@test
def label_formats(folder):
    """labels with tabs, blanks, empty lines, exponents and no last line end are read"""
    folder.own("labels")
    name = "labels/train/000000000001.txt"
    folder.write(name, "0 0.5 0.25 0.5 0.125\n2 0.75 0.5 0.25 0.5\n")
    expected = weights(folder)
    folder.write(name, " 0\t5e-1   .25 0.50 1.25E-1 \n\n \t\n2.0 .75 .5 .25 +.5")
    assert weights(folder) == expected


@test
def class_map(folder):
    """map=: labels of four classes for a network of three, in training and evaluation"""
    expected = weights(folder, "-map"), measure(folder, "-per_class")
    folder.own("labels")
    for split in SCENES:  # class 0 becomes 3, and the map makes it 0 again
        for name in folder.names(f"labels/{split}"):
            path = f"labels/{split}/{name}"
            folder.write(path, re.sub(rb"(?m)^0", b"3", folder.read(path)))
    folder.write("map.txt", "2\n1\n2\n0\n")
    folder.write("deepkd.data", detector_data(classes=4))
    folder.write("student.cfg", detector_cfg(
        layers=[*BODY, *head("yolo", "8,8, 14,14", map="map.txt")]))
    assert weights(folder, "-map") == expected[0], "other weights"
    assert measure(folder, "-per_class") == expected[1], "another mAP, or other names"


@test
def map_to_fewer(folder):
    """map=: labels of two classes for a network of three: -per_class, -out"""
    folder.own("labels")
    for split in SCENES:
        for name in folder.names(f"labels/{split}"):
            path = f"labels/{split}/{name}"
            folder.write(path, re.sub(rb"(?m)^2", b"1", folder.read(path)))
    folder.write("map.txt", "2\n1\n")
    folder.write("deepkd.data", detector_data(classes=2))
    folder.write("student.cfg", detector_cfg(
        layers=[*BODY, *head("yolo", "8,8, 14,14", map="map.txt")]))
    folder.distill("-map").check(0)
    out = measure(folder, "-per_class", "-out", "found.json")
    assert "class_id = 0, name = red, no truths" in out and "class_id = 2, name = blue, ap" in out
    assert {entry["category_id"] for entry in json.loads(folder.read("found.json"))} <= {1, 2, 3}


@test
def wrapped(folder):
    """deepkd wrap makes the student's cfg, deepkd export the plain one"""
    folder.write("plain.cfg", plain_detector_cfg())
    out = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", "teacher.cfg").check(0).out
    folder.write("student.cfg", out)
    folder.distill("-map").check(0)
    assert folder.read("backup/student.cfg") == folder.read("plain.cfg")
    assert folder.darknet("deepkd", "export", "student.cfg").check(0).out == plain_detector_cfg()


@test
def backbone(folder):
    """-start with the backbone's weights alone, as Darknet's users begin"""
    folder.darknet("partial", "student.cfg", "", "whole.weights", "99").check(0)
    folder.darknet("partial", "student.cfg", "whole.weights", "backbone.weights", "4").check(0)
    result = folder.distill("-start", "backbone.weights").check(0)
    assert "backbone.weights: partial weights, layers 0 to 3" in result.out, result.out


# Stopping and going on

def stop(folder, batch, *flags, number=signal.SIGTERM):
    """Distils until a line of this batch or a later one, then stops it; the batch it got to."""
    def reached(line):
        match = re.match(r"(\d+): .* images/s", line)
        return match and int(match[1]) >= batch
    result = folder.distill_until(reached, number, *flags).check(128 + number)
    last = result.out.rstrip("\n").split("\n")[-1]
    assert last.startswith("stopped at batch ") and "backup/student.state" in last, result.out
    return int(last.split()[3].rstrip(";"))


def outcome(folder):
    return {name: folder.read(f"backup/{name}") for name in BACKUP[2:]}, without_time(folder.rows())


def check_same(found, expected):
    for name, content in found[0].items():
        assert content == expected[0][name], f"{name} differs"
    assert found[1] == expected[1], "the rows differ"


def stop_and_go_on(folder, *flags, loss=None, layers=None, number=signal.SIGTERM):
    folder.write("student.cfg", detector_cfg(loss, layers, max_batches=60, policy="poly", power=2,
                                             subdivisions=2))
    folder.write("deepkd.data", detector_data(eval_interval=7, save_interval=5))
    folder.distill(*flags).check(0)
    expected = outcome(folder)
    for name in folder.names():
        folder.remove(f"backup/{name}")
    first = stop(folder, 9, *flags, number=number)
    assert "student_final.weights" not in folder.names(), "a final file of a stopped run"
    second = stop(folder, first + 5, "-resume", *flags, number=number)
    assert 9 <= first < second < 60, f"stopped at {first} and {second}"
    folder.distill("-resume", *flags).check(0)
    check_same(outcome(folder), expected)


for name, flags, options in (
        ("SIGTERM, three momentum groups, -map", ["-map"],
         {"loss": {"method": "dkd", "rows": "dense", "objectness_weight": 1}}),
        ("SIGINT, two heads, one momentum group", [],
         {"loss": {"trainer": "sgd"}, "layers": TWO_HEADS, "number": signal.SIGINT}),
        ("SIGTERM, [region]", ["-map"], {"layers": REGION})):
    test(lambda folder, flags=flags, options=options: stop_and_go_on(folder, *flags, **options),
         f"stopped and resumed, the same bits: {name}")


@test
def during_evaluation(folder):
    """SIGTERM while the teacher or the student is evaluated: -resume goes on, the same bits"""
    folder.write("valid.list", folder.read("valid.list") * 100)
    folder.write("student.cfg", detector_cfg(max_batches=14))
    folder.write("deepkd.data", detector_data(eval_interval=10))
    folder.distill("-map").check(0)
    expected = outcome(folder)
    for name in folder.names():
        folder.remove(f"backup/{name}")
    result = folder.distill_until(lambda line: " training images, " in line, signal.SIGTERM, "-map")
    assert "stopped at batch 0" in result.check(143).out and "mAP@" not in result.out, result.out
    assert stop(folder, 10, "-resume", "-map") == 10 and not evaluations(folder), folder.rows()
    folder.distill("-resume", "-map").check(0)
    check_same(outcome(folder), expected)


@test
def resumed_best(folder):
    """-resume keeps the best mAP: a worse evaluation later does not replace `_best`"""
    # the teacher's own weights, which the rate leaves as they are
    folder.write("student.cfg", detector_cfg(layers=YOLO_TEACHER, width=48, height=48,
                                             max_batches=60, learning_rate=0))
    folder.write("deepkd.data", detector_data(eval_interval=30))
    stop(folder, 32, "-map", "-start", "teacher.weights", "-clear")
    before, best = folder.read(BEST), evaluations(folder)[0]
    assert float(best["valid_map50"]) > .1, "the teacher's weights find nothing"
    folder.own("images")
    for name in folder.names("images/val"):  # nothing to be found any more
        shutil.copy(folder.at("images/train/000000000004.png"), folder.at(f"images/val/{name}"))
    out = folder.distill("-resume", "-map").check(0).out
    assert re.search(r"^60, .* best mAP@0\.50 \S+ % at batch 30$", out, re.M), out
    assert folder.read(BEST) == before, "a worse network replaced it"


@test
def other_metric(folder):
    """-resume of a run with -map needs -map, and the other way round; nothing is changed"""
    folder.write("student.cfg", detector_cfg(max_batches=60))
    for flags, other, words in ((["-map"], [], "with -map"), ([], ["-map"], "without -map")):
        stop(folder, 9, "-clear", *flags)
        before = folder.snapshot()
        tap.check_error(folder.distill("-resume", *other).check(1),
                        ("backup/student.state", f"found the state of a run {words}", "expected"))
        assert folder.snapshot() == before, "backup/ changed"
        folder.distill("-resume", *flags).check(0)


@test
def other_labels(folder):
    """-resume with other label files is refused; a state of a classifier too"""
    folder.write("student.cfg", detector_cfg(max_batches=60))
    stop(folder, 9)
    folder.own("labels")
    name = "labels/train/000000000001.txt"
    content = folder.read(name)
    folder.write(name, b"1" + content[1:])
    assert folder.read(name) != content
    tap.check_error(folder.distill("-resume").check(1),
                    ("backup/student.state", "another list of training images", "expected"))
    folder.write(name, content)
    folder.distill("-resume").check(0)


# random=1

RANDOM_NET = {"batch": 2, "width": 32, "height": 32, "max_batches": 1000, "learning_rate": ".001"}
RANDOM_BODY = [conv(2, 4), conv(3, 4), conv(4, 2)]  # to a stride of 32
RANDOM = [*RANDOM_BODY, *head("yolo", "30,30, 60,60", mask="1", random=1),
          ("route", {"layers": -3}), ("upsample", {"stride": 2}), ("route", {"layers": "-1,1"}),
          *head("yolo", "30,30, 60,60", mask="0", random=1)]
RANDOM_FLOATS = 4 * 9 + 9 * (3 * 2 + 2 * 3 + 3 * 4) + 8 + 4 * 8 + 8 + 7 * 8


def random_folder(folder, loss=None, teacher=None, layers=RANDOM, **net):
    teacher = {"cfg": "teacher.cfg", **(teacher or {})}
    folder.write("student.cfg", detector_cfg(loss, layers, teacher, **{**RANDOM_NET, **net}))
    layers = [*RANDOM_BODY, *head("yolo", "40,40")]
    folder.write("teacher.cfg", tap.cfg(layers, width=64, height=96))
    random_weights(folder)
    folder.write("deepkd.data", detector_data(eval_interval=20))
    folder.write("valid.list", b"".join(folder.read("valid.list").splitlines(True)[:6]))


@test
def sizes(folder):
    """random=1: multiples of 32 from 320 to 608, anew every ten batches; evaluated at the cfg's"""
    random_folder(folder, learning_rate=0)
    folder.write("start.weights", header(0) + bytes(4 * RANDOM_FLOATS))
    for list_name in ("train.list", "valid.list"):  # images without objects
        folder.write(list_name, "images/train/000000000004.png\n" * 4)
    stop(folder, 32, "-start", "start.weights")
    # All logits are 0, so the loss of each cell is .25; tog is the mean of a head and of one with
    # four times its cells
    found = [math.sqrt(float(row["tog"]) / .25 / 2.5) * 32 for row in batches(folder)]
    groups = [set(round(size, 3) for size in found[i:i + 10]) for i in (0, 10, 20)]
    assert all(len(group) == 1 for group in groups), f"a size of less than ten batches: {found}"
    chosen = [group.pop() for group in groups]
    assert all(320 <= size <= 608 and size % 32 == 0 for size in chosen), chosen
    assert len(set(chosen)) > 1, f"one size: {chosen}; another -seed would give more"
    losses = [float(row["valid_loss"]) for row in evaluations(folder)]
    assert losses == [.25 * 2.5], losses


@test
def last_size(folder):
    """random=1: the last 200 batches are trained at 608"""
    random_folder(folder, learning_rate=0, max_batches=2)
    folder.write("start.weights", header(0) + bytes(4 * RANDOM_FLOATS))
    folder.write("train.list", "images/train/000000000004.png\n" * 4)
    folder.distill("-start", "start.weights").check(0)
    assert [float(row["tog"]) for row in batches(folder)] == \
        [round(.25 * 2.5 * 19 * 19, 3)] * 2, folder.rows()


@test
def ratio_of_sizes(folder):
    """random=1.4: from 1/1.4 to 1.4 of the cfg's width and height, at the end the largest"""
    layers = [(name, {**options, "random": 1.4} if name == "yolo" else options)
              for name, options in RANDOM]
    cells = []
    for batches_in_all in (1000, 2):
        random_folder(folder, layers=layers, learning_rate=0, width=320, height=224,
                      max_batches=batches_in_all)
        folder.write("start.weights", header(0) + bytes(4 * RANDOM_FLOATS))
        folder.write("train.list", "images/train/000000000004.png\n" * 4)
        folder.write("valid.list", "images/train/000000000004.png\n")
        flags = ["-clear", "-start", "start.weights"]
        if batches_in_all == 2:
            folder.distill(*flags).check(0)
        else:
            stop(folder, 42, *flags)
        cells.append([float(row["tog"]) / .25 / 2.5 for row in batches(folder)])
    scales = np.concatenate([np.linspace(1, 1.4, 9999), 1 / np.linspace(1, 1.4, 9999)])
    allowed = set()
    for scale in scales:
        w, h = round(scale * 10 + 1), round(scale * 7 + 1)
        allowed.add(70 if scale < 1 and (w > 10 or h > 7) else w * h)
    assert {round(n) for n in cells[0]} <= allowed, (cells[0], allowed)
    assert len({round(n) for n in cells[0]}) > 1, f"one size: {cells[0]}"
    assert {round(n) for n in cells[1]} == {15 * 11}, cells[1]


@test
def random_resumed(folder):
    """random=1: stopped and resumed across a change of size, the same bits"""
    found = []
    for first in (None, 8):
        random_folder(folder, {"rows": "truth"}, {"resize": 1})
        flags = ["-clear"]
        if first:
            assert stop(folder, first, "-clear") < 19, "stopped too late"
            flags = ["-resume"]
        stop(folder, 21, *flags)
        rows = [row for row in without_time(folder.rows()) if int(row["batch"]) <= 20]
        found.append((folder.read(BEST), rows))  # best: of batch 20
    assert len(found[0][1]) == 21, found[0][1]
    assert found[0] == found[1], "a stop has changed the run"


@test
def teachers_size(folder):
    """[teacher] resize=1: as large as the student's; 0: its own; both with random=1 and without"""
    found = []
    for size in ({"random": 0}, {"random": 1}):
        for resize in (0, 1):
            random_folder(folder, teacher={"resize": resize}, max_batches=3)
            folder.write("student.cfg", folder.read("student.cfg").decode().replace(
                "random=1", f"random={size['random']}"))
            out = folder.distill().check(0).out
            assert f"input {'32 x 32' if resize else '64 x 96'} x 3\nstudent" in out, out
            found.append(folder.read(FINAL))
    assert len(set(found)) == 4, "resize= or random= has no effect"


# Darknet's own commands on the student's cfg

def own_folder(folder, *words):
    """[plain, with the two sections]: what a command prints, without its seconds, and results/."""
    found = []
    for name in ("plain.cfg", "student.cfg"):
        os.makedirs(folder.at("results"), exist_ok=True)
        result = folder.darknet(*[word.replace("CFG", name) for word in words]).check(0)
        out = re.sub(r"in \S+ seconds|\S+ [Ss]econds", "", result.out)
        found.append((out, folder.snapshot("results")))
        shutil.rmtree(folder.at("results"))
    return found


@test
def stock_valid(folder):
    """detector valid: the same as with the plain cfg; its detections are those of deepkd map"""
    size = {"width": 48, "height": 24}
    folder.write("student.cfg", detector_cfg(max_batches=150, **size))
    folder.write("plain.cfg", plain_detector_cfg(**size))
    folder.write("deepkd.data", detector_data(eval="coco", results="results", log_interval=99))
    folder.distill().check(0)
    plain, ours = own_folder(folder, "detector", "valid", "deepkd.data", "CFG", FINAL)
    assert plain == ours, f"{plain[0]}\nand\n{ours[0]}"
    theirs = [entry for entry in json.loads(ours[1]["coco_results.json"])
              if entry["bbox"][2] > 0 and entry["bbox"][3] > 0]
    found = detections(folder)
    assert len(theirs) == len(found) > 20, f"{len(theirs)} and {len(found)}"
    left = [{**entry, "image_id": entry["image_id"] + 101} for entry in found]
    for entry in theirs:
        twin = next((other for other in left if are_alike(entry, other)), None)
        assert twin, f"deepkd map has no {entry}"
        left.remove(twin)


def are_alike(entry, other):
    """The same but for the digits that are written."""
    return (entry["image_id"], entry["category_id"]) == (other["image_id"], other["category_id"]) \
        and np.abs(np.subtract(entry["bbox"], other["bbox"])).max() < 1e-3 \
        and abs(entry["score"] - other["score"]) < 1e-5


@test
def stock_test(folder):
    """detector test: the same as with the plain cfg, and no teacher is needed"""
    folder.write("plain.cfg", plain_detector_cfg())
    folder.write("student.cfg", detector_cfg())
    folder.distill().check(0)
    folder.remove("teacher.cfg")
    folder.remove("teacher.weights")
    os.symlink(os.path.join(os.path.dirname(DARKNET), "data"), folder.at("data"))
    plain, ours = own_folder(folder, "detector", "test", "deepkd.data", "CFG", FINAL,
                             "images/val/000000000103.png", "-thresh", ".05", "-out",
                             "results/picture")
    assert plain == ours, f"{plain[0]}\nand\n{ours[0]}"
    assert re.search(r"^(red|green|blue): \d+%$", ours[0], re.M) and len(ours[1]) == 1, ours[0]


@test
def stock_train(folder):
    """detector train: takes the student's cfg, also with random=1 or mosaic=1, and learns the task"""
    random_folder(folder, max_batches=2)
    for text in (detector_cfg(max_batches=3), detector_cfg(max_batches=3, mosaic=1),
                 folder.read("student.cfg").decode()):
        folder.write("student.cfg", text)
        out = folder.darknet("detector", "train", "deepkd.data", "student.cfg").check(0).out
        losses = re.findall(rf"^\d+: ({NUMBER}), {NUMBER} avg, ", out, re.M)
        assert len(losses) in (2, 3) and all(0 < float(loss) < 1e6 for loss in losses), out
        assert np.isfinite(tap.floats(folder.read(FINAL))).all(), "not finite"


@test
def student_teaches(folder):
    """a student's cfg as a teacher's: its two sections are nothing there"""
    text = folder.read("teacher.cfg").decode()
    folder.write("teacher.cfg", text + "[teacher]\ncfg=none.cfg\n[deepkd_loss]\n")
    folder.distill().check(0)


@test
def names_on_pictures(folder):
    """detector test: names with letters of UTF-8, in Darknet's folder and where no letters are"""
    folder.write("names.txt", "r\u00f6d\ngr\u00fcn\nbl\u00e5 \u2014\n")
    words = ("detector", "test", "deepkd.data", "teacher.cfg", "teacher.weights",
             "images/val/000000000101.png", "-thresh", ".001")
    result = folder.darknet(*words).check(0)
    assert "data/labels/32_0.png" in result.err and "%" in result.out, result.describe()
    os.symlink(os.path.join(os.path.dirname(tap.DARKNET), "data"), folder.at("data"))
    result = folder.darknet(*words).check(0)
    assert "data/labels" not in result.err and "%" in result.out, result.describe()


@test
def grey(folder):
    """detector train: a net of other channels than the pictures have is one line"""
    for channels in (1, 4):
        folder.write("grey.cfg", folder.read("teacher.cfg").decode().replace(
            "channels=3", f"channels={channels}"))
        result = folder.darknet("detector", "train", "deepkd.data", "grey.cfg").check(1)
        assert f"[net] channels={channels}: found images of" in result.err, result.describe()


tap.main(tap.DetectorFolder)
