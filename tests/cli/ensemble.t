#!/usr/bin/python3 -B
"""Several [teacher] sections: a student learns from an ensemble, in TAP.

Proves: one teacher named twice teaches what it teaches alone, to the byte; what several teach is
the mean of their logits or of their probabilities, as numpy has it from each one's own cache, of
classifiers, of both views, and of each head of detectors; a cache of the mean teaches the same as
they do live; -resume and a cache belong to all of them; what is no ensemble is refused by name.
"""
import os
import signal
import sqlite3

import tap
from tap import (REGION, STUDENT_LAYERS, TEACHER_LAYERS, YOLO, YOLO_TEACHER, cfg, check_error,
                 data_file, student_cfg, teacher_cfg, teacher_detector_cfg, test, without_time)

import numpy as np

WEIGHTS = "backup/student_final.weights"
NAMES = "abc"
WIDE = [("convolutional", {**TEACHER_LAYERS[0][1], "filters": 20}), *TEACHER_LAYERS[1:]]


def sections(names=NAMES, **more):
    return [("teacher", {"cfg": f"{name}.cfg", "weights": f"{name}.weights", **more})
            for name in names]


def ensemble_cfg(loss=None, teachers=None, layers=None, **net):
    return cfg([*(layers or STUDENT_LAYERS), *(teachers or sections()),
                ("deepkd_loss", loss or {})], **net)


def write_teachers(folder, texts, spread=.4):
    """A cfg and random weights of each."""
    for name, text in texts.items():
        folder.write(f"{name}.cfg", text)
        folder.darknet("partial", f"{name}.cfg", "", f"{name}.weights", "99").check(0)
        content = folder.read(f"{name}.weights")
        folder.write(f"{name}.weights", randomised(content, ord(name), spread))


def randomised(content, seed, spread):
    """Other numbers for all, none negative, since some are variances."""
    numbers = np.random.RandomState(seed).normal(0, spread, (len(content) - 20) // 4)
    return content[:20] + np.abs(numbers).astype(np.float32).tobytes()


def classifiers(folder):
    write_teachers(folder, {"a": teacher_cfg(), "b": teacher_cfg(WIDE),
                            "c": teacher_cfg(width=16, height=20)})
    folder.write("student.cfg", ensemble_cfg())


def distil(folder, *flags, **options):
    return folder.darknet("distill", "deepkd.data", "student.cfg", "-seed", "7", "-threads", "2",
                          *flags, **options)


def outcome(folder, *flags):
    folder.forget_run()
    said = distil(folder, *flags).check(0).out
    return folder.read(WEIGHTS), folder.read("backup/student.state"), \
        without_time(folder.rows()), said


def cached(folder, name="logits.sqlite"):
    """A cache's rows of numbers, made anew."""
    if os.path.exists(folder.at(name)):
        folder.remove(name)
    folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "-out", name, "-seed",
                   "7").check(0)
    with sqlite3.connect(folder.at(name)) as db:
        rows = db.execute("SELECT numbers FROM logits ORDER BY position").fetchall()
    return [np.frombuffer(numbers, np.float32).astype(np.float64) for numbers, in rows]


def log_softmax(y):
    largest = y.max(axis=-1, keepdims=True)
    return y - largest - np.log(np.exp(y - largest).sum(axis=-1, keepdims=True))


def mean_softmax(y):
    """log(mean of softmax) of y[teachers][..][classes]"""
    return np.logaddexp.reduce(log_softmax(y), axis=0) - np.log(len(y))


def mean_logistic(y):
    """The logit of the mean of sigmoid(y[teachers][..])"""
    return np.logaddexp.reduce(-np.logaddexp(0, -y), axis=0) - \
        np.logaddexp.reduce(-np.logaddexp(0, y), axis=0)


# What is taught

@test
def same(folder):
    """one teacher, named one to three times, teaches the same to the byte"""
    folder.write("student.cfg", student_cfg())
    folder.distill().check(0)
    expected = folder.read(WEIGHTS), without_time(folder.rows())
    for times in (1, 2, 3):
        own = [("teacher", {"cfg": "teacher.cfg", "weights": "teacher.weights"})] * times
        folder.write("student.cfg", ensemble_cfg(teachers=own))
        found = outcome(folder)
        assert (found[0], found[2]) == expected, times
        assert found[3].count("teacher: top-1 ") == times, found[3]
        assert ("ensemble: mean logits of " in found[3]) == (times > 1), found[3]
        folder.write("student.cfg", ensemble_cfg({"ensemble": "probabilities"} if times > 1 else {},
                                                 own))
        other = tap.floats(outcome(folder)[0])
        np.testing.assert_allclose(other, tap.floats(expected[0]), rtol=1e-3, atol=1e-5)


