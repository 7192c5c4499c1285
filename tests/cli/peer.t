#!/usr/bin/python3 -B
"""The PyTorch peer of `make bench` does what Darknet does, in TAP.

Proves, to 1e-4: tests/bench/peer_pytorch.py finds the losses that `darknet distill` prints, for
the demos' and BCCD's teachers (batch norm, maxpool, shortcut, route, of groups too, upsample, two
[yolo], YOLOv4's too, but for its boxes) in inference, and for three training steps of KD and
DeepKD of a small classifier and a small detector; with --amp, in bfloat16, to 3e-2; with
decay_all=1, weight decay of all parameters. To .5 %: tests/bench/peer_evaluate.py finds the demo's
teachers' top-1 and mAP.

Training draws how it crops and flips: its pictures are of one colour, its boxes in the middle.
Batch norm is left out there, for Darknet's differs from PyTorch's by a hair. All tests are skipped
where PyTorch can't be imported; `make bench` puts it into build/python-bench.
To add a case: a row of NETWORKS or of PAIRS.
"""
import functools
import json
import os
import re
import subprocess
import sys

import tap
from tap import ENVIRONMENT, PYTHON, ROOT, check_ran, conv, head, student_cfg, test

import numpy as np
from PIL import Image

sys.path.append(os.path.join(ROOT, "tests", "bench"))
# pylint: disable=wrong-import-position
from parts import EVALUATIONS  # noqa: E402

BUILD = os.path.dirname(tap.DARKNET)
PEER = os.path.join(ROOT, "tests", "bench", "peer_pytorch.py")
PATHS = [os.path.join(ROOT, "build", "python-bench"), os.environ.get("PYTHONPATH")]
WITH_TORCH = {**ENVIRONMENT, "PYTHONPATH": ":".join(filter(None, PATHS))}
EVALUATE = os.path.join(ROOT, "tests", "bench", "peer_evaluate.py")
TOLERANCES = {(): 1e-4, ("--amp",): 3e-2}
IMAGES, STEPS = 4, 3
CLASSES = 7  # of the small networks: enough for a mask of several
NO_NOISE = {"batch": IMAGES, "saturation": None, "exposure": None, "hue": None, "burn_in": None,
            "policy": "constant", "decay": 0}

# cfg and weights of the repository, height and width, classes of a detector
NETWORKS = {"cfg/fmnist-teacher": ((28, 28), 0), "cfg/scenes-teacher": ((112, 112), 10),
            "cfg/bccd4-teacher": ((160, 224), 3)}


def peer(folder, *words):
    done = subprocess.run([PYTHON, "-B", PEER, "--check", "batch.npz", *words], check=False,
                          cwd=folder.path, capture_output=True, text=True, env=WITH_TORCH)
    return json.loads(check_ran(done))


@functools.lru_cache
def has_torch():
    return not subprocess.run([PYTHON, "-c", "import torch"], check=False, capture_output=True,
                      env=WITH_TORCH).returncode


def need_torch():
    if not has_torch():
        raise tap.Skip("PyTorch can't be imported")


def check_close(found, expected, flags=()):
    found, expected = np.array(found, float), np.array(expected, float)
    error = np.abs(found - expected) / np.abs(expected)
    assert not flags or np.any(error > TOLERANCES[()]), f"as exact as without {flags}"
    assert np.all(error <= TOLERANCES[flags]), \
        f"peer {found.tolist()}, Darknet {expected.tolist()}"


def write_batch(folder, pixels, box):
    """Pictures, lists and batch.npz; the class of picture i is i; box: of each, None: no boxes."""
    os.makedirs(folder.at("p"))
    paths = []
    for i, picture in enumerate(pixels):
        paths.append(f"p/label-{i}.png")
        Image.fromarray(picture).save(folder.at(paths[-1]))
        if box is not None:
            folder.write(f"p/label-{i}.txt", " ".join(map(str, (i, *box[i]))) + "\n")
    folder.write("train.list", "\n".join(paths) + "\n")
    folder.write("valid.list", "\n".join(paths) + "\n")
    arrays = {"images": pixels.transpose(0, 3, 1, 2) / 255, "classes": np.arange(len(pixels))}
    if box is not None:
        arrays.update(image=np.arange(len(pixels)), box=np.array(box, float))
    np.savez(folder.at("batch.npz"), **arrays)


def write_names(folder, classes):
    names = "".join(f"label-{i}\n" for i in range(classes))
    folder.write("labels.txt", names)
    folder.write("names.txt", names)


def distill(folder, classes, is_detector, *flags):
    write_names(folder, classes)
    data = tap.detector_data if is_detector else tap.data_file
    folder.write("deepkd.data", data(classes=classes))
    folder.distill(*flags).check(0)
    return folder.rows()


