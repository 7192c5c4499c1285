#!/usr/bin/python3 -B
"""A cfg's sizes, as every command reads them, in TAP.

Proves: what would overflow, divide by zero, read beside an array or need more memory than there is
ends with status 1 and one line that names the file, the section's line, the section and the key,
in Darknet's own commands, as a student and as a teacher; no number of a cfg ends a program by a
signal; a key that is there twice is said, and the first counts; recurrent layers, trees and
weights with old headers end in one line too.

To add a case: a row of `refused`, with the layers and words of the message.
"""
import os
import resource
import shutil

import tap
from tap import (CLASSES, DARKNET, NET, ROOT, STUDENT_LAYERS, data_file, plain_cfg, student_cfg,
                 teacher_cfg, test)

PICTURE = "images/valid/class-a-0.png"
FAULTS = os.path.join(ROOT, "tests", "faults")
END = [("avgpool", {}), ("connected", {"output": CLASSES, "activation": "linear"}),
       ("softmax", {})]
SOURCE = {"from": "-2", "activation": "linear"}


def conv(filters=8, size=3, **options):
    return ("convolutional", {"filters": filters, "size": size, "pad": 1, "activation": "leaky",
                              **options})


def check_line(result, words):
    """Exit status 1 and one line, beside what Darknet says of its layers."""
    result.check(1)
    *others, last = result.err.rstrip("\n").split("\n")
    assert last.isprintable() and len(last) < 500, f"{last!r}"
    for word in words:
        assert word in last, f"no {word!r}: {result.describe()}"
    return others


def refused(name, layers, *words, only_stock=(), **net):
    """Tests: Darknet refuses the cfg with one line; so does distill, as a student and a teacher."""
    def stock(folder):
        folder.write("bad.cfg", tap.cfg(layers, **net))
        others = check_line(folder.darknet("ops", "bad.cfg"),
                            ("bad.cfg: line ", *words, *only_stock))
        assert not [line for line in others if "Using default" not in line], others
    test(stock, name)

    def student(folder):
        folder.write("student.cfg", student_cfg(layers=layers, **net))
        check_line(folder.distill(), ("student.cfg", *words))
        assert not folder.names(), folder.names()
    test(student, f"{name}: as a student")

    def teacher(folder):
        folder.write("teacher.cfg", teacher_cfg(layers, **net))
        check_line(folder.distill(), ("teacher.cfg", *words))
        assert not folder.names(), folder.names()
    if not {"batch", "subdivisions"} & set(net):
        test(teacher, f"{name}: as a teacher")


refused("groups that do not divide the channels", [conv(groups=2), *END],
        "[convolutional] groups=2: expected a divisor of 3")
refused("groups that do not divide the filters", [conv(10, groups=3), *END],
        "[convolutional] groups=3: expected a divisor of filters=10")
for size in (65536, 2147483647):
    refused(f"size={size}", [conv(size=size), *END], "[convolutional] ", f"size={size}", "at most")
refused("padding=2147483647", [conv(pad=None, padding=2147483647), *END],
        "[convolutional] padding=2147483647: expected")
refused("padding=1000000", [conv(pad=None, padding=1000000), *END], "[convolutional] ",
        "padding=1000000: found", "outputs in a batch")
refused("a window that is larger than its input", [conv(size=13, pad=None), *END],
        "[convolutional] size=13: expected at most 12")
refused("filters=2147483647", [conv(2147483647), *END], "[convolutional] filters=2147483647",
        "found", "expected at most 2147483647")
refused("output=2147483647", [("connected", {"output": 2147483647}), *END[1:]],
        "[connected] output=2147483647", "found", "expected at most 2147483647")
refused("an input of 46341 x 46341", STUDENT_LAYERS, "[net] ", "width=46341", "found",
        "expected at most", width=46341, height=46341)
refused("a batch that is too large", STUDENT_LAYERS, "[net] batch=2147483647", "found",
        batch=2147483647)
refused("a [normalization] of even size", [conv(), ("normalization", {"size": 4}), *END],
        "[normalization] size=4: expected an odd number")
refused("a [normalization] that is wider than the channels",
        [conv(), ("normalization", {"size": 19}), *END], "[normalization] size=19", "17")
