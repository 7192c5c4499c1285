#!/usr/bin/python3 -B
"""The answers of distill and of deepkd map to a detector's wrong input of every kind, in TAP.

Proves what badinput.t proves of classifiers: exit status 1, one line of ours on stderr, the last
one, that names the file or flag, what was found and what was expected; no crash, and no sanitizer
has anything to say; nothing in backup/ is changed by what is found before training.

To add a case: a line of the tables below.
"""
import json

import tap
from tap import (BODY, LABELS, REGION, TEACHER_ANCHORS, YOLO, YOLO_TEACHER, case, conv, data_file,
                 detector_cfg, detector_data, head, student_cfg, teacher_cfg, teacher_detector_cfg)

import numpy as np

LABEL, VALID_LABEL = "labels/train/000000000001.txt", "labels/val/000000000101.txt"
BOX = "0 .5 .5 .25 .25\n"


def labels(content, name=LABEL):
    """An edit: this label file has this content; None: it is not there."""
    def edit(folder):
        folder.own("labels")
        folder.remove(name)
        if content is not None:
            folder.write(name, content)
    return edit


def last(layers, **options):
    """The layers, with options of the last one set; None takes one away."""
    return [*layers[:-1], (layers[-1][0], {**layers[-1][1], **options})]


def first(layers, **options):
    """The layers, with options of the first one set."""
    return [(layers[0][0], {**layers[0][1], **options}), *layers[1:]]


def first_head(**options):
    """The teacher's layers, with options of its first head set; the second stays."""
    return [*last(YOLO_TEACHER[:6], **options), *YOLO_TEACHER[6:]]


def loss(**options):
    return detector_cfg(options)


def pixels(folder):
    return folder.read("images/train/000000000001.png")


def three_images(folder):
    first = folder.read("train.list").splitlines(True)[:3]
    folder.remove("train.list")
    folder.write("train.list", b"".join(first))


# Labels

case("labels: a file that is not there", LABEL, "No such file", edit=labels(None))
case("labels: a file that is not there, in the valid list", VALID_LABEL, "No such file",
     edit=labels(None, VALID_LABEL))
for value in ("3", "-1", ".5", "1.5", "2147483648", "1e30"):
    case(f"labels: class {value}", LABEL, "line 2: class ", "expected a whole number from 0 to 2",
         edit=labels(BOX + BOX.replace("0", value, 1)))
case("labels: a class out of range, in the valid list", VALID_LABEL, "line 1: class 3",
     edit=labels(BOX.replace("0", "3", 1), VALID_LABEL))
for x, y in (("1.01", ".5"), ("-.01", ".5"), (".5", "1.01"), (".5", "-.01"), ("32", "16")):
    case(f"labels: a centre at {x} {y}", LABEL, f"line 1: centre at {float(x):g} {float(y):g}",
         "expected shares of the image, from 0 to 1", edit=labels(f"0 {x} {y} .2 .2\n"))
FIVE = "expected five numbers: class x y width height"
for line in ("0 .5 .5 .2", "0 .5 .5 .2 .2 .9", "0", "0,.5,.5,.2,.2", "red .5 .5 .2 .2",
             "0 .5 .5 .2 x", "0 .5 .5 .2 .2x", "0 .5 .5 .2.2", "nan .5 .5 .2 .2", "0 .5 .5 -inf .2",
             "0 .5 .5 .2 1e999", "0 .5 .5 .2 ," + 500 * "9"):
    case(f"labels: {line[:30]}", LABEL, "line 3: ", FIVE, edit=labels(f"{BOX}\n{line}\n{BOX}"))
for value in ("nan", "NaN", "inf", "-inf"):
    for i in range(1, 5):
        fields = BOX.split()
        fields[i] = value
        case(f"labels: {' '.join(fields)}", LABEL, "line 1: ", FIVE,
             edit=labels(" ".join(fields) + "\n"))
case("labels: 91 boxes", LABEL, "found 91 boxes, expected at most 90", "max=",
     edit=labels(91 * BOX))
