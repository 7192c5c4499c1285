#!/usr/bin/python3 -B
"""Darknet's own commands under the patches, in TAP.

Proves: what failed with status 0, with a crash, or not at all, now fails with
status 1 and one line that names it; partial weights still load; every cfg that
Darknet ships, and each of ours, still parses. What the commands compute is not
looked at here: clients.t compares it with Debian's Darknet.
"""
import glob
import os
import re
import time

import tap
from tap import (DARKNET, ROOT, STUDENT_BYTES, STUDENT_FLOATS, plain_cfg, test)

BUILD = os.path.dirname(DARKNET)
PICTURE = "images/valid/class-a-0.png"
PREDICT = f"classifier predict deepkd.data plain.cfg plain.weights {PICTURE}"
SECONDS = 15  # for all the cfg files together


def prepare(folder):
    folder.write("plain.cfg", plain_cfg())
    folder.darknet("partial", "plain.cfg", "", "plain.weights", "99").check(0)
    os.symlink(os.path.join(BUILD, "data"), folder.at("data"))  # a detector's letters


def fails(command, *words, edit=None):
    """A test: the command fails with status 1; stderr's last line has the words."""
    def run(folder):
        prepare(folder)
        if edit:
            edit(folder)
        result = folder.darknet(*command.split()).check(1)
        last = result.err.rstrip("\n").split("\n")[-1]
        for word in words:
            assert word in last, f"no {word!r}: {result.describe()}"
        assert "Done" not in last, result.describe()
    changed = f", {edit.__doc__}" if edit else ""
    test(run, f"darknet {command}{changed}: exit 1")


def weights_of(count):
    def edit(folder):
        content = folder.read("plain.weights")
        folder.write("plain.weights", (content + bytes(99))[:count])
    edit.__doc__ = f"with weights of {count} bytes"
    return edit


def picture_of(content):
    def edit(folder):
        folder.remove("images")
        os.makedirs(folder.at("images/valid"))
        folder.write(PICTURE, content)
    edit.__doc__ = f"with a picture of {len(content)} bytes of text"
    return edit


def cfg_with(section):
    def edit(folder):
        folder.write("plain.cfg", plain_cfg() + section)
    edit.__doc__ = "with " + section.replace("\n", " ").strip()
    return edit


fails("", "usage")
fails("paint", "paint")
for name in ("classifier", "detector"):
    fails(f"{name}", "usage")
    fails(f"{name} paint", "usage")
    fails(f"{name} paint deepkd.data plain.cfg plain.weights", f"{name} paint")
fails(PREDICT.replace("plain.cfg", "none.cfg"), "none.cfg", "No such file")
fails(PREDICT.replace("plain.weights", "none.weights"), "none.weights", "No such file")
fails(PREDICT.replace("deepkd.data", "none.data"), "none.data", "No such file")
fails(PREDICT.replace(PICTURE, "none.png"), "none.png")
fails("classifier predict deepkd.data", "cfg")
fails("classifier valid deepkd.data plain.cfg none.weights", "none.weights", "No such file")
fails("classifier train deepkd.data none.cfg", "none.cfg", "No such file")
fails(f"detector test deepkd.data none.cfg plain.weights {PICTURE}", "none.cfg", "No such file")
fails(f"detector test deepkd.data plain.cfg none.weights {PICTURE}", "none.weights", "No such file")
fails("ops none.cfg", "none.cfg", "No such file")
fails("ops plain.cfg", "plain.cfg", "[attention]", edit=cfg_with("[attention]\n"))
fails("ops plain.cfg", "plain.cfg", "hello", edit=cfg_with("hello\n"))
for bytes_left in (0, 7, 12, 19, 21, 300, STUDENT_BYTES - 1):
    fails(PREDICT, "too short", edit=weights_of(bytes_left))
fails(PREDICT, PICTURE, edit=picture_of(b"hello\n"))
fails("classifier valid deepkd.data plain.cfg plain.weights", "class-a-",
      edit=picture_of(b"hello\n"))


# Flags

for flags, words in (("-thresh abc", ("-thresh abc", "expected a number")),
                     ("-thresh 1x", ("-thresh 1x", "expected a number")),
                     ("-thresh", ("-thresh", "value is missing")),
                     ("-avg 1.5", ("-avg 1.5", "expected a whole number")),
                     ("-speed 3", ("-speed", "unknown flag of darknet detector"))):
    fails(f"detector test deepkd.data plain.cfg plain.weights {PICTURE} {flags}", *words)
    if " " in flags:
        fails(f"detector test {flags} deepkd.data plain.cfg plain.weights {PICTURE}", *words)
