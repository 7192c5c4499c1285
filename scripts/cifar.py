#!/usr/bin/python3
"""Makes Darknet's image lists from CIFAR-10 or CIFAR-100.

    scripts/cifar.py build/data/cifar100 cifar-100-binary.tar.gz

ARCHIVE is the official binary version (cifar-10-binary.tar.gz or
cifar-100-binary.tar.gz), or a folder with its files. Which of the two it is
shows in the files it holds. CIFAR-100's labels are the 100 fine ones. File
sizes, labels and class names are checked before anything is written.
scripts/imagelist.py says what is written.

It downloads nothing, doesn't read the Python and Matlab versions, and doesn't
ask for the official number of pictures: a smaller file of whole rows is used,
with a note.
"""
import collections
import gzip
import os
import re
import sys
import tarfile
import zlib

import numpy as np

import imagelist
from imagelist import InputError, Split

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # a row's last bytes: the red, the green, the blue plane

# splits: (name, files, official rows a file); a row starts with `label_bytes`,
# the last of which is the class.
Format = collections.namedtuple("Format", "title classes label_bytes names splits")
FORMATS = (
    Format("CIFAR-10", 10, 1, "batches.meta.txt",
           (("train", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), 10000),
            ("valid", ("test_batch.bin",), 10000))),
    Format("CIFAR-100", 100, 2, "fine_label_names.txt",
           (("train", ("train.bin",), 50000), ("valid", ("test.bin",), 10000))),
)


def format_files(form):
    return [form.names] + [file for _, files, _ in form.splits for file in files]


WANTED = {name for form in FORMATS for name in format_files(form)}


def read_archive(path):
    """The wanted files of a tar archive: {base name: content}."""
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = os.path.basename(member.name)
                if member.isfile() and name in WANTED:
                    found[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(":")
        raise InputError(f"{path}: damaged or no archive, expected a whole tar.gz ({reason})") \
            from error
    return found


def read_folder(path):
    """The wanted files of a folder and of the folders in it: {base name: content}."""
    found = {}
    inner = sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    for folder in inner + [path]:
        for name in WANTED & set(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return found


def find_format(source, files):
    """The format whose files are all there."""
    there = [form for form in FORMATS if set(format_files(form)) & set(files)]
    if len(there) == 2:
        raise InputError(f"{source}: holds files of CIFAR-10 and CIFAR-100, expected one of them")
    if not there:
        raise InputError(f"{source}: no CIFAR files found, expected the binary version's "
                         "(data_batch_1.bin ... or train.bin ...)")
    missing = [name for name in format_files(there[0]) if name not in files]
    if missing:
        raise InputError(f"{source}: looks like {there[0].title}, but {missing[0]} is not there")
    return there[0]


def read_names(source, form, text):
    """The class names, one a line; empty lines don't count."""
    names = text.decode("utf-8", "replace").split("\n")
    names = [name.strip() for name in names if name.strip()]
    if len(names) != form.classes:
        raise InputError(f"{source}: {form.names} holds {len(names)} class names, expected "
                         f"{form.classes}")
    return names


def read_rows(source, form, data, official):
    """A .bin file's images (n, 32, 32, 3) and labels (n)."""
    length = form.label_bytes + PIXELS
    if not data or len(data) % length:
        raise InputError(f"{source}: {len(data)} bytes, expected rows of {length} "
                         f"({form.label_bytes} + {PIXELS})")
    rows = np.frombuffer(data, np.uint8).reshape(-1, length)
    if len(rows) != official:
        print(f"note: {source}: {len(rows)} pictures, the official file has {official}",
              file=sys.stderr)
    labels = rows[:, form.label_bytes - 1]
    imagelist.check_labels(source, labels, form.classes)
    planes = rows[:, form.label_bytes:].reshape(-1, 3, SIDE, SIDE)
    return planes.transpose(0, 2, 3, 1), labels


def read_split(source, form, files, split):
    name, parts, official = split
    read = [read_rows(f"{source}: {part}", form, files[part], official) for part in parts]
    images, labels = zip(*read)
    return Split(name, np.concatenate(images), np.concatenate(labels))


def label_string(number, name):
    """A class's label: the number in three digits keeps any label from being part of another."""
    return f"c{number:03d}_{re.sub('[^A-Za-z0-9]+', '_', name)}"


def main():
    parser = imagelist.arguments(__doc__)
    parser.add_argument("archive", metavar="ARCHIVE", help="the tar.gz or a folder with its files")
    args = parser.parse_args()
    read = read_folder if os.path.isdir(args.archive) else read_archive
    files = read(args.archive)
    form = find_format(args.archive, files)
    names = read_names(args.archive, form, files[form.names])
    splits = [read_split(args.archive, form, files, split) for split in form.splits]
    labels = [label_string(i, name) for i, name in enumerate(names)]
    print(f"{form.title} in {args.archive}")
    imagelist.write_dataset(args, splits, labels, [name.replace("_", " ") for name in names])


if __name__ == "__main__":
    imagelist.run(main)