case("labels: 1,000 boxes in the valid list", VALID_LABEL, "found 1000 boxes, expected at most 90",
     edit=labels(1000 * BOX, VALID_LABEL))
case("labels: 11 boxes with max=10", LABEL, "found 11 boxes, expected at most 10",
     student=detector_cfg(layers=last(YOLO, max=10)), edit=labels(11 * BOX))
case("labels: 31 boxes for a [region]", LABEL, "found 31 boxes, expected at most 30",
     student=detector_cfg(layers=REGION), edit=labels(31 * BOX))
case("labels: a picture", LABEL, "line 1: ", FIVE,
     edit=lambda f: f.own("labels") or f.write(LABEL, pixels(f)))
case("labels: a folder", LABEL, "directory",
     edit=lambda f: labels(None)(f) or tap.make_folder(f.at(LABEL)))

# Lists and images

for name in ("train", "valid"):
    case(f"no {name} list", f"{name}.list", "No such file", **{f"{name}_list": None})
    case(f"an empty {name} list", f"{name}.list", "empty", **{f"{name}_list": ""})
    case(f"a {name} list of empty lines", f"{name}.list", "line 1: found nothing", "expected",
         **{f"{name}_list": "\n\n"})
    case(f"an image that is not there, in the {name} list", f"{name}.list", "images/no.png",
         "No such file", **{f"{name}_list": "images/no.png\n"})
case("an image that can't be decoded", "images/train/000000000001.png", "decoded", late=True,
     edit=lambda f: f.own("images") or f.write("images/train/000000000001.png", pixels(f)[:300]))
case("an image that can't be decoded, in the valid list", "images/val/000000000101.png", "decoded",
     flags="-map", edit=lambda f: f.own("images") or f.write("images/val/000000000101.png",
                                                             pixels(f)[:300]))

# The .data file and annotations=

case("classes= other than the networks'", "deepkd.data", "classes=4", "expected 3", "student.cfg",
     data=detector_data(classes=4))
for key in ("classes", "train", "valid", "backup"):
    case(f"no {key}= in the data file", "deepkd.data", f"found no {key}=",
         data=detector_data(**{key: None}))
case("annotations=: not there", "no.json", "No such file",
     data=detector_data(annotations="no.json"))
case("labels= of a classifier", "deepkd.data", "labels", "classifier alone",
     data=detector_data(labels="names.txt"))
case("top= of a classifier", "deepkd.data", "top", "classifier alone", data=detector_data(top=2))
case("annotations=: a folder", "images", "directory", data=detector_data(annotations="images"))


def truths(change):
    """An edit: change(content of val.json); it is annotations= of the data file."""
    def edit(folder):
        content = json.loads(folder.read("val.json"))
        change(content)
        folder.write("val.json", json.dumps(content))
        folder.write("deepkd.data", detector_data(annotations="val.json"))
    return edit


for text in ("", "hello", "{", "[1, 2", "{}x", "\x89PNG"):
    case(f"annotations=: {text!r}", "val.json", "line 1", "found no JSON",
         val_json=text, data=detector_data(annotations="val.json"))
case("annotations=: no lists", "val.json", 'found no list "annotations"',
     val_json="{}", data=detector_data(annotations="val.json"))
case("annotations=: a category too few", "val.json", "found 2 categories: expected 3",
     edit=truths(lambda t: t["categories"].pop()))
case("annotations=: a category too many", "val.json", "found 4 categories: expected 3",
     edit=truths(lambda t: t["categories"].append({"id": 91, "name": "more"})))
case("annotations=: a box of an unknown image", "val.json", "annotation 1: image_id: found 7",
     edit=truths(lambda t: t["annotations"][0].update(image_id=7)))
case("annotations=: a box of an unknown category", "val.json", "annotation 1: category_id: found 7",
     edit=truths(lambda t: t["annotations"][0].update(category_id=7)))
case("annotations=: a box of three numbers", "val.json", "annotation 1: bbox",
     edit=truths(lambda t: t["annotations"][0].update(bbox=[1, 2, 3])))
