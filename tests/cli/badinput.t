#!/usr/bin/python3 -B
"""distill's answers to wrong input of every kind, in TAP.

Proves: exit status 1, one line of ours on stderr, the last one, that names the
file or flag, what was found and what was expected; no crash, and no sanitizer
has anything to say; nothing in backup/ is changed by what is found before
training, and what is found later leaves whole files of finite numbers.

To add a case: a line of the tables below. It says which files differ from
tap.py's, which flags are given, and words of the message.
"""
import tap
from tap import (BATCH, CLASSES, LABELS, STUDENT_BYTES, STUDENT_FLOATS, STUDENT_LAYERS,
                 TEACHER_BYTES, TEACHER_LAYERS, TRAIN, case, data_file, plain_cfg, student_cfg,
                 teacher_cfg)

import numpy as np

START = "-start start.weights"


def loss(key, value):
    return student_cfg({key: value})


# The command line

USAGE = ("usage: darknet distill", "TEACHER.weights")
case("no arguments", *USAGE, args="distill")
case("a data file alone", *USAGE, args="distill deepkd.data")
case("a fourth file", "one.weights", "too many", *USAGE, flags="one.weights")
case("an unknown flag", "-speed", "unknown flag", *USAGE, flags="-speed")
for flag in ("-seed", "-threads"):
    case(f"{flag} without its value", flag, "expected a whole number from 1", flags=flag)
    for value in ("0", "-1", "x", "1x", "1.5", "99999999999999999999"):
        case(f"{flag} {value}", f"{flag} {value}", "expected a whole number from 1",
             flags=f"{flag} {value}")
case("-threads 257", "-threads 257", "to 256", flags="-threads 257")
case("-start without its value", "-start", "value is missing", flags="-start")
case("-resume with -start", "-resume", "expected no -start", flags=f"-resume {START}",
     edit=lambda f: f.write("start.weights", b""))
case("-clear with -resume", "-resume", "expected no -clear", flags="-clear -resume")

# Files that are not there, are empty, or are something else

case("no data file", "deepkd.data", "No such file", data=None)
case("no student cfg", "student.cfg", "No such file", student=None)
case("no teacher weights", "teacher.weights", "No such file", teacher_weights=None)
case("no teacher cfg", "teacher.cfg", "No such file", teacher=None)
case("no train list", "train.list", "No such file", train_list=None)
case("no valid list", "valid.list", "No such file", valid_list=None)
case("no labels", "labels.txt", "No such file", labels_txt=None)
case("no backup folder", "deepkd.data", "backup=nowhere", "expected",
     data=data_file(backup="nowhere"))
case("a backup folder that is a file", "deepkd.data", "backup=labels.txt", "expected",
     data=data_file(backup="labels.txt"))
case("an empty data file", "deepkd.data", "found no valid=", data="")
case("an empty student cfg", "student.cfg", "no sections", student="")
case("an empty teacher cfg", "teacher.cfg", "no sections", teacher="")
case("an empty train list", "train.list", "empty", train_list="")
case("an empty valid list", "valid.list", "empty", valid_list="")
case("a folder as data file", "backup", "expected", args="distill backup student.cfg t.weights")
case("a folder as student cfg", "backup", "sections",
     args="distill deepkd.data backup teacher.weights")
case("a folder as teacher weights", "backup", "expected",
     args="distill deepkd.data student.cfg backup")
case("weights given as student cfg", "teacher.weights", "section",
     args="distill deepkd.data teacher.weights teacher.weights")
case("weights given as teacher cfg", "teacher.weights", "section",
     student=student_cfg(teacher={"cfg": "teacher.weights"}))
case("weights given as data file", "teacher.weights", "expected",
     args="distill teacher.weights student.cfg teacher.weights")
case("an image given as teacher weights", "class-a-0.png", "bytes, expected",
     args="distill deepkd.data student.cfg images/train/class-a-0.png")
case("a cfg given as teacher weights", "teacher.cfg", "bytes, expected",
     args="distill deepkd.data student.cfg teacher.cfg")