refused("a [crop] that is larger than its input",
        [("crop", {"crop_width": 13, "crop_height": 12}), conv(), *END],
        "[crop] crop_width=13: expected a whole number from 1 to 12")
refused("a [softmax] in groups of unequal size", [*END[:-1], ("softmax", {"groups": 4})],
        "[softmax] groups=4: expected a divisor of 6")
refused("an [avgpool] of what is no image", [conv(), ("softmax", {}), *END],
        "[avgpool]: expected an image, found 1152 numbers of [softmax], line")
refused("a [dropout] without a layer before it", [("dropout", {}), conv(), *END],
        "[dropout]: expected a layer before it")
refused("a [reorg] of an odd number of channels", [conv(6), ("reorg", {"stride": 2}), *END],
        "[reorg] stride=2: expected", "divides 6")
refused("a [reorg] of a width that its stride does not divide",
        [conv(25, stride=1), ("reorg", {"stride": 5}), *END], "[reorg] stride=5: expected",
        "12 x 12")
refused("an [upsample] by 2147483647", [conv(), ("upsample", {"stride": 2147483647}), *END],
        "[upsample] stride=2147483647: found")
refused("a [maxpool] with windows that take for ever", 
        [conv(), ("maxpool", {"stride": 5555551}), *END],
        "[maxpool] stride=5555551: expected a whole number from 1 to 1000")
refused("a [maxpool] with windows in the padding alone",
        [conv(), ("maxpool", {"size": 2, "stride": 1, "padding": 50}), *END],
        "[maxpool] padding=50: expected a whole number from 0 to 2")
refused("a [maxpool] of more channels than come in",
        [conv(), ("maxpool", {"maxpool_depth": 1, "out_channels": 9}), *END],
        "[maxpool] out_channels=9: expected a whole number from 1 to 8")
refused("a [maxpool] that steps down for ever", [conv(), ("maxpool", {"stride_y": 5555551}), *END],
        "[maxpool] stride_y=5555551: expected a whole number from 1 to 1000")
refused("a window that is larger than its input for its holes",
        [conv(dilation=6, pad=None), *END],
        "[convolutional] dilation=6: expected windows of at most 12 pixels, found 13")
refused("dilation=2147483647", [conv(dilation=2147483647), *END],
        "[convolutional] dilation=2147483647: expected a whole number from 1")
refused("dilation=1073741823", [conv(dilation=1073741823), *END], "[convolutional] ",
        "dilation=1073741823", "pixels with the padding, expected at most 2147483647")
refused("a [local_avgpool] with windows in the padding alone",
        [conv(), ("local_avgpool", {"size": 2, "stride": 1, "padding": 3}), *END],
        "[local_avgpool] padding=3: expected a whole number from 0 to 2")
refused("a [local] whose padding fits no size", [("local", {"filters": 2, "size": 1, "pad": 1}),
                                                 *END], "[local] ", "size=1", "expected size=3")
refused("a [shortcut] from several layers, one of another size",
        [conv(), conv(stride=5), ("shortcut", {"from": "-1,-2", "activation": "linear"}), *END],
        "[shortcut] from=-1,-2: expected images of 3 x 3, which come in, found 12 x 12")
refused("a [shortcut] from several layers, with no number", [
    conv(), conv(), ("shortcut", {"from": "-1,-2 -1", "activation": "linear"}), *END],
        "[shortcut] from=-1,-2")
refused("a [sam] from two layers", [conv(), conv(), ("sam", {"from": "-1,-2"}), *END],
        "[sam] from=-1,-2: expected one layer above this one")
refused("a layer whose logistic is a [yolo]'s", [
    conv(8, size=1, activation="logistic"),
    ("yolo", {"anchors": "4,4", "num": 1, "classes": 3, "new_coords": 1}),
    ("route", {"layers": -2}), *END], "[route] layers=-2: expected another layer than 0")
refused("a [scale_channels] of another size", [conv(), conv(), ("scale_channels", {"from": -2}), *END],
        "[scale_channels] from=-2: expected 1 x 1 x 8 to come in")