UNKNOWN = truths(lambda t: t["images"].pop(3))  # image 104, which has no objects
case("annotations=: an image of the list that it does not know, -map",
     "images/val/000000000104.png", "found no image 104", "expected", flags="-map", edit=UNKNOWN)
case("annotations=: an image that it does not know, without a label file",
     "labels/val/000000000104.txt", "No such file",
     edit=lambda f: UNKNOWN(f) or labels(None, "labels/val/000000000104.txt")(f))
case("annotations=: a training image without a label file", LABEL, "No such file",
     edit=lambda f: truths(lambda t: None)(f) or labels(None)(f))
case("annotations=: an image without a number", "images/val/x.png", "found no image -1",
     flags="-map", edit=lambda f: truths(lambda t: None)(f) or f.own("images") or f.own("labels") or
     f.write("images/val/x.png", pixels(f)) or f.write("labels/val/x.txt", BOX) or
     f.write("valid.list", "images/val/x.png\n"))

# Pairs of networks


def classifier(*roles):
    """An edit: these are classifiers: "student", "teacher"."""
    def edit(folder):
        if "student" in roles:
            folder.write("student.cfg", student_cfg())
        if "teacher" in roles:
            folder.write("teacher.cfg", teacher_cfg())
            new_teacher(folder)
    return edit


def new_teacher(folder):
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)


def both_classifiers(student=None, data=None):
    def edit(folder):
        classifier("student", "teacher")(folder)
        folder.write("student.cfg", student or student_cfg())
        folder.write("deepkd.data", data_file(**(data or {})))
        folder.write("labels.txt", "\n".join(LABELS) + "\n")
    return edit


case("a classifier teaches a detector", "teacher.cfg", "found a classifier",
     "expected a detector as student.cfg is", edit=classifier("teacher"))
case("a detector teaches a classifier", "teacher.cfg", "found a detector",
     "expected a classifier as student.cfg is", edit=classifier("student"))
case("a teacher without an output layer", "teacher.cfg", "found no [softmax], [yolo] or [region]",
     "expected", teacher=teacher_detector_cfg(YOLO_TEACHER[:-1]))
case("a student without an output layer", "student.cfg", "found no [softmax], [yolo] or [region]",
     student=detector_cfg(layers=YOLO[:-1]))
case("a student whose [yolo] is not its end", "student.cfg", "[yolo]: it learns", "expected 64",
     student=detector_cfg(layers=[*YOLO, conv(4)]))
case("a student of other classes", "student.cfg", "found 4 classes", "expected the teacher's 3",
     "teacher.cfg", student=detector_cfg(layers=[*BODY, *head("yolo", "8,8, 14,14", 4)]))
case("a teacher of other classes", "student.cfg", "found 3 classes", "expected the teacher's 4",
     teacher=teacher_detector_cfg([*BODY, *head("yolo", "8,8, 14,14", 4)]), edit=new_teacher)
case("unlabelled= with rows=truth", "deepkd.data", "unlabelled=valid.list: found rows=truth",
     "expected rows=dense", data=detector_data(unlabelled="valid.list"))
case("unlabelled= without a teacher", "deepkd.data", "unlabelled=valid.list: found teacher_weight=0",
     "expected", data=detector_data(unlabelled="valid.list"), student=loss(teacher_weight=0))
case("unlabelled=: no such list", "none.list", "No such file", student=loss(rows="dense"),
     data=detector_data(unlabelled="none.list"))
case("label_smooth_eps= of a detector's [net]", "student.cfg", "[net] label_smooth_eps=0.1",
     "expected it in a classifier's cfg", student=detector_cfg(label_smooth_eps=".1"))
case("a mosaic of three images", "train.list", "found 3 images", "expected 4 or more",
     edit=three_images, student=detector_cfg(mosaic=1))
case("a teacher that sees other images", "teacher.cfg", "letter_box=0", "expected 1",
     teacher=teacher_detector_cfg(letter_box=0))
