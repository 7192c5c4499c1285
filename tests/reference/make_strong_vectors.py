#!/usr/bin/python3
"""Writes strong_vectors.txt: what torchvision makes of images by RandAugment's operations.

Each case is an operation, its strength and an image before and after, as torchvision's functions
give it for one of Pillow's images; shears and translations, whose matrix torchvision rounds, and
the cutout are Pillow's own calls, as in CRLD's code. tests/unit/test_strong.c reads the result.

    /usr/bin/python3 make_strong_vectors.py           writes strong_vectors.txt beside it
    /usr/bin/python3 make_strong_vectors.py --check   compares the file with a new run

To add a case, yield it at the end of cases().
"""
import itertools
import os
import random
import sys

import torchvision.transforms.functional as F
from PIL import Image, ImageDraw

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "strong_vectors.txt")
SEED = 20241221
GREY = (125, 123, 114)

HEADER = """\
# Images before and after an operation of data/strong.c, by torchvision and Pillow.
# Written by tests/reference/make_strong_vectors.py, seed %d; do not edit.
#
#   cases N
#   OPERATION V X Y WIDTH HEIGHT BEFORE AFTER    bytes [height][width][3] in hexadecimal; X and Y:
#                                                of cut_out, whose V is the side
"""


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def cut_out(image, side, x, y):
    """As CRLD's code, but for where it draws its middle."""
    width, height = image.size
    left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
    box = left, top, min(width, left + side), min(height, top + side)
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, GREY)
    return image


OPERATIONS = {  # name: (function, least, most)
    "autocontrast": (lambda im, v: F.autocontrast(im), 0, 1),
    "brightness": (F.adjust_brightness, .05, .95),
    "color": (F.adjust_saturation, .05, .95),
    "contrast": (F.adjust_contrast, .05, .95),
    "equalize": (lambda im, v: F.equalize(im), 0, 1),
    "identity": (lambda im, v: im, 0, 1),
    "posterize": (lambda im, v: F.posterize(im, int(v)), 4, 8),
    "rotate": (F.rotate, -30, 30),
    "sharpness": (F.adjust_sharpness, .05, .95),
    "shear_x": (lambda im, v: affine(im, 1, v, 0, 0, 1, 0), -.3, .3),
    "shear_y": (lambda im, v: affine(im, 1, 0, 0, v, 1, 0), -.3, .3),
    "solarize": (lambda im, v: F.solarize(im, v) if v < 256 else im, 0, 256),
    "translate_x": (lambda im, v: affine(im, 1, 0, v * im.size[0], 0, 1, 0), -.3, .3),
    "translate_y": (lambda im, v: affine(im, 1, 0, 0, 0, 1, v * im.size[1]), -.3, .3),
}


def noise(rng, size):
    return [rng.randrange(256) for _ in range(size)]


def dull(rng, size):
    return [90 + rng.randrange(40) for _ in range(size)]


def flat(rng, size):
    return [rng.randrange(256)] * size


def few(rng, size):
    return [rng.choice([0, 17, 255]) for _ in range(size)]


def make_image(rng, kind, width, height):
    return Image.frombytes("RGB", (width, height), bytes(kind(rng, 3 * width * height)))


def cases():
    rng = random.Random(SEED)
    for name, (_, least, most) in OPERATIONS.items():
        for kind, (width, height) in itertools.product(
                [noise, dull, flat, few], [(1, 1), (2, 3), (7, 5), (16, 16), (24, 17)]):
            if kind in (flat, few) and width > 16:
                continue
            v = rng.choice([least, most, *[rng.uniform(least, most)] * 8])
            yield name, round(v, 4), 0, 0, make_image(rng, kind, width, height)
    for width, height in ((1, 1), (7, 5), (16, 16), (13, 20)):
        for side in (0.0, .3, 1.0, round(rng.uniform(1, width / 2 + 1), 3), width / 2, 3.0):
            x, y = round(rng.uniform(0, width), 3), round(rng.uniform(0, height), 3)
            yield "cut_out", side, x, y, make_image(rng, noise, width, height)


def after(name, v, x, y, image):
    if name == "cut_out":
        return cut_out(image, v, x, y) if v > 0 else image
    return OPERATIONS[name][0](image, v)


def case_line(name, v, x, y, image):
    result = after(name, v, x, y, image)
    return f"{name} {v} {x} {y} {image.width} {image.height} {image.tobytes().hex()} " \
           f"{result.tobytes().hex()}"


def file_text():
    lines = [case_line(*case) for case in cases()]
    return HEADER % SEED + f"cases {len(lines)}\n" + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_strong_vectors.py [--check]")
    if not sys.argv[1:]:
        with open(FILE, "w", encoding="ascii") as file:
            file.write(file_text())
        return
    with open(FILE, encoding="ascii") as file:
        if file.read() != file_text():
            sys.exit(f"{FILE}: differs from a new run")
    print(f"{FILE}: agrees with a new run")


if __name__ == "__main__":
    main()