def inference(path):
    def run(folder):
        need_torch()
        size, classes = NETWORKS[path]
        images = min(IMAGES, classes or IMAGES)
        with open(os.path.join(ROOT, path + ".cfg"), encoding="utf-8") as file:
            text = file.read()
        # of iou_loss=ciou Darknet has a gradient of its own, which no loss has
        for key, value in {"batch": images, "max_batches": 1, "learning_rate": 0,
                           "iou_normalizer": 0}.items():
            text = re.sub(rf"(?m)^{key}=.*", f"{key}={value}", text)
        weights = os.path.join(ROOT, path + ".weights")
        folder.write("teacher.cfg", text)
        folder.write("student.cfg", text + "\n[teacher]\ncfg=teacher.cfg\n\n[deepkd_loss]\n")
        with open(weights, "rb") as file:
            folder.write("teacher.weights", file.read())
        random = np.random.RandomState(1)
        boxes = [(.3 + .1 * i, .6 - .1 * i, .2 + .1 * i, .3) for i in range(images)]
        write_batch(folder, random.randint(0, 256, (images, *size, 3), np.uint8),
                    boxes if classes else None)
        rows = distill(folder, classes or 10, classes, "-start", weights, "-clear")
        # that one batch has moved the statistics of batch norm
        found = peer(folder, "teacher.cfg", "backup/student_final.weights")
        check_close(found["loss"], rows[-1]["valid_loss"])
    return run


for name in NETWORKS:
    test(inference(name), f"the loss of {name} in inference")

CLASSIFIER = [conv(8, 2, batch_normalize=None), conv(8, batch_normalize=None, activation="relu"),
              ("shortcut", {"from": -2, "activation": "leaky"}), ("maxpool", {"size": 2,
                                                                              "stride": 2}),
              ("avgpool", {}), ("connected", {"output": CLASSES, "activation": "linear"}),
              ("softmax", {"groups": 1})]
DETECTOR = [conv(8, 2, batch_normalize=None), conv(8, 2, batch_normalize=None),
            *head("yolo", "8,8, 14,14", classes=CLASSES, jitter=0)]
PAIRS = {"classifier": (CLASSIFIER, None),
         "detector": (DETECTOR, [(.5, .2 + .2 * i, .1 + .1 * i, .3) for i in range(IMAGES)])}
METHODS = {"kd": {"trainer": "sgd", "topk_schedule": "off", "momentum_warmup": 0},
           # the momenta that the official code has in effect
           "deepkd": {"topk_schedule": "static", "momentum_tog": ".825", "momentum_ncg": ".975",
                      "momentum_tcg": ".825", "momentum_warmup": 0}}


def training(kind, method, *flags, decay=0):
    def run(folder):
        need_torch()
        layers, boxes = PAIRS[kind]
        net = {**NO_NOISE, "max_batches": STEPS, "width": 16, "height": 16,
               "learning_rate": ".001" if boxes else ".1", "decay": decay}
        options = {**METHODS[method], **({"decay_all": 1} if decay else {})}
        folder.write("teacher.cfg", tap.cfg(layers, **net))
        folder.write("student.cfg", student_cfg(options, layers=layers, **net))
        for seed, name in enumerate(("teacher", "start")):
            folder.darknet("partial", "teacher.cfg", "", f"{name}.weights", "99").check(0)
            widen(folder, f"{name}.weights", seed)
        random = np.random.RandomState(2)
        colours = random.randint(0, 256, (IMAGES, 1, 1, 3), np.uint8)
        write_batch(folder, np.tile(colours, (1, 16, 16, 1)), boxes)
        rows = distill(folder, CLASSES, boxes, "-start", "start.weights")
        found = peer(folder, "student.cfg", "start.weights", "teacher.cfg", "teacher.weights",
                     "--steps", str(STEPS), "--method", method, *flags)["losses"]
        ours = np.array([[row["tog"], row["tcg"], row["ncg"]] for row in rows if row["tog"]],
                        float)
        if method == "kd":
            ours = np.stack((ours[:, 0], ours[:, 1] + ours[:, 2]), 1)
        check_close(found, ours, flags)
    return run


def widen(folder, name, seed):
    """Other weights, so wide that the two networks disagree."""
    content = folder.read(name)
    random = np.random.RandomState(seed)
    values = random.normal(0, .4, (len(content) - 20) // 4).astype("<f4")
    folder.write(name, content[:20] + values.tobytes())


for name in PAIRS:
    for how in METHODS:
        for words in TOLERANCES:
            test(training(name, how, *words), f"three steps of {how}, a {name} " + " ".join(words))


# not of DeepKD's: the official code takes the decay from weights that two components have moved
test(training("classifier", "kd", decay=.3), "three steps of kd, all parameters decay")


def evaluation(one):
    def run(folder):
        need_torch()
        if not os.path.exists(os.path.join(BUILD, one.list)):
            raise tap.Skip(f"build/{one.list} is not there")
        done = subprocess.run([PYTHON, "-B", EVALUATE, one.cfg, one.weights, one.list, *one.judge],
                              check=False, cwd=BUILD, capture_output=True, text=True,
                              env=WITH_TORCH)
        found = json.loads(check_ran(done))
        if "top1" in found:
            assert abs(found["top1"] - .9189) < .005, found  # docs/results.md
            return
        done = subprocess.run([tap.DARKNET, "deepkd", "map", one.data, one.cfg, one.weights],
                              check=False, cwd=BUILD, capture_output=True, text=True)
        ours = [float(word) for word in re.findall(r"\) = ([.0-9]+),", check_ran(done))]
        assert np.allclose([found["map50"], found["map"]], ours, atol=.005), (found, ours)
    return run


for one in EVALUATIONS:
    test(evaluation(one), one.title)


if __name__ == "__main__":
    tap.main()