case("both networks of other classes", "deepkd.data", "classes=3", "expected 4", "student.cfg",
     student=detector_cfg(layers=[*BODY, *head("yolo", "8,8, 14,14", 4)]),
     teacher=teacher_detector_cfg([*BODY, *head("yolo", "8,8, 14,14", 4)]), edit=new_teacher)
case("weights of another teacher", "teacher.weights", "bytes, expected",
     teacher=teacher_detector_cfg(YOLO))
NANS = np.full(2, np.nan, np.float32).tobytes()
case("a teacher whose weights are not finite", "teacher.weights", "not finite",
     edit=lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-8] + NANS))
case("a learning rate of 1e30", "student.cfg", "batch ", "not finite", "lower learning_rate",
     student=detector_cfg(learning_rate="1e30"), late=True)
case("a student of one channel", "student.cfg", "[net] channels=1", "expected 3",
     student=detector_cfg(channels=1))

# Heads

for role, text, layers, change in (
        ("student", detector_cfg, YOLO, lambda **o: last(YOLO, **o)),
        ("teacher", teacher_detector_cfg, YOLO_TEACHER, first_head)):
    FILE = f"{role}.cfg"
    count = 2 if role == "student" else 4
    for value in ("8,8", "8,8, 14", "8,8, 14,14, 9,9, 9,9, 9", "8,8, 14,x", "8,8,, 14,14", ",8,8",
                  "8,8, 14,14,", "8 8 14 14", "8,8, 14,nan", "8,8, 14,inf", "0x8,8, 14,14",
                  "8,8, 14,0", "8,8, 14,-14", "8,8, 14,1e9", "x"):
        case(f"{role}: anchors={value}", FILE, "[yolo] anchors", "expected",
             **{role: text(layers=change(anchors=value))})
    for key, value, expected in (("groups", 5, "divisor of"), ("groups", 0, "1 to"), ("group_id", 1, "0 to 0")):
        case(f"{role}: [route] {key}={value}", FILE, f"[route] {key}={value}", "expected", expected,
             **{role: text(layers=[layers[0], ("route", {"layers": -1, key: value}), *layers[1:]])})
    for section, source, words in (("sam", 5, ["above"]),
                                   ("scale_channels", -1, ["expected 1 x 1"])):
        case(f"{role}: [{section}] from={source}", FILE, f"[{section}] from={source}", *words,
             **{role: text(layers=[layers[0], (section, {"from": source}), *layers[1:]])})
    case(f"{role}: mosaic=2", FILE, "[net] mosaic=2", "0 to 1", **{role: text(mosaic=2)})
    case(f"{role}: letter_box=2", FILE, "[net] letter_box=2", "0 to 1", **{role: text(letter_box=2)})
    for value in ("0,9", "9", "-1,0", "0,.5", "0,0", "0,x", "0,1,", "nan"):
        case(f"{role}: mask={value}", FILE, "[yolo] mask", "expected",
             **{role: text(layers=change(mask=value))})
    case(f"{role}: num= below the mask", FILE, "[yolo] ", "expected",
         **{role: text(layers=change(num=1, mask="0,1"))})
    case(f"{role}: filters that do not fit", FILE, "[yolo] filters=15 of the layer before",
         "expected 16", "classes=3",
         **{role: text(layers=[*layers[:4], conv(15, size=1, batch_normalize=None), *layers[5:]])})
    case(f"{role}: classes that do not fit the filters", FILE, "[yolo] filters=16", "expected 18",
         **{role: text(layers=change(classes=4))})
    for key, values in {
            "classes": ("0", "-1", "x", "1.5"), "num": ("0", "-1", "x"), "max": ("0", "-1", "x"),
            "jitter": ("-.1", "1", "x", "nan"), "ignore_thresh": ("-.1", "1.1", "x"),
            "truth_thresh": ("-.1", "1.1", "x"), "random": ("-1", "4.5", "x", "nan"),
            "scale_x_y": (".9", "11", "x", "nan"), "new_coords": ("2", "-1", "x"),
            "iou_thresh": ("-.1", "1.1", "x"), "iou_normalizer": ("-1", "x", "nan"),
            "obj_normalizer": ("-1", "x"), "cls_normalizer": ("-1", "x"),
            "delta_normalizer": ("-1", "x"), "max_delta": ("-1", "x"),
            "label_smooth_eps": ("-.1", "1.1"), "objectness_smooth": ("2", "x"),
            "focal_loss": ("2", "x"), "beta_nms": ("-1", "x")}.items():
        for value in values:
            case(f"{role}: [yolo] {key}={value}", FILE, f"[yolo] {key}={value}", "expected",
                 **{role: text(layers=change(**{key: value}))})
    case(f"{role}: [yolo] random=.5", FILE, "[yolo] random=0.5: expected 0, or 1 to 4",
         **{role: text(layers=change(random=".5"))})
    case(f"{role}: [yolo] max=1000001", FILE, "[yolo] max=1000001", "expected",
         **{role: text(layers=change(max=1000001))})
    for key, value in (("anchor", "8,8"), ("ignore_tresh", ".5"), ("bias_match", 1), ("coords", 4)):
        case(f"{role}: [yolo] {key}=", FILE, f"[yolo] {key}={value}", "knows",
             **{role: text(layers=change(**{key: value}))})
    for key, value, expected in (
            ("iou_loss", "siou", "mse, iou, giou, diou or ciou"),
            ("nms_kind", "softnms", "default, greedynms or diounms"),
            ("counters_per_class", "1", "expected classes="), ("counters_per_class", "x", "numbers"),
            ("new_coords", "1", "activation=logistic before it")):
        case(f"{role}: [yolo] {key}={value}", FILE, key, expected,
             **{role: text(layers=change(**{key: value}))})
    case(f"{role}: all keys that nobody knows, in one line", FILE,
         "[convolutional] tread=1, [yolo] ignore_tresh=.5, [yolo] shine=2: expected keys",
         **{role: text(layers=first(change(ignore_tresh=".5", shine=2), tread=1))})
    case(f"{role}: [yolo] map= of a file that is not there", "no.txt", "No such file",
         **{role: text(layers=change(map="no.txt"))})
    for key, values in {
            "coords": ("0", "-1", "x"), "thresh": ("-.1", "1.1", "x"), "softmax": ("2", "x"),
            "bias_match": ("2",), "rescore": ("-1",), "object_scale": ("-1", "x"),
            "noobject_scale": ("nan",), "class_scale": ("-1",), "coord_scale": ("1e7",),
            "num": ("0",), "classes": ("0",), "max": ("0",)}.items():
        for value in values:
            case(f"{role}: [region] {key}={value}", FILE, f"[region] {key}={value}", "expected",
                 **{role: text(layers=last(REGION, **{key: value}))})
    case(f"{role}: [region] clases=", FILE, "[region] clases=3", "knows",
         **{role: text(layers=last(REGION, clases=3))})
    for value in ("1,1", "1,1, 2", "1,1, 2,2, 3,3", "1,1, 2,x", "1,1, 2,0"):
        case(f"{role}: [region] anchors={value}", FILE, "[region] anchors", "expected",
             **{role: text(layers=last(REGION, anchors=value))})
    case(f"{role}: [region] filters that do not fit", FILE, "[region] filters=16", "expected 18",
         **{role: text(layers=last(REGION, classes=4))})
    case(f"{role}: [region] coords=5", FILE, "[region] coords=5", "expected 4",
         **{role: text(layers=[*BODY, conv(18, size=1, batch_normalize=None),
                               last(REGION, coords=5)[-1]])})
    case(f"{role}: [region] background=1", FILE, "[region] with background=1",
         "expected plain classes", **{role: text(layers=last(REGION, background=1))})
    case(f"{role}: [region] tree=", FILE, "[region] with tree=", "expected plain classes",
         classes_tree="red -1\ngreen -1\nblue -1\n",
         **{role: text(layers=last(REGION, tree="classes.tree"))})
    case(f"{role}: [region] tree= of a file that is not there", "no.tree", "No such file",
         **{role: text(layers=last(REGION, tree="no.tree"))})
    case(f"{role}: [region] tree= of other classes", FILE, "[region] tree", "4 classes",
         "expected classes=3", classes_tree="red -1\ngreen -1\nblue -1\ngrey -1\n",
         **{role: text(layers=last(REGION, tree="classes.tree"))})

    DISAGREE = {"anchors": "5,5, 8,12, 12,9, 18,18", "max": 50, "jitter": ".3", "random": 1}
    for key, value in DISAGREE.items():
        case(f"{role}: heads with another {key}", FILE, key, "expected",
             **{role: text(layers=first_head(**{key: value}))})
    case(f"{role}: heads with another map", FILE, "map", "expected", map_txt="0\n1\n2\n",
         **{role: text(layers=first_head(map="map.txt"))})
    other_classes = [*YOLO_TEACHER[:4], *head("yolo", TEACHER_ANCHORS, 4, mask="2,3"),
                     *YOLO_TEACHER[6:]]
    case(f"{role}: heads with other classes", FILE, "[yolo] classes=3", "expected 4",
         **{role: text(layers=other_classes)})
    case(f"{role}: a [region] and a [yolo]", FILE, "layers 5 and 10", "type", "expected the same",
         **{role: text(layers=[*YOLO_TEACHER[:4], *head("region", "1,1, 2,2", max=90),
                               *YOLO_TEACHER[6:]])})
    case(f"{role}: [upsample] stride=0", FILE, "[upsample] stride=0", "expected",
         **{role: text(layers=[*YOLO_TEACHER[:7], ("upsample", {"stride": 0}), *YOLO_TEACHER[8:]])})
    case(f"{role}: a [route] of layers of two sizes", FILE,
         **{role: text(layers=YOLO_TEACHER, width=40, height=44)})

