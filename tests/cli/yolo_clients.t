#!/usr/bin/python3 -B
"""A distilled detector in other programs, in TAP.

Proves: Debian's Darknet, which knows nothing of the patches, and OpenCV's DNN module load the plain
cfg and the distilled weights, and find in 50 scenes of make_scenes.py the boxes that `deepkd map
-out` writes: IoU above 0.99, scores within 0.01. A program that is not installed skips its tests.

To add a network: a row in NETS.
"""
import json
import os
import re
import subprocess

import tap
from tap import BODY, DARKNET, ENVIRONMENT, PATIENCE, PYTHON, ROOT, Folder, head

import numpy as np

STOCK = "/usr/bin/darknet"
COUNT = 50
IOU, SCORE = .99, .01
NMS = .45  # as `detector valid` has it
TEACHER = os.path.join(ROOT, "cfg", "scenes-teacher.cfg")
DATA = {"classes": 10, "train": "data/scenes/train.list", "valid": "data/scenes/val.list",
        "annotations": "data/scenes/annotations/instances_val.json",
        "names": "data/scenes/names.txt", "backup": "backup", "eval": "coco", "results": "results",
        "eval_interval": 1000}


def layers_of(name):
    """[(section, options)] of a cfg of the repository, without [net]."""
    with open(os.path.join(ROOT, "cfg", name), encoding="ascii") as file:
        sections = re.findall(r"^\[(\w+)\]([^[]*)", file.read(), re.M)
    return [(section, dict(line.split("=", 1) for line in body.split("\n")
                           if "=" in line and line[0] != "#")) for section, body in sections[1:]]


def student(layers, side, resize=0, **net):
    return tap.detector_cfg({"trainer": "sgd"}, layers, {"cfg": TEACHER, "resize": resize},
                            **{"batch": 4, "width": side, "height": side, "learning_rate": ".005",
                               "max_batches": 160, **net})


# OpenCV keeps what is above a [region]'s thresh, and above 0.2 in a [yolo]
REGION = [*BODY, *head("region", "1.4,2.1, 2.6,1.6, 3.5,4", 10, thresh=".1")]
NETS = {  # name: (the student's cfg, flags, OpenCV's threshold)
    "the scenes' teacher, distilled on": (
        student(layers_of("scenes-teacher.cfg"), 112, max_batches=3, learning_rate=".0005"),
        ("-start", TEACHER.replace(".cfg", ".weights"), "-clear"), .2),
    "cfg/scenes-student.cfg": (student(layers_of("scenes-student.cfg")[:-2], 112), (), .2),
    "a [region]": (student(REGION, 64, 1), (), .1),
}


def set_up(folder, name):
    """The folder that all tests share, and its files of this network: plain cfg, weights."""
    shared = os.path.join(os.path.dirname(folder.path), "shared")
    first = not os.path.exists(shared)
    folder = Folder.__new__(Folder)
    folder.path = shared
    if first:
        for sub in ("data", "backup", "results"):
            os.makedirs(folder.at(sub))
        folder.write("deepkd.data", "\n".join(tap.lines(DATA)) + "\n")
        os.symlink(os.path.join(os.path.dirname(DARKNET), "data", "labels"),
                   folder.at("data/labels"))  # the letters of `detector test`
    if not os.path.exists(folder.at("data/scenes/val.list")):
        script = os.path.join(ROOT, "scripts", "make_scenes.py")
        made = subprocess.run([PYTHON, "-B", script, folder.at("data/scenes"), "--train", "24",
                               "--val", str(COUNT)], capture_output=True, text=True, check=False)
        tap.check_ran(made)
    stem = f"net{list(NETS).index(name)}"
    files = f"backup/{stem}.cfg", f"backup/{stem}_final.weights"
    if not os.path.exists(folder.at(files[0])):
        text, flags, _ = NETS[name]
        folder.write(f"{stem}.cfg", text)
        folder.darknet("distill", "deepkd.data", f"{stem}.cfg",
                       TEACHER.replace(".cfg", ".weights"), "-seed", "7", *flags).check(0)
    return folder, files


def by_scene(entries):
    """{(image id, class): [(score, box)]} of COCO's results."""
    result = {}
    for entry in entries:
        key = entry["image_id"], entry["category_id"] - 1
        result.setdefault(key, []).append((entry["score"], entry["bbox"]))
    return result


