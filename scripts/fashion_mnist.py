#!/usr/bin/python3
"""Makes Darknet's image lists from Fashion-MNIST's four IDX files.

    scripts/fashion_mnist.py build/data/fashion-mnist

The files come from Debian's package dataset-fashion-mnist, or from the folder
in the environment variable FASHION_MNIST (each with or without .gz). Their
magic numbers, counts, sizes and labels are checked before anything is written.
scripts/imagelist.py says what is written.

It downloads nothing, and doesn't look at what the pictures show: another data
set of the same shape (MNIST) would pass and get the wrong names.
"""
import gzip
import os
import struct
import zlib

import numpy as np

import imagelist
from imagelist import InputError, Split

DEBIAN = "/usr/share/datasets/fashion-mnist"
SIDE = 28
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # unsigned bytes in 3 and 1 dimensions

# Split, the files' first part, pictures.
SPLITS = (("train", "train", 60000), ("valid", "t10k", 10000))

# What Darknet looks for in a path, and what people read.
CLASSES = (
    ("0_tshirt", "T-shirt or top"),
    ("1_trouser", "Trouser"),
    ("2_pullover", "Pullover"),
    ("3_dress", "Dress"),
    ("4_coat", "Coat"),
    ("5_sandal", "Sandal"),
    ("6_shirt", "Shirt"),
    ("7_sneaker", "Sneaker"),
    ("8_bag", "Bag"),
    ("9_boot", "Ankle boot"),
)


def find(folder, name):
    """The path of an IDX file, compressed or not."""
    for path in (os.path.join(folder, name + ".gz"), os.path.join(folder, name)):
        if os.path.exists(path):
            return path
    raise InputError(f"{os.path.join(folder, name)}: no such file, with or without .gz; install "
                     "dataset-fashion-mnist or set FASHION_MNIST to the files' folder")


def read_bytes(path):
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated, expected a whole gzip file ({error})") \
            from error


def read_idx(path, magic, shape):
    """The IDX file's values, uint8, in the given shape; anything else in it is an error."""
    data = read_bytes(path)
    header = 4 + 4 * len(shape)
    if len(data) < header:
        raise InputError(f"{path}: {len(data)} bytes, expected an IDX file with a header of "
                         f"{header}")
    found = struct.unpack(f">{1 + len(shape)}I", data[:header])
    if found[0] != magic:
        raise InputError(f"{path}: IDX magic number {found[0]}, expected {magic}")
    if found[1:] != shape:
        raise InputError(f"{path}: holds {'x'.join(map(str, found[1:]))} values, expected "
                         f"{'x'.join(map(str, shape))}")
    values = int(np.prod(shape))
    if len(data) != header + values:
        raise InputError(f"{path}: {len(data)} bytes uncompressed, expected {header + values}")
    return np.frombuffer(data, np.uint8, values, header).reshape(shape)


def read_split(folder, name, stem, count):
    images = read_idx(find(folder, stem + "-images-idx3-ubyte"), IMAGES_MAGIC,
                      (count, SIDE, SIDE))
    path = find(folder, stem + "-labels-idx1-ubyte")
    labels = read_idx(path, LABELS_MAGIC, (count,))
    imagelist.check_labels(path, labels, len(CLASSES))
    return Split(name, images, labels)


def main():
    args = imagelist.arguments(__doc__).parse_args()
    folder = os.environ.get("FASHION_MNIST") or DEBIAN
    splits = [read_split(folder, *row) for row in SPLITS]
    imagelist.write_dataset(args, splits, *zip(*CLASSES))


if __name__ == "__main__":
    imagelist.run(main)