for count, value in ((2, "0\n1\n"), (4, "0\n1\n2\n0\n")):
    case(f"student: [yolo] map= of {count} lines", "deepkd.data", "student.cfg (map=)",
         f"classes=3: expected {count}", map_txt=value,
         student=detector_cfg(layers=last(YOLO, map="map.txt")))
for value, word in (("0\n1\n3\n", "line 3"), ("0\n-1\n2\n", "line 2"), ("0\nx\n2\n", "line 2"),
                    ("", "")):
    case(f"student: [yolo] map= of {value!r}", "map.txt", word, map_txt=value,
         student=detector_cfg(layers=last(YOLO, map="map.txt")))

# [teacher], [deepkd_loss], random=1

case("rows=dense with nothing to pair", "student.cfg", "rows=dense: found no head and anchor that",
     "stride 8: 2x2 31x31", "teacher.cfg has stride 8: 12x9 18x18, stride 4: 6x6 8x12",
     "expected rows=truth", student=detector_cfg({"rows": "dense"},
                                                 [*BODY, *head("yolo", "2,2, 31,31")]))
case("rows=dense with heads of other strides", "student.cfg", "rows=dense: found no head",
     "stride 16: 8x8 14x14", student=detector_cfg(
         {"rows": "dense"}, [*BODY, conv(8, 2), *head("yolo", "8,8, 14,14")]))
