#!/usr/bin/python3 -B
"""./darknet distill and ./darknet deepkd, from start to end, in TAP.

Proves: what a run prints and which files it leaves; that a seed fixes it, to
the byte, with any number of threads; that each option and each learning-rate
policy trains; that Darknet's own commands take the student's cfg, with the two
sections, for the plain one. Whether it learns well is not asked here.
"""
import os
import pty
import re
import signal
import subprocess

import tap
from tap import (BATCH, CLASSES, ENVIRONMENT, LABELS, STUDENT_BYTES, STUDENT_FLOATS,
                 STUDENT_LAYERS, TEACHER_LAYERS, TRAIN, VALID, data_file, plain_cfg, student_cfg,
                 teacher_cfg, test, without_time)

import numpy as np

FILES = ["student.cfg", "student.csv", "student.state", "student_best.weights",
         "student_final.weights", "student_last.weights"]
FINAL = "backup/student_final.weights"
PICTURE = "images/valid/class-a-0.png"


@test
def files(folder):
    """a run leaves whole weights, a state, a CSV and the plain cfg, and no teacher is changed"""
    folder.write("student.cfg", student_cfg(max_batches=12))
    teacher = folder.read("teacher.weights")
    folder.distill().check(0)
    assert folder.names() == FILES, folder.names()
    for name in FILES[3:]:
        tap.check_weights(folder.read(f"backup/{name}"))
    assert folder.read(FINAL) == folder.read("backup/student_last.weights"), "last is not final"
    header = np.frombuffer(folder.read(FINAL)[:12], np.int32).tolist()
    seen = int(np.frombuffer(folder.read(FINAL)[12:20], np.uint64)[0])
    assert (header, seen) == ([0, 2, 0], 12 * BATCH), (header, seen)
    assert folder.read("backup/student.cfg").decode() == plain_cfg(max_batches=12)
    assert folder.read("teacher.weights") == teacher, "the teacher has changed"


@test
def table(folder):
    """the CSV: a row a batch with finite losses, K from K0 to C-1, a row an evaluation"""
    folder.write("student.cfg", student_cfg({"topk_schedule": "dynamic"}, max_batches=20))
    folder.write("deepkd.data", data_file(eval_interval=8))
    folder.distill().check(0)
    rows = folder.rows()
    batches = [row for row in rows if row["loss"]]
    evaluations = [row for row in rows if row["valid_loss"]]
    assert len(batches) + len(evaluations) == len(rows), rows
    assert [int(row["batch"]) for row in batches] == list(range(1, 21))
    assert [int(row["batch"]) for row in evaluations] == [8, 16, 20]
    for i, row in enumerate(batches, 1):
        for key in ("loss", "avg_loss", "tog", "tcg", "ncg", "rate", "images_per_s"):
            assert 0 <= float(row[key]) < 1e6, row
        assert int(row["images"]) == i * BATCH, row
        assert abs(float(row["epoch"]) - i * BATCH / TRAIN) < 1e-4, row
        assert abs(float(row["tog"]) - float(row["loss"])) < 1e-5, row
    keeps = [int(row["k"]) for row in batches]
    assert keeps[0] == 1 and keeps[-1] == CLASSES - 1 and keeps == sorted(keeps), keeps
    assert keeps[6:13] == [2] * 7, keeps
    for row in evaluations:
        hits = float(row["valid_top1"]) * VALID
        assert abs(hits - round(hits)) < 1e-4 and row["valid_top1"] <= row["valid_topk"], row


@test
def intervals(folder):
    """log_interval and eval_interval; by default an evaluation is an epoch's, rounded up"""
    folder.write("student.cfg", student_cfg(max_batches=14))
    folder.write("deepkd.data", data_file(log_interval=5))
    result = folder.distill().check(0)
    rows = [(int(row["batch"]), bool(row["loss"])) for row in folder.rows()]
    assert rows == [(5, True), (6, False), (10, True), (12, False), (14, True), (14, False)], rows
    assert len(re.findall(r"^\d+, .* images/s", result.out, re.M)) == 3, result.out


