#!/usr/bin/python3 -B
"""`darknet deepkd cache` and `distill -cache`, in TAP.

Proves: a student learns the same from a cache as from the teacher itself, to the byte, classifiers
and detectors, whole runs and resumed ones, and needs no teacher's weights then; a cache whose
making was stopped or killed is gone on with; one of another run is refused by what differs; one of
the largest logits has these and the rest's sum, and belongs to one temperature; parts that several
programs make merge to what one makes; none that is damaged is believed, wherever the damage is.
"""
import glob
import os
import random
import signal
import sqlite3
import subprocess
import time

import tap
from tap import (BODY, ENVIRONMENT, REGION, YOLO, YOLO_TEACHER, check_error, data_file,
                 detector_cfg, head, student_cfg, teacher_cfg, teacher_detector_cfg, test,
                 without_time)

import numpy as np

WEIGHTS = "backup/student_final.weights"
CACHE = ("-cache", "logits.sqlite")
CLASSES = tap.CLASSES


def make_cache(folder, *flags, seed="7", **options):
    words = ["deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights",
             "-out", "logits.sqlite", *(["-seed", seed] if seed else []), *flags]
    return folder.darknet(*words, **options)


def outcome(folder, *flags, **options):
    result = folder.distill(*flags, **options).check(0)
    return folder.read(WEIGHTS), folder.read("backup/student.state"), \
        without_time(folder.rows()), result.out


def check_same(folder, *flags):
    """Weights, state and CSV of a run with the teacher, and of one with its cache."""
    expected = outcome(folder, *flags)
    made = make_cache(folder).check(0)
    assert " images/s\n" in made.out, made.out
    found = outcome(folder, *CACHE, *flags)
    assert found[:3] == expected[:3], "the cache taught another student"
    assert "logits logits.sqlite" in found[3] and "weights teacher.weights" in expected[3]


def logits(folder, name="logits.sqlite"):
    with sqlite3.connect(folder.at(name)) as db:
        return db.execute("SELECT position, numbers FROM logits ORDER BY position").fetchall()


# The same student

@test
def classifier(folder):
    """a classifier learns the same, and a row has its classes as float32"""
    check_same(folder)
    rows = logits(folder)
    batches = len([row for row in folder.rows() if row["loss"]])
    assert len(rows) % tap.BATCH == 0 and len(rows) >= batches * tap.BATCH, len(rows)
    assert [position for position, _ in rows] == list(range(len(rows)))
    for _, numbers in rows:
        values = np.frombuffer(numbers, np.float32)
        assert len(values) == CLASSES and np.isfinite(values).all() and values.std() > 0, values


@test
def options(folder):
    """so it does with subdivisions, augmentation, three groups, momenta by GSNR, and on one core"""
    folder.write("student.cfg", student_cfg(
        {"method": "dkd", "momentum_rule": "gsnr", "gsnr_interval": 4},
        subdivisions=2, angle=10, hue=.1, saturation=1.5, aspect=.8))
    check_same(folder)
    expected = folder.read(WEIGHTS)
    env = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    assert outcome(folder, *CACHE, env=env)[0] == expected
    folder.remove("logits.sqlite")
    make_cache(folder, "-threads", "5", env=env).check(0)
    assert outcome(folder, *CACHE)[0] == expected


DETECTORS = {  # name: options of [deepkd_loss], the student's layers and the teacher's, of [net]
    "rows=truth": ({"objectness_weight": 1}, YOLO, YOLO_TEACHER, {}),
    "rows=dense": ({"rows": "dense"}, YOLO, YOLO_TEACHER, {}),
    "feature_nms=1": ({"rows": "dense", "feature_nms": 1, "objectness_weight": 1}, YOLO,
                      YOLO_TEACHER, {}),
    "boxes": ({"box_weight": 1}, YOLO, YOLO_TEACHER, {}),
    "bckd": ({"method": "bckd", "rows": "dense"}, YOLO, YOLO_TEACHER, {}),
    "random=1": ({}, [*YOLO[:-1], ("yolo", {**YOLO[-1][1], "random": 1})], YOLO_TEACHER,
                 {"max_batches": 12, "learning_rate": ".0001"}),
    "[region]": ({}, REGION, YOLO_TEACHER, {}),
    "two heads": ({}, [*BODY, *head("yolo", "8,8, 14,14, 4,4", mask="0,1"),
                       ("route", {"layers": -3}), ("upsample", {"stride": 2}),
                       *head("yolo", "8,8, 14,14, 4,4", mask="2")], YOLO_TEACHER,
                  {"subdivisions": 2}),
}


