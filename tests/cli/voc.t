#!/usr/bin/python3 -B
"""Tests of scripts/voc2darknet.py, in TAP.

Also of scripts/photos.sh and train-teacher.sh as far as BCCD, a data set of that
form, goes. Proves: lists, labels, names and COCO's JSON say what the XML says, in pixels
that begin at 1; boxes over the edge are clipped, slips left out, difficult
objects made crowds, and all are counted; Darknet reads what was written; what
is wrong ends it with one line that names it, and then nothing is there.

All images and XML are made here. To add a case: a function with @test before
it, or a row in BAD_OBJECTS, BAD_XML or BAD_SETS.
"""
import json
import os
import shutil
import subprocess
import sys

import tap
from tap import DARKNET, ENVIRONMENT, PYTHON, ROOT, check_ran, check_refused, test

from PIL import Image

sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import rows  # noqa: E402

SCRIPT = os.path.join(ROOT, "scripts/voc2darknet.py")
BOX = {"name": "cat", "xmin": 11, "ymin": 21, "xmax": 40, "ymax": 30}


def convert(folder, *flags, out="data/voc"):
    return subprocess.run([PYTHON, "-B", SCRIPT, "VOC", out, *flags], check=False, cwd=folder.path,
                          capture_output=True, text=True, env=ENVIRONMENT)


def an_object(**fields):
    """<object>; a field that is None is left out."""
    fields = {**BOX, **fields}
    sides = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items()
                    if key[1:] in ("min", "max") and value is not None)
    rest = "".join(f"<{key}>{value}</{key}>\n" for key, value in fields.items()
                   if key[1:] not in ("min", "max") and value is not None)
    return f"<object>\n{rest}<part><name>x</name></part><bndbox>{sides}</bndbox></object>\n"


def an_xml(*objects, size=(100, 50), filename=""):
    sides = size and f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{filename}</filename>{sides or ''}{''.join(objects)}" \
        "</annotation>"


def add_image(folder, name, *objects, size=(100, 50), ending=".jpg"):
    """An image, and its XML."""
    path = folder.at(f"VOC/JPEGImages/{name}{ending}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    colour = len(objects), *(sum(map(ord, name)) * i % 251 for i in (37, 91))
    Image.new("RGB", size, colour).save(path)
    folder.write(f"VOC/Annotations/{name}.xml",
                 an_xml(*objects, size=size, filename=name + ending))


def add_set(folder, name, *images):
    os.makedirs(folder.at("VOC/ImageSets/Main"), exist_ok=True)
    folder.write(f"VOC/ImageSets/Main/{name}.txt", "".join(image + "\n" for image in images))


def make_voc(folder, objects=()):
    """Three images in two sets, with these objects beside the usual ones in the first."""
    os.makedirs(folder.at("VOC/Annotations"))
    add_image(folder, "a_000007", an_object(), *objects)
    add_image(folder, "a_000003", an_object(name="ant", xmin=1, ymin=1, xmax=64, ymax=64),
              size=(64, 64), ending=".png")
    add_image(folder, "a_000005")
    add_set(folder, "train", "a_000007", "a_000003")
    add_set(folder, "test", "a_000005")


def check_nothing(folder):
    """Neither OUT nor what it is made in is there."""
    assert not os.path.exists(folder.at("data")) or not os.listdir(folder.at("data"))


def refuse(folder, *words, flags=()):
    check_refused(convert(folder, *flags), *words)
    check_nothing(folder)


def labels(folder, name):
    return folder.read(f"data/voc/labels/{name}.txt").decode()


def instances(folder, name):
    return json.loads(folder.read(f"data/voc/annotations/instances_{name}.json"))


def instances_at(folder, out):
    return json.loads(folder.read(f"{out}/annotations/instances_trainval.json"))


@test
def whole_set(folder):
    """lists by id, classes from A to Z, labels and JSON in pixels from 1, copies of the images"""
    make_voc(folder)
    out = check_ran(convert(folder))
    assert folder.read("data/voc/names.txt") == b"ant\ncat\n"
    assert folder.read("data/voc/train.list").decode().split() == [
        "data/voc/images/a_000003.png", "data/voc/images/a_000007.jpg"]
    assert folder.read("data/voc/test.list") == b"data/voc/images/a_000005.jpg\n"
    assert [labels(folder, f"a_00000{i}") for i in (7, 3, 5)] == [
        "1 0.25 0.5 0.3 0.2\n", "0 0.5 0.5 1 1\n", ""]
    train = instances(folder, "train")
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in train["images"]] == [
        (3, "a_000003.png", 64, 64), (7, "a_000007.jpg", 100, 50)]
    assert [(a["id"], a["image_id"], a["category_id"], a["bbox"], a["area"], a["iscrowd"])
            for a in train["annotations"]] == [(1, 3, 1, [0, 0, 64, 64], 4096, 0),
                                               (2, 7, 2, [10, 20, 30, 10], 300, 0)]
    assert [(c["id"], c["name"]) for c in train["categories"]] == [(1, "ant"), (2, "cat")]
    assert instances(folder, "test")["annotations"] == []
    assert folder.read("data/voc/images/a_000003.png") == folder.read(
        "VOC/JPEGImages/a_000003.png")
    assert not os.path.islink(folder.at("data/voc/images/a_000003.png"))
    assert "1 images without objects" in out and "paths start with data/voc/images/" in out, out
    assert os.listdir(folder.at("data")) == ["voc"]


