#!/usr/bin/python3 -B
"""A GPU=1 build beside the CPU build, in TAP: the same numbers, and no more traffic than Darknet's.

$EMULATED, or emulated/darknet beside $DARKNET, is a GPU=1 build on tests/emulator, whose kernels
run on the CPU. Proves: `distill` gives the CPU build's losses, K, figures and weights; -resume on
the GPU, and from the CPU to the GPU and back; -gpus; a GPU build without a GPU, or with -nogpu, is
the CPU build; Darknet's own commands agree; per step distill copies back and waits no more than
Darknet's training does, and uploads the images once; no order between streams is left to chance.
How fast it is, and what a card does, is not looked at: see `make gpu-test` and `make bench GPU=1`.
"""
import contextlib
import functools
import json
import os
import re
import signal
import tempfile
from unittest import mock

import tap
from tap import (BATCH, BODY, DARKNET, ENVIRONMENT, REGION, SIDE, STUDENT_BYTES, STUDENT_LAYERS,
                 TEACHER_LAYERS, YOLO, YOLO_TEACHER, Skip, check_error, data_file, detector_cfg,
                 detector_data, head, plain_cfg, plain_detector_cfg, student_cfg, teacher_cfg,
                 test, without_time)

import numpy as np
from PIL import Image

EMULATED = os.environ.get("EMULATED") or os.path.join(os.path.dirname(DARKNET), "emulated",
                                                      "darknet")
FINAL = "backup/student_final.weights"
NO_GPU = "no GPU found (no CUDA-capable device is detected): going on on the CPU"


@contextlib.contextmanager
def on_gpu(**settings):
    """While this lasts, run folders' darknet has the GPU; `settings` are CUDA_EMULATOR_...'s."""
    names = {f"CUDA_EMULATOR_{key.upper()}": str(value) for key, value in settings.items()}
    with mock.patch.multiple(tap, DARKNET=EMULATED, ENVIRONMENT={**ENVIRONMENT, **names}):
        yield


def without(layers, *sections, batch_norm=True):
    """The layers without these sections, and without batch norm if that is not wanted."""
    return [(name, {key: value for key, value in options.items()
                    if batch_norm or key != "batch_normalize"})
            for name, options in layers if name not in sections]


# Dropout draws from another generator on a GPU, so what is compared with the CPU has none.
BATCH_NORM = without(STUDENT_LAYERS, "dropout")
PLAIN = without(BATCH_NORM, batch_norm=False)
PLAIN_YOLO, PLAIN_REGION = (without(layers, batch_norm=False) for layers in (YOLO, REGION))
TWO_HEADS = without([*BODY, *head("yolo", "8,8, 14,14, 4,4", mask="0,1"), ("route", {"layers": -3}),
                     ("upsample", {"stride": 2}), *head("yolo", "8,8, 14,14, 4,4", mask="2")],
                    batch_norm=False)


@functools.lru_cache(None)
def scenes():
    """The detectors' fixture"""
    fixture = tap.DetectorFolder(os.path.join(TMP.name, "scenes"))
    fixture.fill()
    return fixture.path


def detectors(folder, cfg=None, **data):
    """A run folder of detectors, in the test's own."""
    found = tap.DetectorFolder(folder.at("detectors"), scenes())
    found.write("student.cfg", cfg or detector_cfg(layers=PLAIN_YOLO))
    found.write("deepkd.data", detector_data(**data))
    return found


# Comparisons

def outcome(folder, *flags, begin="-clear"):
    """A run to its end: its CSV's rows, its last weights, and what it says of the teacher."""
    result = folder.distill(begin, *flags).check(0)
    figures = re.findall(r"^teacher: (?:top|mAP).*", result.out, re.M)
    return without_time(folder.rows()), tap.floats(folder.read(FINAL)), figures


def check_close(found, expected, tolerance):
    """The same rows, every number of them, and the same weights."""
    assert len(found[0]) == len(expected[0]), f"{len(found[0])} rows, expected {len(expected[0])}"
    for row, other in zip(found[0], expected[0]):
        for key in other:
            a, b = (float(value or "nan") for value in (row[key], other[key]))
            assert np.isclose(a, b, tolerance, tolerance, True), \
                f"{key} is {a}, expected {b}: {row}\nand {other}"
    apart = np.abs(found[1] - expected[1]).max()
    assert apart < tolerance, f"weights differ by {apart}"
    assert found[2] == expected[2], f"{found[2]}, expected {expected[2]}"