@test
def intent(folder):
    """the first lines: who teaches whom, sizes, method, momenta, K's schedule, accuracy"""
    folder.write("student.cfg", student_cfg({"method": "dkd", "warmup": 3,
                                             "topk_schedule": "dynamic"}, max_batches=20))
    out = folder.distill().check(0).out.split("\n")
    assert out[0] == "teacher: teacher.cfg, weights teacher.weights", out[0]
    assert out[1] == "student: student.cfg", out[1]
    text = "\n".join(out[:out.index(next(line for line in out if line.startswith("1, ")))])
    parameters = 8 * 2 + 216 + 8 * 2 + 64 + 8 + 576 + 6 + 48  # no rolling statistics
    for pattern in (r"teacher: 4 layers, 426 parameters, \d\.\d+ BFLOPs, input 12 x 12 x 3",
                    rf"student: 8 layers, {parameters} parameters, .* input 12 x 12 x 3",
                    r"method dkd, activation softmax, temperature 4, .*beta 8, .*warmup 3 batches",
                    r"trainer deepkd, .*tog 0\.975 from batch 780 \(weight decay\), tcg 0\.825 from "
                    r"batch 95, ncg 0\.95 from batch 380",
                    r"top-k: dynamic, K from 1 to 2 until batch 6, 2 until batch 14, to 5 at "
                    r"batch 20",
                    rf"{TRAIN} training images, {VALID} validation images, batch 8, 20 batches, "
                    r"seed 7",
                    r"teacher: top-1 \d+\.\d\d %, top-2 \d+\.\d\d % on valid.list"):
        assert re.search(pattern, text), f"no {pattern!r} in:\n{text}"
    accuracy = float(re.search(r"top-1 (\S+) %", text)[1])
    assert accuracy > 150 / CLASSES, f"the teacher of these tests knows {accuracy} %"


@test
def training_line(folder):
    """a training line begins as Darknet's own does, then come the components"""
    out = folder.distill().check(0).out
    number = r"-?\d+\.\d+"
    for batch in range(1, 7):
        assert re.search(
            rf"^{batch}, {number}: {number}, {number} avg, {number} rate, {number} seconds, "
            rf"{batch * BATCH} images, tog {number}, tcg {number}, ncg {number}, K \d, "
            r"\d+ images/s, 0m\d\ds left$", out, re.M), out
    assert re.search(r"^6, \S+ validation loss \S+, top-1 \S+ %, top-2 \S+ %, best top-1 \S+ % at "
                     r"batch 6$", out, re.M), out
    for name in ("student_best.weights", "student_final.weights", "student.cfg"):
        assert f"backup/{name}" in out, out


# Repeatable runs


def weights(folder, *flags, **options):
    folder.distill(*flags, **options).check(0)
    return folder.read(FINAL)


@test
def seeds(folder):
    """one seed: the same weights and losses with 1 and 3 threads; another seed: others"""
    folder.write("student.cfg", student_cfg(max_batches=14))
    found = []
    for seed, threads in (("7", "1"), ("7", "3"), ("8", "3")):
        found.append((weights(folder, seed=seed, threads=threads), without_time(folder.rows())))
    assert found[0] == found[1], "threads matter"
    assert found[0] != found[2] and found[0][1][0] != found[2][1][0], "the seed does not matter"


@test
def views(folder):
    """two views of each image: the same with 1 and 3 threads, on one core and on all; what is said"""
    one_core = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    for method, said in (("mlkd", "temperatures 2 3 4 5 6, "), ("crld", "temperature 4, ")):
        folder.write("student.cfg", student_cfg({"method": method}, max_batches=14))
        result = folder.distill(threads="1").check(0)
        expected = folder.read(FINAL), without_time(folder.rows())
        for words in (f"method {method}, ", said, "views 2: weak, and strong by all operations\n"):
            assert words in result.out, f"no {words!r} in:\n{result.out}"
        for row in expected[1]:
            if row["loss"]:
                assert int(row["images"]) == int(row["batch"]) * BATCH, row
                assert abs(float(row["tog"]) - float(row["loss"])) < 1e-5, row
        for options in ({"threads": "3"}, {"threads": "3", "env": one_core}):
            found = weights(folder, **options), without_time(folder.rows())
            assert found == expected, f"{method}: {options} matter"