def ours(folder, files):
    folder.darknet("deepkd", "map", "deepkd.data", *files, "-out", "found.json").check(0)
    return by_scene(json.loads(folder.read("found.json")))


def iou(a, b):
    """Of two boxes (left, top, width, height); 1 of those that are nowhere a hundredth of a pixel
    apart, as a box may be less than that high."""
    if max(abs(one - other) for one, other in zip(a, b)) < .01:
        return 1
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def check_found(found, others, threshold, what, overlap=1):
    """Each box that scores above the threshold is among the others, or one of them that scores more
    overlaps it by more than `overlap`."""
    count = 0
    for key, boxes in found.items():
        for score, box in boxes:
            if score <= threshold:
                continue
            near = [(iou(box, other), other_score) for other_score, other in others.get(key, [])]
            twins = [part for part, other in near if part > IOU and abs(other - score) <= SCORE]
            hidden = [part for part, other in near if part > overlap and other > score]
            assert twins or hidden, f"{what}: {key}: {score} {box}: not among {others.get(key)}"
            count += bool(twins)
    assert count >= COUNT / 2, f"{what}: {count} boxes above {threshold}: too few to compare"


def check_same(found, expected, threshold):
    check_found(found, expected, threshold, "theirs")
    check_found(expected, found, threshold, "ours")