def check_same(found, expected):
    """The same rows and weights, to the bit."""
    check_close(found, expected, 1e-3)
    for row, other in zip(found[0], expected[0]):
        assert row == other, f"{row}\nand {other}"
    assert (found[1] == expected[1]).all(), "the weights differ"


def compare(folder, layers, *flags):
    """distill by the CPU build, then on the GPU"""
    batch_norm = any("batch_normalize" in options for _, options in layers)
    expected = outcome(folder, *flags)
    with on_gpu():
        check_close(outcome(folder, *flags), expected, 1e-3 if batch_norm else 1e-4)


# As on the CPU

CLASSIFIERS = {  # name: options of [deepkd_loss], layers, options of [net]
    "a classifier": ({}, PLAIN, {}),
    "dkd, three momentum groups, warmup": ({"method": "dkd", "warmup": 3}, PLAIN, {}),
    "sgd, standardized logits, subdivisions=2": (
        {"trainer": "sgd", "logit_standardization": 1}, PLAIN, {"subdivisions": 2}),
    "dot, logistic classes, poly": ({"trainer": "dot", "activation": "logistic"}, PLAIN,
                                    {"policy": "poly", "power": 2, "burn_in": 2}),
    "the teacher alone, K static": ({"task_weight": 0, "topk_schedule": "static"}, PLAIN, {}),
    "the task alone, clip": ({"teacher_weight": 0}, PLAIN, {"clip": ".1"}),
    "K off, clip": ({"topk_schedule": "off"}, PLAIN, {"clip": ".1"}),
    "momenta by GSNR": ({"momentum_rule": "gsnr", "gsnr_interval": 2}, PLAIN, {}),
    "batch norm": ({}, BATCH_NORM, {}),
    "warmup by epochs, augment=cifar": (
        {"augment": "cifar", "warmup": 2, "warmup_shape": "epochs"}, PLAIN, {"max_batches": 14}),
    "[batchnorm], [shuffle], PyTorch's decay and statistics": (
        {"decay_all": 1}, [("batchnorm", {"affine": 1}), BATCH_NORM[0], ("shuffle", {"groups": 2}),
                           *BATCH_NORM[1:]], {"decay": ".3", "batch_norm_momentum": ".2"}),
}


def try_classifier(folder, loss, layers, net):
    folder.write("deepkd.data", data_file(eval_interval=4))
    folder.write("student.cfg", student_cfg(loss, layers=layers, **net))
    compare(folder, layers)


for title, arguments in CLASSIFIERS.items():
    test(lambda folder, arguments=arguments: try_classifier(folder, *arguments),
         f"the CPU build's losses, K and weights: {title}")

DETECTORS = {  # the same
    "[yolo]": ({}, PLAIN_YOLO, {}),
    "[yolo] of two heads, rows=dense with objectness and NMS": (
        {"rows": "dense", "feature_nms": 1, "objectness_weight": 1}, TWO_HEADS,
        {"learning_rate": ".0002"}),
    "[region], dkd, subdivisions=2": ({"method": "dkd"}, PLAIN_REGION, {"subdivisions": 2}),
}


def try_detector(folder, loss, layers, net):
    folder = detectors(folder, detector_cfg(loss, layers, max_batches=4, **net), eval_interval=2)
    compare(folder, layers)


for title, arguments in DETECTORS.items():
    test(lambda folder, arguments=arguments: try_detector(folder, *arguments),
         f"the CPU build's losses, figures and weights: {title}")


@test
def maps(folder):
    """a [yolo] that finds something, with batch norm: the CPU build's mAP, losses and weights"""
    folder = detectors(folder, detector_cfg({}, YOLO_TEACHER, width=48, height=48, max_batches=2,
                                            learning_rate=".0005"))
    compare(folder, YOLO_TEACHER, "-map", "-start", "teacher.weights")
    assert float(folder.rows()[-1]["valid_map50"]) > .2, folder.rows()


