"""What the command-line tests share: TAP, running darknet, networks and images of a few pixels.

A script adds tests with @test and ends with main(). Its docstring is a test's
name; what it gets is a Folder of its own: a run folder with a .data file, a
student, a trained teacher and pictures, so small that a run takes a moment.
With main(DetectorFolder) the networks are detectors, the pictures scenes with boxes.
The folders are in one temporary folder, which goes when the script ends.

No run may end by a signal that the test did not send, nor print a sanitizer's
report: both fail the test whatever it looks at.
"""
import csv
import fcntl
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

# what no test here can do without; make test has said so, and how to install it
for module, package in (("numpy", "python3-numpy"), ("PIL", "python3-pil")):
    if not importlib.util.find_spec(module):
        print(f"1..0 # SKIP missing: {package}")
        sys.exit()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
DARKNET = os.path.abspath(os.environ.get("DARKNET") or os.path.join(ROOT, "build", "darknet"))
PYTHON = os.environ.get("PYTHON") or "/usr/bin/python3"
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", **os.environ, "OMP_WAIT_POLICY": "passive"}
PATIENCE = 600  # seconds; no run here takes more than some, but of a slow core that others use

SIDE = 12
CLASSES = 6
LABELS = [f"class-{letter}" for letter in "abcdef"]  # mkdtemp makes no "-"
TRAIN, VALID = 44, 18  # pictures; 44 is no multiple of the batch
BATCH = 8


class Skip(Exception):
    """The test can't run here; the text says why."""


def missing(package):
    """For a test that needs one of the packages of scripts/deps.sh, which is not installed."""
    return Skip(f"missing: {package}")


# cfg files

NET = {
    "batch": BATCH, "subdivisions": 1, "width": SIDE, "height": SIDE, "channels": 3,
    "learning_rate": ".01", "momentum": ".9", "decay": ".0005", "policy": "constant",
    "max_batches": 6,
}
STUDENT_LAYERS = [
    ("convolutional", {"batch_normalize": 1, "filters": 8, "size": 3, "stride": 2, "pad": 1,
                       "activation": "leaky"}),
    ("convolutional", {"batch_normalize": 1, "filters": 8, "size": 1, "stride": 1, "pad": 1,
                       "activation": "leaky"}),
    ("convolutional", {"filters": 8, "size": 3, "stride": 1, "pad": 1, "activation": "linear"}),
    ("shortcut", {"from": -3, "activation": "leaky"}),
    ("dropout", {"probability": ".2"}),
    ("avgpool", {}),
    ("connected", {"output": CLASSES, "activation": "linear"}),
    ("softmax", {"groups": 1}),
]
STUDENT_FLOATS = [4 * 8 + 8 * 27, 4 * 8 + 8 * 8, 8 + 8 * 72, 0, 0, 0, 6 + 8 * 6, 0]
STUDENT_BYTES = 20 + 4 * sum(STUDENT_FLOATS)
TEACHER_LAYERS = [
    ("convolutional", {"batch_normalize": 1, "filters": 12, "size": 3, "stride": 2, "pad": 1,
                       "activation": "leaky"}),
    ("avgpool", {}),
    ("connected", {"output": CLASSES, "activation": "linear"}),
    ("softmax", {"groups": 1}),
]
TEACHER_BYTES = 20 + 4 * (4 * 12 + 12 * 27 + 6 + 12 * 6)


def cfg(layers, **net):
    """A cfg's text: [net] as above but for `net` (None leaves a key out), then the layers."""
    sections = [("net", {**NET, **net}), *layers]
    return "\n".join("\n".join([f"[{name}]", *lines(options)]) + "\n"
                     for name, options in sections)


def lines(options):
    return [f"{key}={value}" for key, value in options.items() if value is not None]


def student_cfg(loss=None, teacher=None, layers=None, **net):
    """The student's cfg, with [teacher] and [deepkd_loss]."""
    return cfg([*(layers or STUDENT_LAYERS), ("teacher", teacher or {"cfg": "teacher.cfg"}),
                ("deepkd_loss", loss or {})], **net)


def plain_cfg(**net):
    return cfg(STUDENT_LAYERS, **net)


def teacher_cfg(layers=None, **net):
    return cfg(layers or TEACHER_LAYERS, **net)


def data_file(**options):
    """A .data file's text; None leaves a key out."""
    return "\n".join(lines({
        "classes": CLASSES, "train": "train.list", "valid": "valid.list",
        "labels": "labels.txt", "names": "labels.txt", "backup": "backup", "top": 2,
        "log_interval": 1, **options})) + "\n"