@test
def one_view_as_cifar(folder):
    """augment=cifar: at the images' size and without distortion another run; where it repeats"""
    found = set()
    for augment in ("darknet", "cifar"):
        folder.write("student.cfg", student_cfg({"augment": augment}))
        found |= {weights(folder, threads="1"), weights(folder, threads="3")}
    assert len(found) == 2, len(found)


@test
def seedless(folder):
    """without -seed the seed is printed, and gives the same run again"""
    result = folder.distill(seed=None).check(0)
    seed = re.search(r"seed (\d+)$", result.out, re.M)[1]
    assert weights(folder, seed=seed) == weights(folder, seed=seed)


@test
def short_waits(folder):
    """threads that wait for each other soon sleep, unless the user has chosen otherwise"""
    shown = {**ENVIRONMENT, "OMP_DISPLAY_ENV": "verbose"}
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES"):
        shown.pop(name, None)
    for chosen, before, expected in (
            ({}, [], "1000"), ({"GOMP_SPINCOUNT": "77"}, [], "77"),
            ({"OMP_WAIT_POLICY": "PASSIVE"}, [], "0"), ({"OMP_PROC_BIND": "true"}, [], None),
            ({}, ["/lib64/ld-linux-x86-64.so.2"], None)):
        found = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", subprocess.run(
            [*before, tap.DARKNET, "distill", "--help"], env={**shown, **chosen}, cwd=folder.path,
            capture_output=True, text=True, check=True).stderr)
        if not found:
            raise tap.Skip("not GCC's OpenMP")
        assert expected in (None, found[-1]), f"{chosen}: {found}"
        assert len(found) == 1 + (expected == "1000"), f"{chosen} {before}: {found}"


@test
def idle_teacher(folder):
    """teacher_weight=0: the teacher's weights don't matter; else they do"""
    other = bytearray(folder.read("teacher.weights"))
    other[20:] = (tap.floats(bytes(other)) * np.float32(.5)).tobytes()
    original = folder.read("teacher.weights")
    for weight, same in ((0, True), (1, False)):
        found = []
        for content in (original, bytes(other)):
            folder.write("teacher.weights", content)
            folder.write("student.cfg", student_cfg({"teacher_weight": weight}))
            found.append(weights(folder))
        assert (found[0] == found[1]) == same, f"teacher_weight={weight}"


# Options: each trains, and each changes what is trained

OPTIONS = [
    {"trainer": "sgd"}, {"trainer": "dot"}, {"method": "dkd"}, {"activation": "softmax"},
    {"activation": "logistic"}, {"logit_standardization": 1}, {"temperature": 2},
    {"task_weight": ".5"}, {"teacher_weight": ".5"}, {"teacher_weight": 0}, {"task_weight": 0},
    {"alpha": 2}, {"method": "dkd", "beta": 2}, {"warmup": 5}, {"topk_schedule": "static"},
    {"topk_schedule": "off"}, {"topk_schedule": "static", "topk": 1}, {"topk": 5},
    {"topk_phases": ".1,.2"}, {"delta_tog": 0, "delta_ncg": 0}, {"delta_tcg": ".05"},
    {"momentum_tog": ".5"}, {"momentum_tcg": 0}, {"momentum_ncg": ".9999"},
    {"decay_component": "tcg"}, {"momentum_warmup": ".01"}, {"momentum_rule": "gsnr"},
    {"momentum_rule": "gsnr", "gsnr_interval": 1}, {"gsnr_interval": 1, "gsnr_layers": 1},
    {"alpha": 0, "teacher_weight": 0, "trainer": "sgd"},
    {"augment": "cifar"}, {"warmup": 2, "warmup_shape": "epochs"},
    {"method": "mlkd", "views": 1}, {"method": "mlkd"}, {"method": "mlkd", "official": 1},
    {"method": "mlkd", "temperatures": "1,2", "batch_weight": 0, "class_weight": 0},
    {"method": "mlkd", "momentum_rule": "gsnr", "gsnr_interval": 1},
    {"method": "mlkd", "trainer": "sgd"}, {"method": "mlkd", "augment": "darknet"},
    {"method": "crld"}, {"method": "crld", "official": 1, "confidence_weak": ".3"},
    {"method": "crld", "trainer": "dot", "operations": "rotate,solarize"},
    {"method": "crld", "teacher_weight": 0, "trainer": "sgd"},
    {"method": "dist", "topk_schedule": "off"}, {"tcg_gate": 1}, {"swap": 1},
]


