#!/usr/bin/python3 -B
"""What users of AlexeyAB's Darknet type, and where they keep their labels, in TAP.

Proves: a command, flag or key of a .data file that has another name here is an error that says
which; an obj.data with names= is read; label files in labels/ and beside the images are found, by
our commands and by Darknet's own, and labels/ wins.

To add a case: a row of VERBS, FLAGS or KEYS, or a function with @test before it.
"""
import os
import re
import shutil

import tap
from tap import detector_data, plain_detector_cfg, test

NET = ("deepkd.data", "teacher.cfg", "teacher.weights")


def refused(folder, *words):
    result = folder.darknet(*words).check(1)
    assert result.err.count("\n") == 1, result.err
    return result.err


VERBS = {("detector", "map"): "Not an option: detector map: expected darknet deepkd map DATA",
         ("detector", "calc_anchors"): "expected darknet deepkd anchors DATA -n N -width W",
         ("deepkd", "calc_anchors"): "deepkd calc_anchors: expected deepkd anchors",
         ("deepkd", "test"): "expected deepkd detect", ("deepkd", "valid"): "expected deepkd map"}


@test
def verbs(folder):
    """detector map and calc_anchors, and their flags, lead to ours; other verbs stay unknown"""
    for words, said in VERBS.items():
        for rest in ((), NET, (*NET, "-points", "101", "-num_of_clusters", "9", "-width", "416")):
            assert said in refused(folder, *words, *rest), words
        assert said in refused(folder, words[0], "-nogpu", words[1], *NET), words
    for verb in ("maps", "ma", "map2", "calc"):
        said = refused(folder, "detector", verb, *NET)
        assert said == f"Not an option: detector {verb}\n", said


FLAGS = {("deepkd", "map", *NET): {
             "-points": "COCO's, of 101 points", "-iou_thresh": "IoU of .5", "-thresh": "`deepkd detect`",
             "-letter_box": "[net] letter_box=", "-map": "`distill` has it", "-ext_output": "detect",
             "-save_labels": "detect", "-per-class": "expected -per_class",
             "-Out": "expected -out", "-dont-show": "expected -dont_show"},
         ("deepkd", "detect", *NET): {
             "-json_file_output": "-json FILE", "-out_filename": "-out FOLDER", "-map": "deepkd map",
             "-save-labels": "expected -save_labels", "-extoutput": "expected -ext_output"},
         ("deepkd", "anchors", NET[0]): {
             "-num_of_clusters": "`deepkd anchors` has -n N", "-out": "deepkd map"},
         ("distill", *NET): {
             "-mAP_epochs": "eval_interval= of the .data file", "-out": "backup= of the .data file",
             "-chart": "chart.png", "-mAP": "expected -map", "--seed": "expected -seed",
             "-thresh": "`deepkd detect`"}}


@test
def flags(folder):
    """a flag that has another name, or another command has, is an error that says so"""
    for words, rows in FLAGS.items():
        for flag, here in rows.items():
            said = refused(folder, *words, flag, "1")
            usage = re.escape(" ".join(word for word in words if word not in NET))
            assert re.match(f"{flag}: unknown flag, .*; usage: darknet {usage} ", said), said
            assert here in said.split("; usage")[0], said


@test
def same_flags(folder):
    """-dont_show, -map and the like are taken where they mean the same"""
    for words in (("deepkd", "map", *NET, "-dont_show"),
                  ("deepkd", "detect", *NET, "-dont_show", "-ext_output", "-thresh", ".3")):
        folder.darknet(*words).check(0)
    folder.distill("-map", "-dont_show").check(0)


KEYS = {"val": "expected valid=", "validation": "expected valid=", "name": "expected names=",
        "class": "expected classes=", "Names": "expected names=", "back_up": "expected backup=",
        "difficult": "expected annotations="}


@test
def keys(folder):
    """a key of the .data file that has another name is an error that says which"""
    for key, said in KEYS.items():
        folder.write("deepkd.data", detector_data(**{key: "x"}))
        found = refused(folder, "deepkd", "anchors", "deepkd.data", "-n", "1")
        assert found.startswith(f"deepkd.data: {key}=x: {said}"), found


