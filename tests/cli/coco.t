#!/usr/bin/python3 -B
"""Tests of scripts/coco2darknet.py, evaluate_coco.py and get_coco.sh, in TAP.

Proves: lists, labels and names say what the JSON says; each oddity is left out,
counted, or refused by its id before anything is written; the twelve figures are
those of a case computed by hand; COCO isn't fetched without room for it.

All JSON is made here; no image is opened. To add a case: a function with @test
before it, or a row in BAD_ENTRIES, BAD_FILES or BAD_DETECTIONS.
"""
import contextlib
import io
import json
import os
import re
import subprocess
import sys

import tap
from tap import ENVIRONMENT, PYTHON, ROOT, check_ran, check_refused, test

sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import coco2darknet  # noqa: E402
import evaluate_coco  # noqa: E402
from imagelist import InputError  # noqa: E402

# Written unordered; the classes are cat, zebra. Images 1 and 3 have one box each, 7 has none.
IMAGES = [{"id": 7, "file_name": "000000000007.jpg", "width": 64, "height": 64},
          {"id": 1, "file_name": "000000000001.jpg", "width": 100, "height": 50},
          {"id": 3, "file_name": "000000000003.png", "width": 64, "height": 64}]
BOXES = [{"id": 5, "image_id": 1, "category_id": 90, "bbox": [10, 20, 30, 10.5], "area": 315,
          "iscrowd": 0},
         {"id": 6, "image_id": 3, "category_id": 2, "bbox": [0, 0, 64, 64], "area": 4096}]
CATEGORIES = [{"id": 90, "name": "zebra"}, {"id": 2, "name": "cat"}]
LINE = "1 0.25 0.505 0.3 0.21\n"
EMPTY_COUNTS = "left out: 0 crowd boxes, 0 empty boxes, 0 bad entries\n"


def script(folder, name, *args, **env):
    first = [] if name.endswith(".sh") else [PYTHON, "-B"]
    return subprocess.run([*first, os.path.join(ROOT, "scripts", name), *args], check=False,
                          cwd=folder.path, capture_output=True, text=True,
                          env={**ENVIRONMENT, **env})


def make_set(folder, images=(), boxes=(), categories=()):
    """set/val.json, with these entries beside the usual ones, and set/images/val with its files."""
    os.makedirs(folder.at("set/images/val"), exist_ok=True)
    for usual in IMAGES:
        folder.write(f"set/images/val/{usual['file_name']}", "")
    write_json(folder, "set/val.json", {
        "images": [*IMAGES, *images], "annotations": [*BOXES, *boxes],
        "categories": [*CATEGORIES, *categories]})


def write_json(folder, name, content):
    folder.write(name, json.dumps(content))


def convert(folder, *flags):
    return script(folder, "coco2darknet.py", "set/val.json", "set/images/val", "set/val.list",
                  *flags)


def convert_here(folder, **options):
    """As convert(), without a process of its own: what it printed, and its error or None."""
    printed, error = io.StringIO(), None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            coco2darknet.convert(*(folder.at(f"set/{name}") for name in
                                   ("val.json", "images/val", "val.list")), **options)
        except InputError as found:
            error = str(found)
    return printed.getvalue(), error


def check_nothing_written(folder):
    """No list, labels or names; a list of before is as it was."""
    assert folder.names("set") == ["images", "val.json", "val.list"], folder.names("set")
    assert folder.read("set/val.list") == b"old\n"


def labels(folder, number, where="set/labels/val"):
    return folder.read(f"{where}/{number:012d}.txt").decode()


# coco2darknet.py

@test
def whole_set(folder):
    """list by image id, classes by category id, labels in parts of the image, empty files"""
    make_set(folder)
    out = check_ran(convert(folder))
    assert folder.read("set/val.list").decode().split() == [
        f"data/set/images/val/{name}" for name in
        ("000000000001.jpg", "000000000003.png", "000000000007.jpg")]
    assert folder.read("set/names.txt") == b"cat\nzebra\n"
    assert [labels(folder, number) for number in (1, 3, 7)] == [LINE, "0 0.5 0.5 1 1\n", ""]
    assert re.search(r"^zebra +1 +1\ntotal +2 +3\n1 images without objects, at most 1 boxes in an "
                     r"image, 0 boxes clipped\n" + EMPTY_COUNTS, out, re.MULTILINE), out