@test
def classes(folder):
    """a classifier's logits are the mean of three, of other nets and sizes, by both rules"""
    classifiers(folder)
    each = []
    for name in NAMES:
        folder.write("student.cfg", ensemble_cfg(teachers=sections(name)))
        each.append(cached(folder))
    each = np.array(each)
    assert each.std(axis=0).min() > 0 and each.std(axis=2).min() > 0
    for loss, mean in (({}, each.mean(axis=0)), ({"ensemble": "logits"}, each.mean(axis=0)),
                       ({"ensemble": "probabilities"}, mean_softmax(each))):
        folder.write("student.cfg", ensemble_cfg(loss))
        np.testing.assert_allclose(np.array(cached(folder)), mean, rtol=2e-6, atol=2e-6)
    folder.write("student.cfg", ensemble_cfg(teachers=sections("cab")))
    np.testing.assert_allclose(np.array(cached(folder)), each.mean(axis=0), rtol=2e-6, atol=2e-6)


HEADS = {  # layers of the teachers: (of the student, [(numbers, what their mean is)])
    "yolo": (YOLO_TEACHER, lambda y: np.concatenate(
        [y[..., :4].mean(axis=0), mean_logistic(y[..., 4:])], axis=-1)),
    "region": (REGION, lambda y: np.concatenate(
        [y[..., :4].mean(axis=0), mean_logistic(y[..., 4:5]), mean_softmax(y[..., 5:])], axis=-1)),
}


