#!/usr/bin/python3 -B
"""Images from strangers: what they look like, and what is refused, in TAP.

Proves: PNG, BMP and the like of any kind give the pixels that were put in; JPEG, CMYK too, those
that OpenCV gives; EXIF's orientation is followed; a file that ends early, damaged ones of
tests/faults and ones that ask for too many pixels end `distill`, `classifier predict` and
`detector test` with one line that names the file; other odd ones are read on; a signal is heard
while an image does not come. The pixels are those of the build's libdarknet.so.
"""
import ctypes
import fcntl
import functools
import glob
import importlib.util
import io
import os
import select
import shutil
import signal
import struct
import zlib

import tap
from tap import (DARKNET, DARKNETS_OWN, ENVIRONMENT, LABELS, ROOT, Skip, check_error, missing,
                 plain_cfg, plain_detector_cfg, test)

import numpy as np
from PIL import Image

BUILD = os.path.dirname(DARKNET)
FAULTS = sorted(path for end in ("jpg", "tga", "bin")
                for path in glob.glob(os.path.join(ROOT, "tests", "faults", f"*.{end}")))
H, W = 13, 17


class Pixels(ctypes.Structure):
    """Darknet's `image`"""
    _fields_ = [("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int),
                ("data", ctypes.POINTER(ctypes.c_float))]


@functools.lru_cache(None)
def library():
    with open(os.path.join(BUILD, ".switches"), encoding="utf-8") as file:
        if "SANITIZE=1" in file.read():
            raise Skip("a library with sanitizers can't be loaded into Python")
    found = ctypes.CDLL(os.path.join(BUILD, "libdarknet.so"))
    found.load_image.restype = Pixels
    found.load_image.argtypes = [ctypes.c_char_p] + [ctypes.c_int] * 3
    found.free_image.argtypes = [Pixels]
    return found


def load(path, channels=3):
    """[h][w][channels] bytes"""
    image = library().load_image(os.fsencode(path), 0, 0, channels)
    floats = np.ctypeslib.as_array(image.data, (image.c, image.h, image.w))
    found = np.rint(floats * 255)
    assert (floats == (found / 255).astype(np.float32)).all(), "not bytes / 255"
    library().free_image(image)
    return found.astype(np.uint8).transpose(1, 2, 0)


def noise(*shape, most=256):
    return np.random.RandomState(len(shape)).randint(0, most, shape)


def picture_of(*shape, mode=None):
    return Image.fromarray(noise(*shape).astype(np.uint8), mode)


def smooth():
    """As a camera's: JPEG is made for it."""
    y, x = np.mgrid[:120, :160]
    return Image.fromarray(np.stack([x, 2 * y, 127 + 99 * np.sin(x / 9)], 2).astype(np.uint8))


def same(found, expected):
    assert found.shape == expected.shape, f"{found.shape}, expected {expected.shape}"
    assert (found == expected).all(), f"{(found != expected).mean():.1%} of the values differ"


# What is read

def png(pixels, depth, kind, interlaced=False):
    """A PNG's bytes by hand, of [h][w][n] numbers: for what Pillow does not write."""
    height, width = pixels.shape[:2]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    rows = b""
    for x, y, step_x, step_y in passes:
        part = pixels[y::step_y, x::step_x]
        rows += b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in part
                         if row.size)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + \
            struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + \
        chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"IDAT", zlib.compress(rows)) + \
        chunk(b"IEND", b"")