@test
def coco_classes(folder):
    """COCO's 80 ids of 1 to 90 become 0 to 79"""
    ids = set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    make_set(folder, categories=[{"id": i, "name": f"n{i}"} for i in ids - {2, 90}],
             boxes=[{"id": i, "image_id": 7, "category_id": i, "bbox": [0, 0, 32, 32]}
                    for i in (1, 11, 13, 89)])
    check_ran(convert(folder))
    assert [int(line.split()[0]) for line in labels(folder, 7).splitlines()] == [0, 10, 11, 78]
    assert labels(folder, 1).split()[0] == "79"
    assert len(folder.read("set/names.txt").split()) == 80


@test
def odd_boxes(folder):
    """crowds are left out, boxes clipped, and those empty then left out and named; all counted"""
    boxes = [([-10, -10, 20, 30], 0), ([50, 50, 100, 100], 0), ([5, 5, 10, 10], 1),
             ([64, 0, 5, 5], 0), ([-9, 0, 9, 5], 0), ([3, 3, 0, 5], 0), ([3, 3, 1e-7, 5], 0)]
    make_set(folder, boxes=[
        {"id": 10 + i, "image_id": 7, "category_id": 2, "bbox": bbox, "iscrowd": crowd}
        for i, (bbox, crowd) in enumerate(boxes)])
    result = convert(folder)
    assert "2 boxes clipped\nleft out: 1 crowd boxes, 3 empty boxes, 0 bad" in check_ran(result)
    assert re.findall(r"annotation (\d+): bbox \[.*\] is empty in its image of 64x64\n",
                      result.stderr) == ["13", "14", "15"]
    found = labels(folder, 7).splitlines()
    assert found[:2] == ["0 0.078125 0.15625 0.15625 0.3125", "0 0.890625 0.890625 0.21875 0.21875"]
    assert len(found) == 3 and float(found[2].split()[3]) > 0, found


def image(**fields):
    return {"images": [{"id": 8, "file_name": "8.jpg", "width": 9, "height": 9, **fields}]}


def box(**fields):
    return {"boxes": [{"id": 8, "image_id": 7, "category_id": 2, "bbox": [1, 1, 5, 5], **fields}]}


# what is added to the set, what the error says
BAD_ENTRIES = (
    (image(), "/set/images/val/8.jpg: no such file"),
    (image(id=7), "image 7: the id is there twice"),
    (image(id="8"), "image '8': the id is no whole number"),
    (image(id=True), "image True: the id is no whole number"),
    (image(id=None), "image None: the id is no whole number"),
    (image(id=-8), "image -8: the id is no whole number"),
    (image(width=None), "image 8: width None, height 9"),
    (image(height=0), "image 8: width 9, height 0"),
    (image(height=9.5), "image 8: width 9, height 9.5"),
    (image(file_name=7), "image 8: file_name 7"),
    (image(file_name=""), "image 8: file_name ''"),
    (image(file_name="../val/000000000007.jpg"), "image 8: file_name '../val/"),
    (image(file_name="/etc/passwd"), "image 8: file_name '/etc/passwd'"),
    (image(file_name="8\n.jpg"), r"image 8: file_name '8\n.jpg'"),
    (image(file_name="000000000007.png"), "another image has the same label file"),
    (box(id=5), "annotation 5: the id is there twice"),
    (box(id=8.5), "annotation 8.5: the id is no whole number"),
    (box(image_id=8), "annotation 8: image 8 is unknown or bad"),
    (box(image_id=[]), "annotation 8: image [] is unknown"),
    (box(category_id=1), "annotation 8: category 1 is unknown"),
    (box(category_id={}), "annotation 8: category {} is unknown"),
    (box(bbox=None), "annotation 8: bbox None"),
    (box(bbox=[1, 1, 5]), "annotation 8: bbox [1, 1, 5], expected four"),
    (box(bbox=[1, 1, 5, 5, 5]), "annotation 8: bbox [1, 1, 5, 5, 5], expected four"),
    (box(bbox=[1, 1, 5, "5"]), "annotation 8: bbox [1, 1, 5, '5']"),
    (box(bbox=[1, 1, 5, True]), "annotation 8: bbox [1, 1, 5, True]"),
    (box(bbox=[float("nan"), 1, 5, 5]), "annotation 8: bbox [nan, 1, 5, 5]"),
    (box(bbox=[1, 1, float("inf"), 5]), "annotation 8: bbox [1, 1, inf, 5]"),
    (box(bbox=[1, 1, 10 ** 400, 5]), "annotation 8: bbox [1, 1, 1000"),
    (box(bbox=[1, 1, 5, -5]), "annotation 8: bbox [1, 1, 5, -5]: a negative size"),
    (box(iscrowd=2), "annotation 8: iscrowd 2, expected 0 or 1"),
)