@test
def views(folder):
    """what has no code for the GPU, as MLKD: a line says so, and -nogpu trains it as the CPU"""
    for options in ({"method": "mlkd"}, {"method": "mlkd", "views": 1}, {"method": "crld"},
                    {"method": "dist"}, {"tcg_gate": 1}, {"swap": 1}):
        name, value = next(iter(options.items()))
        folder.write("student.cfg", student_cfg(options))
        expected = outcome(folder)
        with on_gpu():
            check_error(folder.distill("-clear").check(1),
                        [f"{name}={value}: has no code for the GPU", "expected -nogpu"])
            check_same(outcome(folder, "-nogpu"), expected)


@test
def chosen_gpu(folder):
    """-i: another GPU, named in a line, gives the same bits; one that is not there is an error"""
    folder.write("student.cfg", student_cfg())
    with on_gpu(devices=2):
        expected = outcome(folder)
        for number in ("0", "1"):
            result = folder.distill("-clear", "-i", number).check(0)
            assert re.search(rf"^GPU {number}: CUDA emulator, .*, tf32 off$", result.out, re.M), \
                result.out
            assert (tap.floats(folder.read(FINAL)) == expected[1]).all(), "the weights differ"
        check_error(folder.distill("-i", "2").check(1),
                    ["CUDA: invalid device ordinal: cudaSetDevice in ", "cuda.c:"])
    assert "GPU" not in folder.distill().check(0).out, "of a CPU build"


@test
def full_gpu(folder):
    """not enough memory on the GPU: an error that names the call, and no run"""
    with on_gpu(memory=0):
        result = folder.distill().check(1)
    assert re.search(r"CUDA: out of memory .*: cudaMalloc in \w+, .*cuda\.c:\d+\n$", result.err), \
        result.err
    assert not folder.names(), folder.names()


@test
def precision(folder):
    """precision=bfloat16 and int8 are refused, auto is float32"""
    for section, value in (("[teacher]", "bfloat16"), ("[teacher]", "int8"), ("[teacher]", "auto"),
                           ("[deepkd_loss]", "bfloat16"), ("[deepkd_loss]", "auto")):
        given = {"precision": value}
        folder.write("student.cfg", student_cfg(
            teacher={"cfg": "teacher.cfg", **(given if section == "[teacher]" else {})},
            loss=given if section == "[deepkd_loss]" else {}))
        with on_gpu():
            result = folder.distill("-clear").check(int(value != "auto"))
        if value != "auto":
            check_error(result, [f"{section} precision={value}, which a GPU's networks do not have "
                                 "yet: expected float32 or auto"])
        assert "'s precision" not in result.out, result.out


@test
def resize(folder):
    """random=1: the CPU build's losses across changes of size, with the teacher's size as it is"""
    body = without([tap.conv(2, 4), tap.conv(3, 4), tap.conv(4, 2)], batch_norm=False)
    layers = [*body, *head("yolo", "30,30, 60,60", random=1)]
    folder = detectors(folder, detector_cfg(
        {}, layers, batch=2, max_batches=220, learning_rate=".0001"), eval_interval=4)
    folder.write("valid.list", b"".join(folder.read("valid.list").splitlines(True)[:2]))
    found = []
    for place in (contextlib.nullcontext(), on_gpu()):
        with place:
            folder.distill_until(lambda line: line.startswith("12:"), signal.SIGTERM, "-clear")
        rows = [row for row in without_time(folder.rows()) if int(row["batch"]) <= 11]
        found.append((rows, np.zeros(1), []))
    assert len(found[0][0]) == 11 + 2, found[0][0]
    check_close(found[1], found[0], 1e-3)


# -resume

def stop(folder, batch, *flags):
    """Distils until this batch or a later one, then SIGTERM."""
    def reached(line):
        found = re.match(r"(\d+)[:,] ?.* images/s", line)
        return found and int(found[1]) >= batch
    result = folder.distill_until(reached, signal.SIGTERM, *flags).check(143)
    assert "stopped at batch" in result.out, result.out


def resume_on_gpu(folder, *flags):
    with on_gpu():
        expected = outcome(folder, *flags)
        stop(folder, 4, "-clear", *flags)
        check_same(outcome(folder, *flags, begin="-resume"), expected)


@test
def resumed_classifier(folder):
    """SIGTERM, then -resume on the GPU: the bits of the run that was not stopped; with dropout"""
    folder.write("student.cfg", student_cfg({"method": "dkd"}, max_batches=10))
    folder.write("deepkd.data", data_file(eval_interval=3))
    resume_on_gpu(folder)