def written(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def kinds():
    """{name: (file, the picture that is in it)}: losing nothing"""
    rgb, rgba = picture_of(H, W, 3), picture_of(H, W, 4)
    grey, bits = picture_of(H, W), Image.fromarray(noise(H, W) > 99)
    grey_alpha, palette = picture_of(H, W, 2, mode="LA"), rgb.quantize(50)
    found = {}
    for name, form, images in (
            ("png", "PNG", (rgb, rgba, grey, bits, grey_alpha, palette)),
            ("bmp", "BMP", (rgb, grey, bits, palette)), ("tga", "TGA", (rgb, rgba, grey)),
            ("ppm", "PPM", (rgb, grey)), ("gif", "GIF", (palette, grey))):
        for image in images:
            found[f"{image.mode}.{name}"] = written(image, form), image
    for depth, colours in ((1, 2), (2, 4), (4, 16)):
        few = rgb.quantize(colours)
        found[f"{depth}-bits.png"] = written(few, "PNG", bits=depth), few
    found["transparent.png"] = written(palette, "PNG", transparency=3), palette
    found["rle.tga"] = written(bits.convert("RGB"), "TGA", compression="tga_rle"), bits
    for name, shape, kind in (("grey", (H, W, 1), 0), ("rgb", (H, W, 3), 2), ("rgba", (H, W, 4), 6)):
        for depth in (8, 16):
            pixels = noise(*shape, most=1 << depth)
            upper = Image.fromarray((pixels >> depth - 8).astype(np.uint8).squeeze())
            for way in (False, True):
                found[f"{name}-{depth}-{way}.png"] = png(pixels, depth, kind, way), upper
    return found


@test
def sixteen_bits(folder):
    """PGM and PPM of 16 bits, which stb would read as their low bytes, are refused"""
    for kind, channels in (("P5", 1), ("P6", 3)):
        folder.write("deep.pgm", f"{kind} 2 2 65535\n".encode() + bytes(8 * channels))
        result = folder.darknet("imtest", "deep.pgm").check(1)
        assert "deep.pgm" in result.err and "16 bits" in result.err, result.err


@test
def pixels(folder):
    """PNG, BMP, TGA, PNM, GIF: grey, palettes, alpha, interlaced, 16 bits: what was put in"""
    for name, (file, picture) in kinds().items():
        folder.write(name, file)
        colours = picture.convert("RGBA").convert("RGB") if picture.mode != "LA" else \
            picture.convert("L").convert("RGB")
        try:
            same(load(folder.at(name)), np.asarray(colours))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@test
def channels(folder):
    """asked for 1 to 4 channels, or for as many as there are"""
    for shape in ((H, W, 1), (H, W, 2), (H, W, 3), (H, W, 4)):
        values = noise(*shape).astype(np.uint8)
        kind = {1: 0, 2: 4, 3: 2, 4: 6}[shape[2]]
        folder.write("a.png", png(values, 8, kind))
        c = shape[2]
        colours = values[..., :3] if c > 2 else values[..., :1].repeat(3, 2)
        r, g, b = (colours[..., k].astype(int) for k in range(3))
        grey = (r * 77 + g * 150 + b * 29 >> 8)[..., None] if c > 2 else values[..., :1]
        alpha = values[..., -1:] if c in (2, 4) else np.full((H, W, 1), 255)
        for wanted, expected in {0: [values], 1: [grey], 2: [grey, alpha], 3: [colours],
                                 4: [colours, alpha]}.items():
            same(load(folder.at("a.png"), wanted), np.concatenate(expected, 2))


TURNS = {  # by EXIF's number: how to make the stored picture upright
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1], 8: lambda a: a.transpose(1, 0, 2)[::-1]}


@test
def orientation(folder):
    """EXIF's orientation, in both orders of bytes, of JPEG and PNG: upright; a damaged one: as is"""
    image = smooth()
    for name in ("a.jpg", "a.png"):
        image.save(folder.at(name))
        plain = load(folder.at(name))
        for number in (*TURNS, 0, 9):
            for order in ("<", ">"):
                tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(
                    order + "IHHHIHHI", 8, 1, 0x112, 3, 1, number, 0, 0)
                image.save(folder.at(name), exif=b"Exif\0\0" + tiff)
                same(load(folder.at(name)), TURNS.get(number, TURNS[1])(plain))
        for tiff in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff" + bytes(6),
                     b"MM\0*\0\0\0\x08\xff\xff" + bytes(9)):
            image.save(folder.at(name), exif=b"Exif\0\0" + tiff)
            same(load(folder.at(name)), plain)


def opencv():
    if not importlib.util.find_spec("cv2"):
        raise missing("python3-opencv")
    return importlib.import_module("cv2")


def seen_by_opencv(path):
    return opencv().imread(path)[..., ::-1]