@test
def bad_entries(folder):
    """each bad entry is refused by its id before anything is written"""
    for entry, words in BAD_ENTRIES:
        make_set(folder, **entry)
        folder.write("set/val.list", "old\n")
        _, error = convert_here(folder)
        assert error and "1 bad entries" in error and words in error, f"{words}: {error}"
        check_nothing_written(folder)


@test
def bad_entries_skipped(folder):
    """with --skip-bad each bad entry is left out, named and counted, and the others stay"""
    for entry, words in BAD_ENTRIES:
        make_set(folder, **entry)
        printed, error = convert_here(folder, skip_bad=True)
        assert not error and words in printed and "1 bad entries\n" in printed, (printed, error)
        assert folder.read("set/val.list").count(b"\n") == 3
        assert [labels(folder, number) for number in (1, 3, 7)] == [LINE, "0 0.5 0.5 1 1\n", ""]


@test
def many_bad_entries(folder):
    """of many bad entries ten are named, and all are counted"""
    make_set(folder, boxes=[{**box()["boxes"][0], "id": 100 + i, "bbox": []} for i in range(13)])
    refused = convert(folder)
    check_refused(refused, "13 bad entries", "annotation 100:", "annotation 109:", "; and 3 more")
    assert "annotation 110" not in refused.stderr
    result = convert(folder, "--skip-bad")
    assert "13 bad entries\n" in check_ran(result)
    assert result.stderr.count("\n") == 11 and "and 3 more" in result.stderr, result.stderr


SET = {"images": IMAGES, "annotations": BOXES, "categories": CATEGORIES}
# the file's text, what the error says
BAD_FILES = (
    ("", "not JSON"),
    (json.dumps(SET)[:-9], "not JSON"),
    ("\xff", "not JSON"),
    ("[" * 100000, "not JSON"),
    ("[]", "no list of objects under 'images'"),
    (json.dumps({**SET, "annotations": {}}), "no list of objects under 'annotations'"),
    (json.dumps({**SET, "images": [[]]}), "no list of objects under 'images'"),
    (json.dumps({"images": [], "annotations": []}), "no list of objects under 'categories'"),
    (json.dumps({**SET, "categories": []}), "no categories"),
    (json.dumps({**SET, "categories": CATEGORIES * 2}), "category id 90, expected"),
    (json.dumps({**SET, "categories": [{"id": "2", "name": "cat"}]}), "category id '2'"),
    (json.dumps({**SET, "categories": [{"id": 2, "name": "a\nb"}]}), r"category 2: name 'a\nb'"),
    (json.dumps({**SET, "categories": [{"id": 2}]}), "category 2: name None"),
)


@test
def bad_files(folder):
    """a file that is not COCO's JSON is refused, with or without --skip-bad"""
    make_set(folder)
    folder.write("set/val.list", "old\n")
    for text, words in BAD_FILES:
        folder.write("set/val.json", text.encode("latin-1"))
        for skip_bad in (False, True):
            _, error = convert_here(folder, skip_bad=skip_bad)
            assert error and "val.json: " in error and words in error, f"{words}: {error}"
        check_nothing_written(folder)
    folder.remove("set/val.json")
    check_refused(convert(folder), "set/val.json: No such file")
    check_refused(script(folder, "coco2darknet.py", "set/val.json", "set/none", "set/val.list"),
                  "set/none: no such folder")