case("feature_nms=1 without rows=dense", "student.cfg", "feature_nms=1",
     "expected it with rows=dense", student=loss(feature_nms=1))
for value in ("x", "truth|dense", "d", "DENSE"):
    case(f"rows={value}", "student.cfg", f"rows={value}: expected truth|dense",
         student=loss(rows=value))
for key, values in {"feature_nms": ("-1", "2", ".5", "x"),
                    "objectness_weight": ("-.1", "1.1e6", "nan", "inf", "x", "1x"),
                    "box_weight": ("-.1", "1.1e6", "nan", "x"),
                    "box_loss": ("mse", "IoU", "1", "giou|ciou")}.items():
    for value in values:
        case(f"{key}={value}", "student.cfg", f"[deepkd_loss] {key}={value}", "expected",
             student=loss(rows="dense", **{key: value}))
for options in ({"box_loss": "giou"}, {"box_loss": "ciou", "box_weight": 0}):
    case(f"{options} without boxes", "student.cfg", "found box_loss", "box_weight above 0",
         student=loss(**options))
for method in ("mlkd", "crld", "dist"):
    case(f"{method} of a detector", "student.cfg", f"method={method} compares whole images",
         "expected a classifier", student=loss(method=method))
for option in ("tcg_gate", "swap"):
    case(f"{option} of a detector", "student.cfg", f"{option}=1: expected it in a classifier's cfg",
         student=loss(**{option: 1}))
