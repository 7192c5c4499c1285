#!/usr/bin/python3
"""Makes Darknet's image lists, label files and COCO's JSON from boxes in Pascal VOC's form.

    scripts/voc2darknet.py VOCdevkit/VOC2007 build/data/voc2007

VOC is a folder with Annotations/NAME.xml, JPEGImages/NAME.jpg and, mostly, ImageSets/Main/SET.txt,
which has a NAME a line. Written are, for the sets train, val and test as far as they are there, or
for those of --sets (without ImageSets all images are a set called train):

    OUT/SET.list                            one image's path a line, in the order of the image ids
    OUT/annotations/instances_SET.json      the same in COCO's form, for mAP
    OUT/images/NAME.jpg                     a copy of the image
    OUT/labels/NAME.txt                     `class cx cy w h`, a line a box
    OUT/names.txt                           the classes: those of --names in their order, else those
                                            that were found, from A to Z

An image's id is the last number in its name, for by that Darknet finds it in COCO's JSON. If two
have the same, or one has none, all copies are numbered: NAME_000001.jpg and so on.

VOC counts pixels from 1, and xmax is inside the box: xmin 1, xmax 10 is 10 pixels from the left
edge. Boxes that reach over the edge by a part are clipped and counted, for people's boxes do, and
what is in the image is right. One that is outside altogether is an error: then the size or the
image is another one. Where xmax is xmin, or ymax is ymin, somebody's mouse slipped: that box is
left out and named. Objects marked difficult get no label, and are crowds (iscrowd) in the JSON, so
that finding them or not counts neither way, as VOC has it.

Whatever is wrong ends it with one line, before OUT is there: OUT is made beside its place and
renamed at the end. VOC is never written to. XML with a document type, so with entities, is refused.
Parts of objects, poses and segmentations are not read.
"""
import argparse
import collections
import hashlib
import os
import posixpath
import re
import shutil
import sys
from xml.etree import ElementTree
from xml.parsers import expat

import PIL.Image

import coco2darknet
import imagelist
import make_scenes
from coco2darknet import Box, Image, shorten
from imagelist import InputError

SETS = "train", "val", "test"
ENDINGS = ".jpg", ".jpeg", ".png", ".bmp"
ORIENTATION = 0x112  # EXIF's tag
SIDES = "xmin", "ymin", "xmax", "ymax"
LAST_ID = 2 ** 31 - 1  # Darknet's ids are ints

# An XML file's content. path: of the image; boxes: [Box], in pixels from 0, by class name;
# difficult: those that no label is made of
Photo = collections.namedtuple("Photo", "name path width height boxes difficult findings")


class BadEntry(Exception):
    """What is wrong with one file or object, without the file's name."""


# XML

def refuse_doctype(*_):
    raise BadEntry("a document type, which may hide entities, expected none")


def parse(path):
    """The root element. Without a DOCTYPE there are no entities but XML's own five."""
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise BadEntry(f"not XML ({error}), expected VOC's annotation") from error
    root = builder.close()
    if root.tag != "annotation":
        raise BadEntry(f"<{root.tag}>, expected <annotation>")
    return root


def text_of(element, path):
    return (element.findtext(path) or "").strip()


def read_size(root):
    """(width, height)"""
    texts = [text_of(root, f"size/{side}") for side in ("width", "height")]
    if not all(re.fullmatch("0*[1-9][0-9]{0,6}", text, re.ASCII) for text in texts):
        raise BadEntry("size: width {!r}, height {!r}, expected whole numbers above 0"
                       .format(*texts))
    return [int(text) for text in texts]


def read_sides(entry):
    """The four numbers of <bndbox>. Some tools write fractions."""
    texts = [text_of(entry, f"bndbox/{side}") for side in SIDES]
    for side, text in zip(SIDES, texts):
        if not re.fullmatch(r"[+-]?\d{1,7}(\.\d*)?", text, re.ASCII):
            raise BadEntry(f"{side} {text!r}, expected a number")
    left, top, right, bottom = map(float, texts)
    if right < left or bottom < top:
        raise BadEntry(f"xmin {texts[0]}, ymin {texts[1]}, xmax {texts[2]}, ymax {texts[3]}: a "
                       "negative size")
    return left, top, right, bottom


