#!/usr/bin/python3
"""Makes a detection data set from the real Fashion-MNIST: garments on textured canvases.

    scripts/make_scenes.py build/data/scenes

    OUT/images/train/000000000001.png ...   RGB, 112 to 160 pixels wide and high
    OUT/images/val/000000100001.png ...     names and ids as in COCO 2017
    OUT/annotations/instances_train.json, instances_val.json
    OUT/labels, OUT/names.txt, OUT/train.list, OUT/val.list     by scripts/coco2darknet.py

A scene shows 1 to 8 garments, one in a hundred none, at random scale, place and tint, each on top
of those before it. Train scenes show Fashion-MNIST's training images, val scenes its test images;
so nothing that a detector is judged on was seen in training.

A garment's box is tight around its own visible pixels inside the canvas, hidden by a later garment
or not. At least 60 % of a garment's whole box are inside, and later boxes cover at most half of it.

The same seed gives the same pixels on every machine: they come from the generator's raw 64-bit
words by float64 operations that IEEE 754 rounds exactly, one at a time, without a sine, a long sum
or a library's resampling. A scene depends on the seed and its id alone, not on how many there are.
The printed checksum covers all pixels and annotations; for the default set and the tests' it is
known, and another one is an error.

The lists are written last and old ones are removed first. Old images are overwritten or left.
"""
import argparse
import collections
import hashlib
import json
import math
import os

import numpy as np

import coco2darknet
import fashion_mnist
import imagelist
from imagelist import InputError

# Split, its first image id, the data set's row in fashion_mnist.SPLITS
SPLITS = (("train", 1, 0), ("val", 100001, 1))
MOST = 100000 - 1  # images a split, so that no id is there twice

CANVAS = 112, 160  # smallest and largest width and height
SCALE = .7, 2
GARMENTS = 8
EMPTY = .01  # share of scenes without a garment
VISIBLE = 1 / 8  # opacity from which a pixel counts as the garment's
INSIDE = .6  # of a garment's box, at least
COVERED = .5  # of a box by later ones, at most
TRIES = 50  # garments that are tried before a place stays empty

# SHA-256 by (train, val, seed)
CHECKSUMS = {
    (4000, 500, 1): "9f96bdd7a399b8d5fdaca8df94946a474e4c2126c79b438a8fe6398b066573d1",
    (24, 12, 1): "29864345e93e144923f60e8ddfafe0ca3cf162c74f01f3d790924ca2cc07271c",
}

# A garment in a scene. grey: float64 (h, w), 0 to 1; mask (h, w): its visible pixels, with one at
# least in the first and last row and column; left, top: its place.
Garment = collections.namedtuple("Garment", "label grey mask left top")


class Random:
    """Random numbers that no NumPy version changes: PCG64's raw words, one stream a scene."""

    def __init__(self, *seed):
        self.words = np.random.PCG64(seed)

    def uniform(self, low, high, shape=()):
        """Float64 in [low, high), 53 bits each."""
        words = self.words.random_raw(math.prod(shape)).reshape(shape)
        return low + (high - low) * ((words >> np.uint64(11)) * 2.0 ** -53)

    def whole(self, low, high):
        """A whole number in [low, high]."""
        return low + int(self.uniform(0, high - low + 1))


# Backgrounds: float64 (h, w, 3), 0 to 255