@test
def byte_order_mark(folder):
    """JSON that starts with Windows' mark is read"""
    make_set(folder)
    folder.write("set/val.json", b"\xef\xbb\xbf" + folder.read("set/val.json"))
    check_ran(convert(folder))


@test
def label_paths(_):
    """label_path: by the last folder with images in its name, JPEGImages or raw; else beside"""
    for path, expected in (
            ("coco/images/val/a.jpg", "coco/labels/val/a.txt"),
            ("images/a.PNG", "labels/a.txt"),
            ("images/b/images/a.jpg", "images/b/labels/a.txt"),
            ("my-images-2/a.b.jpeg", "my-labels-2/a.b.txt"),
            ("imagesimages/a.jpg", "labelsimages/a.txt"),
            ("VOC/JPEGImages/a.jpg", "VOC/labels/a.txt"),
            ("images/raw/a.jpg", "images/labels/a.txt"),
            ("raw/images/a.jpg", "raw/labels/a.txt"),
            ("drawings/a.jpg", "drawings/a.txt"),
            ("/x/strawberry/images.jpg", "/x/strawberry/images.txt"),
            ("x.y/a", "x.y/a.txt"),
            ("images.jpg", "images.txt")):
        assert coco2darknet.label_path(path) == expected, (path, coco2darknet.label_path(path))


@test
def places(folder):
    """--prefix, --labels and --names; a folder that isn't beside the list has its absolute path"""
    make_set(folder)
    os.rename(folder.at("set"), folder.at("other"))
    args = ("coco2darknet.py", "other/val.json", "other/images/val")
    os.makedirs(folder.at("set"))

    check_ran(script(folder, *args, "set/a.list", "--names", "set/a.names"))
    assert folder.read("set/a.list").decode().startswith(
        folder.at("other/images/val/000000000001.jpg\n"))
    assert labels(folder, 1, "other/labels/val") == LINE
    assert folder.names("set") == ["a.list", "a.names"]

    check_ran(script(folder, *args, "set/b.list", "--prefix", "here/images/val", "--labels", "set/b"))
    assert folder.read("set/b.list").startswith(b"here/images/val/000000000001.jpg\n")
    assert labels(folder, 1, "set/b") == LINE

    check_ran(script(folder, *args, "set/c.list", "--prefix", "scans"))
    assert labels(folder, 1, "other/images/val") == LINE

    check_refused(script(folder, *args, "set/d.list", "--prefix", "my/images"),
                  "other/images/val: listed as my/images", "my/labels/000000000001.txt", "--labels")
    check_refused(script(folder, *args, "set/d.list", "--prefix", "a\nb"), r"--prefix 'a\nb'")
    assert not os.path.exists(folder.at("set/d.list"))


@test
def folders_in_names(folder):
    """file names with folders keep them, below the folder of the labels"""
    make_set(folder, images=[{"id": 8, "file_name": "a/8.jpg", "width": 9, "height": 9}])
    os.makedirs(folder.at("set/images/val/a"))
    folder.write("set/images/val/a/8.jpg", "")
    check_ran(convert(folder))
    assert folder.read("set/labels/val/a/8.txt") == b""
    assert folder.read("set/val.list").endswith(b"data/set/images/val/a/8.jpg\n")


@test
def names_of_both_splits(folder):
    """other categories than those of the split before are refused"""
    make_set(folder)
    check_ran(convert(folder))
    make_set(folder, categories=[{"id": 3, "name": "dog"}])
    check_refused(convert(folder), "set/names.txt: holds other names")
    assert folder.read("set/names.txt") == b"cat\nzebra\n"


