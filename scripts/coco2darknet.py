#!/usr/bin/python3
"""Makes Darknet's image list and label files from a COCO instances file.

    scripts/coco2darknet.py instances_val2017.json coco/images/val2017 coco/val.list

INSTANCES is COCO's JSON: images, annotations, categories. FOLDER holds the images. Written are

    LIST           one image's path a line, in the order of the image ids
    names.txt      beside LIST: the category names, in class order
    label files    one an image; a line `class cx cy w h`, in parts of the image's size, a box

Class 0 is the category with the lowest id, and so on: COCO's ids 1 to 90 become 80 classes. The
labels of coco/images/val2017/a.jpg go to coco/labels/val2017/a.txt; label_path() has the whole
rule. An image without objects gets an empty file, so a missing one is always an error.

Crowd boxes are left out, boxes are clipped to their image, and those that are empty then are left
out; all are counted. What contradicts the format is reported by its id and ends the conversion
before anything is written; with --skip-bad it is left out and counted.

Widths and heights are taken from INSTANCES; the images are not opened. Segmentations are not read.
The list is written last, and an old one is removed first, so it is there only if all label files
are. Other files in their folders stay as they are.
"""
import argparse
import collections
import json
import os
import posixpath
import re
import sys

import imagelist
from imagelist import InputError

SHOWN = 10  # entries that an error or a note names

Image = collections.namedtuple("Image", "name width height boxes")  # boxes: [Box]
Box = collections.namedtuple("Box", "category left top right bottom")  # in pixels


class Findings:
    """What was left out or changed: lines of text, and counts."""

    def __init__(self):
        self.bad, self.empty = [], []
        self.crowd = self.clipped = 0


def label_path(path):
    """Where Darknet finds the labels of the image at `path`.

    The last folder whose name contains "images" has "labels" in its place; one that is named
    JPEGImages or raw counts too, and is then named labels. Without such a folder the labels are
    beside the image.
    """
    *folders, name = path.split("/")
    for i in reversed(range(len(folders))):
        if folders[i] in ("JPEGImages", "raw"):
            folders[i] = "labels"
        elif "images" in folders[i]:
            folders[i] = folders[i].replace("images", "labels", 1)
        else:
            continue
        break
    return "/".join([*folders, posixpath.splitext(name)[0] + ".txt"])


# Reading

def is_whole(value):
    """A whole number, not below 0, as ids and sizes are."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_finite(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) \
        and abs(value) <= sys.float_info.max


def read_instances(path):
    """The file's content: a dict with three lists of dicts."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}), expected COCO's instances") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError(f"{path}: no list of objects under {key!r}, expected COCO's instances")
    return content


def read_categories(path, entries):
    """{id: name} in class order. A bad entry can't be skipped: it would shift the classes."""
    names = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        if not is_whole(number) or number in names:
            raise InputError(f"{path}: category id {number!r}, expected whole numbers, each once")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"{path}: category {number}: name {name!r}, expected a line of text")
        names[number] = name
    if not names:
        raise InputError(f"{path}: no categories, expected at least one")
    return dict(sorted(names.items()))


def image_fault(entry, folder, images, stems):
    """What is wrong with an image's entry, or None. images, stems: those of the entries before."""
    name, size = entry.get("file_name"), [entry.get("width"), entry.get("height")]
    if not is_whole(entry.get("id")):
        return "the id is no whole number"
    if entry["id"] in images:
        return "the id is there twice"
    if not all(is_whole(side) and side > 0 for side in size):
        return f"width {size[0]!r}, height {size[1]!r}, expected whole numbers above 0"
    if not isinstance(name, str) or not name.isprintable() or posixpath.normpath(name) != name \
            or name.startswith(("/", "../")):
        return f"file_name {name!r}, expected a plain path inside the folder"
    if posixpath.splitext(name)[0] in stems:
        return f"{name}: another image has the same label file"
    if not os.path.isfile(os.path.join(folder, name)):
        return f"{os.path.join(folder, name)}: no such file"
    return None


def read_images(entries, folder, findings):
    """{id: Image}, without boxes, ordered by id."""
    images, stems = {}, set()
    for entry in entries:
        fault = image_fault(entry, folder, images, stems)
        if fault:
            findings.bad.append(f"image {entry.get('id')!r}: {fault}")
            continue
        images[entry["id"]] = Image(entry["file_name"], entry["width"], entry["height"], [])
        stems.add(posixpath.splitext(entry["file_name"])[0])
    return dict(sorted(images.items()))


