#!/usr/bin/python3
"""Tests of the paper's networks and of the data files in cfg/, in TAP.

Proves: resnet32x4.cfg and resnet8x4.cfg have the papers' numbers of parameters
and the shapes of their stages, counted here without Darknet; no cfg asks for a
1x1 convolution with a stride, which Darknet computes wrongly on the CPU;
resnet8x4-deepkd.cfg is the plain student plus two sections; the schedule is the
papers'. With DARKNET, the path of a built darknet, its own count of operations
must agree and it must know every key. No network is run or trained here.
"""
import os
import re
import subprocess
import sys

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
CFG = os.path.join(ROOT, "cfg")
NETS = ("resnet32x4.cfg", "resnet8x4.cfg")
PARAMETERS = {"resnet32x4.cfg": 7433860, "resnet8x4.cfg": 1233540}
LAYERS = {"resnet32x4.cfg": 32, "resnet8x4.cfg": 8}  # the number in the name
STAGES = [(64, 32, 32), (128, 16, 16), (256, 8, 8)]  # channels, height, width
KEYS = {
    "net": "batch subdivisions width height channels min_crop max_crop learning_rate momentum "
           "decay policy max_batches steps scales",
    "convolutional": "batch_normalize filters size stride pad activation",
    "maxpool": "size stride", "route": "layers", "shortcut": "from activation",
    "avgpool": "", "connected": "output activation", "softmax": "groups",
}
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def read(name):
    with open(os.path.join(CFG, name), "rb") as file:
        return file.read()


def sections(name):
    """A cfg's sections as Darknet reads them: [(name, {key: value})]."""
    result = []
    for line in read(name).decode("ascii").split("\n"):
        line = re.sub(r"[ \t]", "", line)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            result.append((line[1:line.index("]")], {}))
        else:
            key, value = line.split("=")
            assert key not in result[-1][1], f"{name}: {key} twice in [{result[-1][0]}]"
            result[-1][1][key] = value
    return result


# Layers: (options, input shape, shapes of all layers so far, own index) to
# (output shape, parameters, operations). A shape is (channels, height, width).