# Pictures

def picture(label, number):
    """12x12 pixels whose colour tells the class, mostly."""
    random = np.random.RandomState(100 * label + number)
    colour = [(label >> bit & 1) * 120 + 60 for bit in range(3)]
    return np.clip(random.normal(colour, 40, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def make_folder(path):
    os.makedirs(path)


def make_pictures(folder):
    for split, count in (("train", TRAIN), ("valid", VALID)):
        os.makedirs(os.path.join(folder, "images", split))
        paths = []
        for number in range(count):
            label = number % CLASSES
            paths.append(f"images/{split}/{LABELS[label]}-{number}.png")
            Image.fromarray(picture(label, number)).save(os.path.join(folder, paths[-1]))
        with open(os.path.join(folder, f"{split}.list"), "w", encoding="ascii") as file:
            file.write("\n".join(paths) + "\n")
    with open(os.path.join(folder, "labels.txt"), "w", encoding="ascii") as file:
        file.write("\n".join(LABELS) + "\n")


# Runs

class Result:
    """What a run left: exit status (negative: a signal), what it printed."""

    def __init__(self, command, status, out, err):
        self.command, self.status = ["darknet", *command], status
        self.out, self.err = (text.decode("utf-8", "replace") for text in (out, err))

    def describe(self):
        tail = "\n".join(self.err.split("\n")[-6:])
        return f"{' '.join(self.command)}\nexit {self.status}\n{tail}"

    def check(self, status):
        assert self.status == status, f"expected exit {status}: {self.describe()}"
        return self


def check_sane(result, sent=0):
    for word in ("Sanitizer", "runtime error:"):
        assert word not in result.err, f"{word}: {result.err[result.err.find(word):][:2000]}"
    assert result.status >= 0 or result.status == -sent, f"a signal: {result.describe()}"
    return result


class Folder:
    """A run folder; paths are relative to it."""

    FILES = ("train.list", "valid.list", "labels.txt", "teacher.weights")  # the fixture's, copied
    FOLDERS = ("images",)  # the fixture's, linked
    STUDENT_BYTES = STUDENT_BYTES

    def __init__(self, path, fixture=None):
        self.path = path
        os.makedirs(self.at("backup"))
        self.write_texts()
        if fixture:
            for name in self.FILES:
                shutil.copy(os.path.join(fixture, name), path)
            for name in self.FOLDERS:
                os.symlink(os.path.join(fixture, name), self.at(name))

    def write_texts(self):
        self.write("deepkd.data", data_file())
        self.write("student.cfg", student_cfg())
        self.write("teacher.cfg", teacher_cfg())

    def fill(self):
        """What the fixture has beyond the texts."""
        make_pictures(self.path)
        make_teacher(self)

    def at(self, name):
        return os.path.join(self.path, name)

    def write(self, name, content):
        if isinstance(content, str):
            content = content.encode("utf-8")
        with open(self.at(name), "wb") as file:
            file.write(content)

    def read(self, name):
        with open(self.at(name), "rb") as file:
            return file.read()

    def remove(self, name):
        os.unlink(self.at(name))

    def forget_run(self):
        """Removes the state of the last one, over which distill would not go."""
        if os.path.exists(self.at("backup/student.state")):
            self.remove("backup/student.state")

    def take_final(self, name):
        """Moves the weights that a run ended with."""
        os.replace(self.at("backup/student_final.weights"), self.at(name))
        self.forget_run()

    def names(self, folder="backup"):
        return sorted(os.listdir(self.at(folder)))

    def snapshot(self, folder="backup"):
        """{name: content} of backup/."""
        return {name: self.read(os.path.join(folder, name)) for name in self.names(folder)}

    def command(self, *args, **options):
        """Popen's arguments for darknet with these arguments, here."""
        return {"args": [DARKNET, *args], "cwd": self.path, "env": ENVIRONMENT, **options}

    def darknet(self, *args, text="", sent=0, **options):
        """Runs darknet to its end; `text` is its standard input."""
        done = subprocess.run(**self.command(*args, **options), capture_output=True, check=False,
                              input=text.encode(), timeout=PATIENCE)
        return check_sane(Result(args, done.returncode, done.stdout, done.stderr), sent)

    def distill(self, *flags, seed="7", threads="2", **options):
        """Distils, also over a run that has ended, which a test need not clear."""
        if "-resume" not in flags and os.path.exists(self.at("backup/student_final.weights")):
            self.forget_run()
        return self.darknet(*self.distill_words(*flags, seed=seed, threads=threads), **options)

    @staticmethod
    def distill_words(*flags, seed="7", threads="2"):
        words = ["distill", "deepkd.data", "student.cfg", "teacher.weights"]
        words += ["-seed", seed] if seed else []
        return [*words, "-threads", threads, *flags]

    def distill_until(self, wanted, number, *flags, **options):
        """Distils, and sends signal `number` after the first line of stdout that is wanted(line).

        The pipe is a page: a run can't get further ahead of us than some lines.
        """
        words = self.distill_words(*flags)
        with open(self.at("stderr.txt"), "wb") as err, \
                subprocess.Popen(**self.command(*words, **options), bufsize=0,
                                 stdout=subprocess.PIPE, stderr=err) as process:
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            out = b""
            for line in iter(process.stdout.readline, b""):
                out += line
                if wanted(line.decode()):
                    process.send_signal(number)
                    break
            else:
                number = 0
            out += process.stdout.read()
            process.wait(PATIENCE)
        result = check_sane(Result(words, process.returncode, out, self.read("stderr.txt")), number)
        assert number, f"no line to stop at: {result.describe()}\n{result.out}"
        return result

    def rows(self, name="backup/student.csv"):
        """The CSV's rows: [{column: text}]."""
        with open(self.at(name), encoding="ascii", newline="") as file:
            return list(csv.DictReader(file))


def without_time(rows):
    """Rows without what no two runs share."""
    return [{key: value for key, value in row.items() if key != "images_per_s"} for row in rows]


# Weights files

def floats(content):
    """The numbers of a weights file."""
    return np.frombuffer(content, np.float32, offset=20)


def check_weights(content, size=STUDENT_BYTES):
    """A whole weights file of finite numbers."""
    assert len(content) == size, f"{len(content)} bytes, expected {size}"
    assert np.isfinite(floats(content)).all(), "not finite"


def make_teacher(folder, layers=None, **net):
    """Trains the teacher: its task alone, as a student of a random one."""
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
    folder.write("student.cfg", student_cfg(
        {"teacher_weight": 0, "trainer": "sgd"}, layers=layers or TEACHER_LAYERS,
        **{"max_batches": 150, "learning_rate": ".1", **net}))
    folder.distill().check(0)
    folder.take_final("teacher.weights")


# Detectors: scenes of coloured rectangles, whose colour is the class

NAMES = ["red", "green", "blue"]
CATEGORIES = [3, 5, 90]  # COCO's ids of them
COLOURS = [(220, 40, 40), (40, 200, 60), (50, 70, 230)]
SCENES = {"train": ("train.list", 1, 44), "val": ("valid.list", 101, 18)}  # list, first id, count
DETECTOR = {"width": 32, "height": 32, "learning_rate": ".005"}


def conv(filters, stride=1, size=3, **options):
    return ("convolutional", {"batch_normalize": 1, "filters": filters, "size": size,
                              "stride": stride, "pad": 1, "activation": "leaky", **options})


def head(kind, anchors, classes=len(NAMES), **options):
    """The [yolo] or [region] with these anchors, and the convolution before it."""
    mask = options.get("mask", anchors)
    filters = (len(mask.split(",")) // (1 if "mask" in options else 2)) * (5 + classes)
    own = {"ignore_thresh": ".6", "truth_thresh": 1} if kind == "yolo" else \
        {"bias_match": 1, "coords": 4, "softmax": 1, "rescore": 1, "object_scale": 5,
         "noobject_scale": 1, "class_scale": 1, "coord_scale": 1, "absolute": 1, "thresh": ".6"}
    return [conv(filters, size=1, batch_normalize=None, activation="linear"),
            (kind, {"anchors": anchors, "classes": classes, "num": len(anchors.split(",")) // 2,
                    "jitter": ".1", **own, "random": 0, **options})]


BODY = [conv(8, 2), conv(12, 2), conv(16, 2), conv(16)]  # to a stride of 8
YOLO = [*BODY, *head("yolo", "8,8, 14,14")]
DETECTOR_BYTES = 20 + 4 * (4 * 52 + 9 * (3 * 8 + 8 * 12 + 12 * 16 + 16 * 16) + 16 + 16 * 16)
REGION = [*BODY, *head("region", "1,1, 1.75,1.75")]
TEACHER_ANCHORS = "6,6, 8,12, 12,9, 18,18"
YOLO_TEACHER = [
    conv(8, 2), conv(16, 2), conv(24, 2), conv(24), *head("yolo", TEACHER_ANCHORS, mask="2,3"),
    ("route", {"layers": -3}), ("upsample", {"stride": 2}), ("route", {"layers": "-1,1"}),
    *head("yolo", TEACHER_ANCHORS, mask="0,1")]


def detector_cfg(loss=None, layers=None, teacher=None, **net):
    """A student's, with [teacher] and [deepkd_loss]."""
    return student_cfg(loss, teacher, layers or YOLO, **{**DETECTOR, **net})


def plain_detector_cfg(layers=None, **net):
    return cfg(layers or YOLO, **{**DETECTOR, **net})


def teacher_detector_cfg(layers=None, **net):
    return cfg(layers or YOLO_TEACHER, **{**DETECTOR, "width": 48, "height": 48, **net})


def detector_data(**options):
    return "\n".join(lines({
        "classes": len(NAMES), "train": "train.list", "valid": "valid.list", "names": "names.txt",
        "backup": "backup", "log_interval": 1, **options})) + "\n"


def scene(number):
    """Pixels, and boxes (class, left, top, width, height); one scene in four has none."""
    random = np.random.RandomState(number)
    width, height = random.randint(32, 65, 2)
    pixels = random.normal(110, 12, (height, width, 3))
    boxes = []
    for _ in range(number % 4):
        label, w, h = random.randint((3, width // 2 - 8, height // 2 - 8)) + (0, 8, 8)
        x, y = random.randint((width - w + 1, height - h + 1))
        pixels[y:y + h, x:x + w] = random.normal(COLOURS[label], 10, (h, w, 3))
        boxes.append((label, x, y, w, h))
    return np.clip(pixels, 0, 255).astype(np.uint8), boxes


def label_lines(boxes, width, height):
    return "".join(f"{label} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
                   f"{w / width:.6f} {h / height:.6f}\n" for label, x, y, w, h in boxes)


class DetectorFolder(Folder):
    """A run folder whose networks are detectors; val.json has the boxes of valid.list."""

    FILES = ("train.list", "valid.list", "names.txt", "val.json", "teacher.weights")
    FOLDERS = ("images", "labels")
    STUDENT_BYTES = DETECTOR_BYTES

    def write_texts(self):
        self.write("deepkd.data", detector_data())
        self.write("student.cfg", detector_cfg())
        self.write("teacher.cfg", teacher_detector_cfg())

    def fill(self):
        self.fill_scenes()
        self.train_teacher()

    def fill_scenes(self):
        self.write("names.txt", "\n".join(NAMES) + "\n")
        truth = {"images": [], "annotations": [],
                 "categories": [{"id": i, "name": name} for i, name in zip(CATEGORIES, NAMES)]}
        for split, (list_name, first, count) in SCENES.items():
            os.makedirs(self.at(f"images/{split}"))
            os.makedirs(self.at(f"labels/{split}"))
            stems = [f"{split}/{number:012d}" for number in range(first, first + count)]
            self.write(list_name, "".join(f"images/{stem}.png\n" for stem in stems))
            for number, stem in enumerate(stems, first):
                pixels, boxes = scene(number)
                height, width = pixels.shape[:2]
                Image.fromarray(pixels).save(self.at(f"images/{stem}.png"))
                self.write(f"labels/{stem}.txt", label_lines(boxes, width, height))
                if split == "val":
                    add_truths(truth, number, width, height, boxes)
        self.write("val.json", json.dumps(truth))

    def train_teacher(self, layers=None, **net):
        """By its task alone, as a student of a random one; overwrites both cfg files."""
        net = {"width": 48, "height": 48, "max_batches": 400, **net}
        self.write("teacher.cfg", teacher_detector_cfg(layers, **net))
        self.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)
        self.write("student.cfg", detector_cfg({"teacher_weight": 0, "trainer": "sgd"},
                                               layers or YOLO_TEACHER, **net))
        self.distill().check(0)
        self.take_final("teacher.weights")

    def own(self, name):
        """Makes a linked folder one of the test's own, to change files in."""
        source = os.path.realpath(self.at(name))
        self.remove(name)
        shutil.copytree(source, self.at(name))


def add_truths(truth, number, width, height, boxes):
    truth["images"].append({"id": number, "width": width, "height": height,
                            "file_name": f"{number:012d}.png"})
    for label, *box in boxes:
        box = [int(value) for value in box]
        truth["annotations"].append({
            "id": len(truth["annotations"]) + 1, "image_id": number, "iscrowd": 0,
            "category_id": CATEGORIES[label], "bbox": box, "area": box[2] * box[3]})


# Bad input

# What Darknet prints on stderr, whatever happens.
DARKNETS_OWN = re.compile(
    r"layer +filters +size| *\d+ $|"
    r"( *\d+ )?(conv|dropout|avg|res|connected|softmax|Local|teacher|deepkd|route|upsample|yolo|"
    r"detection|max|reorg|cost|shuffle|Batch Norm)|"
    r"( *\d+ )?Couldn't find (activation function|policy) |"
    r"( *\d+ )?\w+: Using default '|Unused field: '|Loading weights from|Saving weights to")


def case(name, *words, flags="", edit=None, late=False, args=None, notes=(), **files):
    """Adds a test: the run ends with status 1 and one line on stderr that has the words.

    `files`: student, teacher, data (their texts), others by name, _ for a dot; None removes one.
    `edit` changes the folder itself; `args` replaces the whole command line; `late` allows the
    files of a run that has begun; `notes` are lines of ours that come before."""
    def run_case(folder):
        for key, content in files.items():
            file = {"student": "student.cfg", "teacher": "teacher.cfg",
                    "data": "deepkd.data"}.get(key, key.replace("_", "."))
            if content is None:
                folder.remove(file)
            else:
                folder.write(file, content)
        if edit:
            edit(folder)
        before = try_snapshot(folder)
        result = folder.darknet(*args.split()) if args is not None else \
            folder.distill(*flags.split())
        check_error(result.check(1), words, notes)
        if late:
            check_files(folder)
        else:
            assert try_snapshot(folder) == before, f"backup/ now has {folder.names()}"
    test(run_case, name)


def try_snapshot(folder):
    try:
        return folder.snapshot()
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_error(result, words, notes=()):
    *others, last = result.err.rstrip("\n").split("\n")
    others = [line for line in others if not DARKNETS_OWN.match(line)]
    assert others == list(notes), f"other lines, {others!r}: {result.describe()}"
    assert result.err.endswith("\n"), f"no line end: {result.err!r}"
    assert last.isprintable(), f"control characters: {last!r}"
    for word in words:
        assert word in last, f"no {word!r}: {result.describe()}"


def check_packages(done):
    """Skips the test if the script's subprocess ended for want of a package."""
    if done.returncode:
        for words, package in (("No module named 'matplotlib'", "python3-matplotlib"),
                               ("dataset-fashion-mnist", "dataset-fashion-mnist")):
            if words in done.stderr:
                raise missing(package)


def check_ran(done):
    """A script's subprocess that went well; its stdout."""
    check_packages(done)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout


def check_refused(done, *words):
    """A script's subprocess that said one line on stderr with these words, and exited with 1."""
    if "dataset-fashion-mnist" not in words:
        check_packages(done)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    assert done.stderr.count("\n") == 1, f"not one line: {done.stderr}"
    for word in words:
        assert word in done.stderr, f"no {word!r} in: {done.stderr}"


def check_files(folder):
    for name, content in folder.snapshot().items():
        assert not name.endswith(".tmp"), name
        if name.endswith(".weights"):
            check_weights(content, folder.STUDENT_BYTES)


# TAP

TESTS = []


def test(function, name=None):
    """Adds a test; usable as a decorator."""
    TESTS.append((function, name or function.__doc__))
    return function


def print_failure(number, name, error):
    """The TAP line, and why on stderr, which prove shows, as it would not a line of stdout."""
    print(f"not ok {number} - {name}", flush=True)
    reason = f"{os.path.basename(sys.argv[0])}: not ok {number} - {name}\n" \
             f"{type(error).__name__}: {error}"
    print("# " + reason.replace("\n", "\n# "), file=sys.stderr, flush=True)


def run(number, function, name, tmp, kind):
    """One test, in a folder of its own, and its TAP line; true unless it failed."""
    path = os.path.join(tmp, str(number))
    try:
        function(kind(path, os.path.join(tmp, "fixture")))
    except Skip as reason:
        print(f"ok {number} - {name} # SKIP {reason}", flush=True)
    except Exception as error:  # one broken test must not hide the others
        print_failure(number, name, error)
        return False
    else:
        print(f"ok {number} - {name}", flush=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    return True


def main(kind=Folder):
    chosen = [int(word) for word in sys.argv[1:]]  # numbers of tests, to look at some alone
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup, for the runs that get one
    tmp = tempfile.mkdtemp(prefix="deepkd.")
    try:
        print(f"1..{len(TESTS)}", flush=True)
        kind(os.path.join(tmp, "fixture")).fill()
        results = [run(i, function, name, tmp, kind) for i, (function, name) in enumerate(TESTS, 1)
                   if not chosen or i in chosen]
        sys.exit(not all(results))
    finally:
        shutil.rmtree(tmp)