refused("a [shortcut] between images of another form",
        [conv(), conv(stride=5), ("shortcut", SOURCE), *END], "[shortcut] from=-2: expected",
        "found 12 x 7 of [convolutional], line", "added to 3 x 2", height=7)
refused("a width that an [upsample] does not come back to",
        [conv(stride=2), conv(stride=2), ("upsample", {"stride": 2}),
         ("route", {"layers": "-1,-3"}), conv(), *END], "[convolutional] ", "[route] of line",
        "8 x 8 of [upsample], line", "7 x 7 of [convolutional], line", width=13, height=13)
refused("a [detection] that does not fit", [*END[:-1], ("detection", {"side": 7})],
        "[detection] side=7: expected", "to be 6")
refused("an [iseg] that does not fit", [conv(), ("iseg", {"classes": 3})],
        "[iseg] classes=3: expected", "8 channels")
refused("numload= above the filters", [conv(numload=9), *END], "[convolutional] numload=9")
refused("no layer but [cost]", [("cost", {"type": "sse"})], "expected", only_stock=("a layer",))



# Every number at the sizes where products of ints overflow

SIZES = (0, 46341, 65536, 100000, 2147483647, 2147483648, 1 << 63)
EVERY_LAYER = [
    ("crop", {"crop_width": 12, "crop_height": 12}),
    conv(8, 3, stride=1, padding=1, groups=1, batch_normalize=1, numload=8),
    ("maxpool", {"size": 2, "stride": 1, "padding": 1}), ("normalization", {"size": 5}),
    ("reorg", {"stride": 2, "extra": 0}), ("upsample", {"stride": 2}), ("batchnorm", {}),
    ("deconvolutional", {"filters": 4, "size": 2, "stride": 2, "padding": 0}),
    ("local", {"filters": 2, "size": 3, "stride": 5, "pad": 1}), ("l2norm", {}),
    ("activation", {"activation": "relu"}), ("route", {"layers": -1}),
    ("shortcut", {"from": -1}), ("dropout", {"probability": ".5"}),
    ("connected", {"output": CLASSES}), ("softmax", {"groups": 1}),
]
RECURRENT = [("crnn", {"output_filters": 4, "hidden_filters": 4}), ("rnn", {"output": 4}),
             ("gru", {"output": 4}), ("lstm", {"output": 4}), *END[1:]]
SECTIONS = {
    "layers": EVERY_LAYER, "recurrent layers": RECURRENT,
    "heads": [*tap.YOLO],
    "region": [*tap.REGION],
    "iseg": [conv(), ("iseg", {"classes": 4, "ids": 4})],
    "detection": [("connected", {"output": 8}),
                  ("detection", {"side": 1, "coords": 4, "num": 1, "classes": 3})],
}
NUMBERS = ("batch", "subdivisions", "width", "height", "channels", "time_steps", "inputs",
           "max_crop", "min_crop", "adam")


def survives(folder, text):
    folder.write("any.cfg", text)
    result = folder.darknet("ops", "any.cfg")
    if result.status == 1:
        check_line(result, ["any.cfg: line "])
    assert result.status in (0, 1), result.describe()
    return result.status


@test
def numbers_of_net(folder):
    """[net]: each number at 0, 46341 to 2^63 parses or is refused with one line"""
    for key in NUMBERS:
        refused_of = [survives(folder, plain_cfg(**{key: size})) for size in SIZES]
        assert refused_of[-1] or key not in NUMBERS[:7], f"{key}={SIZES[-1]} parses"


def numbers_of(name, layers):
    def run(folder):
        assert survives(folder, tap.cfg(layers)) == 0, name
        for i, (section, options) in enumerate(layers):
            for key, value in options.items():
                if not isinstance(value, int) or key in ("batch_normalize", "random"):
                    continue
                for size in SIZES:
                    changed = [*layers]
                    changed[i] = (section, {**options, key: size})
                    survives(folder, tap.cfg(changed))
    test(run, f"{name}: each number at 0, 46341 to 2^63 parses or is refused with one line")


for kind, all_of in SECTIONS.items():
    numbers_of(kind, all_of)


# Memory

