#!/usr/bin/python3 -B
"""Teachers that are ONNX files, in TAP; skipped in a build without ONNX Runtime (ORT=1).

Proves: a student learns from an exported teacher what it learns from its cfg and weights, to 1e-5,
from logits and from probabilities, with the model's own normalisation, one image at a time, beside
another teacher; from a cache the same bytes; -resume and a cache find another model out; a detector
of YOLOv8's form teaches (its boxes: test_onnx.c). What does not fit is one line.
"""
import importlib.util
import os
import sys

import tap
from tap import ROOT, check_error, detector_cfg, floats, student_cfg, test, without_time

import numpy as np

sys.path.append(os.path.join(ROOT, "build", "python"))
WEIGHTS = "backup/student_final.weights"
GRIDS = os.path.join(ROOT, "tests", "reference", "grids.onnx")
MODEL = {"model": "teacher.onnx"}


def need_onnx(folder):
    if "\nORT 1\n" not in folder.darknet("deepkd", "version").out:
        raise tap.Skip("a build without ONNX Runtime: make ORT=1")
    if not importlib.util.find_spec("onnx"):
        raise tap.missing("onnx")


def export(folder, *flags, name="teacher.onnx"):
    need_onnx(folder)
    folder.darknet("deepkd", "export", "teacher.cfg", "teacher.weights", "-onnx", name,
                   *flags).check(0)


def edit(folder, change):
    """Writes teacher.onnx anew, as change(model, onnx) leaves it."""
    import onnx  # pylint: disable=import-outside-toplevel
    model = onnx.load(folder.at("teacher.onnx"))
    change(model, onnx)
    onnx.save(model, folder.at("teacher.onnx"))


def learn(folder, teacher, *flags, weights=()):
    folder.write("student.cfg", student_cfg(teacher=teacher))
    folder.forget_run()
    return folder.darknet("distill", "deepkd.data", "student.cfg", *weights, "-seed", "7",
                          "-threads", "2", *flags).check(0)


def check_same(folder, teacher):
    """The student that the ONNX teacher makes is the one that cfg and weights make."""
    learn(folder, None, weights=["teacher.weights"])
    expected = floats(folder.read(WEIGHTS))
    result = learn(folder, teacher)
    assert "\nteacher: an ONNX model, input 12 x 12 x 3\n" in result.out, result.out
    assert np.abs(floats(folder.read(WEIGHTS)) - expected).max() < 1e-5


@test
def logits(folder):
    """a student learns the same from a model's logits"""
    export(folder, "-heads", "raw")
    check_same(folder, MODEL)


@test
def probabilities(folder):
    """a student learns the same from a model's probabilities"""
    export(folder)
    check_same(folder, {**MODEL, "outputs": "probabilities"})


@test
def normalised(folder):
    """mean= and std= are undone by a model that expects them"""
    export(folder, "-heads", "raw")
    mean, std = [.5, .25, .4], [.2, .5, .3]

    def change(model, onnx):
        nodes = model.graph.node
        for node in nodes:
            node.input[:] = ["plain" if name == "images" else name for name in node.input]
        for name, values in (("mean", mean), ("std", std)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(
                np.array(values, "f4").reshape(1, 3, 1, 1), name))
        nodes.insert(0, onnx.helper.make_node("Add", ["wide", "mean"], ["plain"]))
        nodes.insert(0, onnx.helper.make_node("Mul", ["images", "std"], ["wide"]))
    edit(folder, change)
    check_same(folder, {**MODEL, "mean": ",".join(map(str, mean)), "std": ",".join(map(str, std))})


def set_sizes(tensor, sizes):
    for at, size in zip(tensor.type.tensor_type.shape.dim, sizes):
        at.Clear()
        if size:
            at.dim_value = size
        else:
            at.dim_param = "any"


def change_input(*sizes):
    return lambda model, _: set_sizes(model.graph.input[0], sizes)


@test
def one_by_one(folder):
    """a model of one image at a time"""
    export(folder, "-heads", "raw")
    edit(folder, change_input(1, 3, 12, 12))
    check_same(folder, MODEL)


@test
def ensemble(folder):
    """a model beside its own cfg and weights: their mean is either"""
    export(folder, "-heads", "raw")
    learn(folder, None, weights=["teacher.weights"])
    expected = floats(folder.read(WEIGHTS))
    both = student_cfg(teacher=MODEL).replace(
        "[teacher]", "[teacher]\ncfg=teacher.cfg\nweights=teacher.weights\n[teacher]")
    folder.write("student.cfg", both)
    folder.forget_run()
    folder.darknet("distill", "deepkd.data", "student.cfg", "-seed", "7").check(0)
    assert np.abs(floats(folder.read(WEIGHTS)) - expected).max() < 1e-5


@test
def cached(folder):
    """a run from a cache gives the same bytes; it and -resume refuse another model"""
    export(folder, "-heads", "raw")
    learn(folder, MODEL)
    expected, rows = folder.read(WEIGHTS), without_time(folder.rows())
    folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "-out", "logits.sqlite",
                   "-seed", "7").check(0)
    learn(folder, MODEL, "-cache", "logits.sqlite")
    assert (folder.read(WEIGHTS), without_time(folder.rows())) == (expected, rows)
    state = folder.read("backup/student.state")
    edit(folder, lambda model, _: setattr(model, "producer_name", "another"))
    folder.write("backup/student.state", state)
    words = ["distill", "deepkd.data", "student.cfg", "-resume"]
    check_error(folder.darknet(*words).check(1), ["teacher"])
    check_error(folder.darknet(*words[:-1], "-clear", "-cache", "logits.sqlite", "-seed",
                               "7").check(1), ["teacher"])


