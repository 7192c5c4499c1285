#!/usr/bin/python3
"""Makes Darknet's image lists from CIFAR-10 or CIFAR-100.

    scripts/cifar.py build/data/cifar100 cifar-100-binary.tar.gz
    scripts/cifar.py build/data/cifar10 cifar10-jpg.tar.xz

ARCHIVE is the official binary version (cifar-10-binary.tar.gz or
cifar-100-binary.tar.gz), or a folder with its files. Which of the two it is
shows in the files it holds. CIFAR-100's labels are the 100 fine ones. File
sizes, labels and class names are checked before anything is written.
scripts/imagelist.py says what is written.

It is also an archive or a folder of images by class, 32 x 32 pixels each:
train/CLASS/NAME.jpg (or .png) and test/CLASS/NAME.jpg. Classes are in the
order of their names, which in CIFAR-10 is the official one. In the lists they
take turns, so that --limit leaves some of each.

It downloads nothing, doesn't read the Python and Matlab versions, and doesn't
ask for the official number of pictures: a smaller file of whole rows is used,
with a note.
"""
import collections
import gzip
import io
import lzma
import os
import re
import sys
import tarfile
import zlib

import numpy as np
from PIL import Image, ImageOps

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
# An image by its class: folders before its split don't count
BY_CLASS = re.compile(r"(?:.*/)?(train|test)/([^/]+)/([^/]+\.(?:jpe?g|png))", re.IGNORECASE)
SPLITS = {"train": "train", "test": "valid"}  # folder: what is written


def wanted_name(path):
    """What a file is called below: its base name; SPLIT/CLASS/NAME of an image; None: no use."""
    name, image = os.path.basename(path), BY_CLASS.fullmatch(path)
    if image:
        return "/".join([image[1].lower(), *image.groups()[1:]])
    return name if name in WANTED else None


def add_file(source, found, name, data):
    """Of two files of one name an image would be lost."""
    if name in found and "/" in name:
        raise InputError(f"{source}: {name} is there twice, expected one {name.split('/')[0]} "
                         "folder")
    found[name] = data


def read_archive(path):
    """The wanted files of a tar archive: {wanted name: content}."""
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = wanted_name(member.name)
                if member.isfile() and name:
                    add_file(path, found, name, archive.extractfile(member).read())
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(":")
        raise InputError(f"{path}: damaged or no archive, expected a whole tar.gz or tar.xz "
                         f"({reason})") from error
    return found


def read_folder(path):
    """The wanted files of a folder and of the folders in it: {wanted name: content}."""
    found = {}
    for folder, _, names in sorted(os.walk(path), reverse=True):  # the folder itself is the last
        for file_name in names:
            inside = os.path.relpath(os.path.join(folder, file_name), path)
            name = wanted_name(inside)
            if name and inside.count("/") <= (1 if name in WANTED else 3):
                with open(os.path.join(path, inside), "rb") as file:
                    add_file(path, found, name, file.read())
    return found


def find_format(source, files):
    """The format whose files are all there."""
    there = [form for form in FORMATS if set(format_files(form)) & set(files)]
    if len(there) == 2:
        raise InputError(f"{source}: holds files of CIFAR-10 and CIFAR-100, expected one of them")
    if not there:
        raise InputError(f"{source}: no CIFAR files found, expected the binary version's "
                         "(data_batch_1.bin ... or train.bin ...), or images, "
                         "train/CLASS/NAME.jpg and test/CLASS/NAME.jpg")
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


def read_image(source, name, data):
    """An image file's pixels (32, 32, 3)."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{source}: {name}: no whole image, expected JPEG or PNG") from error
    if size != (SIDE, SIDE):
        raise InputError(f"{source}: {name}: {size[0]}x{size[1]} pixels, expected {SIDE}x{SIDE}")
    return pixels


def group_images(files):
    """{split: {class: [its files, by name]}}"""
    groups = {split: {} for split in SPLITS}
    for name in sorted(files):
        split, label, _ = name.split("/")
        groups[split].setdefault(label, []).append(name)
    return groups


def check_classes(source, groups):
    """Their names, in order. Raises InputError unless both splits have the same two or more."""
    for split, other in (("train", "test"), ("test", "train")):
        missing = sorted(set(groups[other]) - set(groups[split]))
        if missing:
            raise InputError(f"{source}: {other} has the class {missing[0]}, expected images of it "
                             f"in {split}/{missing[0]} too")
    if len(groups["train"]) < 2:
        raise InputError(f"{source}: images of {len(groups['train'])} class, expected two or more")
    return sorted(groups["train"])


def read_images(source, files):
    """The class names and the splits, from files SPLIT/CLASS/NAME."""
    groups, splits = group_images(files), []
    names = check_classes(source, groups)
    for split, group in groups.items():
        order = sorted((place, label, name) for label, members in group.items()
                       for place, name in enumerate(members))
        images = [read_image(source, name, files[name]) for _, _, name in order]
        labels = [names.index(label) for _, label, _ in order]
        splits.append(Split(SPLITS[split], np.array(images), np.array(labels)))
    print(f"images by class in {source}")
    return names, splits


def read_binary(source, files):
    """The class names and the splits, from the binary version's files."""
    form = find_format(source, files)
    names = read_names(source, form, files[form.names])
    splits = [read_split(source, form, files, split) for split in form.splits]
    print(f"{form.title} in {source}")
    return names, splits


def label_string(number, name):
    """A class's label: the number in three digits keeps any label from being part of another."""
    return f"c{number:03d}_{re.sub('[^A-Za-z0-9]+', '_', name)}"


def main():
    parser = imagelist.arguments(__doc__)
    parser.add_argument("archive", metavar="ARCHIVE", help="the tar.gz or a folder with its files")
    args = parser.parse_args()
    read = read_folder if os.path.isdir(args.archive) else read_archive
    files = read(args.archive)
    images = {name: data for name, data in files.items() if "/" in name}
    if images and len(images) < len(files):
        raise InputError(f"{args.archive}: holds images and files of the binary version, expected "
                         "one of them")
    names, splits = (read_images if images else read_binary)(args.archive, files)
    labels = [label_string(i, name) for i, name in enumerate(names)]
    imagelist.write_dataset(args, splits, labels, [name.replace("_", " ") for name in names])


if __name__ == "__main__":
    imagelist.run(main)