@test
def obj_data(folder):
    """an obj.data, with blanks around its = and with names=, is read by all commands"""
    folder.write("deepkd.data", "classes = 3\ntrain  = train.list\nvalid  = valid.list\n"
                                "names = names.txt\nbackup = backup/\n")
    folder.darknet("deepkd", "map", *NET, "-per_class").check(0)
    folder.darknet("deepkd", "detect", *NET).check(0)
    folder.darknet("deepkd", "anchors", NET[0], "teacher.cfg").check(0)
    folder.distill().check(0)


def measure(folder):
    """What depends on the validation list's labels."""
    return folder.darknet("deepkd", "map", *NET).check(0).out


@test
def beside(folder):
    """labels beside the images are found, in images/ and in other folders; labels/ wins"""
    expected = measure(folder)
    folder.own("images"), folder.own("labels")
    for split in ("train", "val"):
        for name in folder.names(f"labels/{split}"):
            shutil.move(folder.at(f"labels/{split}/{name}"), folder.at(f"images/{split}"))
    assert measure(folder) == expected  # labels/ is empty
    shutil.rmtree(folder.at("labels"))
    assert measure(folder) == expected  # and is not there
    first = folder.distill().check(0) and folder.read("backup/student_final.weights")
    os.makedirs(folder.at("labels/val"))
    folder.write("labels/val/000000000101.txt", "")  # 101's, which has one box
    assert measure(folder) != expected
    folder.write("labels/val/000000000101.txt", folder.read("images/val/000000000101.txt"))
    assert measure(folder) == expected
    os.rename(folder.at("images"), folder.at("obj"))  # as AlexeyAB's data/obj
    for name in ("train.list", "valid.list"):
        folder.write(name, folder.read(name).replace(b"images/", b"obj/"))
    assert measure(folder) == expected
    folder.distill().check(0)
    assert first == folder.read("backup/student_final.weights")


@test
def missing(folder):
    """an image without labels: both places are said"""
    folder.own("labels")
    folder.remove("labels/val/000000000101.txt")
    result = folder.darknet("deepkd", "map", *NET).check(1)
    tap.check_error(result, ["labels/val/000000000101.txt: No such file", "beside the image"])


@test
def stock(folder):
    """Darknet's own `detector train` and `recall` find labels beside the images, too"""
    folder.write("plain.cfg", plain_detector_cfg(max_batches=2))
    folder.darknet("partial", "plain.cfg", "", "plain.weights", "99").check(0)

    def train():
        return folder.darknet("detector", "train", "deepkd.data", "plain.cfg").check(0).out
    counts = re.findall(r"count: \d+", train())
    folder.own("images"), folder.own("labels")
    for name in folder.names("labels/train"):
        shutil.move(folder.at(f"labels/train/{name}"), folder.at("images/train"))
    assert len(counts) == len(re.findall(r"count: \d+", train()))
    for name in folder.names("images/train"):
        if name.endswith(".txt"):
            folder.remove(f"images/train/{name}")
    result = folder.darknet("detector", "train", "deepkd.data", "plain.cfg")
    assert result.status and "labels/train/" in result.err, result.describe()


@test
def saved_in_place(folder):
    """deepkd detect -save_labels: beside the image where there is no folder labels/"""
    os.makedirs(folder.at("new/images"))
    shutil.copy(folder.at("images/val/000000000101.png"), folder.at("new/images/a.png"))
    folder.darknet("deepkd", "detect", *NET, "new/images/a.png", "-save_labels").check(0)
    assert folder.names("new/images") == ["a.png", "a.txt"]
    folder.remove("new/images/a.txt")
    os.makedirs(folder.at("new/labels"))
    folder.darknet("deepkd", "detect", *NET, "new/images/a.png", "-save_labels").check(0)
    assert folder.names("new/images") == ["a.png"] and folder.names("new/labels") == ["a.txt"]


if __name__ == "__main__":
    tap.main(tap.DetectorFolder)