@test
def odd_boxes(folder):
    """boxes over the edge are clipped, slips left out and named, difficult ones crowds; counted"""
    make_voc(folder, [
        an_object(xmin=0, ymin=-5), an_object(xmax="100.6", ymax=51), an_object(xmin=40),
        an_object(ymin=30), an_object(difficult=1), an_object(difficult=0, xmin="10.5")])
    result = convert(folder)
    out = check_ran(result)
    assert "2 boxes clipped\nleft out: 1 crowd boxes, 2 empty boxes" in out, out
    for number in (4, 5):
        assert f"left out: a_000007.xml: object {number} has no extent" in result.stderr
    assert labels(folder, "a_000007").splitlines() == [
        "1 0.25 0.5 0.3 0.2", "1 0.2 0.3 0.4 0.6", "1 0.55 0.7 0.9 0.6",
        "1 0.2475 0.5 0.305 0.2"]
    boxes = [(a["bbox"], a["iscrowd"]) for a in instances(folder, "train")["annotations"][1:]]
    assert boxes == [([10, 20, 30, 10], 0), ([0, 0, 40, 30], 0), ([10, 20, 90, 30], 0),
                     ([9.5, 20, 30.5, 10], 0), ([10, 20, 30, 10], 1)], boxes


@test
def options(folder):
    """--names has the order, --sets the sets, --prefix the paths; --link links the images"""
    make_voc(folder)
    add_set(folder, "mine", "a_000003")
    folder.write("names.txt", "\ufeffcat\r\nbat\r\nant\r\n")
    check_ran(convert(folder, "--names", "names.txt", "--sets", "mine,test", "--prefix", "/x y",
                      "--link"))
    assert folder.read("data/voc/names.txt") == b"cat\nbat\nant\n"
    assert labels(folder, "a_000003") == "2 0.5 0.5 1 1\n"
    assert folder.read("data/voc/mine.list") == b"/x y/images/a_000003.png\n"
    assert os.path.islink(folder.at("data/voc/images/a_000003.png"))
    assert os.path.exists(folder.at("data/voc/images/a_000003.png"))
    assert not os.path.exists(folder.at("data/voc/images/a_000007.jpg"))


@test
def without_sets(folder):
    """without ImageSets all images are the set train; a byte order mark and UTF-16 are read"""
    os.makedirs(folder.at("VOC/Annotations"))
    for i, encoding in enumerate(("utf-8-sig", "utf-16"), 1):
        add_image(folder, str(i))
        xml = an_xml(an_object(name="Käfer"))
        with open(folder.at(f"VOC/Annotations/{i}.xml"), "wb") as file:
            file.write(xml.encode(encoding))
    check_ran(convert(folder))
    assert folder.read("data/voc/names.txt").decode() == "Käfer\n"
    assert len(folder.read("data/voc/train.list").split()) == 2