def try_detector(folder, loss, layers, teacher, net):
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    detectors.write("student.cfg", detector_cfg(loss, layers, **net))
    detectors.write("teacher.cfg", teacher_detector_cfg(teacher, width=48, height=48))
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    check_same(detectors)


for title, (loss_options, student, teachers, net_options) in DETECTORS.items():
    test(lambda folder, of=(loss_options, student, teachers, net_options):
         try_detector(folder, *of), f"a detector learns the same, {title}")


# Runs

@test
def alone(folder):
    """with a cache neither the teacher's weights nor the seed are needed"""
    expected = outcome(folder)
    make_cache(folder).check(0)
    folder.remove("teacher.weights")
    folder.forget_run()
    said = folder.darknet("distill", "deepkd.data", "student.cfg", *CACHE).check(0).out
    assert folder.read(WEIGHTS) == expected[0] and ", seed 7\n" in said, said
    assert folder.read("backup/student.state") == expected[1]


@test
def resumed(folder):
    """a run goes on with a cache where the teacher stopped, and the other way round"""
    folder.write("deepkd.data", data_file(save_interval=5))
    folder.write("student.cfg", student_cfg(max_batches=60))
    expected = outcome(folder)
    make_cache(folder).check(0)
    for first, second in (((), CACHE), (CACHE, ())):
        folder.forget_run()
        folder.distill_until(lambda line: line.startswith("20, "), signal.SIGINT, "-clear", *first)
        found = outcome(folder, "-resume", *second)
        assert found[:3] == expected[:3], f"{first} then {second}"
    check_error(folder.distill("-resume", *CACHE, seed="8").check(1), ["seed", "7", "8"])


# Making it

@test
def stopped(folder):
    """what was stopped or killed goes on, to the same logits"""
    folder.write("student.cfg", student_cfg(max_batches=4000))
    make_cache(folder).check(0)
    expected, after = logits(folder), random.Random(1)
    folder.remove("logits.sqlite")
    for number in 3 * [signal.SIGTERM, signal.SIGKILL, signal.SIGINT]:
        words = ["deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-out",
                 "logits.sqlite", "-seed", "7"]
        with subprocess.Popen(**folder.command(*words), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            process.stdout.readline()
            time.sleep(after.random() * .3)
            process.send_signal(number)
            said = process.stdout.read().decode()
        assert process.returncode in (-number, 128 + number, 0), process.returncode
        if not process.returncode or len(logits(folder)) == len(expected):
            continue  # it came too late
        if process.returncode == 128 + number:
            assert "stopped at image " in said, said
        check_error(folder.distill(*CACHE).check(1), ["logits.sqlite: ", "`deepkd cache` "])
    make_cache(folder, seed=None).check(0)
    assert logits(folder) == expected
    whole = folder.read("logits.sqlite")
    assert make_cache(folder).check(0) and folder.read("logits.sqlite") == whole


@test
def epochs(folder):
    """-epochs makes it shorter or longer than the run; one that is too short is refused"""
    folder.write("student.cfg", student_cfg(max_batches=40))
    images = len(folder.read("train.list").split())
    make_cache(folder, "-epochs", "1").check(0)
    short = logits(folder)
    assert images <= len(short) < images + tap.BATCH, (images, len(short))
    check_error(folder.distill(*CACHE).check(1), ["logits.sqlite", f"of {len(short)} images"])
    make_cache(folder, "-epochs", "3").check(0)
    assert logits(folder)[:len(short)] == short and len(logits(folder)) >= 3 * images


@test
def busy(folder):
    """one program writes it, and none while it is read; several read it"""
    make_cache(folder).check(0)
    for sql, reads in (("BEGIN IMMEDIATE; INSERT INTO notes VALUES ('a', 'b')", True),
                       ("BEGIN EXCLUSIVE", False)):
        with sqlite3.connect(folder.at("logits.sqlite"), isolation_level=None) as db:
            db.executescript(sql)
            check_error(make_cache(folder).check(1), ["logits.sqlite", "another program"])
            if reads:
                folder.distill(*CACHE).check(0)
            else:
                check_error(folder.distill(*CACHE).check(1), ["another program"])
            db.execute("ROLLBACK")


@test
def by_another(folder):
    """any student with the same views makes it, also one that learns the task alone"""
    expected = outcome(folder)
    folder.write("student.cfg", student_cfg({"teacher_weight": 0}, learning_rate=".5",
                                            max_batches=7))
    make_cache(folder).check(0)
    folder.write("student.cfg", student_cfg())
    assert outcome(folder, *CACHE)[:3] == expected[:3]


@test
def not_finite(folder):
    """a teacher whose output is not finite leaves no file of it"""
    content = bytearray(folder.read("teacher.weights"))
    large = np.full(72, 3e38, np.float32).tobytes()
    content[-len(large):] = large
    folder.write("teacher.weights", content)
    check_error(make_cache(folder).check(1), ["teacher.cfg", "image 0", "not finite"])
    assert not glob.glob(folder.at("logits.sqlite*")), "a file is left"


# What is refused

OTHERS = {  # a note: what is changed after the cache was made
    "teacher cfg": lambda f: f.write("teacher.cfg", teacher_cfg(momentum=".5")),
    "teacher weights": lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-4] +
                                         b"\0\0\0\0"),
    "training images": lambda f: f.write("train.list", b"\n".join(
        f.read("train.list").split(b"\n")[::-1]).lstrip() + b"\n"),
    "augmentation": lambda f: f.write("student.cfg", student_cfg(angle=3)),
}