case("augment=cifar of a detector", "student.cfg", "augment=cifar", "classifier's cfg",
     student=loss(augment="cifar"))
case("bckd of softmax", "student.cfg", "method=bckd", "expected activation=logistic",
     student=loss(method="bckd", activation="softmax"))
for key in ("rows", "feature_nms", "objectness_weight", "box_weight", "box_loss"):
    case(f"{key}=", "student.cfg", "line ", key, "expected", student=loss(**{key: ""}))
for value in ("-1", "2", "x"):
    case(f"[teacher] resize={value}", "student.cfg", f"[teacher] resize={value}", "expected",
         student=detector_cfg(teacher={"cfg": "teacher.cfg", "resize": value}))
case("topk above the other classes", "student.cfg", "topk=3", "expected at most 2",
     student=loss(topk=3))
ONE = [*BODY, *head("region", "1,1, 2,2", 1)]
case("a [region] of one class with softmax", "student.cfg", "activation=softmax with one class",
     "expected activation=logistic", student=detector_cfg(layers=ONE),
     data=detector_data(classes=1), teacher=teacher_detector_cfg([*BODY, *head("yolo", "8,8", 1)]), edit=new_teacher)
DROPOUT = [*BODY, ("dropout", {"probability": ".1"})]
# 361 times the images of the cfg's size
case("random=1 whose images fit at the cfg's size alone", "[net] batch, subdivisions and a head's",
     "random=: training 4096 images at once needs", "MB of this machine",
     student=detector_cfg(layers=[*[conv(4) for _ in range(20)], *last(YOLO, random=1)],
                          batch=4096))
case("random=1 with a [dropout]", "student.cfg", "random=1", "cannot resize", "expected random=0",
     student=detector_cfg(layers=[*DROPOUT, *head("yolo", "8,8, 14,14", random=1)]))
case("[teacher] resize=1 with a [dropout]", "teacher.cfg", "cannot resize",
     "expected [teacher] resize=0",
     student=detector_cfg(teacher={"cfg": "teacher.cfg", "resize": 1}),
     teacher=teacher_detector_cfg([*DROPOUT, *head("yolo", "8,8, 14,14")]), edit=new_teacher)
case("[net] random=1", "student.cfg", "[net] random=1", "expected 0",
     student=detector_cfg(random=1))

# Options of detectors, given to classifiers

for options in ({"rows": "dense"}, {"rows": "dense", "feature_nms": 1}, {"objectness_weight": 1},
                {"box_weight": 1}, {"box_weight": 0}, {"box_loss": "iou"}):
    key = list(options)[-1]
    case(f"{key}= with classifiers", "student.cfg", "expected it in a detector's cfg alone",
         edit=both_classifiers(student_cfg(options)))
case("feature_nms=1 alone with classifiers", "student.cfg", "feature_nms=1", "expected it",
     edit=both_classifiers(student_cfg({"feature_nms": 1})))
case("bckd with classifiers", "student.cfg", "method=bckd", "expected activation=logistic",
     edit=both_classifiers(student_cfg({"method": "bckd"})))
case("-map with classifiers", "-map", "expected it with a detector", flags="-map",
     edit=both_classifiers())
case("annotations= with classifiers", "deepkd.data", "annotations=val.json",
     "expected it with a detector", edit=both_classifiers(data={"annotations": "val.json"}))
case("[teacher] resize=1 with classifiers", "teacher.cfg", "cannot resize", "resize=0",
     edit=both_classifiers(student_cfg(teacher={"cfg": "teacher.cfg", "resize": 1})))
case("no labels= with classifiers", "deepkd.data", "found no labels=",
     edit=both_classifiers(data={"labels": None}))