@test
def unlabelled(folder):
    """unlabelled=: without a task and a mask, KD learns the same of images with labels or without"""
    options = {"trainer": "sgd", "task_weight": 0, "topk_schedule": "off"}
    folder.write("student.cfg", student_cfg(options, max_batches=3))
    expected = tap.floats(weights(folder))
    images = folder.read("train.list").decode().split()
    half = len(images) // 2
    folder.remove("train.list")
    folder.write("train.list", "\n".join(images[:half]) + "\n")
    folder.write("more.list", "\n".join(images[half:]) + "\n")
    folder.write("deepkd.data", tap.data_file(unlabelled="more.list"))
    assert np.allclose(tap.floats(weights(folder)), expected, rtol=1e-4, atol=1e-5)
    folder.write("student.cfg", student_cfg({**options, "task_weight": 1}, max_batches=3))
    out = folder.distill().check(0).out
    assert f"{len(images)} training images, {len(images) - half} of them without labels, " in out, out


# In three batches a warm-up would leave no difference between momenta.
BASE = {"momentum_warmup": 0, "topk_schedule": "dynamic"}


def try_option(folder, options):
    folder.write("student.cfg", student_cfg(BASE, max_batches=3))
    default = weights(folder)
    folder.write("student.cfg", student_cfg({**BASE, **options}, max_batches=3))
    found = weights(folder)
    tap.check_weights(found)
    same = options in ({"activation": "softmax"}, {"gsnr_interval": 1, "gsnr_layers": 1})
    assert (found == default) == same, "as without the option" if not same else "not the default"


for chosen in OPTIONS:
    test(lambda folder, chosen=chosen: try_option(folder, chosen),
         ", ".join(f"{key}={value}" for key, value in chosen.items()))

POLICIES = {
    "constant": ({}, [1, 1, 1]),
    "steps": ({"steps": "1,2", "scales": ".1,.5"}, None),
    "poly": ({"power": 2}, None),
    "exp": ({"gamma": ".9"}, None),
    "sigmoid": ({"gamma": ".5", "step": 2}, None),
    "step": ({"step": 2, "scale": ".1"}, None),
    "random": ({"power": 1}, None),
    "constant, burn_in=2": ({"burn_in": 2, "power": 1}, None),
}


def try_policy(folder, policy, options, rates):
    folder.write("student.cfg", student_cfg(max_batches=3, policy=policy.split(",")[0], **options))
    found = weights(folder), [row["rate"] for row in folder.rows() if row["loss"]]
    assert found == (weights(folder), [row["rate"] for row in folder.rows() if row["loss"]])
    tap.check_weights(found[0])
    if rates:
        assert [float(rate) / .01 for rate in found[1]] == rates, found[1]


for name, (options, rates) in POLICIES.items():
    test(lambda folder, name=name, options=options, rates=rates:
         try_policy(folder, name, options, rates), f"policy={name}")


@test
def subdivisions(folder):
    """subdivisions=2 without batch norm and dropout trains what subdivisions=1 does"""
    layers = [(name, {k: v for k, v in options.items() if k != "batch_normalize"})
              for name, options in STUDENT_LAYERS if name != "dropout"]
    found = []
    for number in (1, 2, 4):
        folder.write("student.cfg", student_cfg(layers=layers, subdivisions=number))
        found.append(tap.floats(weights(folder)))
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 1e-4, np.abs(other - found[0]).max()