def try_other(folder, key, change):
    make_cache(folder).check(0)
    before = folder.read("logits.sqlite")
    change(folder)
    for result in (folder.distill(*CACHE), make_cache(folder)):
        check_error(result.check(1), ["logits.sqlite: is of another run", key, "expected"])
    assert folder.read("logits.sqlite") == before
    assert not [name for name in folder.names() if name.endswith(".weights")], folder.names()


for note, edit in OTHERS.items():
    test(lambda folder, of=(note, edit): try_other(folder, *of),
         f"a cache of another run: {note}")


@test
def cifar(folder):
    """augment=cifar has a cache of its own, from which a classifier learns the same"""
    folder.write("student.cfg", student_cfg({"augment": "cifar"}))
    check_same(folder)
    folder.write("student.cfg", student_cfg())
    check_error(folder.distill(*CACHE).check(1), ["augmentation: found", "cifar, expected"])


@test
def views(folder):
    """two views of each image: MLKD and CRLD learn the same, a row has both; operations count"""
    for options in ({"method": "mlkd", "views": 1}, {"method": "mlkd"},
                    {"method": "crld", "operations": "rotate,solarize"}):
        two = options.get("views") != 1
        folder.write("student.cfg", student_cfg(options, subdivisions=2))
        check_same(folder)
        for _, numbers in logits(folder):
            values = np.frombuffer(numbers, np.float32)
            assert len(values) == CLASSES * (1 + two) and values.std() > 0, values
        if options.get("operations"):
            folder.write("student.cfg", student_cfg({"method": "crld"}, subdivisions=2))
            check_error(folder.distill(*CACHE, "-clear").check(1),
                        ["augmentation: found", "rotate"])
        folder.remove("logits.sqlite")


# Some of the classes

def top_rows(folder, keep):
    """A compact cache's rows: [images] of class [keep + 1], logit [keep + 1] and rest."""
    form = [("class", "u2", keep + 1), ("logit", "f2", keep + 1), ("rest", "f4")]
    return np.concatenate([np.frombuffer(numbers, form) for _, numbers in logits(folder)])


def log_sum(y, temperature):
    return np.log(np.exp(y / temperature).sum(axis=-1))


