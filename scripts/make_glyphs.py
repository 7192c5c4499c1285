#!/usr/bin/python3
"""Makes a classification data set of characters: some 300 classes, from Debian's fonts.

    scripts/make_glyphs.py build/data/glyphs

    OUT/train/U0041_00001.png ...   grey, 28 x 28; U0041 is the class, a character's code point
    OUT/valid/U0041_00001.png ...
    OUT/labels.txt, OUT/names.txt, OUT/train.list, OUT/valid.list     as imagelist.py says

Latin, digits, Greek, Cyrillic, Hebrew, kana and some kanji. Train and valid pictures show other
fonts, by other designers: a character that is in too few of either is left out. A picture is one
character, turned, slanted, scaled, moved, blurred, dark on light or light on dark, with noise.

What nobody could tell apart is left out too. Two characters are twins in a font if their shapes
are the same there, or one is the other's mirror image: Darknet's training mirrors every other
picture. The later of two that are twins in half of the fonts or more is no class (Cyrillic Pe
beside Pi, d beside b); where they are twins in fewer, only these fonts' glyphs of it are not shown.
What merely looks alike stays: O, o and 0; l, 1 and I; Hebrew dalet and resh; kana with and without
their two strokes.

The pixels come from a seed and from glyphs that FreeType draws; all that follows is float64
arithmetic that is the same everywhere. A picture depends on the seed and its number alone, not on
how many there are. The checksum that is printed covers all pixels and classes. For the default set
and the tests' it is known: another one is an error with the same fonts, Pillow and FreeType, and a
note with others. GLYPH_FONTS is where fonts are looked for, /usr/share/fonts by default.
"""
import collections
import hashlib
import io
import os

import numpy as np
import PIL
from PIL import ImageFont, features

import imagelist
from imagelist import InputError, Split
from make_scenes import Random

FONTS_FOLDER = "/usr/share/fonts"
# Split, Debian's package, files anywhere below FONTS_FOLDER. scripts/deps.sh has the packages too
FONTS = (
    ("train", "fonts-dejavu-core", "DejaVuSans.ttf DejaVuSans-Bold.ttf DejaVuSerif.ttf "
     "DejaVuSerif-Bold.ttf DejaVuSansMono.ttf"),
    ("train", "fonts-liberation", "LiberationSans-Regular.ttf LiberationSerif-Regular.ttf "
     "LiberationSerif-Bold.ttf LiberationMono-Regular.ttf"),
    ("train", "fonts-freefont-ttf", "FreeSans.ttf FreeSansBold.ttf FreeSerif.ttf "
     "FreeSerifBold.ttf FreeMono.ttf FreeMonoBold.ttf"),
    ("train", "fonts-ipafont-gothic", "ipag.ttf"),
    ("train", "fonts-ipafont-mincho", "ipam.ttf"),
    ("train", "fonts-motoya-l-cedar", "MTLc3m.ttf"),
    ("train", "fonts-motoya-l-maruberi", "MTLmr3m.ttf"),
    ("train", "fonts-konatu", "Konatu.ttf"),
    ("valid", "fonts-linuxlibertine", "LinLibertine_R.otf LinBiolinum_R.otf LinBiolinum_RB.otf"),
    ("valid", "fonts-open-sans", "OpenSans-Regular.ttf OpenSans-Semibold.ttf"),
    ("valid", "fonts-vlgothic", "VL-Gothic-Regular.ttf"),
    ("valid", "fonts-sawarabi-gothic", "sawarabi-gothic-medium.ttf"),
    ("valid", "fonts-sawarabi-mincho", "sawarabi-mincho-medium.ttf"),
)
FEWEST = {"train": 2, "valid": 1}  # fonts that must have a class