def read_name(entry, classes):
    """The object's class; classes: those that are allowed, or None."""
    name = text_of(entry, "name")
    if not name or not name.isprintable():
        raise BadEntry(f"name {name!r}, expected a class's name")
    if classes is not None and name not in classes:
        raise BadEntry(f"name {name!r} is not among the names, expected one of "
                       + ", ".join(shorten(classes)))
    return name


def read_difficult(entry):
    text = text_of(entry, "difficult") or "0"
    if text not in ("0", "1"):
        raise BadEntry(f"difficult {text!r}, expected 0 or 1")
    return text == "1"


def read_box(entry, size, classes, findings):
    """The object's Box in pixels from 0, clipped; None if it has no extent."""
    name, (left, top, right, bottom) = read_name(entry, classes), read_sides(entry)
    if right == left or bottom == top:
        return None
    if right <= 0 or bottom <= 0 or left > size[0] or top > size[1]:
        raise BadEntry(f"{name} at {left:g},{top:g} to {right:g},{bottom:g} is outside of the "
                       f"image of {size[0]}x{size[1]}")
    whole = Box(name, left - 1, top - 1, right, bottom)
    box = Box(name, max(0, left - 1), max(0, top - 1), min(size[0], right), min(size[1], bottom))
    findings.clipped += box != whole
    return box


def read_objects(root, name, size, classes, findings):
    """(boxes, those of difficult objects)"""
    found = [], []
    for number, entry in enumerate(root.findall("object"), 1):
        try:
            difficult = read_difficult(entry)
            box = read_box(entry, size, classes, findings)
        except BadEntry as error:
            raise BadEntry(f"object {number}: {error}") from error
        if box is None:
            findings.empty.append(f"{name}.xml: object {number} has no extent")
        else:
            found[difficult].append(box)
    findings.crowd = len(found[True])
    return found


# Images

def list_images(folder):
    """{name: [its files]} of the folder's images."""
    found = collections.defaultdict(list)
    for file in sorted(os.listdir(folder)):
        name, ending = os.path.splitext(file)
        if ending.lower() in ENDINGS:
            found[name].append(os.path.join(folder, file))
    return found


def find_image(name, images):
    files = images.get(name, [])
    if not files:
        raise BadEntry(f"found no image of it, expected JPEGImages/{name}.jpg")
    if len(files) > 1:
        raise BadEntry("has the images " + " and ".join(map(os.path.basename, files))
                       + ", expected one")
    return files[0]


def check_image(path, size):
    """The image opens and has that size, upright: boxes in another one would be wrong."""
    try:
        with PIL.Image.open(path) as image:
            lies = image.getexif().get(ORIENTATION, 1) >= 5
            real = image.size[::-1] if lies else image.size
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise BadEntry(f"{os.path.basename(path)} is no image that can be read") from error
    if real != tuple(size):
        raise BadEntry("says {}x{}, but {} has {}x{}".format(*size, os.path.basename(path), *real))


def read_photo(voc, name, images, classes):
    """(Photo, what its XML calls the image)"""
    path = os.path.join(voc, "Annotations", name + ".xml")
    if not os.path.isfile(path):
        raise BadEntry("found no such file")
    root = parse(path)
    size, image, findings = read_size(root), find_image(name, images), coco2darknet.Findings()
    check_image(image, size)
    boxes, difficult = read_objects(root, name, size, classes, findings)
    return Photo(name, image, *size, boxes, difficult, findings), text_of(root, "filename")


def read_photos(voc, names, classes):
    """{name: Photo}; InputError, in one line, names what is bad."""
    images, photos, called, bad = list_images(os.path.join(voc, "JPEGImages")), {}, {}, []
    for name in names:
        try:
            photos[name], file = read_photo(voc, name, images, classes)
            if file and file in called:
                raise BadEntry(f"is of the image {file}, as {called[file]}.xml is")
            called[file] = name
        except BadEntry as error:
            bad.append(f"{name}.xml: {error}")
    if bad:
        raise InputError(f"{voc}/Annotations: {len(bad)} bad files: " + "; ".join(shorten(bad)))
    return photos


# Sets and classes