@test
def top(folder):
    """-top 2 keeps the target, the two largest others, and what the rest sums to at T"""
    folder.write("student.cfg", student_cfg({"temperature": 3}))
    make_cache(folder).check(0)
    whole = np.array([np.frombuffer(numbers, np.float32) for _, numbers in logits(folder)], float)
    folder.remove("logits.sqlite")
    make_cache(folder, "-top", "2").check(0)
    rows = top_rows(folder, 2)
    assert len(rows) == len(whole) and set(rows["class"][:, 0]) == set(range(CLASSES))
    for y, row in zip(whole - whole.max(axis=1, keepdims=True), rows):
        target, *others = row["class"]
        ranked = [c for c in np.argsort(-y, kind="stable") if c != target][:2]
        assert sorted(ranked) == others, (ranked, others)
        np.testing.assert_array_equal(row["logit"], y[row["class"]].astype(np.float16))
        rest = np.delete(y, row["class"])
        np.testing.assert_allclose(row["rest"], log_sum(rest, 3), rtol=1e-5, atol=1e-6)


@test
def top_learns(folder):
    """a student learns from it: with all other classes or few as from the teacher, almost"""
    for loss, keep, tolerance in (({}, CLASSES - 1, 2e-3), ({"method": "dkd"}, 3, .1),
                                  ({"topk": 2, "topk_schedule": "static"}, 2, 2e-3)):
        folder.write("student.cfg", student_cfg(loss))
        expected = tap.floats(outcome(folder)[0])
        make_cache(folder, "-top", str(keep)).check(0)
        found = tap.floats(outcome(folder, *CACHE)[0])
        away = np.abs(found - expected).max()
        assert 0 < away < tolerance, (keep, away)
        folder.remove("logits.sqlite")


@test
def top_of_others(folder):
    """it belongs to its K and its temperature, and has no meaning for some losses and detectors"""
    make_cache(folder, "-top", "2").check(0)
    before = folder.read("logits.sqlite")
    for flags, found, expected in ((("-top", "3"), "and 2 others at", "and 3 others at"),
                                   ((), "and 2 others at", "expected images")):
        check_error(make_cache(folder, *flags).check(1), ["rows: found", found, expected])
    for loss, words in (({"temperature": 2}, ["at temperature 4, expected", "temperature 2"]),
                        ({"logit_standardization": 1}, ["-top", "logit_standardization=0"]),
                        ({"activation": "logistic"}, ["-top", "activation=softmax"]),
                        ({"method": "mlkd", "views": 1, "augment": "darknet"}, ["-top", "mlkd"]),
                        ({"method": "crld"}, ["-top", "crld"])):
        folder.write("student.cfg", student_cfg(loss))
        check_error(folder.distill("-clear", *CACHE).check(1), ["logits.sqlite", *words])
        assert folder.read("logits.sqlite") == before
    folder.write("student.cfg", student_cfg({"logit_standardization": 1}))
    folder.remove("logits.sqlite")
    check_error(make_cache(folder, "-top", "2").check(1), ["logit_standardization=0"])
    folder.write("student.cfg", student_cfg())
    check_error(make_cache(folder, "-top", "6").check(1), ["-top 6: expected at most 5"])
    assert not glob.glob(folder.at("logits.sqlite*")), "a file is left"
    check_error(make_cache(folder, "-top", "0").check(1), ["-top 0"])
    make_cache(folder).check(0)
    check_error(make_cache(folder, "-top", "2").check(1), ["rows: found images, expected images, "])
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    check_error(make_cache(detectors, "-top", "2").check(1), ["-top", "expected a classifier"])


# Several programs

PARTS = ["1.part", "2.part", "3.part"]


def part_words(i, of, *flags, out=None):
    return ["deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-seed", "7",
            "-part", f"{i}/{of}", "-out", out or f"{i}.part", *flags]


def make_parts(folder, *flags):
    """All at once"""
    running = [subprocess.Popen(**folder.command(*part_words(i, len(PARTS), *flags)),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for i in range(1, len(PARTS) + 1)]
    assert [process.wait(tap.PATIENCE) for process in running] == len(PARTS) * [0]


def merge(folder, *parts, out="merged.sqlite"):
    if os.path.exists(folder.at(out)):
        folder.remove(out)
    return folder.darknet("deepkd", "merge", out, *(parts or PARTS))


def content(folder, name):
    with sqlite3.connect(folder.at(name)) as db:
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("notes", "logits")]


def check_merged(folder, *flags):
    make_cache(folder, *flags).check(0)
    expected = outcome(folder, *CACHE)[:3]
    make_parts(folder, *flags)
    said = merge(folder, "3.part", "1.part", "2.part").check(0).out
    assert said.endswith(" images of 3 parts\n"), said
    assert content(folder, "merged.sqlite") == content(folder, "logits.sqlite")
    assert outcome(folder, "-cache", "merged.sqlite")[:3] == expected
    return content(folder, "merged.sqlite")