# Flags

for flag, value in (("-threads", "0"), ("-threads", "257"), ("-seed", "0"), ("-seed", "x")):
    case(f"{flag} {value}", f"{flag} {value}", "expected a whole number from 1",
         flags=f"{flag} {value}")
for flag in ("-mAP", "-dont-show", "-maps"):
    case(flag, flag, "unknown flag", "-map", "-dont_show", flags=flag)
case("-gpus without its value", "-gpus", "value is missing", "expected -gpus N,N", flags="-gpus")

# deepkd map

MAP = "deepkd map deepkd.data teacher.cfg teacher.weights"
MAP_USAGE = "usage: darknet deepkd map DATA CFG WEIGHTS"


def map_case(name, *words, args=MAP, **options):
    case(f"deepkd map: {name}", *words, args=args, **options)


for name, args in {"no files": "deepkd map", "one file": "deepkd map deepkd.data",
                   "two files": "deepkd map deepkd.data teacher.cfg", "four files": f"{MAP} more",
                   "an unknown flag": f"{MAP} -speed", "a flag first": MAP.replace(
                       "map ", "map -speed "), "-out without a file": f"{MAP} -out"}.items():
    map_case(name, MAP_USAGE, args=args)
for value in ("0", "257", "x"):
    map_case(f"-threads {value}", f"-threads {value}", "expected a whole number from 1 to 256",
             args=f"{MAP} -threads {value}")
map_case("-threads without a number", MAP_USAGE, args=f"{MAP} -threads")
map_case("no data file", "deepkd.data", "No such file", data=None)
map_case("no cfg", "teacher.cfg", "No such file", teacher=None)
map_case("no weights", "teacher.weights", "No such file", teacher_weights=None)
map_case("no list", "valid.list", "No such file", valid_list=None)
map_case("no label file", VALID_LABEL, "No such file", edit=labels(None, VALID_LABEL))
map_case("a bad label", VALID_LABEL, "line 1: class 9", edit=labels("9 .5 .5 .1 .1\n", VALID_LABEL))
map_case("no names", "names.txt", "No such file", names_txt=None)
map_case("too few names", "names.txt", "found 2 ", "expected 3", names_txt="red\ngreen\n")
map_case("no valid=", "deepkd.data", "found no valid=", data=detector_data(valid=None))
map_case("no classes=", "deepkd.data", "found no classes=", data=detector_data(classes=None))
map_case("other classes=", "deepkd.data", "classes=2", "expected 3, as in teacher.cfg",
         data=detector_data(classes=2))
map_case("an unknown key in the data file", "deepkd.data", "speed=1", "expected one of",
         data=detector_data(speed=1))
map_case("a classifier", "teacher.cfg", "found a classifier, expected a detector",
         edit=classifier("teacher"))
map_case("a network without output", "teacher.cfg", "found no [softmax], [yolo] or [region]",
         teacher=teacher_detector_cfg(YOLO_TEACHER[:-1]))
map_case("a misspelt key", "teacher.cfg", "[yolo] anchor=8,8", "knows",
         teacher=teacher_detector_cfg(first_head(anchor="8,8")))
map_case("other weights", "teacher.weights", "bytes, expected", teacher=teacher_detector_cfg(YOLO))
map_case("weights cut", "teacher.weights", "bytes, expected",
         edit=lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-4]))
map_case("weights that are not finite", "teacher.weights", "not finite",
         edit=lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-8] + NANS))
map_case("files in another order", "teacher.weights", "expected",
         args="deepkd map teacher.weights teacher.cfg deepkd.data")
map_case("an image that annotations= does not know", "images/val/000000000104.png",
         "found no image 104", edit=UNKNOWN)
map_case("-out into a folder that is not there", "nowhere/found.json", "No such file",
         args=f"{MAP} -out nowhere/found.json")
map_case("-out onto a folder", "images", args=f"{MAP} -out images")
case("deepkd: an unknown verb", "usage: darknet deepkd wrap", args="deepkd maps deepkd.data")

tap.main(tap.DetectorFolder)