case("no teacher weights anywhere", "student.cfg", "[teacher] has no weights=", "expected",
     args="distill deepkd.data student.cfg")
for key, value in (("mean", "0,0,0"), ("std", "1,1,1"), ("outputs", "probabilities")):
    case(f"{key}= of a teacher that is no ONNX file", "student.cfg", f"[teacher] found {key}=",
         "expected it with model=", student=student_cfg(teacher={"cfg": "teacher.cfg", key: value}))
case("no teacher cfg anywhere", "student.cfg", "[teacher] has no cfg=", "deepkd.data",
     "no teacher=", "expected", student=student_cfg(teacher={"weights": "w"}))
case("a student cfg in the backup folder", "backup/student.cfg", "expected another backup=",
     args="distill deepkd.data backup/student.cfg teacher.weights",
     edit=lambda f: f.write("backup/student.cfg", student_cfg()))

# The .data file

case("classes= one too many", "labels.txt", f"found {CLASSES} labels",
     f"expected {CLASSES + 1}", data=data_file(classes=CLASSES + 1),
     edit=lambda f: f.write("student.cfg", student_cfg(layers=student_of(CLASSES + 1))) or
     f.write("teacher.cfg", teacher_cfg(teacher_of(CLASSES + 1))) or
     f.darknet("partial", "teacher.cfg", "", "teacher.weights", "99"))
case("classes= other than the networks'", "deepkd.data", "classes=5", f"expected {CLASSES}",
     "student.cfg", data=data_file(classes=5))
for value in ("0", "-1", "x", "2.5", "99999999999"):
    case(f"classes={value}", "deepkd.data", f"classes={value}", "expected a whole number from 1",
         data=data_file(classes=value))
case("classes=", "deepkd.data", "line 1", "expected", data=data_file(classes=""))
for key in ("classes", "train", "valid", "labels", "backup"):
    case(f"no {key}= in the data file", "deepkd.data", f"found no {key}=", "expected",
         data=data_file(**{key: None}))
for key in ("top", "eval_interval", "save_interval", "log_interval"):
    for value in ("0", "-1", "x", "1x"):
        case(f"{key}={value} in the data file", "deepkd.data", f"{key}={value}", "expected",
             data=data_file(**{key: value}))
case("top= above classes=", "deepkd.data", "top=7", "expected at most classes=6",
     data=data_file(top=7))
case("an unknown key in the data file", "deepkd.data", "speed=1", "expected one of", "backup",
     data=data_file(speed=1))
case("a key twice in the data file", "deepkd.data", "top=3", "once", data=data_file() + "top=3\n")
case("a line without = in the data file", "deepkd.data", "line 9", "expected key=value", "hello",
     data=data_file() + "hello\n")

# Images and labels


def with_first_image(content):
    """An edit: the first picture of both lists is another file with this content, None: none."""
    def edit(folder):
        path = f"{LABELS[0]}-other.png"
        if content is not None:
            folder.write(path, content(folder.read(first_path(folder))))
        for name in ("train.list", "valid.list"):
            rest = folder.read(name).decode().split("\n", 1)[1]
            folder.write(name, f"{path}\n{rest}")
    return edit


def first_path(folder):
    return folder.read("train.list").decode().split("\n")[0]


def only_train(edit):
    """The same edit, but the valid list stays."""
    def edit_train(folder):
        valid = folder.read("valid.list")
        edit(folder)
        folder.write("valid.list", valid)
    return edit_train