def run(program, folder, *words, text=""):
    done = subprocess.run([program, *words], cwd=folder.path, env=ENVIRONMENT, input=text,
                          capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, f"{program}: exit {done.returncode}: {done.stderr[-500:]}"
    return done.stdout


def need_stock():
    if not os.path.exists(STOCK):
        raise tap.missing("darknet")


def stock_valid(folder, name):
    """Its results, written with six digits, so the boxes are as exact as ours."""
    need_stock()
    folder, files = set_up(folder, name)
    run(STOCK, folder, "detector", "valid", "deepkd.data", *files)
    entries = [entry for entry in json.loads(folder.read("results/coco_results.json"))
               if entry["bbox"][2] > 0 and entry["bbox"][3] > 0]
    check_same(by_scene(entries), ours(folder, files), .05)


def scenes(folder):
    return folder.read("data/scenes/val.list").decode().split()


def stock_test(folder, name):
    """What it prints of each scene: the class of each box, and its score in percent."""
    need_stock()
    folder, files = set_up(folder, name)
    found = []
    for program in (STOCK, DARKNET):
        out = run(program, folder, "detector", "test", "deepkd.data", *files, "-thresh", ".1",
                  "-out", "picture", text="\n".join(scenes(folder)) + "\n")
        names = folder.read("data/scenes/names.txt").decode().splitlines()
        parts = re.split(r"Enter Image Path: (?:\S+: Predicted in \S+ seconds\.\n)?", out)[1:-1]
        assert len(parts) == COUNT, f"{program}: {len(parts)} scenes: {out[-300:]}"
        found.append([[(names.index(label), int(percent)) for label, percent in
                       re.findall(r"^(.+): (\d+)%$", part, re.M)] for part in parts])
    assert sum(map(len, found[0])) >= COUNT / 2, "too few boxes to compare"
    for printed, patched in zip(*found):
        assert [label for label, _ in printed] == [label for label, _ in patched]
        assert all(abs(a - b) <= 1 for (_, a), (_, b) in zip(printed, patched)), (printed, patched)
    for (image, label), boxes in ours(folder, files).items():
        rest = sorted(percent for other, percent in found[0][image - 100001] if other == label)
        for score in sorted(score for score, _ in boxes if score > .11):
            while rest and rest[0] < 100 * score - 1:  # at the edge: nothing of it in the scene
                rest.pop(0)
            assert rest and rest.pop(0) <= 100 * score + 1, (image, label, boxes, found[0])


# OpenCV

def resize(pixels, width, height):
    """Darknet's bilinear resize_image of (h, w, c): its corners are the corners.

    Its last row has no lower neighbour, so a place rounded to just above it comes out black.
    """
    for axis, size in ((1, width), (0, height)):
        old = pixels.shape[axis]
        at = np.arange(size, dtype=np.float32) * (np.float32(old - 1) / np.float32(size - 1))
        if axis:
            at[-1] = old - 1
        low = at.astype(int)
        part = (at - low).reshape((1, -1, 1) if axis else (-1, 1, 1))
        below = pixels.take(np.minimum(low + 1, old - 1), axis) * part
        if not axis:
            below[-1] = 0
        pixels = pixels.take(low, axis) * (1 - part) + below
    return pixels


def letterbox(pixels, side):
    """Darknet's letterbox_image, and the (left, top, width, height) that it takes boxes from."""
    h, w = pixels.shape[:2]
    width, height = (side, h * side // w) if w > h else (w * side // h, side)
    left, top = (side - width) // 2, (side - height) // 2
    result = np.full((side, side, 3), .5)
    result[top:top + height, left:left + width] = resize(pixels, width, height)
    return result, ((side - width) / 2, (side - height) / 2, width, height)


def suppress(boxes):
    """[(score, box)] without those that overlap a better one."""
    kept = []
    for score, box in sorted(boxes, reverse=True, key=lambda pair: pair[0]):
        if all(iou(box, other) <= NMS for _, other in kept):
            kept.append((score, box))
    return kept


def clip(box, width, height):
    left, top = max(box[0], 0), max(box[1], 0)
    return (left, top, min(box[0] + box[2], width) - left, min(box[1] + box[3], height) - top)


def opencv_boxes(net, pixels, side):
    """{class: [(score, box)]} in pixels of the scene, before suppression."""
    import cv2  # pylint: disable=import-outside-toplevel
    image, (left, top, width, height) = letterbox(pixels, side)
    net.setInput(cv2.dnn.blobFromImage(image.astype(np.float32)))
    found = {}
    for row in np.vstack(net.forward(net.getUnconnectedOutLayersNames())):
        x, y, w, h = row[:4] * side
        sx, sy = pixels.shape[1] / width, pixels.shape[0] / height
        box = ((x - w / 2 - left) * sx, (y - h / 2 - top) * sy, w * sx, h * sy)
        for label in np.nonzero(row[5:])[0]:
            found.setdefault(label, []).append((float(row[5 + label]), box))
    return found


def opencv(folder, name):
    try:
        import cv2  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise tap.missing("python3-opencv") from None
    folder, files = set_up(folder, name)
    net = cv2.dnn.readNetFromDarknet(*map(folder.at, files))
    side = int(re.search(r"^width=(\d+)", NETS[name][0], re.M)[1])
    found = {}
    for path in scenes(folder):
        pixels = cv2.imread(folder.at(path))[:, :, ::-1] / 255.
        for label, boxes in opencv_boxes(net, pixels, side).items():
            clipped = [(score, clip(box, pixels.shape[1], pixels.shape[0]))
                       for score, box in suppress(boxes)]
            found[int(path[-16:-4]), label] = [
                (score, box) for score, box in clipped if box[2] > 0 and box[3] > 0]
    expected, threshold = ours(folder, files), NETS[name][2] + SCORE
    if "region" not in name:
        return check_same(found, expected, threshold)
    # OpenCV has suppressed a [region]'s boxes above 0.4 already; a clipped one hides why
    check_found(whole(folder, found), expected, threshold, "theirs", .4)
    return check_found(whole(folder, expected), found, threshold, "ours", .4)


def whole(folder, found):
    """The boxes that were not clipped."""
    images = json.loads(folder.read(DATA["annotations"]))["images"]
    sizes = {image["id"]: (image["width"] - .01, image["height"] - .01) for image in images}
    return {key: [(score, (x, y, w, h)) for score, (x, y, w, h) in boxes if x > 0 and y > 0 and
                  x + w < sizes[key[0]][0] and y + h < sizes[key[0]][1]]
            for key, boxes in found.items()}


for name in NETS:
    for client, function in (("Debian's Darknet, detector valid", stock_valid),
                             ("Debian's Darknet, detector test", stock_test),
                             ("OpenCV's DNN", opencv)):
        tap.test(lambda folder, name=name, function=function: function(folder, name),
                 f"{client}: {name}, the same boxes")


class Bare(Folder):
    """What the tests need is made by the first of them."""
    FILES = FOLDERS = ()

    def write_texts(self):
        pass

    def fill(self):
        pass


tap.main(Bare)
