#!/usr/bin/python3
"""Makes Darknet's image lists from ImageNet's folders, or any others with a folder a class.

    scripts/imagenet.py build/data/imagenet /data/imagenet

FOLDER has train/CLASS/NAME.JPEG and val/CLASS/NAME.JPEG (.jpg, .jpeg and .png too; small or large
letters). Images stay where they are: OUT gets the lists train.list and valid.list, of whole paths;
labels.txt, the classes' folder names in their order, which is that of PyTorch's ImageFolder and of
torchvision's weights; and names.txt, what people call them, from the file of --words.

Darknet takes an image's class from its path, which must have the class's label in it and no other:
that is checked of every path, before anything is written. Images are not opened. The official
validation images come without class folders: PyTorch's valprep.sh makes them.
"""
import argparse
import os

import imagelist
from imagelist import InputError

ENDINGS = (".jpeg", ".jpg", ".png")
SPLITS = {"train": "train", "val": "valid"}  # folder: list


def folders(path):
    """The names of the folders in it, in order."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def images(path, most):
    """The names of a class's images, the first `most` of them."""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(ENDINGS))
    if not names:
        raise InputError(f"{path}: no images, expected NAME.JPEG")
    return names[:most]


def find_classes(folder):
    """The classes' names. Raises InputError unless both splits have the same two or more."""
    found = {split: folders(os.path.join(folder, split)) for split in SPLITS}
    for split, other in (("train", "val"), ("val", "train")):
        missing = sorted(set(found[other]) - set(found[split]))
        if missing:
            raise InputError(f"{folder}: {other}/ has the class {missing[0]}, expected a folder "
                             f"{split}/{missing[0]} too")
    if len(found["train"]) < 2:
        raise InputError(f"{folder}: {len(found['train'])} class folders in train/, expected two "
                         "or more")
    return found["train"]


def labels_in(path, by_length):
    """The labels that a path contains. by_length: {length: labels of it}; ImageNet's have one."""
    return {path[i:i + length] for length, labels in by_length.items()
            for i in range(len(path) - length + 1) if path[i:i + length] in labels}


def list_split(folder, split, labels, most):
    """Its images' paths, the classes in turn."""
    by_length, rows = {}, []
    for label in labels:
        by_length.setdefault(len(label), set()).add(label)
    for label in labels:
        for place, name in enumerate(images(os.path.join(folder, split, label), most)):
            path = os.path.join(folder, split, label, name)
            found = labels_in(path, by_length)
            if found != {label} or "\n" in path:
                raise InputError(f"{path!r}: Darknet would find the labels "
                                 f"{', '.join(sorted(found))} in this path, expected {label} alone")
            rows.append((place, label, path))
    return [path for _, _, path in sorted(rows)]


def read_words(path, labels):
    """What people call the classes: lines of a label and its words."""
    with open(path, encoding="utf-8") as file:
        words = dict(line.rstrip("\n").split(None, 1) for line in file if len(line.split()) > 1)
    missing = [label for label in labels if label not in words]
    if missing:
        raise InputError(f"{path}: no line for {missing[0]}, expected one for each class")
    return [words[label].strip() for label in labels]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder to write, such as build/data/imagenet")
    parser.add_argument("folder", metavar="FOLDER", help="with train/CLASS and val/CLASS")
    parser.add_argument("--words", metavar="FILE", help="lines of a class's label and its words, "
                        "as words.txt and LOC_synset_mapping.txt have them")
    parser.add_argument("--per-class", type=imagelist.positive, metavar="N",
                        help="only the first N images of each class")
    return parser.parse_args()


def main():
    args = arguments()
    folder = os.path.abspath(args.folder)
    labels = find_classes(folder)
    names = read_words(args.words, labels) if args.words else labels
    lists = {name: list_split(folder, split, labels, args.per_class)
             for split, name in SPLITS.items()}
    os.makedirs(args.out, exist_ok=True)
    for name in lists:
        imagelist.remove_if_there(os.path.join(args.out, name + ".list"))
    imagelist.write_lines(os.path.join(args.out, "labels.txt"), labels)
    imagelist.write_lines(os.path.join(args.out, "names.txt"), names)
    for name, paths in lists.items():
        path = os.path.join(args.out, name + ".list")
        imagelist.write_lines(path, paths)
        print(f"wrote {path}, {len(paths)} images of {len(labels)} classes")


if __name__ == "__main__":
    imagelist.run(main)