def read_lines(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return [line.strip() for line in file.read().split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}, expected text in UTF-8") from error


def read_set(path):
    """The names in a set's file."""
    lines, seen = read_lines(path), set()
    for number, name in enumerate(lines, 1):
        if "/" in name or "\\" in name or not name.isprintable():
            raise InputError(f"{path}: line {number}: {name!r}, expected an image's name")
        if name and name in seen:
            raise InputError(f"{path}: line {number}: {name} is there twice")
        seen.add(name)
    names = list(filter(None, lines))
    if not names:
        raise InputError(f"{path}: holds no names, expected one a line")
    return names


def read_sets(voc, wanted):
    """{set: names}. wanted: those of --sets, or None."""
    folder = os.path.join(voc, "ImageSets", "Main")
    files = {name: os.path.join(folder, name + ".txt") for name in wanted or SETS}
    there = {name: path for name, path in files.items() if wanted or os.path.isfile(path)}
    if not there and os.path.isdir(folder):
        raise InputError(f"{folder}: found none of train.txt, val.txt and test.txt, expected one "
                         "or --sets")
    if there:
        return {name: read_set(path) for name, path in there.items()}
    inside = sorted(os.listdir(os.path.join(voc, "Annotations")))
    names = [os.path.splitext(file)[0] for file in inside if file.lower().endswith(".xml")]
    if not names:
        raise InputError(f"{voc}/Annotations: found no XML files, expected one an image")
    return {"train": names}


def check_sets(voc, sets):
    """An image in two sets would be learnt from and judged on."""
    seen = {}
    for key, names in sets.items():
        for name in names:
            if name in seen:
                raise InputError(f"{voc}/ImageSets/Main: {name} is in {seen[name]}.txt and in "
                                 f"{key}.txt, expected it in one")
            seen[name] = key


def read_classes(path):
    """The names of --names, a line each."""
    names = list(filter(None, read_lines(path)))
    if not names or len(set(names)) != len(names):
        raise InputError(f"{path}: {len(names)} names, {len(set(names))} of them different, "
                         "expected each class once")
    return names


def number(photos):
    """{name: (id, the copy's file name)}"""
    files = {name: os.path.splitext(os.path.basename(photo.path))
             for name, photo in photos.items()}
    ids = {name: coco2darknet.named_id(file[0]) for name, file in files.items()}
    if len(set(ids.values())) == len(ids) and \
            all(i is not None and i <= LAST_ID for i in ids.values()):
        return {name: (ids[name], "".join(file)) for name, file in files.items()}
    print("note: the images' names don't end in numbers of their own, which are their ids for "
          "Darknet; the copies are numbered", file=sys.stderr)
    return {name: (i, f"{files[name][0]}_{i:06d}{files[name][1]}")
            for i, name in enumerate(sorted(files), 1)}


def warn_of_copies(photos):
    """Notes images that are the same to the byte: they may be in two sets."""
    seen, twice = {}, []
    for photo in photos.values():
        with open(photo.path, "rb") as file:
            content = hashlib.sha256(file.read()).digest()
        if content in seen:
            twice.append(f"{photo.name} and {seen[content]}")
        seen.setdefault(content, photo.name)
    if twice:
        print("note: the same image under two names: " + "; ".join(shorten(twice)),
              file=sys.stderr)


# Writing

def plain(value):
    """As JSON's writers write it: 3, not 3.0."""
    return int(value) if value == int(value) else value


def annotation(photo_id, box, classes, crowd):
    sides = [plain(side) for side in (box.left, box.top, box.right - box.left,
                                      box.bottom - box.top)]
    return {"image_id": photo_id, "category_id": classes.index(box.category) + 1, "bbox": sides,
            "area": plain(sides[2] * sides[3]), "iscrowd": crowd}


def to_coco(title, photos, ids, classes):
    """COCO's instances of these photos, which are in the order of their ids."""
    images = [{"id": ids[p.name][0], "file_name": ids[p.name][1], "width": p.width,
               "height": p.height} for p in photos]
    boxes = [annotation(ids[p.name][0], box, classes, crowd) for p in photos
             for crowd, part in enumerate((p.boxes, p.difficult)) for box in part]
    return {"info": {"description": title, "version": "1"}, "licenses": [], "images": images,
            "annotations": [{"id": i, **box} for i, box in enumerate(boxes, 1)],
            "categories": [{"id": i, "name": name, "supercategory": "object"}
                           for i, name in enumerate(classes, 1)]}


def write_images(folder, photos, ids, link):
    os.makedirs(folder)
    for photo in photos:
        path = os.path.join(folder, ids[photo.name][1])
        if link:
            os.symlink(os.path.abspath(photo.path), path)
        else:
            shutil.copyfile(photo.path, path)


def add(photos):
    """The findings of all of them. What is left out as a crowd is what VOC calls difficult."""
    total = coco2darknet.Findings()
    for photo in photos:
        total.crowd += photo.findings.crowd
        total.clipped += photo.findings.clipped
        total.empty += photo.findings.empty
    return total


def write_set(args, out, name, photos, ids, classes):
    """Adds a set to the folder `out`; prints its counts."""
    photos = sorted(photos, key=lambda photo: ids[photo.name])
    images = [Image(ids[p.name][1], p.width, p.height, p.boxes) for p in photos]
    make_scenes.write_json(os.path.join(out, "annotations", f"instances_{name}.json"),
                           to_coco(f"{os.path.basename(os.path.abspath(args.voc))}, {name}", photos,
                                   ids, classes))
    coco2darknet.write_labels(
        images, [os.path.join(out, "labels", os.path.splitext(image.name)[0] + ".txt")
                 for image in images], classes)
    imagelist.write_lines(os.path.join(out, name + ".list"),
                          [posixpath.join(args.prefix, "images", image.name) for image in images])
    print(f"\n{name}")
    coco2darknet.print_counts(images, dict(zip(classes, classes)), add(photos))


def write_all(args, out, sets, photos, classes):
    ids = number(photos)
    os.mkdir(os.path.join(out, "annotations"))
    write_images(os.path.join(out, "images"), photos.values(), ids, args.link)
    imagelist.write_lines(os.path.join(out, "names.txt"), classes)
    for name, members in sets.items():
        write_set(args, out, name, [photos[member] for member in members], ids, classes)


def write_new(out, write):
    """Calls write(temporary folder), then renames it to `out`. On an error nothing is left."""
    out = out.rstrip("/")
    temporary = out + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
    os.makedirs(temporary)
    try:
        write(temporary)
        os.rename(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc", metavar="VOC", help="folder with Annotations and JPEGImages")
    parser.add_argument("out", metavar="OUT", help="folder to make, such as build/data/voc2007")
    parser.add_argument("--sets", type=lambda text: text.split(","), metavar="A,B",
                        help="files of ImageSets/Main (default: those of train,val,test that are "
                        "there)")
    parser.add_argument("--names", metavar="FILE", help="the classes, one a line; another one in "
                        "the XML is an error then")
    parser.add_argument("--prefix", help="what OUT is called in the lists, as seen from the folder "
                        "in which Darknet runs (default: data/<last part of OUT>)")
    parser.add_argument("--link", action="store_true",
                        help="link the images instead of copying them")
    return parser.parse_args()


def check_arguments(args):
    for folder in ("Annotations", "JPEGImages"):
        if not os.path.isdir(os.path.join(args.voc, folder)):
            raise InputError(f"{args.voc}: found no folder {folder}, expected Pascal VOC's folders")
    if os.path.lexists(args.out):
        raise InputError(f"{args.out}: is there already, expected the name of a new folder")
    if args.prefix is None:
        args.prefix = imagelist.default_prefix(args.out)
    imagelist.check_prefix(args.prefix)


def main():
    args = arguments()
    check_arguments(args)
    sets = read_sets(args.voc, args.sets)
    check_sets(args.voc, sets)
    classes = args.names and read_classes(args.names)
    names = [name for members in sets.values() for name in members]
    photos = read_photos(args.voc, names, classes)
    found = {box.category for p in photos.values() for box in (*p.boxes, *p.difficult)}
    if not found:
        raise InputError(f"{args.voc}/Annotations: found no objects, expected some")
    for text in shorten(add(photos.values()).empty):
        print(f"note: {args.voc}/Annotations: left out: {text}", file=sys.stderr)
    warn_of_copies(photos)
    write_new(args.out, lambda out: write_all(args, out, sets, photos, classes or sorted(found)))
    print(f"\nwrote {args.out}; the lists' paths start with "
          + posixpath.join(args.prefix, "images", ""))


if __name__ == "__main__":
    imagelist.run(main, "nothing was written")