@test
def names_without_ids(folder):
    """images that aren't named by their ids are noted"""
    make_set(folder, images=[{"id": 8, "file_name": "9.jpg", "width": 9, "height": 9},
                             {"id": 9, "file_name": "dog.jpg", "width": 9, "height": 9},
                             {"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "width": 9,
                              "height": 9}])
    for name in ("9", "dog", "COCO_val2014_000000000042"):
        folder.write(f"set/images/val/{name}.jpg", "")
    result = convert(folder)
    check_ran(result)
    assert "2 images are not named by their ids, such as 9.jpg;" in result.stderr, result.stderr


@test
def nothing_half_written(folder):
    """labels that can't be written leave no list"""
    make_set(folder)
    check_ran(convert(folder))
    os.rename(folder.at("set/labels"), folder.at("set/moved"))
    folder.write("set/labels", "a file")
    check_refused(convert(folder), "set/labels")
    assert not os.path.exists(folder.at("set/val.list"))


# evaluate_coco.py

TRUTH = {
    "images": [{"id": 1}, {"id": 2}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400},
        {"id": 2, "image_id": 2, "category_id": 3, "bbox": [50, 50, 20, 20], "area": 400}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
}
# as Darknet prints them: right, wrong, and right with an IoU of 330 / 400 = 0.825
DETECTIONS = """[
{"image_id":1, "category_id":3, "bbox":[10.0, 10.0, 20.0, 20.0], "score":0.900000},
{"image_id":1, "category_id":3, "bbox":[60.0, 60.0, 20.0, 20.0], "score":0.800000},
{"image_id":2, "category_id":3, "bbox":[50.0, 50.0, 20.0, 16.5], "score":0.700000}
]
"""


def evaluate(folder, truth, detections, *flags, **env):
    write_json(folder, "truth.json", truth)
    folder.write("found.json", detections)
    return script(folder, "evaluate_coco.py", "truth.json", "found.json", *flags, **env)


def figures(result):
    """{name: text} of an evaluation's first twelve lines."""
    if "no pycocotools" in result.stderr:
        raise tap.missing("pycocotools")
    return dict(line.split()[:2] for line in check_ran(result).splitlines()[:12])


@test
def twelve_figures(folder):
    """the twelve figures, and AP by class, of a case computed by hand"""
    # Precision is 1 up to recall 0.5, so at 51 of 101 points; then 2/3 at the 7 IoU thresholds up
    # to 0.8, and 0 at 0.85, 0.9, 0.95. There is no dog, and no box that is not small.
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    ap, ar = (7 * low + 3 * high) / 10, (7 * 1 + 3 * .5) / 10
    expected = {"AP": ap, "AP50": low, "AP75": low, "APs": ap, "AR1": ar, "AR10": ar, "AR100": ar,
                "ARs": ar}
    result = evaluate(folder, TRUTH, DETECTIONS, "--per-class")
    found = figures(result)
    for name, value in expected.items():
        assert found.pop(name) == f"{value:.4f}", f"{name}: expected {value}: {result.stdout}"
    assert found == {name: "-" for name in ("APm", "APl", "ARm", "ARl")}, result.stdout
    assert re.search(rf"^cat +{ap:.4f} +{low:.4f}\ndog +- +-$", result.stdout, re.MULTILINE), \
        result.stdout


@test
def no_detections(folder):
    """no detections, also as stock Darknet writes them, are an AP of 0"""
    for text in ("[]", "\n]\n"):
        found = figures(evaluate(folder, TRUTH, text))
        assert (found["AP"], found["AR100"], found["APl"]) == ("0.0000", "0.0000", "-"), found


def refusal(function, *args):
    """The text of the InputError that it raises, or an empty one."""
    try:
        function(*args)
    except InputError as error:
        return str(error)
    return ""