@test
def ids(folder):
    """images without numbers of their own get some, with a note; the same image twice is noted"""
    os.makedirs(folder.at("VOC/Annotations"))
    for name in ("2007_000032", "2008_000032", "x"):
        add_image(folder, name, an_object())
    os.unlink(folder.at("VOC/JPEGImages/x.jpg"))
    os.link(folder.at("VOC/JPEGImages/2007_000032.jpg"), folder.at("VOC/JPEGImages/x.jpg"))
    result = convert(folder)
    check_ran(result)
    assert "the copies are numbered" in result.stderr
    assert "the same image under two names: x and 2007_000032\n" in result.stderr
    assert folder.read("data/voc/train.list").decode().split() == [
        f"data/voc/images/{name}.jpg" for name in
        ("2007_000032_000001", "2008_000032_000002", "x_000003")]
    assert [image["id"] for image in instances(folder, "train")["images"]] == [1, 2, 3]
    assert labels(folder, "x_000003")


BAD_OBJECTS = [  # fields of an object, words of the message
    ({"name": ""}, "object 2: name '', expected a class's name"),
    ({"name": None}, "object 2: name ''"),
    ({"name": "a\tb"}, "name 'a\\tb'"),
    ({"xmin": None}, "object 2: xmin '', expected a number"),
    ({"ymax": "nan"}, "ymax 'nan'"),
    ({"ymax": "1e2"}, "ymax '1e2'"),
    ({"xmin": 41}, "xmin 41, ymin 21, xmax 40, ymax 30: a negative size"),
    ({"xmin": 101, "xmax": 120}, "cat at 101,21 to 120,30 is outside of the image of 100x50"),
    ({"ymin": -9, "ymax": 0}, "outside of the image"),
    ({"difficult": "yes"}, "difficult 'yes', expected 0 or 1"),
]


@test
def bad_objects(folder):
    """what is wrong with an object is named: name, numbers, a box outside, difficult"""
    make_voc(folder)
    for fields, words in BAD_OBJECTS:
        folder.write("VOC/Annotations/a_000007.xml", an_xml(an_object(), an_object(**fields)))
        refuse(folder, "VOC/Annotations: 1 bad files: a_000007.xml: ", words)
    folder.write("VOC/Annotations/a_000007.xml", an_xml(an_object(name="dog")))
    folder.write("names.txt", "cat\nant\n")
    refuse(folder, "name 'dog' is not among the names, expected one of cat, ant",
           flags=("--names", "names.txt"))


BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>
<annotation><size><width>&d;</width></size></annotation>"""
BAD_XML = [
    ("", "not XML (no element found"),
    ("<annotation><size></annotation>", "not XML (mismatched tag: line 1"),
    ("<html></html>", "<html>, expected <annotation>"),
    ("<?xml version='1.0' encoding='klingon'?><annotation/>", "not XML (unknown encoding"),
    (BOMB, "a document type, which may hide entities"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "a document type"),
    ("<annotation>&x;</annotation>", "not XML (undefined entity"),
    (an_xml(size=None), "size: width '', height ''"),
    (an_xml(size=(0, 50)), "size: width '0', height '50', expected whole numbers above 0"),
    (an_xml(size=(100, "5x")), "height '5x'"),
    (an_xml(size=(50, 100)), "says 50x100, but a_000007.jpg has 100x50"),
    (an_xml(filename="a_000003.png"), "is of the image a_000003.png, as a_000003.xml is"),
]


@test
def bad_xml(folder):
    """bad XML, entities, sizes that are missing or not the image's, one image twice, are refused"""
    make_voc(folder)
    add_set(folder, "train", "a_000003", "a_000007")
    for text, words in BAD_XML:
        folder.write("VOC/Annotations/a_000007.xml", text)
        refuse(folder, "a_000007.xml: ", words)


