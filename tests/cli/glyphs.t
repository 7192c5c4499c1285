#!/usr/bin/python3 -B
"""Tests of scripts/make_glyphs.py, in TAP.

Proves: the test-size set has the checksum that is written there, twice; every
path holds its own label and no other; no font shows in both splits, and every
class has enough of each; no two classes are twins, and what merely looks alike
stays; a picture depends on the seed and its number alone; missing fonts and
other wrong input are one line and touch nothing.

The fonts are Debian's (or GLYPH_FONTS'); without them all is skipped. To add a
case: a function with @test before it.
"""
import contextlib
import functools
import io
import os
import re
import subprocess
import sys

import tap
from tap import ENVIRONMENT, PYTHON, ROOT, check_ran, test

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import imagelist  # noqa: E402
import make_glyphs  # noqa: E402
from make_glyphs import CANVAS, CHARACTERS, FONTS, Font  # noqa: E402

FOLDER = os.environ.get("GLYPH_FONTS") or make_glyphs.FONTS_FOLDER
SMALL = "--train", "1260", "--valid", "630"  # its checksum is known
TINY = "--train", "40", "--valid", "20"


def make(folder, *args, **env):
    """Runs the script in the folder."""
    return subprocess.run([PYTHON, "-B", os.path.join(ROOT, "scripts/make_glyphs.py"), *args],
                          check=False, cwd=folder.path, capture_output=True, text=True,
                          env={**ENVIRONMENT, **env})


def files(folder, name):
    """{path: content} of all files in the folder."""
    top = folder.at(name)
    paths = [os.path.relpath(os.path.join(where, file), top)
             for where, _, names in os.walk(top) for file in names]
    return {path: folder.read(os.path.join(name, path)) for path in paths}


def lines(folder, name):
    return folder.read(name).decode().splitlines()


@functools.lru_cache
def alphabet():
    with contextlib.redirect_stdout(io.StringIO()):
        return make_glyphs.alphabet(make_glyphs.find_fonts(FOLDER))


# The files

@test
def same_again(folder):
    """the set has the known checksum, and comes out the same in another folder"""
    out = check_ran(make(folder, "glyphs", *SMALL))
    check_ran(make(folder, "again/glyphs", *SMALL))
    first = files(folder, "glyphs")
    assert first == files(folder, "again/glyphs")
    assert len(first) == 1260 + 630 + 4, len(first)
    assert "note:" in out or make_glyphs.CHECKSUMS[1260, 630, 1] in out, out


@test
def labels_are_unique(folder):
    """200 classes or more, as many pictures of each, and every path holds its own label alone"""
    check_ran(make(folder, "glyphs", *SMALL))
    labels, names = (lines(folder, f"glyphs/{name}.txt") for name in ("labels", "names"))
    assert len(labels) == len(names) == len(set(names)) >= 200, len(labels)
    assert labels == [f"U{ord(name):04X}" for name in names]
    for split, count in (("train", 1260), ("valid", 630)):
        counts = dict.fromkeys(labels, 0)
        for path in lines(folder, f"glyphs/{split}.list"):
            found = [label for label in labels if label in path]
            assert re.fullmatch(rf"data/glyphs/{split}/{found[0]}_\d{{5}}\.png", path), path
            assert len(found) == 1, path
            counts[found[0]] += 1
            with Image.open(folder.at(path[5:])) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28)), path
        assert max(counts.values()) - min(counts.values()) <= 1, counts
        assert sum(counts.values()) == count


@test
def seeds_and_sizes(folder):
    """a picture depends on the seed and its number, not on how many there are"""
    for name, words in (("small", SMALL), ("tiny", TINY), ("other", (*TINY, "--seed", "2"))):
        check_ran(make(folder, name, *words))
    small, tiny, other = (files(folder, name) for name in ("small", "tiny", "other"))
    images = [path for path in tiny if path.endswith(".png")]
    assert len(images) == 60
    for path in images:
        assert small[path] == tiny[path] != other.get(path), path


# Fonts and classes

@test
def fonts_kept_apart(_):
    """no font is in both splits, by name, package or content, and each class has enough of both"""
    fonts = make_glyphs.find_fonts(FOLDER)
    for field in ("name", "content"):
        train, valid = ({getattr(font, field) for font in fonts if font.split == split}
                        for split in ("train", "valid"))
        assert not train & valid and len(train) + len(valid) == len(fonts), field
    packages = [{row[1] for row in FONTS if row[0] == split} for split in ("train", "valid")]
    assert not packages[0] & packages[1]
    glyphs = alphabet().glyphs
    assert min(len(shapes) for shapes in glyphs["train"]) >= 2
    assert min(len(shapes) for shapes in glyphs["valid"]) >= 1


@test
def no_twins(_):
    """no glyph that is shown is another class's in the same font, or its mirror image"""
    names = alphabet().names
    assert not set("dqПФГ") & set(names) and set("bpΠΦΓ0OoIl1") <= set(names), names
    for font in make_glyphs.find_fonts(FOLDER):
        assert not make_glyphs.twins_in(shown_of(font)), font.name


def shown_of(font):
    """{c: shape} of the glyphs of a font that are shown."""
    shapes = make_glyphs.shapes_of(font)
    return make_glyphs.without_twins(shapes, make_glyphs.twins_in(shapes), set())


def bar(left, width, extra=0):
    shape = np.zeros((CANVAS, CANVAS), np.uint8)
    shape[10:40, left:left + width] = 255
    shape[30:40, left:left + width + extra] = 255
    return shape