@test
def resumed_detector(folder):
    """the same of a detector, with -map and two GPUs"""
    resume_on_gpu(detectors(folder, detector_cfg(max_batches=12, batch=2), eval_interval=6),
                  "-map", "-gpus", "0,0")


@test
def carried_over(folder):
    """a state of the CPU goes on on the GPU and its own on the CPU: the losses of the CPU build"""
    folder.write("student.cfg", student_cfg({"method": "dkd"}, layers=PLAIN, max_batches=12,
                                            learning_rate=".003"))
    folder.write("deepkd.data", data_file(eval_interval=3))
    expected = outcome(folder)
    stop(folder, 3, "-clear")
    with on_gpu():
        stop(folder, 7, "-resume")
    check_close(outcome(folder, begin="-resume"), expected, 1e-4)


# -gpus

def several_gpus(folder, make_cfg, rate):
    """Two GPUs, or one twice, train two batches a step as one with twice the batch and rate."""
    with on_gpu(devices=2):
        folder.write("student.cfg", make_cfg(batch=2 * BATCH, max_batches=3,
                                             learning_rate=2 * rate))
        expected = outcome(folder)
        folder.write("student.cfg", make_cfg(batch=BATCH, max_batches=6, learning_rate=rate))
        once = outcome(folder, "-gpus", "0,0")
        check_same(outcome(folder, "-gpus", "1,0"), once)
    for rows in (once[0], expected[0]):
        for row in rows:
            row["batch"] = ""
    check_close(once, expected, 1e-4)


@test
def several_gpus_for_a_classifier(folder):
    """-gpus 0,0 and 1,0: twice the batch at twice the rate on one GPU"""
    several_gpus(folder, lambda **net: student_cfg({"method": "dkd"}, layers=PLAIN, subdivisions=2,
                                                   **net), .003)


@test
def several_gpus_for_a_detector(folder):
    """the same of a detector"""
    several_gpus(detectors(folder),
                 lambda **net: detector_cfg({"rows": "dense"}, PLAIN_YOLO, **net), .0003)


@test
def several_gpus_by_gsnr(folder):
    """momentum_rule=gsnr with -gpus 0,0: the bits of 1,0, and of a run that was stopped"""
    folder.write("student.cfg", student_cfg({"momentum_rule": "gsnr", "gsnr_interval": 2},
                                            max_batches=10))
    folder.write("deepkd.data", data_file(eval_interval=4))
    with on_gpu(devices=2):
        check_same(outcome(folder, "-gpus", "1,0"), outcome(folder, "-gpus", "0,0", "-clear"))
    resume_on_gpu(folder, "-gpus", "0,0")


def refuse_gpus(text, *words, devices=1):
    def run(folder):
        with on_gpu(devices=devices):
            result = folder.distill("-gpus", text).check(1)
        notes = [NO_GPU] if not devices else []
        check_error(result, ["-gpus", *words], notes)
        assert not folder.names(), folder.names()
    test(run, f"-gpus '{text}' with {devices} GPU{'s' * (devices != 1)}: an error of one line")


refuse_gpus("7", "found GPU 7", "expected one of the 1")
refuse_gpus("0,2", "found GPU 2", "expected one of the 2", devices=2)
refuse_gpus("0", "found no GPU", "expected no -gpus", devices=0)
refuse_gpus("", "expected")
refuse_gpus("0,,1", "0,,1", "expected", devices=2)
refuse_gpus("0,", "0,", "expected")
refuse_gpus(",0", ",0", "expected")
refuse_gpus("x", "x", "expected")
refuse_gpus("-1", "-1", "expected")
refuse_gpus("0 0", "0 0", "expected")
refuse_gpus("99999999999999999999", "99999999999999999999", "expected")
refuse_gpus(",".join("0" * 17), "up to 16")


@test
def gpus_of_a_cpu_build(folder):
    """-gpus for a CPU build, or with -nogpu: an error of one line"""
    for place, flags in ((contextlib.nullcontext(), []), (on_gpu(), ["-nogpu"])):
        with place:
            check_error(folder.distill("-gpus", "0", *flags).check(1), ["-gpus", "found no GPU"])
        assert not folder.names(), folder.names()


# Without a GPU

