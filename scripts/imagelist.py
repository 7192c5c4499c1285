"""Writes images and labels in the form that Darknet's classifier reads.

    OUT/train/LABEL_00001.png ...  one picture each; the number is its place in the split
    OUT/valid/LABEL_00001.png ...
    OUT/labels.txt                 one label a class, in class order
    OUT/names.txt                  the same classes, for people
    OUT/train.list, OUT/valid.list one path a line

Darknet takes a picture's class from its path: the class whose label is a
substring of it. write_dataset() therefore checks that every path contains its
own label and no other.

The lists are written last, and old ones are removed first, so a list is there
only if all its pictures are. Nothing in OUT is touched before the input has
been read and checked. Old pictures are overwritten or left, never deleted.

This is a module; scripts/fashion_mnist.py and scripts/cifar.py are the
commands. It reads no data set and downloads nothing.
"""
import argparse
import collections
import os
import posixpath

import numpy as np
from PIL import Image

from oneline import InputError, replace_file, run  # noqa: F401  # pylint: disable=unused-import

# images: uint8, (n, h, w) or (n, h, w, 3); labels: class numbers, (n)
Split = collections.namedtuple("Split", "name images labels")


def positive(text):
    """An argparse type: a whole number above 0."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def arguments(description):
    """The arguments that every command here has: OUT, --prefix, --limit."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder to write, such as build/data/cifar100")
    parser.add_argument("--prefix", help="what OUT is called in the lists, as seen from the "
                        "folder in which Darknet runs (default: data/<last part of OUT>)")
    parser.add_argument("--limit", type=positive, metavar="N",
                        help="only the first N pictures of each split")
    return parser


def default_prefix(out):
    return posixpath.join("data", os.path.basename(os.path.abspath(out)))


def check_labels(source, labels, classes):
    """Raises InputError if one of the labels, read from the file `source`, is no class number."""
    bad = np.flatnonzero(labels >= classes)
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{source}: label {int(labels[row])} in row {row + 1}, "
                         f"expected 0 to {classes - 1}")


def write_lines(path, lines):
    def write(temporary):
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    replace_file(path, write)


def write_png(path, pixels):
    # Such small pictures hardly shrink further above level 1.
    replace_file(path, lambda temporary: Image.fromarray(pixels).save(
        temporary, format="PNG", compress_level=1))


def remove_if_there(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def split_paths(split, labels):
    """The paths of a split's pictures, inside OUT."""
    return [f"{split.name}/{labels[c]}_{i:05d}.png" for i, c in enumerate(split.labels, 1)]


def check_prefix(prefix):
    if "\n" in prefix:
        raise InputError(f"--prefix {prefix!r}: a line break, expected a folder's name")


def check_paths(prefix, paths, classes, labels):
    """Raises InputError unless every path, as listed, contains its own label and no other."""
    check_prefix(prefix)
    for path, c in zip(paths, classes):
        listed = posixpath.join(prefix, path)
        found = [label for label in labels if label in listed]
        if found != [labels[c]]:
            raise InputError(f"{listed}: Darknet would find the labels {', '.join(found)} in "
                             f"this path, expected {labels[c]} alone")


def write_images(out, split, paths):
    os.makedirs(os.path.join(out, split.name), exist_ok=True)
    for path, pixels in zip(paths, split.images):
        write_png(os.path.join(out, path), pixels)


def print_counts(splits, labels):
    width = max(len(label) for label in labels)
    counts = [np.bincount(s.labels, minlength=len(labels)) for s in splits]
    print(f"{'':{width}}" + "".join(f"{s.name:>8}" for s in splits))
    for i, label in enumerate(labels):
        print(f"{label:{width}}" + "".join(f"{c[i]:8d}" for c in counts))
    print(f"{'total':{width}}" + "".join(f"{len(s.labels):8d}" for s in splits))


def write_dataset(args, splits, labels, names):
    """Writes the splits to args.out and prints the pictures per class.

    labels[c] and names[c] belong to class c. Raises InputError, before anything
    is written, if a path would not tell its class.
    """
    prefix = default_prefix(args.out) if args.prefix is None else args.prefix
    splits = [Split(s.name, s.images[:args.limit], s.labels[:args.limit]) for s in splits]
    paths = [split_paths(s, labels) for s in splits]
    for split, inside in zip(splits, paths):
        check_paths(prefix, inside, split.labels, labels)

    lists = [os.path.join(args.out, s.name + ".list") for s in splits]
    for path in lists:
        remove_if_there(path)
    for split, inside in zip(splits, paths):
        write_images(args.out, split, inside)
    write_lines(os.path.join(args.out, "labels.txt"), labels)
    write_lines(os.path.join(args.out, "names.txt"), names)
    for path, inside in zip(lists, paths):
        write_lines(path, [posixpath.join(prefix, p) for p in inside])
    print_counts(splits, labels)
    print(f"wrote {' and '.join(lists)}; their paths start with {posixpath.join(prefix, '')}")