@test
def twins_by_shape(_):
    """the same, mirrored, moved by a pixel are twins; another size or foot is none"""
    shapes = {0: bar(20, 16), 1: bar(20, 16), 2: bar(21, 16), 3: bar(20, 16, 12),
              4: bar(20, 16, 12)[:, ::-1], 5: bar(20, 12)}
    assert make_glyphs.twins_in(shapes) == {(0, 1), (0, 2), (1, 2), (3, 4)}, \
        make_glyphs.twins_in(shapes)


@test
def dropped_twins(_):
    """the later of twins is dropped from half the fonts on, not for one that is dropped itself"""
    shapes = [dict.fromkeys(range(4))] * 4
    one, chain = {(0, 1)}, {(0, 1), (1, 2)}
    assert make_glyphs.same_everywhere(shapes, [one, set(), set(), set()]) == set()
    assert make_glyphs.same_everywhere(shapes, [one, one, set(), set()]) == {1}
    assert make_glyphs.same_everywhere(shapes, [chain] * 4) == {1}
    assert set(make_glyphs.without_twins(shapes[0], one, set())) == {0, 2, 3}
    assert set(make_glyphs.without_twins(shapes[0], chain, {1})) == {0, 2, 3}


@test
def packages_agree(_):
    """scripts/deps.sh has the packages in its group glyphs, and docs/packages.md names them"""
    with open(os.path.join(ROOT, "scripts/deps.sh"), encoding="utf-8") as file:
        listed = set(re.findall(r"^glyphs +(fonts-[\w-]+):", file.read(), re.MULTILINE))
    assert listed == {package for _, package, _ in FONTS}, listed
    with open(os.path.join(ROOT, "docs/packages.md"), encoding="utf-8") as file:
        assert listed <= set(re.findall(r"`(fonts-[\w-]+)`", file.read()))


@test
def characters_once(_):
    """no character is there twice, all have four hexadecimal digits, and a font is drawn whole"""
    assert len(set(CHARACTERS)) == len(CHARACTERS)
    assert all(0x21 <= ord(character) <= 0xFFFF for character in CHARACTERS)
    font = make_glyphs.find_fonts(FOLDER)[0]
    shapes = make_glyphs.shapes_of(Font("train", font.name, font.content))
    assert {"A", "я"} <= {CHARACTERS[c] for c in shapes} and "あ" not in \
        {CHARACTERS[c] for c in shapes}


@test
def cfgs_agree(_):
    """cfg/glyphs-* have as many classes as the set, and the plain student is the student"""
    def text(name):
        with open(os.path.join(ROOT, "cfg", name), encoding="utf-8") as file:
            return re.sub("^#.*\n", "", file.read(), flags=re.MULTILINE)
    classes = len(alphabet().labels)
    assert f"classes={classes}\n" in text("glyphs.data")
    for name in ("glyphs-teacher.cfg", "glyphs-student.cfg", "glyphs-student-plain.cfg"):
        assert f"output={classes}\n" in text(name), name
    student, sections = text("glyphs-student.cfg").split("\n[teacher]\n")
    assert student == text("glyphs-student-plain.cfg")
    assert sections.startswith("cfg=cfg/glyphs-teacher.cfg\n")


# Wrong input

@test
def other_pixels(folder):
    """another checksum is an error with the same fonts, Pillow and FreeType, else a note"""
    split = imagelist.Split("train", np.zeros((1, 28, 28), np.uint8), np.array([0]))
    for drawn_by, refused in ((make_glyphs.KNOWN_DRAWER, True), ("Pillow 1.0", False)):
        said, error = io.StringIO(), None
        with contextlib.redirect_stdout(said):
            try:
                make_glyphs.check_sum([split], ["U0041"], (1260, 630, 1), drawn_by)
            except imagelist.InputError as caught:
                error = str(caught)
        assert bool(error) == refused and ("note: " in said.getvalue()) != refused
        assert "1260 train, 630 valid, seed 1: expected " in (error or said.getvalue())
    assert not folder.names("backup")


@test
def wrong_input(folder):
    """bad counts, missing fonts and a damaged one are one line, and touch nothing"""
    check_ran(make(folder, "glyphs", *TINY))
    before = files(folder, "glyphs")
    for words in (("--train", "0"), ("--valid", "x"), ("--seed", "-1")):
        result = make(folder, "glyphs", *words)
        assert result.returncode == 2 and words[0] in result.stderr, result.stderr
    os.makedirs(folder.at("none"))
    tap.check_refused(make(folder, "glyphs", *TINY, GLYPH_FONTS="none"), "none: found no fonts of "
                      "fonts-dejavu-core fonts-liberation", "install", "GLYPH_FONTS")
    some = fonts_without(folder, "ipag.ttf")
    tap.check_refused(make(folder, "glyphs", *TINY, GLYPH_FONTS=some),
                      "some: found no fonts of fonts-ipafont-gothic;")
    folder.write("some/ipag.ttf", "no font")
    tap.check_refused(make(folder, "glyphs", *TINY, GLYPH_FONTS=some), "ipag.ttf",
                      "expected a font")
    assert files(folder, "glyphs") == before
    folder.write("a-file", "")
    tap.check_refused(make(folder, "a-file", *TINY), "a-file")


def fonts_without(folder, name):
    """A folder with links to all fonts but one."""
    os.makedirs(folder.at("some"))
    wanted = {file for _, _, names in FONTS for file in names.split()} - {name}
    for where, _, names in os.walk(FOLDER):
        for file in wanted.intersection(names):
            os.symlink(os.path.join(where, file), os.path.join(folder.at("some"), file))
            wanted.discard(file)
    return "some"


try:
    make_glyphs.find_fonts(FOLDER)
except imagelist.InputError as reason:
    print(f"1..0 # SKIP {reason}")
    sys.exit()
tap.main()