@test
def detector(folder):
    """a detector of YOLOv8's form teaches a [yolo], its boxes too"""
    need_onnx(folder)
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    losses = []
    for loss in ({}, {"box_weight": 1, "objectness_weight": 1}, {"teacher_weight": 0}):
        detectors.write("student.cfg", detector_cfg({"trainer": "sgd", **loss},
                                                    teacher={"model": GRIDS}, max_batches=12))
        detectors.forget_run()
        result = detectors.darknet("distill", "deepkd.data", "student.cfg", "-map", "-seed", "7")
        assert "teacher: an ONNX model, input 64 x 64 x 3\n" in result.check(0).out, result.out
        losses.append(detectors.read(WEIGHTS))
    assert len(set(losses)) == 3, "the teacher taught nothing"
    both = {"model": GRIDS, "outputs": "probabilities"}
    detectors.write("student.cfg", detector_cfg(teacher=both))
    check_error(detectors.darknet("distill", "deepkd.data", "student.cfg", "-clear").check(1),
                ["grids.onnx: [teacher] outputs=probabilities"])


# What does not fit

def refused(name, *words, teacher=None, change=None, flags=(), layers=None):
    def run(folder):
        export(folder, "-heads", "raw")
        if change:
            edit(folder, change)
        folder.write("student.cfg", student_cfg(teacher={**MODEL, **(teacher or {})},
                                                layers=layers))
        result = folder.darknet("distill", "deepkd.data", "student.cfg", *flags)
        assert result.status == 1, result.describe()
        check_error(result, words)
        assert not folder.names(), folder.names()
    test(run, f"refused: {name}")


def no_onnx(folder):
    need_onnx(folder)
    folder.write("student.cfg", student_cfg(teacher={"model": "labels.txt"}))
    check_error(folder.darknet("distill", "deepkd.data", "student.cfg").check(1),
                ["labels.txt: ONNX Runtime: "])


def two_outputs(model, onnx):
    model.graph.output.append(onnx.helper.make_tensor_value_info(
        model.graph.node[0].output[0], onnx.TensorProto.FLOAT, None))


def two_classes(model, onnx):
    name = model.graph.output[0].name
    for what, values in (("starts", [0]), ("ends", [2]), ("axes", [1])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), what))
    model.graph.node.append(onnx.helper.make_node("Slice", [name, "starts", "ends", "axes"],
                                                  ["two"]))
    model.graph.output[0].name = "two"
    set_sizes(model.graph.output[0], (0, 2))


test(no_onnx, "refused: a file that is no model")


@test
def wrapped(folder):
    """wrap names a model by model="""
    folder.write("plain.cfg", tap.plain_cfg())
    folder.write("teacher.onnx", "")
    result = folder.darknet("deepkd", "wrap", "plain.cfg", "-teacher", "teacher.onnx").check(0)
    assert "[teacher]\nmodel=teacher.onnx\n" in result.out, result.out


@test
def without_it(folder):
    """a build without ONNX Runtime says so"""
    if "\nORT 0\n" not in folder.darknet("deepkd", "version").out:
        raise tap.Skip("a build with it")
    folder.write("student.cfg", student_cfg(teacher=MODEL))
    check_error(folder.darknet("distill", "deepkd.data", "student.cfg").check(1),
                ["teacher.onnx: an ONNX file, which this build does not read", "make ORT=1"])


refused("a file that is not there", "none.onnx", teacher={"model": "none.onnx"})
refused("two outputs", "teacher.onnx: found 1 inputs and 2 outputs", change=two_outputs)
refused("another number of classes", "found 6 classes, expected the teacher's 2 (teacher.onnx)",
        change=two_classes)
refused("an input of any size", "teacher.onnx: its input images is [any, 3, any, any]",
        "all but the batch fixed", change=change_input(0, 3, 0, 0))
refused("a batch of eight", "[8, 3, 12, 12]", change=change_input(8, 3, 12, 12))
refused("a cfg beside the model", "[teacher] model=teacher.onnx", "expected neither cfg=",
        teacher={"cfg": "teacher.cfg"})
refused("int8", "precision", teacher={"precision": "int8"})
refused("resize=1", "resize=1", teacher={"resize": 1})
refused("weights on the command line", "expected no weights beside it", flags=["teacher.weights"])
refused("a mean of two numbers", "found 2 numbers of mean= and 3 of std=",
        teacher={"mean": ".5,.5", "std": "1,1,1"})
refused("a std of 0", "[teacher] std=0", teacher={"mean": ".5,.5,.5", "std": "0,1,1"})
refused("a mean that is none", "[teacher] mean=a", teacher={"mean": "a", "std": "1"})
refused("unknown outputs", "[teacher] outputs=logit", teacher={"outputs": "logit"})

if __name__ == "__main__":
    tap.main()