@test
def orientation(folder):
    """the size is that of the upright image, as darknet reads it; boxes of another are refused"""
    make_voc(folder)
    image = Image.new("RGB", (100, 50))
    exif = image.getexif()
    exif[0x112] = 6  # lies on its side
    image.save(folder.at("VOC/JPEGImages/a_000007.jpg"), exif=exif)
    refuse(folder, "a_000007.xml: says 100x50, but a_000007.jpg has 50x100")
    folder.write("VOC/Annotations/a_000007.xml", an_xml(size=(50, 100), filename="a_000007.jpg"))
    check_ran(convert(folder))


@test
def bad_images(folder):
    """an image that is missing, there twice or no image is refused; ten of many are named"""
    make_voc(folder)
    path = folder.at("VOC/JPEGImages/a_000007")
    Image.new("RGB", (100, 50)).save(path + ".png")
    refuse(folder, "a_000007.xml: has the images a_000007.jpg and a_000007.png, expected one")
    os.unlink(path + ".png")
    folder.write("VOC/JPEGImages/a_000007.jpg", "<html>")
    refuse(folder, "a_000007.jpg is no image")
    os.unlink(path + ".jpg")
    refuse(folder, "a_000007.xml: found no image of it, expected JPEGImages/a_000007.jpg")
    add_set(folder, "train", *(f"b{i}" for i in range(12)))
    refuse(folder, "12 bad files: b0.xml: found no such file; ", "; and 2 more")


BAD_SETS = [  # a set's names, words of the message
    (["a_000007", "a_000007"], "train.txt: line 2: a_000007 is there twice"),
    (["a_000007", "a_000005"], "a_000005 is in train.txt and in test.txt"),
    (["../a_000007"], "train.txt: line 1: '../a_000007', expected an image's name"),
    (["", " "], "train.txt: holds no names"),
    (["a_000007 1"], "a_000007 1.xml: found no such file"),
]


@test
def bad_sets(folder):
    """sets that share an image, or whose names are twice, empty, or elsewhere, are refused"""
    make_voc(folder)
    for names, words in BAD_SETS:
        add_set(folder, "train", *names)
        refuse(folder, words)
    for name in ("train", "test"):
        path = folder.at(f"VOC/ImageSets/Main/{name}")
        os.rename(path + ".txt", path + "-1.txt")
    refuse(folder, "VOC/ImageSets/Main: found none of train.txt, val.txt and test.txt")
    refuse(folder, "mine.txt: No such file", flags=("--sets", "mine"))
    folder.write("names.txt", b"K\xe4fer\n")
    refuse(folder, "names.txt: 'utf-8' codec", flags=("--sets", "train-1", "--names", "names.txt"))


@test
def bad_folders(folder):
    """VOC without its folders, an OUT that is there, and no objects at all, are refused"""
    refuse(folder, "VOC: found no folder Annotations")
    make_voc(folder)
    os.makedirs(folder.at("data/voc"))
    folder.write("data/voc/mine", "")
    check_refused(convert(folder), "data/voc: is there already")
    assert os.listdir(folder.at("data")) == ["voc"]
    assert os.listdir(folder.at("data/voc")) == ["mine"]
    check_refused(convert(folder, out="out", *("--sets", "test")), "found no objects")
    folder.write("names.txt", "cat\ncat\n")
    check_refused(convert(folder, "--names", "names.txt", out="out"), "2 names, 1 of them")
    assert not os.path.exists(folder.at("out"))


@test
def nothing_half_written(folder):
    """a folder that can't be written leaves nothing; what a killed run left is no obstacle"""
    make_voc(folder)
    folder.write("data", "a file")
    result = convert(folder)
    assert result.returncode == 1 and "data" in result.stderr, result.stderr
    os.unlink(folder.at("data"))
    os.makedirs(folder.at("data/voc.tmp/images"))
    check_ran(convert(folder))
    assert os.listdir(folder.at("data")) == ["voc"]