@test
def logistic_single_class(folder):
    """one class, activation=logistic"""
    one = [("connected", {"output": 1, "activation": "linear"}), ("softmax", {})]
    folder.write("teacher.cfg", teacher_cfg([*TEACHER_LAYERS[:-2], *one]))
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    folder.write("labels.txt", "class-\n")
    folder.write("deepkd.data", data_file(classes=1, top=1))
    folder.write("student.cfg", student_cfg({"activation": "logistic"},
                                            layers=[*STUDENT_LAYERS[:-2], *one]))
    folder.distill().check(0)


# Files and flags

@test
def flags(folder):
    """flags in any order, before, between and behind the files"""
    expected = weights(folder)
    for words in ("-threads 1 -seed 7 -clear {} {} {}", "{} -seed 7 {} -clear -threads 1 {}",
                  "{} {} {} -threads 1 -clear -seed 7"):
        command = words.format("deepkd.data", "student.cfg", "teacher.weights").split()
        folder.remove(FINAL)
        folder.darknet("distill", *command).check(0)
        assert folder.read(FINAL) == expected, words


@test
def given_elsewhere(folder):
    """the teacher's cfg in the .data file, its weights in [teacher]; the nearer one wins"""
    expected = weights(folder)
    folder.write("deepkd.data", data_file(teacher="teacher.cfg"))
    folder.write("student.cfg", student_cfg(teacher={"weights": "teacher.weights"}))
    folder.darknet("distill", "deepkd.data", "student.cfg", "-clear", "-seed", "7").check(0)
    assert folder.read(FINAL) == expected
    folder.write("deepkd.data", data_file(teacher="nowhere.cfg"))
    folder.write("student.cfg", student_cfg(teacher={"cfg": "teacher.cfg",
                                                     "weights": "nowhere.weights"}))
    assert weights(folder) == expected


@test
def windows_files(folder):
    """Windows line ends in cfg, data file, lists and labels, and a cfg without a last newline"""
    expected = weights(folder)
    for name in ("student.cfg", "teacher.cfg", "deepkd.data", "train.list", "valid.list",
                 "labels.txt"):
        folder.write(name, folder.read(name).rstrip(b"\n").replace(b"\n", b"\r\n"))
    assert weights(folder) == expected


@test
def odd_paths(folder):
    """a backup folder with a / at its end, a cfg in another folder, dots in its name"""
    expected = weights(folder)
    os.makedirs(folder.at("a.b"))
    folder.write("a.b/my.student.v2.cfg", folder.read("student.cfg"))
    folder.write("deepkd.data", data_file(backup="backup/"))
    folder.darknet("distill", "deepkd.data", "a.b/my.student.v2.cfg", "teacher.weights", "-seed",
                   "7").check(0)
    found = [name for name in folder.names() if name.startswith("my") and "_final" in name]
    assert len(found) == 1 and folder.read(f"backup/{found[0]}") == expected, folder.names()


@test
def start(folder):
    """-start: goes on from whole weights at their batch; with -clear from the beginning"""
    folder.write("student.cfg", student_cfg(max_batches=4))
    folder.write("start.weights", weights(folder))
    folder.write("student.cfg", student_cfg(max_batches=6))
    result = folder.distill("-start", "start.weights").check(0)
    assert "student: student.cfg, starts from start.weights" in result.out, result.out
    assert "partial" not in result.out, result.out
    assert [row["batch"] for row in folder.rows() if row["loss"]] == ["5", "6"]
    folder.distill("-start", "start.weights", "-clear").check(0)
    rows = [row for row in folder.rows() if row["loss"]]
    assert [row["batch"] for row in rows] == [str(i) for i in range(1, 7)]
    moved = np.abs(tap.floats(folder.read(FINAL)) - tap.floats(folder.read("start.weights")))
    assert moved.max() > 0, "nothing was learned"