@test
def as_opencv(folder):
    """JPEG of any kind, CMYK and YCCK too, and 16 bits: to the bit what OpenCV's imread gives"""
    opencv()
    image = smooth()
    photos = glob.glob(os.path.join(BUILD, "data", "*.jpg"))
    assert len(photos) > 3, photos
    for path in photos:
        same(load(path), seen_by_opencv(path))
    cmyk = Image.merge("CMYK", [*image.split(), image.split()[0].point(lambda x: 255 - x // 3)])
    exif = image.getexif()
    exif[0x112] = 6
    for i, (picture, options) in enumerate([
            (image, {"quality": 95}), (image, {"progressive": True}), (image, {"subsampling": 0}),
            (image, {"subsampling": 1}), (image.convert("L"), {}), (cmyk, {}), (image, {"exif": exif}),
            (image.crop((0, 0, 1, 1)), {}), (image.crop((3, 2, 36, 19)), {"quality": 30})]):
        file = written(picture, "JPEG", **options)
        folder.write(f"{i}.jpg", file)
        same(load(folder.at(f"{i}.jpg")), seen_by_opencv(folder.at(f"{i}.jpg")))
        if picture is cmyk:  # Adobe's marker ends in the transform: 2 is YCCK
            at = file.index(b"Adobe") + 11
            folder.write("ycck.jpg", file[:at] + b"\2" + file[at + 1:])
            same(load(folder.at("ycck.jpg")), seen_by_opencv(folder.at("ycck.jpg")))
    for name, shape, kind in (("grey", (H, W, 1), 0), ("rgb", (H, W, 3), 2)):
        folder.write(f"{name}.png", png(noise(*shape, most=1 << 16), 16, kind))
        same(load(folder.at(f"{name}.png")), seen_by_opencv(folder.at(f"{name}.png")))


@test
def ink(folder):
    """CMYK: no ink is white, black ink is black, and cyan is without red"""
    for ink_levels, expected in {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0),
                                 (255, 0, 0, 0): (0, 255, 255)}.items():
        Image.new("CMYK", (8, 8), ink_levels).save(folder.at("a.jpg"), quality=100)
        found = load(folder.at("a.jpg")).astype(int)
        assert abs(found - expected).max() <= 2, (ink_levels, found[0, 0])


@test
def odd_jpeg(folder):
    """a JPEG with damage in mid-scan, a thumbnail, or bytes behind its end is read, as by OpenCV"""
    whole = written(smooth(), "JPEG", exif=b"Exif\0\0" + written(smooth().resize((8, 8)), "JPEG"))
    folder.write("whole.jpg", whole)
    expected = load(folder.at("whole.jpg"))
    folder.write("a.jpg", whole + b"\0\n" * 99)
    same(load(folder.at("a.jpg")), expected)
    folder.write("a.jpg", whole[:-len(whole) // 4] + b"\xff\xd9")
    found = load(folder.at("a.jpg"))
    same(found[:32], expected[:32])
    assert (found[-8:] != expected[-8:]).any()


# What is refused, by distill and by Darknet's own commands

def put(folder, path, content):
    """The image in place of one that is trained on."""
    folder.write(path, content)
    lines = folder.read("train.list").decode().splitlines()
    folder.write("train.list", "\n".join([*lines[:3], path, *lines[4:]]) + "\n")


def prepare(folder):
    folder.write("detector.cfg", plain_detector_cfg(classes=1))
    folder.darknet("partial", "detector.cfg", "", "detector.weights", "99").check(0)
    os.symlink(os.path.join(BUILD, "data"), folder.at("data"))  # a detector's letters


COMMANDS = ("classifier predict deepkd.data teacher.cfg teacher.weights {}",
            "detector test deepkd.data detector.cfg detector.weights {}")


def refused(folder, path, words, env=None, commands=COMMANDS):
    """One line each of predict, test and distill, which name the file."""
    env = {**ENVIRONMENT, **(env or {})}
    for command in commands:
        result = folder.darknet(*command.format(path).split(), env=env).check(1)
        check_error(result, [f'Cannot load image "{path}": ', *words])
    result = folder.distill(env=env).check(1)
    check_error(result, [f"{path}: cannot be decoded: ", *words])


BAD = f"{LABELS[0]}-bad"
assert len(FAULTS) == 9, FAULTS
for fault in FAULTS:
    def run_fault(folder, fault=fault):
        prepare(folder)
        with open(fault, "rb") as file:
            put(folder, BAD, file.read())
        refused(folder, BAD, ["ends too early"] if "hang" in fault or "bomb" in fault else
                ["found no image"] if "image-1" in fault else ["libjpeg: "])
    test(run_fault, f"tests/faults/{os.path.basename(fault)}: one line that names it, everywhere")


@test
def cut(folder):
    """files of every format that end early, wherever: one line"""
    prepare(folder)
    image = smooth()
    files = {"jpg": written(image, "JPEG"), "progressive": written(image, "JPEG", progressive=True),
             **{form: written(image, form) for form in ("PNG", "BMP", "TGA", "PPM")},
             "RLE": written(image, "TGA", compression="tga_rle"),
             "GIF": written(image.quantize(50), "GIF")}
    words = dict.fromkeys(files, ["ends too early"])
    for form, file in files.items():
        put(folder, BAD, file)
        folder.darknet(*COMMANDS[0].format(BAD).split()).check(0)
        ends = {len(file) // 3, len(file) * 9 // 10, len(file) - 30}  # 26 bytes of TGA's are a note
        for end in sorted(ends):
            put(folder, BAD, file[:end])
            if end == max(ends):
                refused(folder, BAD, words[form])
            else:
                result = folder.darknet(*COMMANDS[0].format(BAD).split()).check(1)
                check_error(result, [f'Cannot load image "{BAD}": ', *words[form]])


@test
def damaged(folder):
    """a PNG whose checksum is wrong, text, a folder: one line"""
    prepare(folder)
    file = bytearray(written(smooth(), "PNG"))
    file[len(file) // 2] ^= 1
    put(folder, BAD, bytes(file))
    refused(folder, BAD, ["libpng: "])
    put(folder, BAD, b"hello\n" * 99)
    refused(folder, BAD, ["found no image, expected JPEG, PNG, BMP"])
    os.mkdir(folder.at("a-folder"))
    check_error(folder.darknet(*COMMANDS[0].format("a-folder").split()).check(1),
                ['Cannot load image "a-folder": Is a directory'])


def headers(width, height):
    """Small files that ask for so many pixels"""
    tiny = png(noise(1, 1, 3), 8, 2)
    ihdr = b"IHDR" + struct.pack(">II", width, height) + tiny[24:29]
    jpeg = written(Image.new("RGB", (1, 1)), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    bmp = written(Image.new("RGB", (1, 1)), "BMP")
    found = {"png": tiny[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + tiny[33:],
             "bmp": bmp[:18] + struct.pack("<II", width, height) + bmp[26:],
             "ppm": b"P6 %d %d 255\nabc" % (width, height)}
    if width < 65536:
        found["jpg"] = jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4:]
        found["tga"] = bytes([0, 0, 10] + 9 * [0]) + struct.pack("<HH", width, height) + b"\x18\0" * 9
    return found


@test
def too_large(folder):
    """a small file that asks for too many pixels, or for a long side: one line, and little memory"""
    prepare(folder)
    for width, height in ((60000, 60000), (200000, 200000), (70000, 1)):
        for form, file in headers(width, height).items():
            put(folder, BAD, file)
            command = ["sh", "-c", "ulimit -v 4000000; exec \"$@\"", "sh", DARKNET,
                       *COMMANDS[0].format(BAD).split()]
            words = [f"found {width} x {height} pixels", "178956970", "DARKNET_MAX_PIXELS"]
            if "SANITIZE=1" in open(os.path.join(BUILD, ".switches"), encoding="utf-8").read():
                command = [DARKNET, *command[5:]]  # they take all addresses
            done = tap.subprocess.run(command, cwd=folder.path, env=ENVIRONMENT, timeout=60,
                                      capture_output=True, check=False)
            result = tap.check_sane(tap.Result([form], done.returncode, done.stdout, done.stderr))
            check_error(result.check(1), words)
    refused(folder, BAD, words)


@test
def thin(folder):
    """a thin image that a command would enlarge beyond what Darknet counts: one line"""
    folder.write("wide.cfg", tap.teacher_cfg(width=224, height=224))
    Image.new("L", (1, 65535)).save(folder.at(BAD), "PNG")
    folder.write("valid.list", BAD + "\n")
    result = folder.darknet("classifier", "validfull", "deepkd.data", "wide.cfg",
                            "teacher.weights").check(1)
    check_error(result, ["Cannot make an image of 224 x 14679840 x 3: too large"])


@test
def limit(folder):
    """DARKNET_MAX_PIXELS is the most that an image may have; a value that is none is an error"""
    prepare(folder)
    put(folder, BAD, written(picture_of(20, 30, 3), "PNG"))
    refused(folder, BAD, ["found 30 x 20 pixels", "at most 599 pixels"],
            {"DARKNET_MAX_PIXELS": "599"}, COMMANDS[:1])  # a detector's letters are larger
    for form in ("PNG", "JPEG", "BMP", "GIF"):
        folder.write(BAD, written(picture_of(100, 110, 3), form))
        for most in (11000, 10999):
            result = folder.darknet(*COMMANDS[0].format(BAD).split(),
                                    env={**ENVIRONMENT, "DARKNET_MAX_PIXELS": str(most)})
            assert result.check(most < 11000), form
    for value in ("0", "-1", "1e6", "many", "536870912", "99999999999999999999", " "):
        env = {**ENVIRONMENT, "DARKNET_MAX_PIXELS": value}
        words = [f"DARKNET_MAX_PIXELS={value}: expected a number from 1 to 536870911"]
        for result in (folder.darknet(*COMMANDS[0].format(BAD).split(), env=env),
                       folder.distill(env=env)):
            check_error(result.check(1), words)


@test
def many_threads(folder):
    """Darknet's 64 threads and an image that can't be read: one of them ends the run, in order"""
    put(folder, BAD, b"hello\n")
    folder.write("train.list", folder.read("train.list").decode() + f"{BAD}\n" * 9)
    folder.write("plain.cfg", plain_cfg())
    for _ in range(3):
        result = folder.darknet("classifier", "train", "deepkd.data", "plain.cfg").check(1)
        lines = [line for line in result.err.split("\n") if line and not DARKNETS_OWN.match(line)]
        assert lines[-1].startswith(f'Cannot load image "{BAD}"'), result.describe()


# A signal while images load

def own_images(folder):
    source = os.path.realpath(folder.at("images"))
    folder.remove("images")
    shutil.copytree(source, folder.at("images"))


def stuck(folder, path, number, *flags):
    """A run that finds a pipe without a writer in place of the image; then the signal. Its Result.

    The image is there when it begins: a list's images have to be. That its output has ended for
    a second means that it waits, for it prints a line a batch.
    """
    os.rename(folder.at(path), folder.at("kept.png"))
    shutil.copy(folder.at("kept.png"), folder.at(path))
    with open(folder.at("stderr.txt"), "wb") as err, tap.subprocess.Popen(
            **folder.command(*folder.distill_words(*flags)), bufsize=0,
            stdout=tap.subprocess.PIPE, stderr=err) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)  # it can't get far ahead
        out = b""
        while b"\n1, " not in b"\n" + out:
            out += process.stdout.readline()
        os.mkfifo(folder.at("pipe"))
        os.rename(folder.at("pipe"), folder.at(path))
        while select.select([process.stdout], [], [], 1)[0]:
            read = os.read(process.stdout.fileno(), 4096)
            assert read, f"the run ended: {out.decode()}"
            out += read
        process.send_signal(number)
        try:
            out += process.communicate(timeout=20)[0]
        except tap.subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"a signal was not heard: {out.decode()[-300:]}") from None
    os.rename(folder.at("kept.png"), folder.at(path))
    return tap.check_sane(tap.Result(flags, process.returncode, out, folder.read("stderr.txt")))


def goes_on(folder, path, number):
    own_images(folder)
    listed = folder.read("train.list").decode()
    folder.write("train.list", listed * 40)  # each line is decoded by itself
    folder.write("student.cfg", tap.student_cfg(max_batches=150))
    folder.write("deepkd.data", tap.data_file(eval_interval=70))
    folder.distill("-clear").check(0)
    expected = folder.read("backup/student_final.weights")
    result = stuck(folder, path, number, "-clear").check(128 + number)
    assert "-resume goes on from backup/student.state" in result.out, result.out[-300:]
    folder.distill("-resume").check(0)
    assert folder.read("backup/student_final.weights") == expected, "other bits"


@test
def stopped_in_training(folder):
    """SIGTERM while a training image can't be read to its end: saved, and -resume: same bits"""
    goes_on(folder, f"images/train/{LABELS[0]}-0.png", signal.SIGTERM)


@test
def stopped_in_evaluation(folder):
    """Ctrl-C while an image of the validation list can't: the same"""
    goes_on(folder, f"images/valid/{LABELS[5]}-17.png", signal.SIGINT)


if __name__ == "__main__":
    tap.main()