fails(f"{PREDICT} -top 3", "-top", "unknown flag of darknet classifier")
fails(f"{PREDICT} -t x", "-t x", "expected a whole number")
fails("detect plain.cfg plain.weights -speed", "-speed", "unknown flag of darknet detect")
for command, flag in (("yolo train plain.cfg", "-speed"), ("ops plain.cfg", "-n"),
                      ("partial plain.cfg a b 1", "-start"), ("nightmare plain.cfg a b 1", "-rounds"),
                      ("rnn train plain.cfg -seed -a -clear", "-fast"),
                      ("segmenter train deepkd.data plain.cfg -c 1 -clear", "-stop"),
                      ("rescale plain.cfg a b", "-weights")):
    fails(f"{command} {flag}", f"{flag}: unknown flag of darknet " + command.split(" ")[0])
fails("detector demo deepkd.data plain.cfg plain.weights", "needs OpenCV")
fails("classifier demo deepkd.data plain.cfg plain.weights", "needs OpenCV")


# Weights and images of another network

for command in ("valid deepkd.data", "train deepkd.data", "predict deepkd.data"):
    fails(f"classifier {command} plain.cfg plain.weights {PICTURE}", "plain.weights: ",
          f"expected {STUDENT_BYTES} for this network", edit=weights_of(STUDENT_BYTES + 40))


def channels_of(count):
    def edit(folder):
        folder.write("plain.cfg", plain_cfg(channels=count))
    edit.__doc__ = f"with channels={count}"
    return edit


for count in (1, 4):
    fails("classifier train deepkd.data plain.cfg", f"[net] channels={count}", "expected",
          edit=channels_of(count))


@test
def long_paths(folder):
    """a backup folder of 3,430 characters: the weights are there; of 5,000: one line"""
    deep = "/".join(["backup"] + 17 * [200 * "d"])
    os.makedirs(folder.at(deep))
    folder.write("plain.cfg", plain_cfg())
    folder.write("deepkd.data", tap.data_file(backup=deep))
    folder.darknet("classifier", "train", "deepkd.data", "plain.cfg").check(0)
    assert "plain.weights" in folder.names(deep)
    folder.write("deepkd.data", tap.data_file(backup=25 * f"{deep[:200]}/"))
    result = folder.darknet("classifier", "train", "deepkd.data", "plain.cfg").check(1)
    assert "name too long" in result.err, result.describe()


@test
def lists_on_stdin(folder):
    """paths on standard input: Windows ends, more than 255 characters, an empty line"""
    prepare(folder)
    far = "/".join(["images"] + 150 * ["."]) + "/valid/class-a-0.png"
    text = f"{PICTURE}\r\n{far}\n"
    words = PREDICT.split()[:-1]
    result = folder.darknet(*words, text=text).check(0)
    assert result.err.count("Predicted in") == 2, result.describe()
    result = folder.darknet(*words, text="\n").check(1)
    assert "No such file" in result.err or "Cannot load image" in result.err, result.describe()


@test
def partial(folder):
    """weights that end with a layer load, are announced, and leave the others as they were"""
    prepare(folder)
    whole = folder.read("plain.weights")
    folder.write("plain.weights", whole[:20 + 4 * STUDENT_FLOATS[0]])
    result = folder.darknet(*PREDICT.split()).check(0)
    assert "partial file, layer 1" in result.err and "%: class-" in result.out, result.err
    folder.darknet("partial", "plain.cfg", "plain.weights", "again.weights", "1").check(0)
    assert folder.read("again.weights")[20:] == folder.read("plain.weights")[20:]


@test
def whole(folder):
    """whole weights load without a word of partial ones"""
    prepare(folder)
    result = folder.darknet(*PREDICT.split()).check(0)
    assert "partial" not in result.err and "%: class-" in result.out, result.err


@test
def all_cfgs(folder):
    """each cfg parses, ours and Darknet's, the small ones first, as many as there is time for"""
    ours = glob.glob(os.path.join(ROOT, "cfg", "*.cfg"))
    shipped = [path for path in glob.glob(os.path.join(BUILD, "cfg", "*.cfg"))
               if not os.path.islink(path)]
    assert ours and shipped, f"{len(ours)} of ours, {len(shipped)} of Darknet's"
    began, parsed = time.monotonic(), 0
    for path in ours + sorted(shipped, key=os.path.getsize):
        if time.monotonic() - began > SECONDS:
            break
        result = folder.darknet("ops", path, cwd=BUILD).check(0)  # some name files in data/
        assert re.search(r"Floating Point Operations: \d+\n", result.out), result.describe()
        assert path in shipped or "Unused field" not in result.err, result.describe()
        parsed += 1
    print(f"# {parsed} of {len(ours) + len(shipped)} in {time.monotonic() - began:.1f} s")


@test
def stock_teachers(folder):
    """Darknet's classifiers pass the strict reading that distill gives a teacher's cfg"""
    for name in ("alexnet", "darknet", "darknet19", "extraction", "resnet18", "tiny"):
        folder.write("student.cfg", tap.student_cfg(
            teacher={"cfg": os.path.join(BUILD, f"cfg/{name}.cfg")}))
        result = folder.darknet("distill", "deepkd.data", "student.cfg", "none.weights").check(1)
        assert result.err.rstrip().endswith("none.weights: No such file or directory"), \
            f"{name}: {result.describe()}"


tap.main()