PATH = f"{LABELS[0]}-other.png"
IMAGES = {
    "an image that is not there": (None, "No such file"),
    "an empty image": (lambda png: b"", "empty"),
    "a truncated image": (lambda png: png[:len(png) * 2 // 3], "decoded"),
    "an image of 20 bytes": (lambda png: png[:20], "decoded"),
    "a text file named .png": (lambda png: b"hello\n", "decoded"),
}
for name, (content, word) in IMAGES.items():
    for where, edit in (("valid", with_first_image(content)),
                        ("train", only_train(with_first_image(content)))):
        case(f"{name}, in the {where} list", PATH, word, edit=edit,
             late=where == "train" and word == "decoded")
case("a folder as image", "train.list", "images", "expected an image",
     train_list="images/train\n",
     edit=lambda f: f.write("labels.txt", "\n".join(["train", *LABELS[1:]]) + "\n"))
case("an image without a label", "train.list", "images/train/x.png", "found no label", "expected",
     edit=lambda f: list_copy(f, "x.png"))
case("an image with two labels", "train.list", LABELS[0], LABELS[1], "expected one",
     edit=lambda f: list_copy(f, f"{LABELS[0]}-{LABELS[1]}.png"))


def list_copy(folder, name):
    """The train list gets a picture of this name, in a folder of the test's own."""
    content = folder.read(first_path(folder))
    folder.remove("images")
    tap.make_folder(folder.at("images/train"))
    folder.write(f"images/train/{name}", content)
    folder.write("train.list", f"images/train/{name}\n")


case("labels: one too few", "labels.txt", f"found {CLASSES - 1} labels", f"expected {CLASSES}",
     labels_txt="\n".join(LABELS[:-1]) + "\n")
case("labels: one too many", "labels.txt", f"found {CLASSES + 1} labels", f"expected {CLASSES}",
     labels_txt="\n".join([*LABELS, "more"]) + "\n")
case("labels: an empty line", "labels.txt", "line 3", "found nothing",
     labels_txt="\n".join([*LABELS[:2], "", *LABELS[3:]]) + "\n")
case("labels: empty", "labels.txt", "empty", labels_txt="")

# Weights


def teacher_bytes(count):
    return lambda f: f.write("teacher.weights", (f.read("teacher.weights") + bytes(count))[:count])


def start_bytes(count):
    return lambda f: f.write("start.weights", (f.read("teacher.weights")[:20] +
                                               bytes(STUDENT_BYTES + 99))[:count])


BYTES = f"expected {TEACHER_BYTES}"
for count in (0, 11, 12, 19, 20, 21, 500, 20 + 4 * 372, TEACHER_BYTES - 4, TEACHER_BYTES - 1,
              TEACHER_BYTES + 1, TEACHER_BYTES + 4, STUDENT_BYTES):
    case(f"teacher weights of {count} bytes", "teacher.weights", "expected",
         f"found {count} bytes" if count >= 12 else "header", edit=teacher_bytes(count))
first, second = 20 + 4 * STUDENT_FLOATS[0], 20 + 4 * sum(STUDENT_FLOATS[:2])
for count in (0, 11, 12, 19, 20, 21, first - 4, first - 1, first + 1, first + 4, second - 4,
              STUDENT_BYTES - 1, STUDENT_BYTES + 1, STUDENT_BYTES + 4, TEACHER_BYTES):
    case(f"-start: {count} bytes", "start.weights", "expected",
         f"found {count} bytes" if count >= 12 else "header", flags=START, edit=start_bytes(count))
case("-start: not there", "start.weights", "No such file", flags=START)
case("-start: has seen all images", "start.weights", "has seen", "expected -clear", flags=START,
     edit=lambda f: f.write("start.weights", f.read("teacher.weights")[:12] +
                            np.array([6 * BATCH], np.uint64).tobytes() +
                            bytes(STUDENT_BYTES - 20)))
case("-resume without a state", "backup/student.state", "no such file", flags="-resume")


NANS = np.full(2, np.nan, np.float32).tobytes()
case("-start: numbers that are not finite", "start.weights", "not finite", flags=START,
     edit=lambda f: f.write("start.weights", f.read("teacher.weights")[:12] +
                            bytes(STUDENT_BYTES - 12 - len(NANS)) + NANS))


def nan_teacher(folder):
    folder.write("teacher.weights", folder.read("teacher.weights")[:-len(NANS)] + NANS)


case("a teacher whose weights are not finite", "teacher.weights", "not finite", edit=nan_teacher)
case("a learning rate of 1e30", "student.cfg", "batch ", "not finite", "lower learning_rate",
     "student", student=student_cfg(learning_rate="1e30"), late=True)
case("a task weight of 1e6", "student.cfg", "batch ", "not finite", "student",
     student=student_cfg({"task_weight": "1e6"}, learning_rate="1e6"), late=True)

# Networks


def student_of(classes):
    return [*STUDENT_LAYERS[:-2], ("connected", {"output": classes, "activation": "linear"}),
            ("softmax", {"groups": 1})]


def teacher_of(classes):
    return [*TEACHER_LAYERS[:-2], ("connected", {"output": classes, "activation": "linear"}),
            ("softmax", {"groups": 1})]


def make_weights(cfg_name, weights):
    return lambda f: f.darknet("partial", cfg_name, "", weights, "99")


OURS = [("teacher", {"cfg": "teacher.cfg"}), ("deepkd_loss", {})]
case("a teacher of other classes", "student.cfg", f"found {CLASSES} classes",
     "expected the teacher's 7", "teacher.cfg", teacher=teacher_cfg(teacher_of(7)),
     edit=make_weights("teacher.cfg", "teacher.weights"))
case("a teacher of other channels", "teacher.cfg", "channels=1", "expected 3",
     teacher=teacher_cfg(channels=1), edit=make_weights("teacher.cfg", "teacher.weights"))
case("a student of one channel", "student.cfg", "[net] channels=1", "expected 3",
     student=student_cfg(channels=1))
case("a student without [softmax]", "student.cfg", "found no [softmax]",
     student=student_cfg(layers=STUDENT_LAYERS[:-1]))
case("a teacher without [softmax]", "teacher.cfg", "found no [softmax]",
     teacher=teacher_cfg(TEACHER_LAYERS[:-1]))
case("a student with two groups", "student.cfg", "[softmax]", "groups=2", "expected one",
     student=student_cfg(layers=[*STUDENT_LAYERS[:-1], ("softmax", {"groups": 2})]))
case("a teacher with two groups", "teacher.cfg", "[softmax]", "groups=2", "expected one",
     teacher=teacher_cfg([*TEACHER_LAYERS[:-1], ("softmax", {"groups": 2})]))
case("a plain student", "student.cfg", "found no [deepkd_loss]", "expected [teacher]",
     "deepkd wrap", student=plain_cfg())
case("no [teacher]", "student.cfg", "found no [teacher]", "before [deepkd_loss]",
     student=plain_cfg() + "[deepkd_loss]\n")
case("no [deepkd_loss]", "student.cfg", "[teacher]", "expected", "before [deepkd_loss]",
     student=plain_cfg() + "[teacher]\ncfg=teacher.cfg\n")
case("two of [teacher]", "student.cfg", "[teacher]", "no cfg=",
     student=plain_cfg() + "[teacher]\n[teacher]\n[deepkd_loss]\n")
case("two of [deepkd_loss]", "student.cfg", "[deepkd_loss]", "once",
     student=student_cfg() + "[deepkd_loss]\n")
case("the two in the wrong order", "student.cfg", "[deepkd_loss]", "at the end",
     student=plain_cfg() + "[deepkd_loss]\n[teacher]\n")
case("the two in the middle", "student.cfg", "[deepkd_loss]", "at the end",
     student=tap.cfg([*STUDENT_LAYERS[:-1], *OURS, STUDENT_LAYERS[-1]]))
case("the two and nothing else", "student.cfg", "expected", student=tap.cfg(OURS))
case("the two before [net]", "student.cfg", "[net]", student="[teacher]\n" + plain_cfg())
for role, text in (("student", student_cfg), ("teacher", teacher_cfg)):
    layers = {"student": STUDENT_LAYERS, "teacher": TEACHER_LAYERS}[role]

    def changed(index, key, value, layers=layers, text=text):
        """The cfg with one option of a layer set."""
        name, options = layers[index]
        changes = [*layers]
        changes[index] = (name, {**options, key: value})
        return text(layers=changes)

    FILE = f"{role}.cfg"
    case(f"{role}: an unknown key in [net]", FILE, "[net] speed=1", "knows",
         **{role: text(speed=1)})
    case(f"{role}: an unknown key in a layer", FILE, "[convolutional] filter=8", "knows",
         **{role: changed(0, "filter", 8)})
    case(f"{role}: an unknown activation", FILE, "[convolutional] activation=gelu", "knows",
         **{role: changed(0, "activation", "gelu")})
    case(f"{role}: an unknown policy", FILE, "[net] policy=cosinus", "knows",
         **{role: text(policy="cosinus")})
    case(f"{role}: an unknown section", FILE, "unknown section [attention]",
         **{role: text(layers=[layers[0], ("attention", {}), *layers[1:]])})
    case(f"{role}: a line without =", FILE, "line 2", "expected", "hello",
         **{role: text().replace("[net]\n", "[net]\nhello\n")})
    case(f"{role}: an option without a value", FILE, "line 2", "expected", "batch",
         **{role: text().replace("batch=8\n", "batch=\n")})
    case(f"{role}: an option before any section", FILE, "line 1", "expected",
         **{role: "batch=8\n" + text()})
    for key, value in (("batch", 0), ("batch", -1), ("batch", "x"), ("subdivisions", 0),
                       ("subdivisions", -1), ("width", 0), ("width", -8), ("height", "x")):
        if role == "student" or key not in ("batch", "subdivisions"):
            case(f"{role}: [net] {key}={value}", FILE, f"{key}", "expected",
                 **{role: text(**{key: value})})
    case(f"{role}: a [softmax] whose tree is not there", "none.tree", "No such file",
         **{role: changed(-1, "tree", "none.tree")})
    for index, key, values in ((0, "filters", (0, -1)), (0, "size", (0, -3)),
                               (0, "stride", (0, -1)), (0, "stride_x", (0, "x")),
                               (0, "stride_y", (-1, 1.5)), (0, "dilation", (0, "x")), (-2, "output", (0, -1))):
        for value in values:
            case(f"{role}: [{layers[index][0]}] {key}={value}", FILE, key,
                 **{role: changed(index, key, value)})

for key, value in (("from", None), ("from", -9), ("from", 3), ("from", 99)):
    case(f"student: [shortcut] {key}={value}", "student.cfg", "from",
         student=student_cfg(layers=[*STUDENT_LAYERS[:3], ("shortcut", {key: value}),
                                     *STUDENT_LAYERS[4:]]))
for value in (None, "-9", "3", "99", "-1,-9", "-1,"):
    case(f"student: [route] layers={value}", "student.cfg", "layers",
         student=student_cfg(layers=[*STUDENT_LAYERS[:3], ("route", {"layers": value}),
                                     *STUDENT_LAYERS[4:]]))
case("more subdivisions than images in a batch", "student.cfg", "subdivisions", "expected",
     student=student_cfg(batch=4, subdivisions=8))
case("a batch that subdivisions do not divide", "student.cfg", "subdivisions", "expected",
     student=student_cfg(batch=8, subdivisions=3))
case("max_batches=0", "student.cfg", "[net] max_batches=0", "expected 1",
     student=student_cfg(max_batches=0))
case("[avgpool] size=", "student.cfg", "[avgpool] size=2: expected a key that Darknet knows",
     student=student_cfg(layers=[*STUDENT_LAYERS[:-2], ("avgpool", {"size": 2}), *STUDENT_LAYERS[-2:]]))
for key, value in (("size", 0), ("stride", "x"), ("stride_y", 0), ("padding", -1)):
    case(f"[local_avgpool] {key}={value}", "student.cfg", f"[local_avgpool] {key}={value}",
         student=student_cfg(layers=[*STUDENT_LAYERS[:-2], ("local_avgpool", {key: value}),
                                     *STUDENT_LAYERS[-2:]]))
for layer, words in ((("shuffle", {"groups": 3}), "[shuffle] groups=3: expected a divisor of 8"),
                     (("shuffle", {"groups": 0}), "[shuffle] groups=0"),
                     (("local_avgpool", {"count_padding": 2}), "[local_avgpool] count_padding=2"),
                     (("batchnorm", {"affine": "yes"}), "[batchnorm] affine=yes"),
                     (("batchnorm", {}), "layer 2: a [batchnorm] without affine=1")):
    case(f"student: {layer}", "student.cfg", words,
         student=student_cfg(layers=[*STUDENT_LAYERS[:2], layer, *STUDENT_LAYERS[-3:]]))
for options, words in (({"from": -2, "weights_type": "per_channel"},
                        "weights_type: found one layer in from=, expected several"),
                       ({"from": "-1,-2", "weights_type": "per_pixel"},
                        "weights_type=per_pixel: expected none, per_feature or per_channel"),
                       ({"from": "-1,-2", "weights_normalization": "relu"},
                        "weights_normalization=relu: expected a weights_type="),
                       ({"from": "-1,-2", "weights_type": "per_feature",
                         "weights_normalization": "sum"},
                        "weights_normalization=sum: expected none, relu or softmax"),
                       ({"from": "-1,-2", "weights_type": "per_feature", "alpha": 1},
                        "alpha=1: expected a key that Darknet knows")):
    key, value = list(options.items())[-1]
    case(f"[shortcut] from={options['from']} {key}={value}", "student.cfg", f"[shortcut] {words}",
         student=student_cfg(layers=[tap.conv(8), tap.conv(8), ("shortcut", options),
                                     *STUDENT_LAYERS[-2:]]))
case("[reorg3d] reverse=1", "student.cfg", "[reorg3d] reverse=1: expected a key that Darknet knows",
     student=student_cfg(layers=[tap.conv(8), ("reorg3d", {"stride": 2, "reverse": 1}),
                                 *STUDENT_LAYERS[-2:]]))
for section in ("Gaussian_yolo", "contrastive"):
    case(f"[{section}]", "student.cfg", f"unknown section [{section}]",
         student=student_cfg(layers=[tap.conv(8), (section, {"classes": 2}), *STUDENT_LAYERS[-2:]]))
case("share_index= of several values", "student.cfg",
     "student.cfg: [convolutional] share_index=0: expected a key that Darknet knows",
     student=student_cfg(layers=[tap.conv(8, share_index=0), tap.conv(8, share_index=1),
                                 *STUDENT_LAYERS[-2:]]))
case("no max_batches", "student.cfg", "[net] max_batches=0", "expected 1",
     student=student_cfg(max_batches=None))
case("max_batches=-1", "student.cfg", "[net] max_batches=-1", "expected 1",
     student=student_cfg(max_batches=-1))
case("adam=1", "student.cfg", "[net] adam=1", "expected 0", student=student_cfg(adam=1))
case("random=1", "student.cfg", "[net] random=1", "expected 0", student=student_cfg(random=1))
case("time_steps=2", "student.cfg", "[net] time_steps=2", "expected 1",
     student=student_cfg(time_steps=2))
case("policy=steps without steps", "student.cfg", "steps", student=student_cfg(policy="steps"))
case("a layer that can't be trained", "student.cfg", "layer 3", "expected [convolutional]",
     student=student_cfg(layers=[
         *STUDENT_LAYERS[:3], ("local", {"filters": 2, "size": 3, "activation": "linear"}),
         *STUDENT_LAYERS[5:]]))

# [teacher] and [deepkd_loss]

case("an unknown option in [teacher]", "student.cfg", "[teacher] speed=1", "expected one of",
     "cfg, weights", student=student_cfg(teacher={"cfg": "teacher.cfg", "speed": 1}))
case("an option twice in [teacher]", "student.cfg", "[teacher] cfg=b.cfg", "once",
     student=student_cfg().replace("[deepkd_loss]", "cfg=b.cfg\n[deepkd_loss]"))
case("an empty option in [teacher]", "student.cfg", "expected",
     student=student_cfg(teacher={"cfg": ""}))
case("an unknown option in [deepkd_loss]", "student.cfg", "[deepkd_loss] gamma=1",
     "expected one of", "method", "decay_component", student=loss("gamma", 1))
case("an option twice in [deepkd_loss]", "student.cfg", "[deepkd_loss] alpha=2", "once",
     student=student_cfg({"alpha": 1}) + "alpha=2\n")

# option: values that are out of its range; temperature=0 and such among them
NUMBERS = {
    "temperature": ("0", ".0099", "-4", "1000.1", "1e9"),
    "task_weight": ("-.1", "1.1e6"),
    "teacher_weight": ("-.1", "1.1e6"),
    "alpha": ("-.1", "1.1e6"),
    "beta": ("-.1", "1.1e6"),
    "warmup": ("-1", "1.5", "2147483648"),
    "logit_standardization": ("-1", "2", ".5"),
    "batch_weight": ("-.1", "1.1e6"),
    "class_weight": ("-.1", "1.1e6"),
    "within_weight": ("-.1", "1.1e6"),
    "across_weight": ("-.1", "1.1e6"),
    "confidence_weak": ("-.1", "1.1"),
    "confidence_strong": ("-.1", "1.1"),
    "official": ("-1", "2"),
    "views": ("0", "3", "1.5"),
    "inter_weight": ("-.1", "1.1e6"),
    "intra_weight": ("-.1", "1.1e6"),
    "tcg_gate": ("-1", "2", ".5"),
    "swap": ("-1", "2", ".5"),
    "topk": ("0", "-1", "1.5", "2147483648"),
    "delta_tog": ("-1.1", "1.1"),
    "delta_tcg": ("-1.1", "1.1"),
    "delta_ncg": ("-1.1", "1.1"),
    "momentum_tog": ("-.1", "1", "1.5"),
    "momentum_tcg": ("-.1", "1", "1.5"),
    "momentum_ncg": ("-.1", "1", "1.5"),
}
for key, values in NUMBERS.items():
    for value in (*values, "x", "1x" if key != "warmup" else "0x1g", "nan", "inf", "1e999"):
        case(f"{key}={value}", "student.cfg", f"[deepkd_loss] {key}={value}", "expected",
             student=loss(key, value))
    case(f"{key}=", "student.cfg", "line ", key, "expected", student=loss(key, ""))
    case(f"{key}=#", "student.cfg", f"[deepkd_loss] {key}=", "expected", student=loss(key, "#5"))

CHOICES = {
    "method": "kd|dkd", "trainer": "deepkd|dot|sgd", "activation": "softmax|logistic",
    "topk_schedule": "dynamic|static|off", "decay_component": "tog|tcg|ncg",
    "warmup_shape": "linear|epochs", "augment": "darknet|cifar",
}
for key, choices in CHOICES.items():
    for value in ("x", choices, choices[:1], choices.split("|", maxsplit=1)[0].upper()):
        case(f"{key}={value}", "student.cfg", f"[deepkd_loss] {key}={value}: expected {choices}",
             student=loss(key, value))
    case(f"{key}=", "student.cfg", "line ", key, "expected", student=loss(key, ""))

for value in (".3", ".3,", ",.7", ".7,.3", ".3,.3", "-.1,.7", ".3,1.1", ".3,.5,.7", ".3;.7", "x,.7",
              ".3,x", "nan,nan"):

    case(f"topk_phases={value}", "student.cfg", f"[deepkd_loss] topk_phases={value}", "expected",
         student=loss("topk_phases", value))
for value in ("x", "0", "4,3", "2,2", "1,", ",1", "1,,2", "1;2", "1,1001", "1,2,3,4,5,6,7,8,9"):
    case(f"temperatures={value}", "student.cfg", f"[deepkd_loss] temperatures={value}",
         "expected", student=student_cfg({"method": "mlkd", "temperatures": value}))
case("temperatures=", "student.cfg", "line ", "temperatures", "expected",
     student=student_cfg({"method": "mlkd", "temperatures": ""}))
case("temperature with mlkd", "student.cfg", "[deepkd_loss] temperature=4", "method=mlkd",
     "expected temperatures=", student=student_cfg({"method": "mlkd", "temperature": 4}))
case("temperatures without mlkd", "student.cfg", "[deepkd_loss] temperatures=", "method=kd",
     "expected temperature=", student=loss("temperatures", "1,2"))
case("official=.5", "student.cfg", "[deepkd_loss] official=0.5", "expected a whole number from 0 to 1",
     student=student_cfg({"method": "crld", "official": ".5"}))
case("crld's option with mlkd", "student.cfg", "confidence_weak=0.5", "method=mlkd",
     "expected it with method=crld", student=student_cfg({"method": "mlkd", "confidence_weak": ".5"}))
case("views=1 with crld", "student.cfg", "[deepkd_loss] views=1", "method=crld", "expected 2",
     student=student_cfg({"method": "crld", "views": 1}))
case("views=2 with kd", "student.cfg", "[deepkd_loss] views=2", "method=kd", "expected 1",
     student=loss("views", 2))
for method in ("mlkd", "crld"):
    case(f"{method}, logistic", "student.cfg", f"method={method}", "expected activation=softmax",
         student=student_cfg({"method": method, "activation": "logistic"}))
for method in ("mlkd", "dist"):
    case(f"{method}, one image a subdivision", "student.cfg", "[net] batch / subdivisions is 1",
         f"method={method}", "expected 2 or more",
         student=student_cfg({"method": method}, subdivisions=BATCH))
for option, value, found in (("topk", 2, "a top-k mask"), ("tcg_gate", 1, "tcg_gate=1"),
                             ("logit_standardization", 1, "logit_standardization=1")):
    case(f"dist with {option}", "student.cfg", f"{found}: method=dist", "expected it with another",
         student=student_cfg({"method": "dist", option: value}))
case("tcg_gate, logistic", "student.cfg", "tcg_gate=1: expected activation=softmax",
     student=student_cfg({"tcg_gate": 1, "activation": "logistic"}))
for value, found in (("blur", "blur"), ("rotate,blur,solarize", "blur"), ("Rotate", "Rotate"),
                     ("rotate,", "")):
    case(f"operations={value}", "student.cfg", f"[deepkd_loss] operations={value}: found {found},",
         "expected some of autocontrast", student=student_cfg({"method": "crld", "operations": value}))
case("operations of one view", "student.cfg", "[deepkd_loss] operations=rotate", "one view",
     "expected it with views=2", student=loss("operations", "rotate"))
case("warmup_shape=epochs without warmup", "student.cfg", "[deepkd_loss] warmup_shape=epochs",
     "found warmup=0", "expected", student=loss("warmup_shape", "epochs"))
case("topk above the other classes", "student.cfg", "[deepkd_loss] topk=6", "expected at most 5",
     student=loss("topk", 6))
case("momentum and delta above 1", "student.cfg", "[deepkd_loss] momentum of tog is",
     "[net] momentum=0.95", "expected 0 to 0.9999", student=student_cfg({"delta_tog": ".075"}, momentum=".95"))
for value in ("-.1", ".5", "2", "x"):
    case(f"label_smooth_eps={value}", "student.cfg", f"label_smooth_eps={value}" if value != ".5" else
         "label_smooth_eps=0.5", "expected", student=student_cfg(label_smooth_eps=value))
case("mosaic=1 of a classifier", "student.cfg", "[net] mosaic=1", "detector's cfg",
     student=student_cfg(mosaic=1))
case("momentum and delta below 0", "student.cfg", "momentum of tcg is -0.0", "expected 0",
     student=student_cfg(momentum=".05"))
case("momentum=1 with trainer=sgd", "student.cfg", "momentum of tog is 1 ",
     student=student_cfg({"trainer": "sgd"}, momentum="1"))
case("one class, softmax", "student.cfg", "activation=softmax", "expected activation=logistic",
     student=student_cfg({"activation": "softmax"}, layers=student_of(1)),
     teacher=teacher_cfg(teacher_of(1)), data=data_file(classes=1, top=1), labels_txt="class-\n",
     edit=make_weights("teacher.cfg", "teacher.weights"))
case("a train list of empty lines", "train.list", "line 1", train_list="\n" * TRAIN)

tap.main()
