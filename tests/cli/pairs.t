#!/usr/bin/python3 -B
"""The papers' pairs, in TAP: scripts/make_pair.py, networks.py and from_torch.py.

Proves: every network has as many parameters as its published PyTorch model; distill takes both cfg
files of every pair, by each method the official code has for it, with that code's schedule and
options; students of every kind learn some batches. A network of PyTorch's with random weights and
statistics (tests/reference/torch_twins.py, written independently), converted, gives the same
logits, to 1e-4, by the teacher's own path; what does not fit is refused in one line, and nothing is
written. Where PyTorch can't be imported, those tests are skipped.

To add a network: a row of PARAMETERS, and a twin.
"""
import glob
import os
import re
import sqlite3
import subprocess
import sys

import tap
from tap import CLASSES, ENVIRONMENT, PYTHON, ROOT, check_ran, check_refused, student_cfg, test

import numpy as np
from PIL import Image

sys.path.append(os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import from_torch  # noqa: E402
import make_pair  # noqa: E402
import networks  # noqa: E402
import torch_weights  # noqa: E402

MAKE_PAIR = os.path.join(ROOT, "scripts", "make_pair.py")
FROM_TORCH = os.path.join(ROOT, "scripts", "from_torch.py")
TWINS = os.path.join(ROOT, "tests", "reference", "torch_twins.py")
TORCH = {**ENVIRONMENT, "PYTHONPATH": ":".join(filter(None, [
    os.path.join(ROOT, "build", "python-bench"), os.environ.get("PYTHONPATH")]))}
TOLERANCE = 1e-4  # of the largest logit; reached: 6e-6
IMAGES = 4

PARAMETERS = {
    "resnet20": 278324, "resnet32": 472756, "resnet56": 861620, "resnet110": 1736564,
    "resnet8x4": 1233540, "resnet32x4": 7433860, "wrn_16_2": 703284, "wrn_40_1": 569780,
    "wrn_40_2": 2255156, "vgg8": 3965028, "vgg13": 9462180, "ResNet50": 23705252,
    "MobileNetV2": 812836, "ShuffleV1": 949258, "ShuffleV2": 1355528,
    "imagenet-resnet34": 21797672, "imagenet-resnet18": 11689512, "imagenet-resnet50": 25557032,
    "imagenet-mobilenetv1": 4231976,
}
# Students of every kind, in a few batches, with their teacher
LEARNING = ["resnet32x4_resnet8x4", "wrn_40_2_wrn_16_2", "vgg13_vgg8", "vgg13_MobileNetV2",
            "wrn_40_2_ShuffleV1", "resnet32x4_ShuffleV2"]


def run(script, folder, *words, env=None):
    return subprocess.run([PYTHON, "-B", script, *words], cwd=folder.path, check=False,
                          capture_output=True, text=True, env=env or TORCH)


def need_torch():
    done = subprocess.run([PYTHON, "-c", "import torch"], check=False, capture_output=True,
                          env=TORCH)
    if done.returncode:
        raise tap.Skip("PyTorch can't be imported")


# The networks

def count(name, classes=None):
    shapes = networks.tensors(networks.build(name, classes)).values()
    return sum(int(np.prod(shape)) for shape in shapes)


@test
def parameters(_):
    """as many parameters as published"""
    found = {name: count(name) for name in networks.NETWORKS}
    assert found == PARAMETERS, {name: (found.get(name), PARAMETERS.get(name)) for name in
                                 {*found, *PARAMETERS} if found.get(name) != PARAMETERS.get(name)}


def darknets_parameters(name, classes=None):
    """Darknet's count: a convolution without batch norm has biases, one with it has none."""
    layers = networks.build(name, classes)
    more = sum(layer.channels for layer in layers if layer.module and layer.norm is None and
               not layer.has_bias)
    less = sum(layer.channels for layer in layers if layer.norm and layer.has_bias)
    return count(name, classes) + more - less


def statistics(name):
    """Numbers of batch norm's means and variances."""
    return sum(2 * layer.channels for layer in networks.build(name) if layer.norm)


# The cfg files

def options(text, name):
    """{key: text} of a cfg's section"""
    body = text.split(f"[{name}]\n", 1)[1].split("\n[", 1)[0]
    return dict(line.split("=", 1) for line in body.split("\n") if "=" in line)


def written(folder, pair, method="kd", *words):
    """The student's text; the folder gets both files as teacher.cfg and student.cfg."""
    check_ran(run(MAKE_PAIR, folder, pair, "pairs", "--method", method, *words))
    teacher = make_pair.split_pair(pair)[0]
    for name, target in ((teacher, "teacher"), (f"{pair}-{method}", "student")):
        os.replace(folder.at(f"pairs/{name}.cfg"), folder.at(f"{target}.cfg"))
    text = folder.read("student.cfg").decode()
    assert options(text, "teacher") == {"cfg": f"pairs/{teacher}.cfg"}, text
    text = text.replace(f"cfg=pairs/{teacher}.cfg", "cfg=teacher.cfg")
    folder.write("student.cfg", text)
    return text


# Of the official configs; others have 240, MLKD's 480, ImageNet's 100
OTHER_EPOCHS = {("wrn_40_2_wrn_16_2", "dkd"): 480, ("wrn_40_2_MobileNetV2", "dkd"): 480,
                ("resnet32x4_ShuffleV1", "mlkd"): 960}


def taken(pair, method):
    def check(folder):
        data = networks.NETWORKS[make_pair.split_pair(pair)[0]][0]
        text = written(folder, pair, method)
        folder.write("deepkd.data", tap.data_file(classes=data.classes))
        folder.write("labels.txt", "".join(f"label-{i}\n" for i in range(data.classes)))
        result = folder.darknet("distill", "deepkd.data", "student.cfg", "none.weights").check(1)
        assert "none.weights: No such file" in result.err.split("\n")[-2], result.describe()
        net = options(text, "net")
        images = int(net["max_batches"]) * int(net["batch"])
        epochs = OTHER_EPOCHS.get((pair, method)) or (
            100 if data is networks.IMAGENET else 480 if method == "mlkd" else 240)
        assert 0 <= images - epochs * data.images < int(net["batch"]), net
    test(check, f"{pair} by {method}")


for how in make_pair.METHODS:
    for one in make_pair.METHODS[how].rows:  # networks are the same for all methods
        if how in ("kd", "dkd") or one.startswith(("resnet32x4_S", "imagenet-resnet34")):
            taken(one, how)


@test
def schedules(folder):
    """schedules and options are the official code's"""
    text = written(folder, "resnet32x4_resnet8x4")
    with open(os.path.join(ROOT, "cfg", "resnet8x4-deepkd.cfg"), encoding="utf-8") as file:
        ours, known = options(text, "net"), options(file.read(), "net")
    same = ("batch", "width", "max_batches", "policy", "steps", "min_crop", "max_crop")
    assert [ours[key] for key in same] == [known[key] for key in same], (ours, known)
    assert options(text, "deepkd_loss") == {
        "method": "kd", "trainer": "deepkd", "temperature": "4", "task_weight": "0.5",
        "delta_tog": "0.075", "delta_tcg": "-0.075", "delta_ncg": "0.075", "augment": "cifar"}, text
    text = written(folder, "wrn_40_2_MobileNetV2", "dkd")
    assert options(text, "deepkd_loss") == {
        "method": "dkd", "trainer": "deepkd", "temperature": "4", "alpha": "1.5", "beta": "4",
        "delta_tog": "0.075", "delta_tcg": "-0.075", "delta_ncg": "0.08", "warmup": "20",
        "warmup_shape": "epochs", "augment": "cifar"}, text
    net = options(text, "net")
    assert (net["learning_rate"], net["steps"]) == ("0.006", "140625,234375,328125"), net
    text = written(folder, "resnet110_resnet20", "crld")
    loss, net = options(text, "deepkd_loss"), options(text, "net")
    assert [loss[key] for key in ("beta", "within_weight", "across_weight")] == ["1", "1", "0.5"]
    assert net["policy"] == "cosine" and net["learning_rate"] == "0.05" and "steps" not in net, net
    loss = options(written(folder, "imagenet-resnet34_resnet18", "mlkd"), "deepkd_loss")
    assert [loss[key] for key in ("temperatures", "task_weight", "teacher_weight", "augment")] == [
        "1,2,3,5,6", "0.1", "0.9", "darknet"], loss
    net = options(written(folder, "imagenet-resnet34_resnet18"), "net")
    assert int(net["sgdr_cycle"]) * (1 + int(net["sgdr_mult"])) >= int(net["max_batches"]), net
    assert (net["batch"], net["subdivisions"], net["burn_in"]) == ("512", "8", "50046"), net


@test
def official(folder):
    """--official is what the official code has in effect"""
    text = written(folder, "resnet56_resnet20", "dkd", "--official")
    loss = options(text, "deepkd_loss")
    expected = {"momentum_tog": "0.825", "delta_tcg": "-0.075", "delta_ncg": "0.075",
                "decay_component": "tcg", "decay_all": "1", "momentum_warmup": "0"}
    assert {key: loss[key] for key in expected} == expected and "delta_tog" not in loss, loss
    assert options(text, "net")["batch_norm_momentum"] == "0.1", text
    text = written(folder, "resnet56_resnet20", "mlkd", "--official")
    assert options(text, "deepkd_loss")["official"] == "1", text


def starts(pair):
    """The student begins with PyTorch's weights: in what they are drawn by, and in the format."""
    def check(folder):
        text = written(folder, pair, "kd", "--start", "5")
        name = make_pair.split_pair(pair)[1]
        content = folder.read(f"pairs/{pair}.weights")
        tap.check_weights(content, 20 + 4 * (darknets_parameters(name) + statistics(name)))
        layers, (_, _, start) = networks.build(name), networks.NETWORKS[name]
        last = layers[-2].shape
        found = tap.floats(content)[-int(np.prod(last)):]
        deviation = .01 if start.linear == "small" else 1 / np.sqrt(3 * last[1])
        assert abs(found.std() / deviation - 1) < .03 and abs(found.mean()) < .1 * deviation
        folder.write("again.cfg", text.split("[teacher]")[0])
        folder.darknet("partial", "again.cfg", f"pairs/{pair}.weights", "again.weights",
                       "999").check(0)
        assert folder.read("again.weights")[20:] == content[20:]
    test(check, f"{pair}: PyTorch's initial weights")


for one in ("resnet32x4_resnet8x4", "wrn_40_2_wrn_16_2", "wrn_40_2_ShuffleV1", "vgg13_vgg8"):
    starts(one)


@test
def refused(folder):
    """an unknown pair, and one that a method has not, are one line; nothing is written"""
    check_refused(run(MAKE_PAIR, folder, "resnet32_resnet8", "pairs"), "make_pair.py",
                  "resnet32_resnet8: no such pair", "expected one of", *make_pair.PAIRS)
    check_refused(run(MAKE_PAIR, folder, "resnet32x4_vgg8", "pairs", "--method", "dkd"),
                  "resnet32x4_vgg8", "has no dkd", "expected --method kd or mlkd")
    assert not os.path.exists(folder.at("pairs"))


@test
def networks_of_rows(_):
    """every pair has a row that all methods' keys are known of"""
    for method, (shared, rows) in make_pair.METHODS.items():
        assert set(rows) <= set(make_pair.PAIRS), method
        assert set(shared) == set(make_pair.SCHEDULES), method
    assert len(make_pair.PAIRS) == 17 + 2


def random_weights(name):
    """A weights file of a teacher that says something."""
    layers, random = networks.build(name, CLASSES, normalized=True), np.random.RandomState(1)
    tensors = {key: random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape) if len(shape) > 1 else
               random.uniform(.8, 1.2, shape)
               for key, shape in from_torch.wanted_tensors(layers).items()}
    tensors[layers[-2].module + ".weight"] *= .1
    return torch_weights.weights_file(layers, networks.NETWORKS[name][0], tensors)[0]


