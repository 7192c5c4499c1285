#!/usr/bin/python3
"""Makes the scenes' one-class task: the same images and boxes, all garments a single class.

    scripts/one_class.py build/data/scenes build/data/one-class

    OUT/images                              a link to the scenes' images
    OUT/annotations, OUT/labels, OUT/names.txt, OUT/train.list, OUT/val.list
    OUT/one-class.data                      cfg/scenes.data for them
    OUT/one-class-student.cfg, OUT/one-class-teacher.cfg
                                            cfg/scenes-*.cfg with classes=1 and as many filters

Paths in these files start with data/, as make_scenes.py's do. The teacher's budget is TEACHER
batches, for it is trained by whoever needs it: scripts/train-teacher.sh one-class.
"""
import argparse
import os
import re

import coco2darknet
import imagelist
import make_scenes
import rows
from imagelist import InputError
from table import read, write_text

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEACHER = 1500  # batches
BOX = 5  # of a prediction's numbers: x, y, w, h and objectness


def link_images(scenes, out):
    path = os.path.join(out, "images")
    if os.path.isdir(path) and not os.path.islink(path):
        raise InputError(f"{path}: a folder, expected none or a link")
    imagelist.remove_if_there(path)
    os.symlink(os.path.relpath(os.path.join(scenes, "images"), out), path)


def convert_split(scenes, out, split):
    """Writes a split's annotations, and its labels and list from them."""
    inside = os.path.join("annotations", f"instances_{split}.json")
    content = coco2darknet.read_instances(os.path.join(scenes, inside))
    content["categories"] = [{"id": 1, "name": "garment", "supercategory": "garment"}]
    for entry in content["annotations"]:
        entry["category_id"] = 1
    make_scenes.write_json(os.path.join(out, inside), content)
    print(f"\n{split}")
    coco2darknet.convert(os.path.join(out, inside), os.path.join(out, "images", split),
                         os.path.join(out, split + ".list"))


def one_class(text):
    """The cfg's text with classes=1 in each [yolo], and the layer before it made to fit."""
    sections = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    for i, section in enumerate(sections):
        if section.startswith("[yolo]"):
            filters = int(rows.get_option(sections[i - 1], "filters"))
            boxes = filters // (BOX + int(rows.get_option(section, "classes")))
            sections[i - 1] = rows.set_option(sections[i - 1], "convolutional", "filters",
                                              boxes * (BOX + 1))
            sections[i] = rows.set_option(section, "yolo", "classes", 1)
    return "".join(sections)


def write_files(out):
    """The .data file and the two cfgs."""
    prefix = imagelist.default_prefix(out)
    student, teacher, data = (read(os.path.join(ROOT, "cfg", name)) for name in (
        "scenes-student.cfg", "scenes-teacher.cfg", "scenes.data"))
    student = student.replace("cfg/scenes-teacher.cfg", f"{prefix}/one-class-teacher.cfg")
    data = data.replace("data/scenes/", prefix + "/").replace("classes=10", "classes=1")
    for name, text in (("student.cfg", one_class(student)),
                       ("teacher.cfg", rows.set_batches(one_class(teacher), TEACHER))):
        write_text(os.path.join(out, "one-class-" + name), text)
    write_text(os.path.join(out, "one-class.data"), data)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", metavar="SCENES", help="what make_scenes.py wrote")
    parser.add_argument("out", metavar="OUT", help="folder to write, such as build/data/one-class")
    args = parser.parse_args()
    os.makedirs(os.path.join(args.out, "annotations"), exist_ok=True)
    link_images(args.scenes, args.out)
    write_files(args.out)
    for split, *_ in make_scenes.SPLITS:
        convert_split(args.scenes, args.out, split)


if __name__ == "__main__":
    imagelist.run(main)