def convolutional(o, shape, _shapes, _index):
    c, h, w = shape
    n, size, stride = int(o["filters"]), int(o["size"]), int(o["stride"])
    pad = size // 2 if int(o["pad"]) else 0
    assert (size, stride) == (1, 1) or size > 1, "a 1x1 convolution with a stride"
    out = (n, (h + 2 * pad - size) // stride + 1, (w + 2 * pad - size) // stride + 1)
    weights = n * c * size * size
    biases_and_scales = n * (1 + int(o["batch_normalize"]))
    return out, weights + biases_and_scales, 2 * weights * out[1] * out[2]


def connected(o, shape, _shapes, _index):
    inputs, n = shape[0] * shape[1] * shape[2], int(o["output"])
    return (n, 1, 1), inputs * n + n, 2 * inputs * n


def maxpool(o, shape, _shapes, _index):
    c, h, w = shape
    size, stride = int(o["size"]), int(o["stride"])
    pad = size - 1
    return (c, (h + pad - size) // stride + 1, (w + pad - size) // stride + 1), 0, 0


def avgpool(_o, shape, _shapes, _index):
    return (shape[0], 1, 1), 0, 0


def softmax(_o, shape, _shapes, _index):
    return shape, 0, 0


def source(text, index):
    number = int(text)
    return number + index if number < 0 else number


def route(o, _shape, shapes, index):
    return shapes[source(o["layers"], index)], 0, 0


def shortcut(o, shape, shapes, index):
    other = shapes[source(o["from"], index)]
    assert other == shape, f"layer {index}: a shortcut adds {other} to {shape}"
    return shape, 0, 0


WALK = {f.__name__: f for f in (convolutional, connected, maxpool, avgpool, softmax, route,
                                shortcut)}


def walk(name):
    """A cfg's layers: [(section, output shape, parameters, operations)]."""
    (first, net), *rest = sections(name)
    assert first == "net"
    shape = tuple(int(net[key]) for key in ("channels", "height", "width"))
    shapes, layers = [], []
    for index, (section, options) in enumerate(rest):
        shape, parameters, operations = WALK[section](options, shape, shapes, index)
        shapes.append(shape)
        layers.append((section, shape, parameters, operations))
    return layers


@test
def parameters():
    """resnet32x4 has 7,433,860 parameters, resnet8x4 1,233,540"""
    for name in NETS:
        found = sum(layer[2] for layer in walk(name))
        assert found == PARAMETERS[name], f"{name}: {found}, expected {PARAMETERS[name]}"


@test
def shapes():
    """stages of 64x32x32, 128x16x16 and 256x8x8, equally many blocks each, then 100 classes"""
    for name in NETS:
        layers = walk(name)
        blocks = [shape for section, shape, _, _ in layers if section == "shortcut"]
        n = (LAYERS[name] - 2) // 6
        assert blocks == [stage for stage in STAGES for _ in range(n)], f"{name}: {blocks}"
        tail = [layer[:2] for layer in layers[-3:]]
        assert tail == [("avgpool", (256, 1, 1)), ("connected", (100, 1, 1)),
                        ("softmax", (100, 1, 1))], f"{name}: {tail}"


@test
def blocks():
    """a block is two 3x3 convolutions, and 1x1 on its input where the shape changes"""
    plain = ["convolutional", "convolutional", "shortcut"]
    first = ["convolutional", "convolutional", "route", "convolutional", "shortcut"]
    strided = ["convolutional", "convolutional", "route", "maxpool", "convolutional", "shortcut"]
    for name in NETS:
        n = (LAYERS[name] - 2) // 6
        expected = ["convolutional"]
        for opening in (first, strided, strided):
            expected += opening + (n - 1) * plain
        expected += ["avgpool", "connected", "softmax"]
        assert [layer[0] for layer in walk(name)] == expected, name


@test
def sources():
    """a route and a plain block's shortcut start at the block's input"""
    for name in NETS:
        layers = [section for section, _ in sections(name)[1:]]
        for index, (section, o) in enumerate(sections(name)[1:]):
            if section not in ("route", "shortcut"):
                continue
            at = source(o.get("layers") or o["from"], index)
            projected = section == "shortcut" and "route" in layers[index - 3:index]
            # A projected block adds its main path's end; all else goes back to the block's input.
            allowed = ("convolutional",) if projected else ("shortcut", "convolutional")
            assert layers[at] in allowed, f"{name}: layer {index} takes layer {at}"
            if projected:
                assert layers[at + 1] == "route", f"{name}: layer {index} takes layer {at}"
            else:
                assert at == index - 3, f"{name}: layer {index} takes layer {at}"


@test
def activations():
    """relu after the first convolution, none on a summand, relu on the sum"""
    for name in NETS:
        layers = sections(name)[1:]
        for index, (section, o) in enumerate(layers):
            after = layers[index + 1][0] if index + 1 < len(layers) else ""
            if section == "shortcut":
                assert o["activation"] == "relu", f"{name}: layer {index}"
            if section == "convolutional":
                summand = after in ("shortcut", "route")
                expected = "linear" if summand else "relu"
                assert o["activation"] == expected, f"{name}: layer {index}"
                assert o["batch_normalize"] == "1", f"{name}: layer {index}"


@test
def schedule():
    """240 epochs of 50000 images, steps after 150, 180 and 210"""
    for name in NETS:
        net = sections(name)[0][1]
        epoch = 50000 / int(net["batch"])
        assert abs(int(net["max_batches"]) - 240 * epoch) < 1, name
        for step, at in zip(net["steps"].split(","), (150, 180, 210)):
            assert abs(int(step) - at * epoch) < 1, f"{name}: {step}"
        values = [net[key] for key in ("learning_rate", "momentum", "decay", "scales", "policy")]
        assert values == ["0.05", "0.9", "0.0005", ".1,.1,.1", "steps"], f"{name}: {values}"


@test
def keys():
    """every section and key is one that Darknet knows"""
    for name in NETS:
        for section, options in sections(name):
            extra = set(options) - set(KEYS[section].split())
            assert not extra, f"{name}: [{section}] {extra}"


@test
def student():
    """resnet8x4-deepkd.cfg is resnet8x4.cfg with [teacher] and [deepkd_loss] at its end"""
    taught = sections("resnet8x4-deepkd.cfg")
    assert taught[:-2] == sections("resnet8x4.cfg")
    assert [section for section, _ in taught[-2:]] == ["teacher", "deepkd_loss"]
    teacher = taught[-2][1]["cfg"]
    assert os.path.exists(os.path.join(ROOT, teacher)), teacher


@test
def data_files():
    """the .data files name all of one folder's lists"""
    for name, folder, classes, top in (("deepkd.data", "fashion-mnist", "10", "2"),
                                       ("cifar100.data", "cifar100", "100", "5")):
        text = read(name).decode("ascii")
        found = dict(line.split("=") for line in text.split("\n") if line and line[0] != "#")
        files = {"train": "train.list", "valid": "valid.list", "labels": "labels.txt",
                 "names": "names.txt"}
        expected = {key: f"data/{folder}/{file}" for key, file in files.items()}
        expected.update(classes=classes, top=top, backup="backup/")
        assert found == expected, f"{name}: {found}"


@test
def plain_text():
    """the files are ASCII, with unix line ends, no comment behind a value"""
    for name in NETS + ("resnet8x4-deepkd.cfg", "deepkd.data", "cifar100.data"):
        text = read(name)
        assert text.isascii() and b"\r" not in text and text.endswith(b"\n"), name
        for line in text.decode("ascii").split("\n"):
            assert line.startswith("#") or "#" not in line, f"{name}: {line}"


@test
def darknet():
    """Darknet reads the networks: same operations, same shapes, no unknown key"""
    program = os.environ.get("DARKNET", "")
    if not os.path.exists(program):
        return "SKIP DARKNET is not set to a built darknet"
    for name in NETS:
        result = subprocess.run([os.path.abspath(program), "ops", os.path.join(CFG, name)],
                                capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{name}: exit {result.returncode}: {result.stderr[-300:]}"
        assert not re.search("Unused|not recognized", result.stderr), f"{name}: {result.stderr}"
        layers = walk(name)
        operations = sum(layer[3] for layer in layers)
        assert f"Operations: {operations}\n" in result.stdout, f"{name}: {result.stdout}"
        printed = re.findall(r"^ *\d+ (?:conv|max|res).*-> *(\d+) x *(\d+) x *(\d+)",
                             result.stderr, re.MULTILINE)
        found = [(int(c), int(h), int(w)) for w, h, c in printed]
        expected = [shape for section, shape, _, _ in layers
                    if section in ("convolutional", "maxpool", "shortcut")]
        assert found == expected, f"{name}: {found}"
    return ""


def run(number, function):
    """Runs one test and prints its TAP line. True if it passed or was skipped."""
    try:
        skip = function()
        print(f"ok {number} - {function.__doc__}" + (f" # {skip}" if skip else ""), flush=True)
        return True
    except (AssertionError, IndexError, KeyError, OSError, ValueError) as error:
        print(f"not ok {number} - {function.__doc__}", flush=True)
        reason = f"cfg.t: not ok {number} - {function.__doc__}\n{type(error).__name__}: {error}"
        print("# " + reason.replace("\n", "\n# "), file=sys.stderr, flush=True)
        return False


if __name__ == "__main__":
    print(f"1..{len(TESTS)}", flush=True)
    sys.exit(not all([run(i, function) for i, function in enumerate(TESTS, 1)]))