def try_without_gpu(folder, *words, files=()):
    """A command by the CPU build, then without a GPU: what it prints and leaves."""
    used = folder.at("trace")
    found = []
    for place, flags, said in (
            (contextlib.nullcontext(), [], []), (on_gpu(devices=0, trace=used), [], [NO_GPU]),
            (on_gpu(devices=0, trace=used), ["-nogpu"], []), (on_gpu(trace=used), ["-nogpu"], [])):
        with place:
            result = folder.darknet(*words, *flags).check(0)
        lines = [line for line in result.err.split("\n") if "GPU" in line]
        assert lines == said, lines
        assert not os.path.exists(used), f"a GPU was used: {folder.read('trace')}"
        out = re.sub(r"\S+ (seconds|images/s)|\d+m\d\ds left", "", result.out)
        found.append((out, [folder.read(name) for name in files]))
    for out, contents in found[1:]:
        assert out == found[0][0], f"{out}\nand {found[0][0]}"
        assert contents == found[0][1], f"not the CPU build's {' '.join(files)}"


@test
def distill_without_gpu(folder):
    """distill without a GPU, and with -nogpu: what the CPU build prints and saves, to the byte"""
    words = ["distill", "deepkd.data", "student.cfg", "teacher.weights", "-seed", "7", "-clear"]
    try_without_gpu(folder, *words, files=[FINAL, "backup/student.state"])
    try_without_gpu(detectors(folder, detector_cfg()), *words, "-map",
                    files=[FINAL, "backup/student.state"])


@test
def commands_without_gpu(folder):
    """predict, valid, test and map without a GPU, and with -nogpu: what the CPU build prints"""
    for command in ("predict", "valid"):
        try_without_gpu(folder, "classifier", command, "deepkd.data", "teacher.cfg",
                        "teacher.weights", "images/valid/class-a-0.png")
    folder = detectors(folder, results="results", eval="coco")
    os.makedirs(folder.at("results"))
    os.symlink(os.path.join(os.path.dirname(DARKNET), "data"), folder.at("data"))
    try_without_gpu(folder, "deepkd", "map", "deepkd.data", "teacher.cfg", "teacher.weights",
                    "-out", "found.json", files=["found.json"])
    try_without_gpu(folder, "detector", "valid", "deepkd.data", "teacher.cfg", "teacher.weights",
                    files=["results/coco_results.json"])
    try_without_gpu(folder, "detector", "test", "deepkd.data", "teacher.cfg", "teacher.weights",
                    "images/val/000000000103.png", "-thresh", ".05", "-out", "picture",
                    files=["picture.jpg"])


# What goes wrong

@test
def not_finite(folder):
    """a learning rate of 1e30: the CPU build's line, and _last keeps the last good weights"""
    folder.write("student.cfg", student_cfg(layers=PLAIN, max_batches=4))
    folder.write("deepkd.data", data_file(save_interval=1))
    with on_gpu():
        stop(folder, 2, "-clear")
    before = folder.snapshot()
    for interval in (1, 100):
        folder.write("student.cfg", student_cfg(layers=BATCH_NORM, learning_rate="1e30"))
        folder.write("deepkd.data", data_file(log_interval=interval))
        line = folder.distill("-clear").check(1).err.rstrip("\n").split("\n")[-1]
        assert "batch 2: found a number that is not finite" in line, line
        with on_gpu():
            check_error(folder.distill("-clear").check(1), [line])
        for name in ("student_last.weights", "student.state"):
            assert folder.snapshot()[name] == before[name], f"{name} has changed"


@test
def tf32(folder):
    """[net] tf32 of student and teacher: 1 changes the numbers a little, 0 is the default"""
    found = []
    for student, teacher in (({}, {}), ({"tf32": 0}, {"tf32": 0}), ({"tf32": 1}, {}),
                             ({}, {"tf32": 1})):
        folder.write("student.cfg", student_cfg(layers=PLAIN, **student))
        folder.write("teacher.cfg", teacher_cfg(**teacher))
        folder.distill("-clear").check(0)  # the CPU build takes it, too
        with on_gpu():
            found.append(outcome(folder))
    check_same(found[1], found[0])
    for other in found[2:]:
        assert (other[1] != found[0][1]).any(), "tf32=1 changes nothing"
        check_close(other, found[0], .05)
    first = [run[0][0] for run in found]
    assert first[2]["tog"] != first[0]["tog"] and first[3]["tog"] == first[0]["tog"], first
    assert first[3]["tcg"] != first[0]["tcg"], first