def box_fault(entry, images, categories, seen):
    """What is wrong with an annotation, or None. seen: the ids of those before."""
    box, image, category = entry.get("bbox"), entry.get("image_id"), entry.get("category_id")
    if not is_whole(entry.get("id")):
        return "the id is no whole number"
    if entry["id"] in seen:
        return "the id is there twice"
    if not is_whole(image) or image not in images:
        return f"image {image!r} is unknown or bad"
    if not is_whole(category) or category not in categories:
        return f"category {category!r} is unknown"
    if not isinstance(box, list) or len(box) != 4 or not all(is_finite(v) for v in box):
        return f"bbox {box!r}, expected four finite numbers"
    if box[2] < 0 or box[3] < 0:
        return f"bbox {box!r}: a negative size"
    if entry.get("iscrowd", 0) not in (0, 1):
        return f"iscrowd {entry['iscrowd']!r}, expected 0 or 1"
    return None


def add_box(entry, image, findings):
    """Adds the annotation's box to the image, clipped, unless it is a crowd's or empty."""
    left, top, width, height = entry["bbox"]
    whole = Box(entry["category_id"], left, top, left + width, top + height)
    box = Box(entry["category_id"], max(0, left), max(0, top),
              min(image.width, whole.right), min(image.height, whole.bottom))
    if entry.get("iscrowd", 0):
        findings.crowd += 1
    elif box.right <= box.left or box.bottom <= box.top:
        findings.empty.append(f"annotation {entry['id']}: bbox {entry['bbox']} is empty in its "
                              f"image of {image.width}x{image.height}")
    else:
        findings.clipped += box != whole
        image.boxes.append(box)


def read_boxes(entries, images, categories, findings):
    """Adds the annotations' boxes to their images."""
    seen = set()
    for entry in entries:
        fault = box_fault(entry, images, categories, seen)
        if fault:
            findings.bad.append(f"annotation {entry.get('id')!r}: {fault}")
            continue
        seen.add(entry["id"])
        add_box(entry, images[entry["image_id"]], findings)


def named_id(name):
    """The image id that Darknet takes from a file's name: its last number, or None."""
    numbers = re.findall("[0-9]+", posixpath.splitext(posixpath.basename(name))[0])
    return int(numbers[-1]) if numbers else None


def shorten(texts):
    return texts[:SHOWN] + [f"and {len(texts) - SHOWN} more"] * (len(texts) > SHOWN)


def read(path, folder, skip_bad):
    """INSTANCES: the category names {id: name} in class order, the images, and the findings."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder, expected the images")
    content, findings = read_instances(path), Findings()
    categories = read_categories(path, content["categories"])
    images = read_images(content["images"], folder, findings)
    read_boxes(content["annotations"], images, categories, findings)
    if findings.bad and not skip_bad:
        raise InputError(f"{path}: {len(findings.bad)} bad entries (--skip-bad leaves them out): "
                         + "; ".join(shorten(findings.bad)))
    for text in shorten(findings.bad) + shorten(findings.empty):
        print(f"note: {path}: left out: {text}", file=sys.stderr)
    unlike = [image.name for number, image in images.items() if named_id(image.name) != number]
    if unlike:
        print(f"note: {path}: {len(unlike)} images are not named by their ids, such as "
              f"{unlike[0]}; Darknet's detections in COCO's form will not fit them",
              file=sys.stderr)
    return categories, list(images.values()), findings


# Writing

def default_prefix(folder, path):
    """What FOLDER is called from Darknet's run folder, if the list is data/SET/NAME.list there."""
    top = os.path.dirname(os.path.abspath(path))
    inside = os.path.relpath(os.path.abspath(folder), top)
    if inside.startswith(".."):
        return os.path.abspath(folder)
    return posixpath.normpath(posixpath.join(imagelist.default_prefix(top), inside))


def label_file(folder, prefix, name):
    """The label file, on disk, of the image listed as PREFIX/NAME."""
    listed = label_path(posixpath.join(prefix, name))
    inside = posixpath.relpath(listed, prefix)
    up = inside.split("/").count("..")
    tails = [os.path.abspath(path).split("/")[-up:] for path in (folder, prefix)]
    if up and tails[0] != tails[1]:
        raise InputError(f"{folder}: listed as {prefix}, so Darknet looks for {listed}, which may "
                         "be anywhere; --labels says where")
    return os.path.normpath(os.path.join(os.path.abspath(folder), inside))