@test
def parts(folder):
    """three programs make parts at once, which merge to what one makes; of few classes too"""
    folder.write("student.cfg", student_cfg(max_batches=17))
    check_merged(folder)
    for name in ("logits.sqlite", *PARTS):
        folder.remove(name)
    _, rows = check_merged(folder, "-top", "2", "-epochs", "4")
    assert len(rows) == 4 * tap.TRAIN and len(rows[0][2]) == 16, (len(rows), rows[0])


@test
def parts_of_sizes(folder):
    """so do a detector's, with random=1"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    layers = [*YOLO[:-1], ("yolo", {**YOLO[-1][1], "random": 1})]
    detectors.write("student.cfg", detector_cfg({"rows": "dense"}, layers, max_batches=13,
                                                learning_rate=".0001"))
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    check_merged(detectors)


@test
def parts_killed(folder):
    """a part that was killed goes on; so does a merge, and leaves all or nothing"""
    folder.write("student.cfg", student_cfg(max_batches=1200))
    make_cache(folder).check(0)
    make_parts(folder)
    after = random.Random(3)
    for _ in range(4):
        folder.remove("2.part")
        with subprocess.Popen(**folder.command(*part_words(2, 3)), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            while b" images/s" not in process.stdout.readline():
                pass
            time.sleep(after.random() * .1)
            process.kill()
        if len(content(folder, "2.part")[1]) < 400 * tap.BATCH:
            check_error(merge(folder).check(1), ["2.part: found the logits of", "of the part's"])
        folder.darknet(*part_words(2, 3)).check(0)
    for k in range(8):
        with subprocess.Popen(**folder.command("deepkd", "merge", f"{k}.sqlite", *PARTS),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(after.random() * .1)
            process.kill()
        again = folder.darknet("deepkd", "merge", f"{k}.sqlite", *PARTS)
        if again.status:
            check_error(again.check(1), [f"{k}.sqlite: found a cache, expected a new file"])
        assert content(folder, f"{k}.sqlite") == content(folder, "logits.sqlite")


@test
def parts_of_others(folder):
    """parts that lack, come twice, or are of another run, by what differs; what is no part"""
    make_parts(folder)
    check_error(folder.distill("-cache", "1.part").check(1), ["1.part: found part 1 of 3"])
    for words, error in ((["1.part", "3.part"], ["no part that begins at image 16"]),
                         (["2.part", "3.part"], ["no part that begins at image 0"]),
                         ([*PARTS, "1.part"], ["found 4 files, expected the run's 3 parts"]),
                         ([*PARTS, "none"], ["none: "]),
                         ([*PARTS, "train.list"], ["train.list: "])):
        check_error(merge(folder, *words).check(1), error)
        assert not glob.glob(folder.at("merged.sqlite*")), "a file is left"
    for flags, error in ((("-seed", "8"), ["3.other: is of another run than 1.part, seed"]),
                         (("-epochs", "2"), ["3.other: found a part of 88 images, expected"]),
                         (("-top", "2"), ["rows: found images, the target and 2 others"])):
        words = [w for w in part_words(3, 3, *flags, out="3.other")]
        if "-seed" in flags:
            del words[words.index("7") - 1:words.index("7") + 1]
        folder.darknet(*words).check(0)
        check_error(merge(folder, "1.part", "2.part", "3.other").check(1), error)
        folder.remove("3.other")
    folder.write("teacher.weights", folder.read("teacher.weights")[:-4] + b"\0\0\0\0")
    check_error(folder.darknet(*part_words(3, 3)).check(1), ["is of another run", "weights"])
    folder.darknet(*part_words(3, 3, out="3.other")).check(0)
    check_error(merge(folder, "1.part", "2.part", "3.other").check(1), ["teacher weights: found"])
    make_cache(folder).check(0)
    check_error(merge(folder, "logits.sqlite").check(1), ["logits.sqlite: found no part"])
    check_error(merge(folder, *PARTS, out="merged.sqlite").check(0) and
                folder.darknet("deepkd", "merge", "merged.sqlite", *PARTS).check(1), ["a new file"])
    check_error(folder.darknet("deepkd", "merge", "1.part", *PARTS).check(1), ["1.part: found a"])
    for words in (part_words(2, 3, out="1.part"), part_words(1, 4),
                  [w for w in part_words(1, 3) if w not in ("-part", "1/3")]):
        check_error(folder.darknet(*words).check(1), ["is of another run, part: found 1 of"])
    check_error(folder.darknet(*part_words(1, 3, out="logits.sqlite")).check(1), ["part: found no"])
    for text in ("0/3", "4/3", "1", "1/3x", "a/b", "-1/3"):
        words = [text if word == "1/3" else word for word in part_words(1, 3)]
        check_error(folder.darknet(*words).check(1), [f"-part {text}: expected I/N"])
    check_error(folder.darknet(*part_words(1, 7, out="new")).check(1), ["-part 1/7: found 48"])


@test
def parts_damaged(folder):
    """of 100 flipped bits in a part none changes what is merged"""
    folder.write("student.cfg", student_cfg(max_batches=60))
    make_parts(folder)
    merge(folder).check(0)
    expected, whole = content(folder, "merged.sqlite"), folder.read("2.part")
    draw, refusals = random.Random(4), 0
    for _ in range(100):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        folder.write("2.part", flipped)
        result = merge(folder)
        refusals += result.status == 1
        assert result.status or content(folder, "merged.sqlite") == expected
    assert refusals > 10, refusals


@test
def another_seed(folder):
    """a cache of another run: seed"""
    make_cache(folder).check(0)
    for result in (folder.distill(*CACHE, seed="8"), make_cache(folder, seed="8")):
        check_error(result.check(1), ["of another run, seed: found 7, expected 8"])


@test
def another_size(folder):
    """a cache of another run: a detector's rows, jitter and sizes"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    detectors.write("teacher.cfg", teacher_detector_cfg())
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    make_cache(detectors).check(0)
    for key, cfg in (("rows: found truth, expected dense", detector_cfg({"rows": "dense"})),
                     ("augmentation", detector_cfg(hue=.3)),
                     ("student's input", detector_cfg(width=96, height=96))):
        detectors.write("student.cfg", cfg)
        last = detectors.distill(*CACHE).check(1).err.splitlines()[-1]
        assert "of another run" in last and key in last, last