def is_sanitized():
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="ascii") as file:
        return "SANITIZE=1" in file.read()


LARGE = [conv(64, 1), *[conv(64, 1) for _ in range(29)], *END]  # 41 MB an image at 200 x 200


@test
def limited(folder):
    """more memory than ulimit -v leaves: both numbers, before any of it is taken"""
    if is_sanitized():
        raise tap.Skip("the sanitizer needs all addresses")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    folder.write("large.cfg", tap.cfg(LARGE, width=200, height=200))
    result = folder.darknet("ops", "large.cfg", preexec_fn=limit)
    check_line(result, ["large.cfg: needs", "MB of memory for 8 images at once, expected at most",
                        "'ulimit -v' leaves"])
    folder.darknet("ops", "large.cfg").check(0)


@test
def too_large(folder):
    """an image that needs more memory than the machine has: both numbers"""
    huge = [conv(16, 1) for _ in range(200)]
    folder.write("huge.cfg", tap.cfg([*huge, *END], width=8192, height=8192, batch=1))
    check_line(folder.darknet("ops", "huge.cfg"),
               ["huge.cfg: needs 86", "MB of memory for one image, expected at most", "machine"])


@test
def training(folder):
    """a batch that one image of fits is predicted with, and is not trained on"""
    layers = [conv(4, 1) for _ in range(200)]
    text = tap.cfg([*layers, *END], width=1024, height=1024, batch=256)
    folder.write("large.cfg", text)
    words = ["[net] batch, subdivisions and", "training 256 images", "MB", "machine"]
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") > 1.7e12 or is_sanitized():
        raise tap.Skip("there is as much memory, or the sanitizer's limit is lower")
    folder.darknet("ops", "large.cfg").check(0)
    folder.write("student.cfg", student_cfg(layers=[*layers, *END], width=1024, height=1024,
                                            batch=256))
    check_line(folder.distill(), words)


# What else a cfg leads to

def disagreeing(name, layers, *words):
    def run(folder):
        folder.write("two.cfg", tap.cfg([*layers, *END[1:]]))
        folder.darknet("partial", "two.cfg", "", "two.weights", "99").check(0)
        folder.darknet("classifier", "predict", "deepkd.data", "two.cfg", "two.weights",
                       PICTURE).check(0)
        check_line(folder.darknet("classifier", "train", "deepkd.data", "two.cfg"), words)
        folder.write("student.cfg", student_cfg(layers=[*layers, *END[1:]]))
        check_line(folder.distill(), ("student.cfg", *words[1:]))
    test(run, f"{name}: it predicts, and is not trained")


disagreeing("two [softmax] of different size", [conv(), ("softmax", {})], "two.cfg: line ",
            "[softmax]: it learns 1152 numbers", "expected 6 as of [softmax], line")
disagreeing("a [softmax] and a [cost] of different size", [conv(), ("cost", {"type": "sse"})],
            "two.cfg: line ", "[cost]: it learns 1152 numbers", "expected 6 as of [softmax], line")


@test
def crop(folder):
    """layers behind a [crop], which has no gradient, and layers that read it, train"""
    layers = [("crop", {"crop_width": 10, "crop_height": 10}), ("shortcut", {"from": -1}),
              conv(3), ("shortcut", {"from": -3}), ("route", {"layers": "-1,0"}), conv(), *END]
    folder.write("student.cfg", student_cfg(layers=layers))
    folder.distill().check(0)


@test
def twice(folder):
    """a key that is there twice: the first counts, which is said; with one value, nothing is"""
    text = student_cfg().replace("\n[conv", "batch=9\nwidth=12\n[conv", 1)
    folder.write("student.cfg", text)
    result = folder.distill().check(0)
    line = f"student.cfg: line 1: [net] has batch= more than once: {NET['batch']} counts, 9 does not"
    assert line in result.err and "width=" not in result.err, result.err
    assert "Unused" not in folder.darknet("ops", "student.cfg").check(0).err