def label_files(images, folder, prefix, labels):
    """The label file, on disk, of each image; in the folder `labels` unless that is None."""
    if labels is None:
        return [label_file(folder, prefix, image.name) for image in images]
    return [os.path.join(labels, posixpath.splitext(image.name)[0] + ".txt") for image in images]


def label_line(number, box, image):
    """`class cx cy w h`; nine digits are what Darknet's floats hold."""
    parts = ((box.left + box.right) / 2 / image.width, (box.top + box.bottom) / 2 / image.height,
             (box.right - box.left) / image.width, (box.bottom - box.top) / image.height)
    return " ".join([str(number), *(f"{part:.9g}" for part in parts)]) + "\n"


def write_labels(images, files, categories):
    numbers = {category: i for i, category in enumerate(categories)}
    for folder in {os.path.dirname(path) for path in files}:
        os.makedirs(folder or ".", exist_ok=True)
    for image, path in zip(images, files):
        with open(path, "w", encoding="ascii", newline="\n") as file:
            file.writelines(label_line(numbers[box.category], box, image) for box in image.boxes)


def check_names(path, names):
    """Raises InputError if the other split's names, already there, are not these."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = file.read().split("\n")[:-1]
        if found != list(names):
            raise InputError(f"{path}: holds other names than these categories, but one data set "
                             "has one; remove it, or name another file with --names")


def print_counts(images, categories, findings):
    boxes = collections.Counter(box.category for image in images for box in image.boxes)
    having = collections.Counter(category for image in images
                                 for category in {box.category for box in image.boxes})
    width = max(len(name) for name in [*categories.values(), "total"])
    print(f"{'':{width}}   boxes  images")
    for category, name in categories.items():
        print(f"{name:{width}}{boxes[category]:8d}{having[category]:8d}")
    print(f"{'total':{width}}{sum(boxes.values()):8d}{len(images):8d}")
    print(f"{sum(not image.boxes for image in images)} images without objects, at most "
          f"{max((len(image.boxes) for image in images), default=0)} boxes in an image, "
          f"{findings.clipped} boxes clipped")
    print(f"left out: {findings.crowd} crowd boxes, {len(findings.empty)} empty boxes, "
          f"{len(findings.bad)} bad entries")


def convert(instances, folder, path, *, labels=None, prefix=None, names=None, skip_bad=False):
    """Writes the list to `path`, the label files and the names; prints counts. As main()'s options.

    Raises InputError before anything is written.
    """
    prefix = default_prefix(folder, path) if prefix is None else prefix
    names = os.path.join(os.path.dirname(path), "names.txt") if names is None else names
    imagelist.check_prefix(prefix)
    categories, images, findings = read(instances, folder, skip_bad)
    files = label_files(images, folder, prefix, labels)
    check_names(names, categories.values())

    imagelist.remove_if_there(path)
    imagelist.write_lines(names, categories.values())
    write_labels(images, files, categories)
    imagelist.write_lines(path, [posixpath.join(prefix, image.name) for image in images])
    print_counts(images, categories, findings)
    print(f"wrote {path}; its paths start with {posixpath.join(prefix, '')}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instances", metavar="INSTANCES", help="COCO's JSON file")
    parser.add_argument("folder", metavar="FOLDER", help="where the images are")
    parser.add_argument("list", metavar="LIST", help="the list to write, such as coco/val.list")
    parser.add_argument("--labels", metavar="DIR", help="folder for the label files (default: "
                        "where Darknet looks for them)")
    parser.add_argument("--prefix", help="what FOLDER is called in the list, as seen from the "
                        "folder in which Darknet runs (default: data/SET/..., if the list's folder "
                        "is SET and FOLDER is in it, else FOLDER's absolute path)")
    parser.add_argument("--names", metavar="FILE", help="the category names (default: names.txt "
                        "beside LIST)")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad entries out")
    args = parser.parse_args()
    convert(args.instances, args.folder, args.list, labels=args.labels, prefix=args.prefix,
            names=args.names, skip_bad=args.skip_bad)


if __name__ == "__main__":
    imagelist.run(main, "there is no list")