@test
def no_cache(folder):
    """what is no cache: a text, nothing, a folder, another database, what is not there"""
    os.mkdir(folder.at("folder"))
    folder.write("text", "no database at all, but long enough to be looked at " * 40)
    folder.write("empty", "")
    with sqlite3.connect(folder.at("other")) as db:
        db.execute("CREATE TABLE logits(position INTEGER PRIMARY KEY)")
    for name in ("folder", "text", "empty", "other", "missing", "missing/cache"):
        check_error(folder.distill("-cache", name).check(1), [f"{name}: "])
    for name in ("folder", "text", "other", "missing/cache"):
        result = folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights",
                                "-out", name)
        check_error(result.check(1), [f"{name}: "])
    assert folder.read("text").startswith(b"no database")
    assert not os.path.exists(folder.at("missing"))


@test
def region(folder):
    """a [region] with bias_match=0, whose truths depend on its boxes, is refused"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    layers = [*REGION[:-1], ("region", {**REGION[-1][1], "bias_match": 0})]
    detectors.write("teacher.cfg", teacher_detector_cfg(layers))
    detectors.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    check_error(make_cache(detectors).check(1), ["teacher.cfg", "bias_match=0"])


@test
def damaged(folder):
    """of 300 flipped bits and 60 shortened files, none teaches another student, or crashes"""
    folder.write("student.cfg", student_cfg(max_batches=6))
    make_cache(folder).check(0)
    expected, whole = outcome(folder, *CACHE)[0], folder.read("logits.sqlite")
    draw, refused = random.Random(2), 0
    for k in range(360):
        content = bytearray(whole)
        if k < 300:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        else:
            del content[draw.randrange(len(content)):]
        folder.write("logits.sqlite", content)
        result = folder.distill("-clear", *CACHE)
        if result.status:
            check_error(result.check(1), ["logits.sqlite"])
            refused += 1
        else:
            assert folder.read(WEIGHTS) == expected, "other weights"
    assert refused > 60, refused


if __name__ == "__main__":
    tap.main()