def try_heads(folder, layers, mean):
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    wide = [("convolutional", {**layers[0][1], "filters": 12}), *layers[1:]]
    write_teachers(detectors, {"a": teacher_detector_cfg(layers), "b": teacher_detector_cfg(wide)},
                   .06)
    student = YOLO if layers is YOLO_TEACHER else REGION

    def rows_of(teachers, **loss):
        detectors.write("student.cfg", tap.cfg(
            [*student, *teachers, ("deepkd_loss", {"rows": "dense", "box_weight": 1, **loss})],
            **tap.DETECTOR))
        return np.array(cached(detectors)).reshape(-1, 5 + len(tap.NAMES))

    each = np.array([rows_of(sections(name)) for name in "ab"])
    spread = each.std(axis=0)
    assert np.median(spread) > .1 and np.abs(each[..., 4:]).min() < 5, (spread, each)
    np.testing.assert_allclose(rows_of(sections("ab")), each.mean(axis=0), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(rows_of(sections("ab"), ensemble="probabilities"), mean(each),
                               rtol=1e-5, atol=1e-5)


for kind, head_of in HEADS.items():
    test(lambda folder, of=head_of: try_heads(folder, *of),
         f"boxes, objectness and classes of a [{kind}] are the mean of two, by both rules")


@test
def views(folder):
    """so are both views of MLKD; a cache of the mean teaches the same, to the byte"""
    classifiers(folder)
    for loss in ({"method": "mlkd", "ensemble": "probabilities"}, {"method": "dkd"}):
        folder.write("student.cfg", ensemble_cfg(loss, subdivisions=2))
        expected = outcome(folder)
        cached(folder)
        for name in NAMES:
            os.rename(folder.at(f"{name}.weights"), folder.at(f"{name}.gone"))
        folder.write("student.cfg", ensemble_cfg(loss, [
            ("teacher", {"cfg": f"{name}.cfg"}) for name in NAMES], subdivisions=2))
        found = outcome(folder, "-cache", "logits.sqlite")
        assert found[0] == expected[0] and found[2] == expected[2], "another student"
        for name in NAMES:
            os.rename(folder.at(f"{name}.gone"), folder.at(f"{name}.weights"))


@test
def random_sizes(folder):
    """detectors: random=1 and resize=1, live and from a cache"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    write_teachers(detectors, {"a": teacher_detector_cfg(), "b": teacher_detector_cfg()})
    layers = [*YOLO[:-1], ("yolo", {**YOLO[-1][1], "random": 1})]
    net = {**tap.DETECTOR, "max_batches": 12, "learning_rate": ".0001"}
    detectors.write("student.cfg", ensemble_cfg({"rows": "dense"}, sections("ab", resize=1), layers,
                                                **net))
    expected = outcome(detectors)
    cached(detectors)
    assert outcome(detectors, "-cache", "logits.sqlite")[:3] == expected[:3]


# Whose run it is

@test
def resumed(folder):
    """-resume goes on with the same teachers alone, to the byte"""
    classifiers(folder)
    folder.write("deepkd.data", data_file(save_interval=5))
    folder.write("student.cfg", ensemble_cfg(max_batches=40))
    expected = outcome(folder)
    folder.forget_run()
    folder.distill_words = lambda *flags, **_: ["distill", "deepkd.data", "student.cfg", "-seed",
                                                "7", "-threads", "2", *flags]
    folder.distill_until(lambda line: line.startswith("20, "), signal.SIGINT, "-clear")
    second = folder.read("b.weights")
    folder.write("b.weights", second[:-4] + b"\0\0\0\0")
    check_error(distil(folder, "-resume").check(1), ["teacher's weights"])
    folder.write("b.weights", second)
    folder.write("b.cfg", teacher_cfg(WIDE, momentum=".5"))
    check_error(distil(folder, "-resume").check(1), ["teacher's cfg"])
    folder.write("b.cfg", teacher_cfg(WIDE))
    distil(folder, "-resume").check(0)
    assert folder.read(WEIGHTS) == expected[0]


@test
def cache_of_others(folder):
    """a cache belongs to its teachers, their order and the rule"""
    classifiers(folder)
    cached(folder)
    for text, key in ((ensemble_cfg(teachers=sections("ab")), "teacher cfg"),
                      (ensemble_cfg(teachers=sections("cab")), "teacher cfg"),
                      (ensemble_cfg(teachers=sections("a")), "teacher cfg"),
                      (ensemble_cfg({"ensemble": "probabilities"}), "ensemble: found mean logits")):
        folder.write("student.cfg", text)
        check_error(distil(folder, "-cache", "logits.sqlite").check(1), ["of another run", key])


# What is refused

def refused(folder, text, *parts, words=()):
    folder.write("student.cfg", text)
    result = distil(folder, *words).check(1)
    last = result.err.splitlines()[-1]
    assert all(part in last for part in parts), last
    assert not [name for name in folder.names() if name.endswith(".weights")], folder.names()


@test
def bad_input(folder):
    """other classes, no weights, too many, out of place, an option for one"""
    classifiers(folder)
    seven = [*TEACHER_LAYERS[:-2], ("connected", {"output": 7, "activation": "linear"}),
             TEACHER_LAYERS[-1]]
    write_teachers(folder, {"d": teacher_cfg(seven)})
    refused(folder, ensemble_cfg(teachers=sections("ad")), "d.cfg: found 7 classes, expected 6",
            "a.cfg")
    refused(folder, ensemble_cfg(teachers=sections("da")), "student.cfg: found 6 classes", "7")
    bare = [*sections("a"), ("teacher", {"cfg": "b.cfg"})]
    refused(folder, ensemble_cfg(teachers=bare), "[teacher] cfg=b.cfg has no weights=")
    refused(folder, ensemble_cfg(teachers=[*sections("a"), ("teacher", {"weights": "b.weights"})]),
            "[teacher] has no cfg=")
    refused(folder, ensemble_cfg(), "a.weights: found several [teacher]", words=["a.weights"])
    refused(folder, ensemble_cfg(teachers=sections("aaaaaaaaa")), "[teacher] is layer", "up to 8")
    folder.write("student.cfg", ensemble_cfg(teachers=sections("aaaaaaaa"), max_batches=2))
    distil(folder).check(0)
    for name in folder.names():
        folder.remove(f"backup/{name}")
    refused(folder, ensemble_cfg({"ensemble": "logits"}, sections("a")), "ensemble",
            "two [teacher]")
    refused(folder, ensemble_cfg({"ensemble": "votes"}), "ensemble=votes", "logits|probabilities")
    refused(folder, ensemble_cfg(teachers=[*sections("a"), STUDENT_LAYERS[-1], *sections("b")]),
            "[teacher] is layer 8 of", "right before [deepkd_loss]")


@test
def other_heads(folder):
    """detectors: heads, grids, anchors and sizes that differ; a classifier among them"""
    detectors = tap.DetectorFolder(folder.at("detectors"))
    detectors.fill_scenes()
    anchors = [(name, {**options, "anchors": "6,6, 8,12, 12,9, 18,20"} if name == "yolo" else
                options) for name, options in YOLO_TEACHER]
    write_teachers(detectors, {
        "a": teacher_detector_cfg(), "b": teacher_detector_cfg(YOLO), "c": teacher_cfg(),
        "d": teacher_detector_cfg(anchors), "e": teacher_detector_cfg(width=64, height=64),
        "f": teacher_detector_cfg([*REGION[:-1], ("region", {**REGION[-1][1], "bias_match": 0})])})

    def check(names, *parts, **more):
        refused(detectors, ensemble_cfg(None, [*sections(names[0], **more), *sections(names[1])],
                                        YOLO, **tap.DETECTOR), *parts)

    check("ab", "b.cfg: found 1 heads, expected 2, as in a.cfg")
    check("ac", "c.cfg: found a classifier, expected a detector as a.cfg")
    check("ad", "d.cfg: layer 5: found another anchor")
    check("ae", "e.cfg: layer 5: found another input size")
    check("ff", "f.cfg: found a [region] with bias_match=0")
    write_teachers(detectors, {"g": teacher_detector_cfg(width=32, height=32)})
    check("gg", "found resize=1 for g.cfg, and 0 for g.cfg", resize=1)


@test
def exported(folder):
    """`deepkd export` leaves all of the sections out"""
    classifiers(folder)
    text = folder.darknet("deepkd", "export", "student.cfg").check(0).out
    assert "[softmax]" in text and "teacher" not in text and "deepkd" not in text, text


if __name__ == "__main__":
    tap.main()