# The first of two twins stays, so what comes first is what most people would read
CHARACTERS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθικλμνξπρστυφχψως"
    "БГДЖЗИЛПУФЦЧШЩЪЫЬЭЮЯЄЉЊЋЂбвгджзиклмнптфцчшщъыьэюяєљњћђ"
    "אבגדהוזחטיכלמנסעפצקרשתךםןףץ"
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
    "がぎぐげござじずぜぞばぶぼぱぷぽ"
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
    "ガグゴダヅドバブボパプポ"
    "人入大太犬天夫日目白百自田由甲申千干土士未末王玉主"
)

SIDE = 28
FINE = 2  # pixels of a drawn glyph along one of the picture's
CANVAS = SIDE * FINE  # a drawn glyph's side
EM = 22 * FINE  # a kanji's side
BASELINE = CANVAS // 2 + round(.38 * EM)
SAME = .04  # share of two shapes' squared values that may differ in twins

# How pictures vary: tangent of half the angle, so 13 degrees; shear; size; pixels; share of each
# neighbour in a blur; grey values
TURN, SLANT, SCALE, MOVE, BLUR = .115, .2, (.85, 1.1), 2.0, .25
INK, PAPER, NOISE = (0, 100), (150, 255), 35

# Who drew the glyphs of the known checksums: Debian 12, and SHA-256 of the font files in order
KNOWN_DRAWER = ("Pillow 9.4.0, FreeType 2.12.1, fonts "
                "2520ec5f57764d9b3955796105b3b8588e54cf74cf0411429bff94f2fee82076")
# SHA-256 by (train, valid, seed)
CHECKSUMS = {
    (40000, 8000, 1): "6c44ac747bc85eb202fba9ec79ed233a6c3a5e6b34b43cf78319ef0f2620e087",
    (1260, 630, 1): "d2b2e59fa8e93ee907217638a81ffa84ae8776ed94240913ad676520fcb00aac",
}

Font = collections.namedtuple("Font", "split name content")
# labels: of classes; names; glyphs[split][c]: a class's shapes, uint8 (CANVAS, CANVAS), one a font
Alphabet = collections.namedtuple("Alphabet", "labels names glyphs")


# Fonts

def find_fonts(folder):
    """The fonts of FONTS. Raises InputError that names the packages of those that are missing."""
    paths = {name: os.path.join(where, name)
             for where, _, names in os.walk(folder) for name in names}
    missing = [package for _, package, names in FONTS if not paths.keys() >= set(names.split())]
    if missing:
        raise InputError(f"{folder}: found no fonts of {' '.join(missing)}; install these "
                         "packages, or set GLYPH_FONTS to the folder that has them")
    fonts = []
    for split, _, names in FONTS:
        for name in names.split():
            with open(paths[name], "rb") as file:
                fonts.append(Font(split, name, file.read()))
    return fonts


def drawer(fonts):
    """What decides how glyphs look, as one line."""
    checksum = hashlib.sha256(b"".join(font.content for font in fonts)).hexdigest()
    return f"Pillow {PIL.__version__}, FreeType {features.version('freetype2')}, fonts {checksum}"


# Shapes: uint8 (CANVAS, CANVAS), 255 where there is ink