def bilinear(values, rows, columns):
    """values (h, w, ...) at the positions rows x columns, in cells; beyond the edge: the edge's."""
    for axis, at in enumerate((rows, columns)):
        at = np.clip(at, 0, values.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def muted(random):
    """A colour (3): a grey that leans a little to some side."""
    return random.uniform(25, 130) + random.uniform(-25, 25, (3,))


def mix(share, random):
    """share (h, w), 0 to 1, between two muted colours."""
    first, second = muted(random), muted(random)
    return first + share[:, :, None] * (second - first)


def gradient(random, height, width):
    corners = np.array([[muted(random) for _ in range(2)] for _ in range(2)])
    return bilinear(corners, np.arange(height) / height, np.arange(width) / width)


def clouds(random, height, width):
    """Noise at three scales, the coarse one strongest."""
    share = np.zeros((height, width))
    for cell, part in ((random.whole(24, 48), .5), (random.whole(8, 20), .3),
                       (random.whole(2, 6), .2)):
        grid = random.uniform(0, 1, (height // cell + 2, width // cell + 2))
        share = share + part * bilinear(grid, np.arange(height) / cell, np.arange(width) / cell)
    return mix(share, random)


def stripes(random, height, width):
    """Soft or hard stripes in one of many directions."""
    along, across = random.whole(-4, 4), random.whole(1, 4)
    phase = (np.arange(height)[:, None] * along + np.arange(width) * across) \
        / (random.uniform(5, 24) * (abs(along) + across))
    wave = abs(2 * (phase - np.floor(phase)) - 1)
    steepness = random.uniform(1, 6)
    return mix(np.clip((wave - .5) * steepness + .5, 0, 1), random)


def checks(random, height, width):
    side = [random.whole(5, 24), random.whole(5, 24)]
    share = (np.arange(height)[:, None] // side[0] + np.arange(width) // side[1]) % 2
    return mix(share.astype(float), random)


def plain(random, height, width):
    return mix(np.zeros((height, width)), random)


BACKGROUNDS = (gradient, clouds, clouds, stripes, checks, plain)  # one is drawn; clouds often


def background(random):
    height, width = random.whole(*CANVAS), random.whole(*CANVAS)
    make = BACKGROUNDS[random.whole(0, len(BACKGROUNDS) - 1)]
    canvas = make(random, height, width)
    grain = random.uniform(0, 12)
    return canvas + grain * random.uniform(-1, 1, (height, width, 1))


# Garments

def bounds(mask):
    """The rows and the columns, as slices, from the first true pixel to the last."""
    spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)


def opacity(grey):
    """A garment hides what is behind it from half grey on; its dark parts let some through."""
    return np.minimum(1, 2 * grey)


def enlarged(image, scale):
    """The image (h, w) as grey values 0 to 1 at that scale, with a dark border to fade into."""
    grey = np.pad(image / 255, 1)
    at = (np.arange(round(len(grey) * scale)) + .5) / scale - .5
    return bilinear(grey, at, at)


def tight(garment):
    """The garment without rows and columns that don't show it; None if nothing does."""
    if not garment.mask.any():
        return None
    part = bounds(garment.mask)
    return garment._replace(grey=garment.grey[part], mask=garment.mask[part],
                            left=garment.left + part[1].start, top=garment.top + part[0].start)


def clipped(garment, height, width):
    """What is inside the canvas of a garment, INSIDE of whose box at least is; else None."""
    h, w = garment.mask.shape
    part = (slice(max(0, -garment.top), max(0, min(h, height - garment.top))),
            slice(max(0, -garment.left), max(0, min(w, width - garment.left))))
    mask = garment.mask[part]
    if mask.size < INSIDE * h * w:
        return None
    return tight(garment._replace(grey=garment.grey[part], mask=mask,
                                  left=max(0, garment.left), top=max(0, garment.top)))


def draw_garment(random, source, height, width):
    """A random garment at a random place of the canvas; None if too little of it is inside."""
    row = random.whole(0, len(source.labels) - 1)
    grey = enlarged(source.images[row], random.uniform(*SCALE))
    garment = tight(Garment(int(source.labels[row]), grey, opacity(grey) >= VISIBLE, 0, 0))
    if garment is None:
        return None
    h, w = garment.mask.shape
    return clipped(garment._replace(left=random.whole(-w // 2, width - w // 2),
                                    top=random.whole(-h // 2, height - h // 2)), height, width)


def box(garment):
    """The garment's place in the canvas, as slices."""
    h, w = garment.mask.shape
    return slice(garment.top, garment.top + h), slice(garment.left, garment.left + w)


def add_garment(random, source, garments, shape):
    """Adds a garment that covers no earlier one too much, unless TRIES were not enough."""
    for _ in range(TRIES):
        garment = draw_garment(random, source, *shape)
        if garment and not any_hidden([*garments, garment], shape):
            garments.append(garment)
            return


def any_hidden(garments, shape):
    """Whether later boxes cover more than COVERED of one."""
    top = np.zeros(shape, int)  # the number of the last box here
    for i, garment in enumerate(garments):
        top[box(garment)] = i
    return any(np.count_nonzero(top[box(garment)] != i) > COVERED * garment.mask.size
               for i, garment in enumerate(garments))


def bright(random):
    """A colour (3) whose strongest part is 255."""
    colour = random.uniform(80, 255, (3,))
    return colour * (255 / colour.max())


def paint(canvas, garment, tint):
    grey = garment.grey[:, :, None]
    alpha = opacity(grey)
    canvas[box(garment)] = canvas[box(garment)] * (1 - alpha) + tint * (.3 + .7 * grey) * alpha


# Scenes

def draw_scene(seed, number, source):
    """The pixels, uint8 (h, w, 3), and the garments of the scene with that image id."""
    random = Random(seed, number)
    canvas = background(random)
    garments = []
    for _ in range(0 if random.uniform(0, 1) < EMPTY else random.whole(1, GARMENTS)):
        add_garment(random, source, garments, canvas.shape[:2])
    for garment in garments:
        paint(canvas, garment, bright(random))
    return np.floor(np.clip(canvas, 0, 255)).astype(np.uint8), garments


def annotation(image, number, garment):
    """The COCO annotation of an image's garment; `number` is 1 for its first."""
    h, w = garment.mask.shape
    return {"id": 10 * image + number, "image_id": image, "category_id": garment.label + 1,
            "bbox": [garment.left, garment.top, w, h],
            "area": int(np.count_nonzero(garment.mask)), "iscrowd": 0}


def coco(description, images, annotations):
    """The content of an instances file."""
    categories = [{"id": i, "name": title, "supercategory": "garment"}
                  for i, (_, title) in enumerate(fashion_mnist.CLASSES, 1)]
    return {"info": {"description": description, "version": "1"}, "licenses": [],
            "images": images, "annotations": annotations, "categories": categories}


def write_split(out, name, numbers, source, seed, checksum):
    """Writes the scenes with these image ids, adds them to the checksum; their COCO form."""
    folder = os.path.join(out, "images", name)
    os.makedirs(folder, exist_ok=True)
    images, annotations = [], []
    for number in numbers:
        pixels, garments = draw_scene(seed, number, source)
        image = {"id": number, "file_name": f"{number:012d}.png",
                 "width": pixels.shape[1], "height": pixels.shape[0]}
        rows = [annotation(number, i, garment) for i, garment in enumerate(garments, 1)]
        checksum.update(json.dumps([image, rows]).encode() + pixels.tobytes())
        imagelist.write_png(os.path.join(folder, image["file_name"]), pixels)
        images.append(image)
        annotations += rows
    return coco(f"Fashion-MNIST scenes, {name}, seed {seed}", images, annotations)


def check_sum(found, key):
    """Raises InputError unless `found` is what the set of that key, if known, has."""
    print(f"SHA-256 of all pixels and annotations: {found}")
    if CHECKSUMS.get(key, found) != found:
        raise InputError(f"SHA-256 {found} with {key[0]} train, {key[1]} val, seed {key[2]}: "
                         f"expected {CHECKSUMS[key]}")


def write_json(path, content):
    def write(temporary):
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(content, file)
    imagelist.replace_file(path, write)


def arguments():
    def count(text):
        value = imagelist.positive(text)
        if value > MOST:
            raise ValueError
        return value
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder to write, such as build/data/scenes")
    for name, default in (("--train", 4000), ("--val", 500)):
        parser.add_argument(name, type=count, default=default, metavar="N",
                            help=f"scenes, 1 to {MOST} (default: {default})")
    parser.add_argument("--seed", type=imagelist.positive, default=1, metavar="S")
    return parser.parse_args()


def main():
    args = arguments()
    folder = os.environ.get("FASHION_MNIST") or fashion_mnist.DEBIAN
    sources = [fashion_mnist.read_split(folder, *row) for row in fashion_mnist.SPLITS]
    lists = {name: os.path.join(args.out, name + ".list") for name, *_ in SPLITS}
    for path in lists.values():
        imagelist.remove_if_there(path)
    checksum, instances = hashlib.sha256(), {}
    for name, first, row in SPLITS:
        numbers = range(first, first + getattr(args, name))
        instances[name] = write_split(args.out, name, numbers, sources[row], args.seed, checksum)
    check_sum(checksum.hexdigest(), (args.train, args.val, args.seed))
    os.makedirs(os.path.join(args.out, "annotations"), exist_ok=True)
    for name, path in lists.items():
        print(f"\n{name}")
        file = os.path.join(args.out, "annotations", f"instances_{name}.json")
        write_json(file, instances[name])
        coco2darknet.convert(file, os.path.join(args.out, "images", name), path)


if __name__ == "__main__":
    imagelist.run(main)