@test
def bad_tf32(folder):
    """[net] tf32 that is neither 0 nor 1: an error of one line that names it"""
    for value in ("2", "x", ""):
        folder.write("student.cfg", student_cfg(tf32=value))
        for place in (contextlib.nullcontext(), on_gpu()):
            with place:
                check_error(folder.distill().check(1), ["student.cfg", "tf32", "expected"])
            assert not folder.names(), folder.names()


# Darknet's own commands

def on_both(folder, *words, read=None):
    """What a command prints, or what `read` finds afterwards, by the CPU build and on the GPU."""
    found = []
    for place in (contextlib.nullcontext(), on_gpu()):
        with place:
            out = folder.darknet(*words).check(0).out
        found.append(read() if read else re.sub(r"\S+ seconds", "", out))
    return found


def check_numbers(found, expected, tolerance):
    """Two texts that differ in their numbers alone, and there by rounding."""
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("#", found) == number.sub("#", expected), f"{found}\nand {expected}"
    apart = np.abs([float(a) - float(b) for a, b in zip(number.findall(found),
                                                        number.findall(expected))])
    assert len(apart) and apart.max() < tolerance, f"{found}\nand {expected}"


@test
def stock_classifier(folder):
    """classifier predict and valid: the CPU build's predictions"""
    for command in ("predict", "valid"):
        cpu, gpu = on_both(folder, "classifier", command, "deepkd.data", "teacher.cfg",
                           "teacher.weights", "images/valid/class-a-0.png")
        check_numbers(gpu, cpu, .0101)  # percentages of two digits


def boxes(folder, name):
    return sorted(json.loads(folder.read(name)),
                  key=lambda entry: (entry["image_id"], entry["category_id"], entry["bbox"][:2]))


@test
def stock_detector(folder):
    """detector test, valid and deepkd map: the CPU build's detections"""
    folder = detectors(folder, results="results", eval="coco")
    os.makedirs(folder.at("results"))
    os.symlink(os.path.join(os.path.dirname(DARKNET), "data"), folder.at("data"))
    files = ["deepkd.data", "teacher.cfg", "teacher.weights"]
    cpu, gpu = on_both(folder, "detector", "test", *files, "images/val/000000000103.png",
                       "-thresh", ".05", "-out", "picture")
    assert gpu == cpu and "%" in cpu, f"{gpu}\nand {cpu}"
    for words, name in ((("deepkd", "map", *files, "-out", "found.json"), "found.json"),
                        (("detector", "valid", *files), "results/coco_results.json")):
        cpu, gpu = on_both(folder, *words, read=lambda name=name: boxes(folder, name))
        assert len(gpu) == len(cpu) > 20, f"{len(gpu)} and {len(cpu)}"
        for entry, other in zip(gpu, cpu):
            assert entry["image_id"] == other["image_id"], (entry, other)
            assert np.allclose(entry["bbox"] + [entry["score"]], other["bbox"] + [other["score"]],
                               1e-4, 1e-4), (entry, other)


@test
def texts(folder):
    """deepkd wrap and export: the CPU build's texts"""
    folder.write("plain.cfg", plain_cfg())
    for words in (["wrap", "plain.cfg", "-teacher", "teacher.cfg"], ["export", "student.cfg"]):
        cpu, gpu = on_both(folder, "deepkd", *words)
        assert gpu == cpu, gpu