def load(font):
    try:
        return ImageFont.truetype(io.BytesIO(font.content), EM,
                                  layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise InputError(f"{font.name}: {error}, expected a font that FreeType reads") from error


def draw(face, character):
    """The character's shape, on the baseline, its ink in the middle; None if there is no ink."""
    mask, (_, top) = face.getmask2(character, mode="L", anchor="ls")
    ink = np.asarray(mask, np.uint8).reshape(mask.size[::-1])
    columns = np.flatnonzero(ink.any(axis=0))
    if not columns.size:
        return None
    ink = ink[:, columns[0]:columns[-1] + 1]
    left = (CANVAS - ink.shape[1]) // 2
    shape = np.zeros((CANVAS, CANVAS), np.uint8)
    y, x = max(0, BASELINE + top), max(0, left)
    ink = ink[y - BASELINE - top:, x - left:][:CANVAS - y, :CANVAS - x]
    shape[y:y + len(ink), x:x + ink.shape[1]] = ink
    return shape


def shapes_of(font):
    """{c: shape} of the characters that the font has."""
    face = load(font)
    nothing = draw(face, "\U0010ffff")  # what it shows for characters that it doesn't have
    shapes = {c: draw(face, character) for c, character in enumerate(CHARACTERS)}
    return {c: shape for c, shape in shapes.items()
            if shape is not None and not np.array_equal(shape, nothing)}


# Twins

def products(a, b):
    """a b^T of whole numbers: exact in float64, in whatever order they are added."""
    return a.astype(float) @ b.T.astype(float)


def twins_in(shapes):
    """The pairs (first, second) of characters whose shapes are the same or mirrored.

    A mirrored shape is moved by a pixel to either side, as the middle may lie between two."""
    order = sorted(shapes)
    flat = np.array([shapes[c].ravel() for c in order])
    squares = (flat.astype(np.int64) ** 2).sum(axis=1)
    closest = products(flat, flat)
    for move in (-1, 0, 1):
        mirrored = [np.roll(shapes[c][:, ::-1], move, axis=1).ravel() for c in order]
        closest = np.maximum(closest, products(flat, np.array(mirrored)))
    both = squares[:, None] + squares
    found = np.argwhere(np.triu(both - 2 * closest <= SAME * both, 1))
    return {(order[first], order[second]) for first, second in found}


def counts(pairs_of_fonts):
    """{pair: fonts in which it is one of twins}."""
    return collections.Counter(pair for pairs in pairs_of_fonts for pair in pairs)


def same_everywhere(shapes, twins):
    """The characters that are twins of an earlier one, itself no such, in half of the fonts."""
    dropped = set()
    for (first, second), times in sorted(counts(twins).items()):
        fonts = sum(first in some and second in some for some in shapes)
        if first not in dropped and 2 * times >= fonts:
            dropped.add(second)
    return dropped


def without_twins(shapes, twins, dropped):
    """A font's shapes without dropped characters and those that have an earlier twin here."""
    hidden = dropped | {second for first, second in twins if first not in dropped}
    return {c: shape for c, shape in shapes.items() if c not in hidden}


def alphabet(fonts):
    """The classes that fonts of both splits have, and their shapes."""
    shapes = [shapes_of(font) for font in fonts]
    twins = [twins_in(some) for some in shapes]
    dropped = same_everywhere(shapes, twins)
    shapes = [without_twins(*pair, dropped) for pair in zip(shapes, twins)]
    glyphs = {split: [[some[c] for font, some in zip(fonts, shapes)
                       if font.split == split and c in some] for c in range(len(CHARACTERS))]
              for split in FEWEST}
    kept = [c for c in range(len(CHARACTERS))
            if all(len(glyphs[split][c]) >= fewest for split, fewest in FEWEST.items())]
    left_out = "".join(c for i, c in enumerate(CHARACTERS) if i not in kept)
    print(f"{len(kept)} classes; left out, as twins or for want of fonts: {left_out}")
    return Alphabet([f"U{ord(CHARACTERS[c]):04X}" for c in kept], [CHARACTERS[c] for c in kept],
                    {split: [of[c] for c in kept] for split, of in glyphs.items()})


# Pictures

def sample(shape, y, x):
    """The shape's values, float64, at these places between its pixels; 0 outside."""
    padded = np.pad(shape, 1).astype(float)
    y, x = (np.clip(at + 1, 0, CANVAS) for at in (y, x))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def bent(random, shape):
    """The shape turned, slanted, scaled and moved, as ink (SIDE, SIDE), 0 to 1.

    cos = (1 - t^2) / (1 + t^2), sin = 2t / (1 + t^2): without a library's sine."""
    t, slant = random.uniform(-TURN, TURN), random.uniform(-SLANT, SLANT)
    size = random.uniform(*SCALE)
    middle = (CANVAS - 1) / 2
    place = np.arange(CANVAS) - middle
    y = place[:, None] - FINE * random.uniform(-MOVE, MOVE)
    x = place - FINE * random.uniform(-MOVE, MOVE)
    cos, sin = (1 - t * t) / (1 + t * t) / size, 2 * t / (1 + t * t) / size
    y, x = cos * y - sin * x, sin * y + cos * x
    fine = sample(shape, y + middle, x + slant * y + middle) / 255
    return (fine[::2, ::2] + fine[::2, 1::2] + fine[1::2, ::2] + fine[1::2, 1::2]) / 4


def blurred(ink, share):
    """Each pixel gives that share of itself, half to either neighbour, along both axes."""
    for _ in range(2):
        padded = np.pad(ink, ((1, 1), (0, 0)))
        ink = (ink * (1 - share) + (padded[:-2] + padded[2:]) * (share / 2)).T
    return ink


def picture(random, shape):
    """One training or test image, uint8 (SIDE, SIDE)."""
    ink = blurred(bent(random, shape), 2 * random.uniform(0, BLUR))
    dark, light = random.uniform(*INK), random.uniform(*PAPER)
    if random.uniform(0, 1) < .5:
        dark, light = light, dark
    noise = random.uniform(0, NOISE) * random.uniform(-1, 1, (SIDE, SIDE))
    return np.floor(np.clip(light + (dark - light) * ink + noise, 0, 255)).astype(np.uint8)


def make_split(split, count, seed, glyphs):
    """The split with that many pictures. Each round shows all classes once, in a random order, and
    the next round shows each in its next font."""
    number = list(FEWEST).index(split)
    images, labels = np.empty((count, SIDE, SIDE), np.uint8), np.empty(count, int)
    for i in range(count):
        turn, place = divmod(i, len(glyphs))
        if not place:
            order = np.argsort(Random(seed, number, turn).uniform(0, 1, (len(glyphs),)),
                               kind="stable")
        labels[i] = c = order[place]
        images[i] = picture(Random(seed, number, turn, place), glyphs[c][turn % len(glyphs[c])])
    return Split(split, images, labels)


# The command

def check_sum(splits, labels, key, drawn_by):
    """Prints the set's SHA-256. Raises InputError if, with the same drawer, it is not as known."""
    checksum = hashlib.sha256(" ".join(labels).encode())
    for split in splits:
        checksum.update(split.labels.astype("<u2").tobytes() + split.images.tobytes())
    found, known = checksum.hexdigest(), CHECKSUMS.get(key)
    print(f"SHA-256 of all pixels and classes: {found}")
    if known in (None, found):
        return
    text = f"SHA-256 {found} with {key[0]} train, {key[1]} valid, seed {key[2]}: expected {known}"
    if drawn_by == KNOWN_DRAWER:
        raise InputError(text)
    print(f"note: {text}; that is of {KNOWN_DRAWER}, here it is {drawn_by}")


def arguments():
    parser = imagelist.arguments(__doc__)
    for name, default in (("--train", 40000), ("--valid", 8000)):
        parser.add_argument(name, type=imagelist.positive, default=default, metavar="N",
                            help=f"pictures (default: {default})")
    parser.add_argument("--seed", type=imagelist.positive, default=1, metavar="S")
    return parser.parse_args()


def main():
    args = arguments()
    fonts = find_fonts(os.environ.get("GLYPH_FONTS") or FONTS_FOLDER)
    letters = alphabet(fonts)
    splits = [make_split(split, getattr(args, split), args.seed, letters.glyphs[split])
              for split in FEWEST]
    check_sum(splits, letters.labels, (args.train, args.valid, args.seed), drawer(fonts))
    imagelist.write_dataset(args, splits, letters.labels, letters.names)


if __name__ == "__main__":
    imagelist.run(main)