@test
def photos(folder):
    """photos.sh makes BCCD's data set of a folder or a tar, or says what it looked for"""
    def run_it(where):
        return subprocess.run(
            [os.path.join(ROOT, "scripts/photos.sh"), "bccd"], check=False, capture_output=True,
            text=True, env={**ENVIRONMENT, "ROOT": ROOT, "PHOTOS": where,
                            "BUILD": folder.path})
    check_refused(run_it(folder.path), "table-bccd: ", "github.com/Shenggan/BCCD_Dataset")
    make_voc(folder)
    os.rename(folder.at("VOC/ImageSets/Main/train.txt"),
              folder.at("VOC/ImageSets/Main/trainval.txt"))
    os.rename(folder.at("VOC"), folder.at("BCCD"))
    check_ran(run_it(folder.path))
    subprocess.run(["tar", "-cf", "bccd.tar", "BCCD"], check=True, cwd=folder.path)
    for name in ("BCCD", "data/bccd"):
        os.rename(folder.at(name), folder.at(name.replace("/", "-") + "-1"))
    check_ran(run_it(folder.path))
    first = instances_at(folder, "data-bccd-1")
    assert first == instances_at(folder, "data/bccd") and len(first["annotations"]) == 2
    assert os.listdir(folder.at("data")) == ["bccd"]


@test
def teacher(folder):
    """train-teacher.sh bccd trains a teacher of it, and puts it where rows.py looks for it"""
    make_voc(folder, [an_object(name="dog")])
    check_ran(convert(folder, "--sets", "train,test", out="build/data/bccd"))
    os.rename(folder.at("build/data/bccd/train.list"), folder.at("build/data/bccd/trainval.list"))
    os.mkdir(folder.at("cfg"))
    shutil.copy(os.path.join(ROOT, "cfg/bccd.data"), folder.at("cfg"))
    with open(os.path.join(ROOT, "cfg/bccd-teacher.cfg"), encoding="utf-8") as file:
        folder.write("cfg/bccd-teacher.cfg", rows.set_batches(file.read(), 2))
    for target, path in (("../cfg", "build/cfg"), (DARKNET, "build/darknet"),
                         (os.path.join(ROOT, "scripts"), "scripts")):
        os.symlink(target, folder.at(path))
    result = subprocess.run([folder.at("scripts/train-teacher.sh"), "bccd"], check=False,
                            env={**ENVIRONMENT, "ROOT": folder.path, "BUILD": "build"},
                            cwd=folder.path, capture_output=True, text=True)
    out = check_ran(result)
    assert "name = dog, no truths" in out and "(mAP@[.50:.95]) = " in out, out
    assert os.path.getsize(folder.at("cfg/bccd-teacher.weights")) == 1875348


@test
def darknet_reads_it(folder):
    """darknet distill learns from it, and measures mAP against its JSON"""
    make_voc(folder)
    add_image(folder, "a_000005", an_object())
    check_ran(convert(folder))
    head = tap.head("yolo", "10,10, 20,20", classes=2)
    layers = [tap.conv(8, stride=2), *head]
    folder.write("s.cfg", tap.detector_cfg(layers=layers, teacher={"cfg": "t.cfg"}, max_batches=1))
    folder.write("t.cfg", tap.plain_detector_cfg(layers=layers))
    folder.write("voc.data", tap.detector_data(
        classes=2, train="data/voc/train.list", valid="data/voc/test.list",
        names="data/voc/names.txt", annotations="data/voc/annotations/instances_test.json"))
    folder.darknet("partial", "t.cfg", "", "teacher.weights", "99").check(0)
    result = subprocess.run([DARKNET, "distill", "voc.data", "s.cfg", "teacher.weights", "-map"],
                            check=False, cwd=folder.path, capture_output=True, text=True,
                            env=ENVIRONMENT)
    assert "mAP@" in check_ran(result) + result.stderr, result.stderr


tap.main()