@test
def partial_start(folder):
    """-start: weights cut at a layer's end are announced and loaded, the rest is random"""
    folder.write("student.cfg", student_cfg(max_batches=1, learning_rate="1e-9"))
    whole = weights(folder, seed="1")
    fresh = weights(folder, seed="7")
    for layers in (1, 2, 3, 7):
        count = sum(STUDENT_FLOATS[:layers])
        folder.write("start.weights", whole[:20 + 4 * count])
        result = folder.distill("-start", "start.weights", "-clear").check(0)
        words = f"start.weights: partial weights, layers 0 to {layers - 1}"
        if layers == 7:  # all that have weights: the file is whole
            assert "partial" not in result.out, result.out
        else:
            assert words in result.out, f"no {words!r}: {result.out}"
        found, kept = tap.floats(folder.read(FINAL)), weight_numbers(layers)
        expected = np.where(kept, tap.floats(whole), tap.floats(fresh))[weight_numbers(7)]
        assert np.abs(found[weight_numbers(7)] - expected).max() < 1e-5, f"{layers} layers"


def weight_numbers(layers):
    """Which numbers of the student's file are weights or biases of the first layers."""
    result = np.zeros(sum(STUDENT_FLOATS), bool)
    begin = 0
    for index, count in enumerate(STUDENT_FLOATS[:layers]):
        result[begin:begin + count] = True
        if index < 2:  # rolling statistics move in any case
            result[begin + 16:begin + 32] = False
        begin += count
    return result


@test
def other_teacher_size(folder):
    """a teacher with another input size"""
    folder.write("teacher.cfg", teacher_cfg(width=20, height=16))
    out = folder.distill().check(0).out
    assert "input 20 x 16 x 3" in out, out


@test
def other_teacher_batch(folder):
    """the teacher's batch, subdivisions and schedule don't matter"""
    expected = weights(folder)
    folder.write("teacher.cfg", teacher_cfg(batch=3, subdivisions=1, max_batches=None,
                                            learning_rate="9", policy="poly"))
    assert weights(folder) == expected


@test
def chain(folder):
    """a distilled student teaches: its cfg with the two sections serves as a teacher's"""
    folder.distill().check(0)
    folder.write("first.cfg", student_cfg())
    folder.take_final("teacher.weights")
    folder.write("student.cfg", student_cfg(teacher={"cfg": "first.cfg"}))
    folder.distill().check(0)


@test
def detector_keys(folder):
    """keys of Darknet's other commands in the .data file are taken"""
    folder.write("deepkd.data", data_file(names="labels.txt", eval="coco", results="results"))
    folder.distill().check(0)


# Darknet's own commands on the student's cfg

def both(folder, *words):
    """What a command prints for the plain cfg and for the one with the two sections."""
    folder.distill().check(0)
    folder.write("plain.cfg", plain_cfg())
    found = []
    for name in ("plain.cfg", "student.cfg"):
        result = folder.darknet(*[word.replace("CFG", name).replace("WEIGHTS", FINAL)
                                  for word in words]).check(0)
        found.append(re.sub(r"in \S+ seconds|\S+ seconds", "", result.out))
    assert found[0] == found[1], f"{found[0]}\nand\n{found[1]}"
    return found[0]


@test
def predict(folder):
    """classifier predict: the same as with the plain cfg, and no teacher is needed"""
    out = both(folder, "classifier", "predict", "deepkd.data", "CFG", "WEIGHTS", PICTURE, "-t",
               str(CLASSES))
    percents = [float(number) for number in re.findall(r"([\d.]+)%: class-", out)]
    assert len(percents) == CLASSES and abs(sum(percents) - 100) < .1, out
    folder.remove("teacher.cfg")
    folder.remove("teacher.weights")
    folder.darknet("classifier", "predict", "deepkd.data", "student.cfg", FINAL, PICTURE).check(0)