def detection(**fields):
    return {"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "score": .5, **fields}


BAD_DETECTIONS = (
    (7, "no object"),
    (detection(image_id=9), "unknown image 9"),
    (detection(image_id=None), "unknown image None"),
    (detection(category_id=0), "unknown category 0"),
    (detection(bbox=[1, 1, 5]), "bbox [1, 1, 5], expected"),
    (detection(bbox=[1, 1, -5, 5]), "bbox [1, 1, -5, 5], expected"),
    (detection(bbox=[1, 1, float("nan"), 5]), "bbox [1, 1, nan, 5], expected"),
    (detection(score="0.5"), "score '0.5', expected"),
    (detection(score=float("inf")), "score inf, expected"),
)


@test
def bad_detections(folder):
    """a bad detection is refused by its place, a bad file by its name"""
    for entry, words in BAD_DETECTIONS:
        folder.write("found.json", json.dumps([detection(), entry]))
        error = refusal(evaluate_coco.read_detections, folder.at("found.json"), TRUTH)
        assert f"found.json: detection 2: {words}" in error, f"{words}: {error}"
    for text in ("", DETECTIONS[:-4], DETECTIONS.replace("0.8", "-nan"), "\n]]\n"):
        folder.write("found.json", text)
        error = refusal(evaluate_coco.read_detections, folder.at("found.json"), TRUTH)
        assert "found.json: not JSON" in error, error
    check_refused(evaluate(folder, TRUTH, "{}"), "found.json: expected a list")
    check_refused(script(folder, "evaluate_coco.py", "truth.json", "none"), "none: No such file")


@test
def bad_truth(folder):
    """annotations that pycocotools would count wrong are refused"""
    first, second = TRUTH["annotations"]
    for fields, words in (({"id": 0}, "annotation 0: id 0, which"), ({"area": None}, "area None"),
                          ({"id": 2}, "annotation 2: the id is there twice"),
                          ({"image_id": 5}, "annotation 1: image 5 is unknown"),
                          ({"bbox": [0]}, "annotation 1: bbox [0]")):
        write_json(folder, "truth.json", {**TRUTH, "annotations": [second, {**first, **fields}]})
        error = refusal(evaluate_coco.read_truth, folder.at("truth.json"))
        assert words in error, f"{words}: {error}"
    check_refused(evaluate(folder, {**TRUTH, "images": [{"id": 1}, {"id": 1}]}, DETECTIONS),
                  "truth.json: image id 1, expected")


@test
def without_pycocotools(folder):
    """without pycocotools one line says what to type"""
    os.makedirs(folder.at("pycocotools"))
    folder.write("pycocotools/__init__.py", "raise ImportError('not today')")
    check_refused(evaluate(folder, TRUTH, DETECTIONS, PYTHONPATH=folder.path),
                  "no pycocotools (not today)", "scripts/deps.sh install coco")


# get_coco.sh

def fake(folder, name, text):
    """A command that stands for a real one."""
    os.makedirs(folder.at("bin"), exist_ok=True)
    folder.write(f"bin/{name}", f"#!/bin/sh\n{text}\n")
    os.chmod(folder.at(f"bin/{name}"), 0o755)


def get_coco(folder, *args, gigabytes=9):
    fake(folder, "df", f"echo Filesystem; echo disk 1 1 {gigabytes * 10 ** 9 // 1024} 1% /")
    fake(folder, "unzip", "exit 1")
    fake(folder, "wget", f"touch '{folder.at('fetched')}'; exit 4")
    path = f"{folder.at('bin')}:{ENVIRONMENT['PATH']}"
    return script(folder, "get_coco.sh", *args, PATH=path)


@test
def coco_arguments(folder):
    """get_coco.sh wants one folder, and the tools it uses"""
    check_refused(get_coco(folder), "expected one argument")
    check_refused(get_coco(folder, "a", "b"), "expected one argument")
    os.makedirs(folder.at("few"))
    os.symlink("/usr/bin/dirname", folder.at("few/dirname"))
    check_refused(script(folder, "get_coco.sh", "a", PATH=folder.at("few")),
                  "missing: wget unzip", "apt-get install wget unzip")


@test
def coco_disk(folder):
    """get_coco.sh says how much disk it needs, and fetches nothing without it"""
    result = get_coco(folder, "coco", gigabytes=9)
    check_refused(result, "coco: room for ", "expected 42 GB")
    assert "COCO 2017 needs 42 GB" in result.stdout, result.stdout
    assert not os.path.exists(folder.at("fetched"))
    check_refused(get_coco(folder, "coco", gigabytes=99), "not fetched; call again to go on")
    assert os.path.exists(folder.at("fetched"))


tap.main()