def learns(pair):
    def check(folder):
        text = written(folder, pair, "kd", "--classes", str(CLASSES))
        for key, value in {"batch": 4, "max_batches": 2, "policy": "constant",
                           "learning_rate": ".001"}.items():
            text = re.sub(rf"(?m)^{key}=.*", f"{key}={value}", text)
        folder.write("student.cfg", re.sub(r"(?m)^(steps|scales)=.*\n", "", text))
        teacher, student = make_pair.split_pair(pair)
        folder.write("teacher.weights", random_weights(teacher))
        folder.distill().check(0)
        tap.check_weights(folder.read("backup/student_final.weights"),
                          20 + 4 * (darknets_parameters(student, CLASSES) + statistics(student)))
        losses = [float(row["loss"]) for row in folder.rows() if row["loss"]]
        assert len(losses) == 2 and np.isfinite(losses).all(), losses
    test(check, f"{pair} learns")


for one in LEARNING:
    learns(one)


@test
def shares(folder):
    """batch_norm_momentum= is a batch's share in the statistics; without it Darknet's .01"""
    found = {}
    for share in (None, ".01", ".5", "1"):
        folder.write("student.cfg", student_cfg(max_batches=1, batch_norm_momentum=share))
        folder.distill().check(0)
        found[share] = tap.floats(folder.read("backup/student_final.weights"))[16:32]
    assert (found[None] == found[".01"]).all() and found["1"].any(), found
    for share in (".01", ".5"):
        assert np.allclose(found[share], float(share) * found["1"], rtol=1e-6), found