def one_picture(folder, path, side):
    """The same left and right, all there is to learn from, so that nothing is random."""
    half = np.random.RandomState(1).randint(0, 256, (side, side // 2, 3)).astype(np.uint8)
    folder.remove("images")
    os.makedirs(os.path.dirname(folder.at(path)))
    Image.fromarray(np.concatenate([half, half[:, ::-1]], 1)).save(folder.at(path))
    folder.write("train.list", f"{path}\n")


@test
def stock_train_classifier(folder):
    """classifier train: the CPU build's weights"""
    one_picture(folder, "images/class-b-1.png", SIDE)
    folder.write("plain.cfg", plain_classifier(max_batches=4))
    folder.darknet("partial", "plain.cfg", "", "plain.weights", "99").check(0)
    cpu, gpu = on_both(folder, "classifier", "train", "deepkd.data", "plain.cfg", "plain.weights",
                       read=lambda: tap.floats(folder.read("backup/plain.weights")))
    assert np.abs(cpu - tap.floats(folder.read("plain.weights"))).max() > 1e-3, "nothing learned"
    assert np.abs(gpu - cpu).max() < 1e-4, np.abs(gpu - cpu).max()


def plain_classifier(**net):
    """Without sections of ours, and without what is random"""
    return tap.cfg(PLAIN, min_crop=SIDE, max_crop=SIDE, **net)


@test
def stock_train_detector(folder):
    """detector train: the CPU build's weights; -gpus 0,0 at half the rate learns the same"""
    folder = detectors(folder)
    one_picture(folder, "images/picture.png", 24)
    folder.remove("labels")
    os.makedirs(folder.at("labels"))
    folder.write("labels/picture.txt", "1 .5 .5 .6 .4\n")
    layers = without([*BODY, *head("yolo", "8,8, 14,14", jitter=0)], batch_norm=False)
    words = ["detector", "train", "deepkd.data", "plain.cfg", "plain.weights"]

    def write(steps, rate):  # 3 x 3 cells: the box is in the one in the middle
        folder.write("plain.cfg", plain_detector_cfg(layers, width=24, height=24,
                                                     max_batches=steps, learning_rate=rate))

    def learned():
        return tap.floats(folder.read("backup/plain_final.weights"))
    write(4, .001)
    folder.darknet("partial", "plain.cfg", "", "plain.weights", "99").check(0)
    cpu, gpu = on_both(folder, *words, read=learned)
    assert np.abs(cpu - tap.floats(folder.read("plain.weights"))).max() > 1e-3, "nothing learned"
    assert np.abs(gpu - cpu).max() < 1e-4, np.abs(gpu - cpu).max()
    write(8, .0005)  # two a step; Darknet takes the means of the weights each four steps
    with on_gpu():
        folder.darknet(*words, "-gpus", "0,0").check(0)
    assert np.abs(learned() - cpu).max() < 1e-4, np.abs(learned() - cpu).max()


# Traffic

QUIET = {"log_interval": 999, "eval_interval": 999, "save_interval": 999}


def trace(folder, *words):
    """{kind: (calls, bytes)} of a command's copies and waits; of its memory, bytes now and most"""
    name = folder.at("trace")
    with on_gpu(trace=name):
        folder.darknet(*words).check(0)
    with open(name, encoding="ascii") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    os.unlink(name)
    return {name if kind == "copy" else kind: np.array([int(calls), int(size)])
            for kind, name, calls, size in lines if kind in ("copy", "synchronise", "memory")}


def traffic(folder, write_cfg, *words):
    """trace() of a step, without what a run does once"""
    found, steps = [], 3
    for number in (steps, 2 * steps):
        write_cfg(number)
        found.append(trace(folder, *words))
    return {name: (found[1][name] - found[0][name]) / steps for name in found[1]}


def check_traffic(folder, ours, stock, stock_words, images):
    """`images`: bytes of a batch's"""
    folder.write("train.list", folder.read("train.list") * 9)  # Darknet saves after each epoch
    found = traffic(folder, lambda n: folder.write("student.cfg", ours(n)),
                    *folder.distill_words("-clear"))
    expected = traffic(folder, lambda n: folder.write("plain.cfg", stock(n)), *stock_words)
    for kind in ("device-to-host", "synchronise"):
        assert (found[kind] <= expected[kind]).all(), \
            f"{kind}: {found[kind]} calls and bytes a step, Darknet's training {expected[kind]}"
    uploaded = [traffic["host-to-device"][1] for traffic in (found, expected)]
    assert images <= uploaded[1] < 2 * images, f"{uploaded}, {images}"
    assert uploaded[0] < uploaded[1] + images / 4, \
        f"{uploaded[0]} bytes are uploaded a step, {images} of images; by Darknet {uploaded[1]}"


@test
def classifier_traffic(folder):
    """per step, distill copies back and waits no more than classifier train, and uploads once"""
    folder.write("deepkd.data", data_file(**QUIET))
    for loss, net in (({"method": "dkd"}, {}), ({"trainer": "sgd"}, {"subdivisions": 2})):
        check_traffic(folder, lambda n: student_cfg(loss, max_batches=n, **net),
                      lambda n: plain_cfg(max_batches=n, **net),
                      "classifier train deepkd.data plain.cfg".split(), 4 * BATCH * 3 * SIDE ** 2)


@test
def detector_traffic(folder):
    """per step, distill copies back and waits no more than detector train, and uploads once"""
    folder = detectors(folder, **QUIET)
    net = {"learning_rate": "1e-6"}
    for loss, layers in (({"method": "dkd"}, YOLO), ({"rows": "dense"}, TWO_HEADS)):
        check_traffic(folder, lambda n: detector_cfg(loss, layers, max_batches=n, **net),
                      lambda n: plain_detector_cfg(layers, max_batches=n, **net),
                      "detector train deepkd.data plain.cfg".split(), 4 * BATCH * 3 * 32 ** 2)


@test
def memory(folder):
    """memory: what docs/gpu.md says more than classifier train, and none to train the teacher in"""
    with open(os.path.join(os.path.dirname(EMULATED), ".switches"), encoding="utf-8") as file:
        if "CUDNN=1" in file.read():
            raise Skip("cuDNN's workspaces are as large as it likes")
    wide = ("convolutional", {**TEACHER_LAYERS[0][1], "filters": 32, "stride": 1})
    folder.write("teacher.cfg", teacher_cfg([wide] * 5 + TEACHER_LAYERS[1:]))
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    folder.write("student.cfg", student_cfg(max_batches=2))
    folder.write("plain.cfg", plain_cfg(max_batches=2))
    found = trace(folder, *folder.distill_words())["memory"][1]
    stock = trace(folder, "classifier", "train", "deepkd.data", "plain.cfg")["memory"][1]
    pixels = SIDE ** 2
    images, outputs, workspace = 4 * BATCH * 3 * pixels, 4 * BATCH * 32 * pixels, 4 * 288 * pixels
    expected = images + 2 * outputs + workspace + 2 * len(folder.read("teacher.weights")) + \
        STUDENT_BYTES
    assert found - stock < 1.2 * expected, f"{found - stock} bytes more, expected {expected}"


# Order

def check_order(folder, *flags):
    """As early as any GPU might and as late; and, but for rounding, from the last thread on."""
    found = []
    for settings in ({"streams": "lazy"}, {"streams": "eager"}, {"order": "reverse"}):
        with on_gpu(**settings):
            found.append(outcome(folder, *flags))
    check_same(found[1], found[0])
    check_same(found[2], found[0])


@test
def order(folder):
    """streams as late and as early as may be, threads from the last: the same numbers"""
    folder.write("student.cfg", student_cfg({"method": "dkd"}, max_batches=4))
    check_order(folder)
    check_order(detectors(folder, detector_cfg({"rows": "dense", "feature_nms": 1,
                                                "objectness_weight": 1}, batch=4, max_batches=4,
                                               learning_rate=".0002")), "-gpus", "0,0")


def main():
    if not os.access(EMULATED, os.X_OK):
        print(f"1..0 # SKIP no GPU=1 build on tests/emulator: found no {EMULATED}")
        return
    with TMP:
        tap.main()


# A cache

def check_cache(folder):
    """The GPU learns from a cache that it has made what it learns from the teacher; from one that
    the CPU has made, nearly."""
    words = ["deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-seed", "7"]
    folder.darknet(*words, "-out", "cpu.sqlite").check(0)
    with on_gpu():
        expected = outcome(folder)[:2]
        folder.darknet(*words, "-out", "gpu.sqlite").check(0)
        check_same((*outcome(folder, "-cache", "gpu.sqlite")[:2], 0), (*expected, 0))
        check_close((*outcome(folder, "-cache", "cpu.sqlite")[:2], 0), (*expected, 0), 1e-3)


@test
def cached_classifier(folder):
    """a classifier learns from a cache on the GPU; with several GPUs one is refused"""
    folder.write("student.cfg", student_cfg(layers=PLAIN, subdivisions=2))
    check_cache(folder)
    with on_gpu():
        check_error(folder.distill("-clear", "-cache", "gpu.sqlite", "-gpus", "0,0").check(1),
                    ["-gpus", "one GPU with a cache"])


@test
def cached_detectors(folder):
    """so do detectors, with rows=truth and rows=dense"""
    check_cache(detectors(folder))
    found = tap.DetectorFolder(folder.at("dense"), scenes())
    found.write("student.cfg", detector_cfg({"rows": "dense", "objectness_weight": 1}, PLAIN_YOLO,
                                           learning_rate=".001"))
    check_cache(found)



TMP = tempfile.TemporaryDirectory(prefix="deepkd.gpu.")
if __name__ == "__main__":
    main()