@test
def valid(folder):
    """classifier valid: the same as with the plain cfg, and the accuracy that distill logged"""
    out = both(folder, "classifier", "valid", "deepkd.data", "CFG", "WEIGHTS")
    last = re.findall(r"^\d+: top 1: ([\d.]+), top 2: ([\d.]+)", out, re.M)[-1]
    row = folder.rows()[-1]
    for found, key in zip(last, ("valid_top1", "valid_topk")):
        assert abs(float(found) - float(row[key])) < 1e-4, f"{found}, logged {row[key]}"


@test
def train(folder):
    """classifier train: trains, saves, and needs no teacher"""
    folder.remove("teacher.cfg")
    out = folder.darknet("classifier", "train", "deepkd.data", "student.cfg").check(0).out
    assert re.search(r"^6, \S+: \S+, \S+ avg, \S+ rate, \S+ seconds, 48 images", out, re.M), out
    tap.check_weights(folder.read("backup/student.weights"))


@test
def other_commands(folder):
    """ops, partial and speed take the cfg; partial writes the student's weights alone"""
    out = both(folder, "ops", "CFG")
    assert "Floating Point Operations" in out, out
    folder.darknet("partial", "student.cfg", FINAL, "part.weights", "2").check(0)
    assert len(folder.read("part.weights")) == 20 + 4 * sum(STUDENT_FLOATS[:2])
    folder.darknet("partial", "student.cfg", FINAL, "all.weights", "99").check(0)
    assert folder.read("all.weights")[20:] == folder.read(FINAL)[20:]
    assert len(folder.read("all.weights")) == STUDENT_BYTES


# ./darknet deepkd

@test
def wrap(folder):
    """deepkd wrap and export: the way there and back, to the byte"""
    folder.write("plain.cfg", "# a comment\n\n" + plain_cfg())
    wrapped = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", "teacher.cfg").check(0).out
    assert "[teacher]\ncfg=teacher.cfg\n" in wrapped and "[deepkd_loss]" in wrapped, wrapped
    folder.write("student.cfg", wrapped)
    out = folder.darknet("deepkd", "export", "student.cfg").check(0).out
    assert out.encode() == folder.read("plain.cfg"), out
    folder.distill().check(0)
    assert folder.read("backup/student.cfg") == folder.read("plain.cfg")


@test
def spaces(folder):
    """values keep their spaces: folders, lists, label and cfg files; those at the ends are trimmed"""
    os.makedirs(folder.at("back up"))
    os.makedirs(folder.at("my data"))
    for name in ("train.list", "valid.list", "labels.txt", "teacher.cfg"):
        folder.write(f"my data/{name}", b"\xef\xbb\xbf" + folder.read(name).replace(b"\n", b"\r\n"))
    folder.write("deepkd.data", data_file(
        train=" my data/train.list ", valid="\tmy data/valid.list", labels="my data/labels.txt",
        names="my data/labels.txt", backup="back up/"))
    folder.write("plain.cfg", plain_cfg())
    wrapped = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", "my data/teacher.cfg")
    folder.write("student.cfg", wrapped.check(0).out.replace("batch=8", "batch = 8 "))
    folder.distill().check(0)
    assert "student_final.weights" in folder.names("back up"), folder.names("back up")
    assert not folder.names() and not os.path.exists(folder.at("backup/up")), folder.names()
    folder.darknet("classifier", "train", "deepkd.data", "plain.cfg").check(0)
    assert "plain.weights" in folder.names("back up"), folder.names("back up")


@test
def numbers_with_blanks(folder):
    """blanks in numbers and lists of them mean nothing, as before"""
    text = student_cfg({"topk_phases": " .3 , .7 "}, policy="steps", steps="2, 4", scales=".1 , .1")
    folder.write("student.cfg", text.replace("from=-3", "from=- 3").replace("batch=8", "batch=0 8"))
    folder.distill().check(0)
    folder.darknet("ops", "student.cfg").check(0)