# From PyTorch
def make_images(folder, side):
    """Whose mirror images they are themselves, so that augmentation leaves them alone."""
    random = np.random.RandomState(3)
    half = random.randint(0, 256, (IMAGES, side, side // 2, 3), np.uint8)
    pixels = np.concatenate([half, half[:, :, ::-1]], 2)
    paths = [f"images-of-twin/label-{i}.png" for i in range(IMAGES)]
    os.makedirs(folder.at("images-of-twin"))
    for picture, path in zip(pixels, paths):
        Image.fromarray(picture).save(folder.at(path))
    np.save(folder.at("images.npy"), pixels.transpose(0, 3, 1, 2) / 255)
    folder.write("train.list", "\n".join(paths) + "\n")
    folder.write("valid.list", "\n".join(paths) + "\n")


def make_twin(folder, name):
    """twin.pth, and its logits and number of parameters."""
    need_torch()
    data = networks.NETWORKS[name][0]
    make_images(folder, data.side)
    out = check_ran(run(TWINS, folder, name, "images.npy", "twin.pth", "logits.npy"))
    return np.load(folder.at("logits.npy")), int(out)


def teachers_logits(folder, name):
    """What `deepkd cache` keeps of the teacher, of one batch of the images, in any order."""
    data = networks.NETWORKS[name][0]
    folder.write("labels.txt", "".join(f"label-{i}.\n" for i in range(data.classes)))
    folder.write("deepkd.data", tap.data_file(classes=data.classes))
    layers = [("avgpool", {}), ("connected", {"output": data.classes, "activation": "linear"}),
              ("softmax", {})]
    folder.write("student.cfg", student_cfg(
        layers=layers, teacher={"cfg": "twin.cfg"}, batch=IMAGES, max_batches=1, width=data.side,
        height=data.side, min_crop=data.side, max_crop=data.side))
    out = folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "twin.weights", "-out",
                         "logits.sqlite", "-seed", "1").check(0).out
    with sqlite3.connect(folder.at("logits.sqlite")) as database:
        rows = database.execute("SELECT numbers FROM logits ORDER BY position").fetchall()
    return np.array([np.frombuffer(row, np.float32) for row, in rows[:IMAGES]]), out


def check_same(found, expected):
    """Rows of logits, in any order."""
    scale = np.abs(expected).max()
    errors = np.abs(found[:, None] - expected[None]).max(2) / scale
    assert sorted(errors.argmin(1)) == list(range(len(expected))), errors
    assert errors.min(1).max() < TOLERANCE, f"{errors.min(1)} of {scale}"
    assert (errors + np.eye(len(found))[errors.argmin(1)] * 9).min() > 100 * TOLERANCE, errors
    return errors.min(1).max()


def same_logits(name):
    def check(folder):
        expected, parameters_there = make_twin(folder, name)
        assert parameters_there == PARAMETERS[name], parameters_there
        check_ran(run(FROM_TORCH, folder, name, "twin.pth", "twin"))
        found, out = teachers_logits(folder, name)
        error = check_same(found, expected)
        if os.environ.get("KD_VERBOSE"):
            print(f"# {name}: {error:.1e}", file=sys.stderr)
        counted = re.search(r"teacher.*?(\d+) parameters", out)
        assert not counted or int(counted[1]) == darknets_parameters(name) + 3, out
    test(check, f"{name} from PyTorch gives the same logits")


for one in networks.NETWORKS:
    same_logits(one)


EDIT = """
import sys, torch
state = torch.load("twin.pth")
{}
torch.save(state, "twin.pth")
"""
EDITS = {
    "a tensor is missing": ("del state['bn1.running_var']", "bn1.running_var missing"),
    "a tensor has no counterpart": ("state['extra.weight'] = torch.zeros(3)",
                                    "extra.weight: no counterpart in resnet20"),
    "a tensor has another shape": ("state['fc.weight'] = torch.zeros(10, 64)",
                                   "fc.weight is 10x64, expected 100x64"),
    "a number is not finite": ("state['conv1.weight'][0] = float('nan')",
                               "conv1.weight holds numbers that are not finite"),
    "a variance is below 0": ("state['bn1.running_var'][3] = -1",
                              "bn1.running_var holds -1, expected no variance"),
    "there is no state dict": ("state = [1, 2]", "no state dict"),
    "there are no tensors": ("state = {'model': {'a': 1}}", "no state dict"),
    "it is another network's": ("state = {'stem.weight': torch.zeros(3)}", "missing", "found stem"),
}


def edited(name, code, *words):
    def check(folder):
        make_twin(folder, "resnet20")
        check_ran(subprocess.run([PYTHON, "-c", EDIT.format(code)], cwd=folder.path, check=False,
                                 capture_output=True, text=True, env=TORCH))
        check_refused(run(FROM_TORCH, folder, "resnet20", "twin.pth", "out"), "from_torch.py",
                      "twin.pth", *words)
        assert not glob.glob(folder.at("out*")), glob.glob(folder.at("out*"))
    test(check, f"refused: {name}")


for title, (line, *said) in EDITS.items():
    edited(title, line, *said)


@test
def wrapped(folder):
    """a checkpoint's "model", and DataParallel's names, are the same network"""
    make_twin(folder, "resnet20")
    check_ran(run(FROM_TORCH, folder, "resnet20", "twin.pth", "plain"))
    code = "state = {'epoch': 3, 'model': {'module.' + k: v for k, v in state.items()}}"
    check_ran(subprocess.run([PYTHON, "-c", EDIT.format(code)], cwd=folder.path, check=False,
                             capture_output=True, text=True, env=TORCH))
    check_ran(run(FROM_TORCH, folder, "resnet20", "twin.pth", "again"))
    for end in (".cfg", ".weights"):
        assert folder.read("plain" + end) == folder.read("again" + end), end


@test
def bad_files(folder):
    """no file, no PyTorch file, an unknown network, a folder that is not there: one line each"""
    need_torch()
    make_twin(folder, "resnet20")
    folder.write("noise.pth", b"\x80\x02noise" * 9)
    folder.write("empty.pth", b"")
    folder.write("half.pth", folder.read("twin.pth")[:300000])
    for file, words in (("none.pth", ["none.pth", "No such file"]),
                        ("noise.pth", ["noise.pth: not read", "expected a state dict"]),
                        ("empty.pth", ["empty.pth: not read"]),
                        ("half.pth", ["half.pth: not read"])):
        check_refused(run(FROM_TORCH, folder, "resnet20", file, "out"), *words)
    check_refused(run(FROM_TORCH, folder, "resnet21", "none.pth", "out"), "resnet21",
                  "expected one of", *PARAMETERS)
    assert not glob.glob(folder.at("out*"))
    check_refused(run(FROM_TORCH, folder, "resnet20", "twin.pth", "nowhere/out"), "nowhere/out")


@test
def without_torch(folder):
    """without PyTorch it says what to install"""
    blocker = folder.at("block")
    os.makedirs(blocker)
    folder.write("block/torch.py", "raise ImportError('blocked')\n")
    check_refused(run(FROM_TORCH, folder, "resnet20", "x.pth", "out",
                      env={**ENVIRONMENT, "PYTHONPATH": blocker}), "PyTorch", "python3-torch")


if __name__ == "__main__":
    tap.main()