def recurrent(kind):
    options = dict(RECURRENT)[kind]

    def run(folder):
        for batch, steps, status in ((1, 1, 0), (2, 1, 1), (1, 3, 1)):
            folder.write("text.cfg", tap.cfg([(kind, options), *END[1:]], batch=batch,
                                             time_steps=steps, max_batches=1))
            folder.darknet("partial", "text.cfg", "", "text.weights", "99").check(0)
            result = folder.darknet("classifier", "predict", "deepkd.data", "text.cfg",
                                    "text.weights", PICTURE).check(status)
            assert not status or f"layer 0, [{kind}]: found a batch on the CPU" in result.err
        result = folder.darknet("classifier", "train", "deepkd.data", "text.cfg", "-nogpu")
        check_line(result, [f"layer 0, [{kind}]: found training on the CPU"])
        folder.write("student.cfg", student_cfg(layers=[(kind, options), *END[1:]]))
        check_line(folder.distill(), ["layer 0", "can't be trained"])
        folder.write("student.cfg", student_cfg())
        folder.write("teacher.cfg", teacher_cfg([(kind, options), *END[1:]]))
        check_line(folder.distill(), ["layer 0", "recurrent"])
    test(run, f"[{kind}] on the CPU: it predicts image by image, and says so of the rest")


for recurrent_kind in ("rnn", "gru", "lstm", "crnn"):
    recurrent(recurrent_kind)


def tree(name, text, *words):
    def run(folder):
        folder.write("classes.tree", text)
        folder.write("tree.cfg", tap.cfg([*END[:-1], ("softmax", {"tree": "classes.tree"})]))
        result = folder.darknet("ops", "tree.cfg")
        if words:
            check_line(result, words)
        else:
            result.check(0)
    test(run, f"a tree: {name}")


WHOLE = "a -1\nb -1\nc 0\nd 0\ne 1\nf 1\n"
tree("whole", WHOLE)
tree("a name of 300 letters", WHOLE.replace("a", 300 * "a", 1))
tree("a parent beyond the lines above", WHOLE.replace("c 0", "c 2"), "classes.tree: line 3",
     "expected a name and its parent", "found: c 2")
tree("a parent below -1", WHOLE.replace("c 0", "c -2"), "classes.tree: line 3", "expected")
tree("no parent", WHOLE.replace("c 0", "c"), "classes.tree: line 3", "expected")
tree("other classes than come in", WHOLE + "g 1\n", "tree.cfg: line ", "tree: 7 classes",
     "expected 6")

# What a fuzzer found (tests/faults): words of the line that each ends with, in Darknet's commands

FOUND = {
    "cfg-3.cfg": "line 1: [net]: expected a layer", "cfg-7.cfg": "", "cfg-9.cfg": "",
    "cfg-8.cfg": "line 19: [avgpool]: expected an image", "cfg-13.cfg": "", "deconv.cfg": "",
    "cfg_conv_groups.cfg": "[convolutional] groups=2", "only_net.cfg": "expected a layer besides",
    "cfg_normalization.cfg": "[normalization] size=8", "cfg_reorg.cfg": "[reorg] stride=2",
    "cfg_two_softmax.cfg": "", "dropout_first.cfg": "line 17: [dropout]",
    "tree.cfg": "tree_parent.txt: line 1: expected", "tree2.cfg": "tree2.cfg: line 11: [softmax] tree: 1 classes",
}


def fault(file, words):
    def run(folder):
        shutil.copytree(FAULTS, folder.path, dirs_exist_ok=True)
        folder.write("deepkd.data", data_file(classes=5, labels="five.txt", names="five.txt"))
        folder.write("five.txt", "class-a\nclass-b\nclass-c\nclass-d\nclass\n")
        result = folder.darknet("partial", file, "", "any.weights", "99")
        if words:
            check_line(result, [words])
        else:
            result.check(0)
        for command in (("classifier", "predict", "deepkd.data", file, "any.weights", PICTURE),
                        ("classifier", "predict", "deepkd.data", file, "weights-1.weights",
                         PICTURE),
                        ("distill", "deepkd.data", file, "teacher.weights")):
            result = folder.darknet(*command)
            if result.status:
                check_line(result, [words] if command[0] == "classifier" else [])
    test(run, f"tests/faults/{file}")


for found, expected in FOUND.items():
    fault(found, expected)

tap.main()