@test
def wrap_names(folder):
    """deepkd wrap refuses a name that its line of a cfg can't hold"""
    folder.write("plain.cfg", plain_cfg())
    for name in ("a\n[net].cfg", "a#b.cfg", " a.cfg", "a.cfg ", "a\r", ""):
        result = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", name).check(1)
        assert "-teacher" in result.err and not result.out, result.describe()
        assert result.err.count("\n") == 1, result.err


@test
def export_elsewhere(folder):
    """deepkd export: comments in and around the sections, blanks, sections in any place"""
    text = plain_cfg()
    for found in (student_cfg(), student_cfg().replace("[teacher]", " [teacher] \n# comment"),
                  "[teacher]\nx=y\n" + text, text.rstrip("\n") + "\n[ deepkd_loss ]\na = b\n\n"):
        folder.write("student.cfg", found)
        out = folder.darknet("deepkd", "export", "student.cfg").check(0).out
        assert out == text, f"{found}\nbecomes\n{out}"


@test
def wrap_errors(folder):
    """deepkd: wrong arguments, missing files, a cfg that is wrapped already"""
    for words, expected in (
            ("", "usage"), ("wrap", "usage"), ("wrap student.cfg", "usage"),
            ("export", "usage"), ("export student.cfg teacher.cfg", "-onnx FILE"),
            ("unwrap student.cfg", "usage"), ("wrap student.cfg -teacher", "usage"),
            ("export student.cfg -teacher teacher.cfg", "usage"),
            ("wrap student.cfg -teacher teacher.cfg", "student.cfg: found [teacher]"),
            ("wrap no.cfg -teacher teacher.cfg", "no.cfg: No such file"),
            ("wrap teacher.cfg -teacher no.cfg", "no.cfg: No such file"),
            ("export no.cfg", "no.cfg: No such file")):
        result = folder.darknet("deepkd", *words.split()).check(1)
        assert expected in result.err and result.err.count("\n") == 1, \
            f"{words}: no {expected!r}: {result.err}"
        assert not result.out, f"{words}: {result.out}"


def on_terminal(folder, interrupt=None):
    """Distils with a terminal as stdout; the status and what was written to it. A SIGINT is sent
    once `interrupt` has been written."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(**folder.command(*folder.distill_words()), stdout=theirs,
                          stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        text = b""
        try:
            while block := os.read(ours, 4096):
                text += block
                if interrupt and interrupt in text:
                    process.send_signal(signal.SIGINT)
                    interrupt = None
        except OSError:  # what a terminal says when nobody has it open any more
            pass
    os.close(ours)
    return process.returncode, text.decode()


@test
def terminal(folder):
    """on a terminal: one live line with a bar, and lines for evaluations"""
    status, out = on_terminal(folder)
    assert status == 0, status
    assert re.search(r"\r\x1b\[K\[#{4}\.{20}\] 1/6  loss \S+  tog \S+ tcg \S+ ncg \S+  K \d  "
                     r"\d+ images/s  \S+ left", out), repr(out)
    assert re.search(r"\[#{24}\] 6/6 ", out), repr(out)
    assert re.search(r"\r\x1b\[K6, \S+ validation loss", out), repr(out)
    assert not re.search(r"\d avg, ", out), "lines of a log on a terminal"


@test
def interrupted_terminal(folder):
    """on a terminal, after an interrupt, the last line stands alone"""
    folder.write("student.cfg", student_cfg(max_batches=100000))
    status, out = on_terminal(folder, b"/100000")
    assert status == 130, status
    last = re.split(r"\r\x1b\[K|\r?\n", out.rstrip())[-1]
    assert last.startswith("stopped at batch "), repr(last)


@test
def no_labels_in_folder(folder):
    """labels are looked for in the whole path, as Darknet does"""
    os.makedirs(folder.at("by-folder"))
    lines = []
    for number, label in enumerate(LABELS):
        os.makedirs(folder.at(f"by-folder/{label}"))
        lines.append(f"by-folder/{label}/{number}.png")
        folder.write(lines[-1], folder.read(PICTURE))
    folder.write("train.list", "\n".join(lines) + "\n")
    folder.distill().check(0)


tap.main()
