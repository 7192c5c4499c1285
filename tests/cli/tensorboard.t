#!/usr/bin/python3 -B
"""Tests of scripts/to_tensorboard.py, in TAP.

Proves: TensorBoard's own reader finds every number of the CSV files of a real run, losses, scores,
signal and noise, at its batch; runs of one name get folders of their own; --follow takes rows as
they come, only whole ones, and ends with the run; wrong input is one line.
"""
import os
import subprocess
import sys
import time

import tap
from tap import PYTHON, ROOT, check_refused, test

SCRIPT = os.path.join(ROOT, "scripts", "to_tensorboard.py")
HEADER = "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,valid_loss," \
    "valid_top1,valid_top5\n"
ROW = "10,.1,640,1.5,1,1,0,0,9,.01,900,,,\n"

sys.path.append(os.path.join(ROOT, "build", "python"))
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    EventAccumulator = None


def need():
    if not EventAccumulator:
        raise tap.missing("tensorboard (scripts/deps.sh install tensorboard)")


def command(*words):
    return [PYTHON, "-B", SCRIPT, *words]


def convert(*words):
    return subprocess.run(command(*words), check=False, capture_output=True, text=True)


def events(folder, name):
    """{tag: {step: value}}"""
    found = EventAccumulator(folder.at(name), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: {event.step: event.value for event in found.Scalars(tag)}
            for tag in found.Tags()["scalars"]}


def expect(rows, tag_of, skipped):
    """The same of a CSV file's rows."""
    found = {}
    for row in rows:
        for key, text in row.items():
            if text and key not in skipped:
                found.setdefault(tag_of(row, key), {})[int(row["batch"])] = float(text)
    return found


def check_events(found, expected):
    assert sorted(found) == sorted(expected), set(found) ^ set(expected)
    for tag, values in expected.items():
        assert list(found[tag]) == sorted(values), (tag, found[tag], values)
        for step, value in values.items():
            assert abs(found[tag][step] - value) <= 1e-6 * abs(value), (tag, step)


def plain_tag(_, key):
    return "valid/" + key[6:] if key.startswith("valid_") else "train/" + key


@test
def real_run(folder):
    """every number of a run with gsnr_interval= and gsnr_layers=1 is there"""
    need()
    folder.write("student.cfg", tap.student_cfg({"gsnr_interval": 2, "gsnr_layers": 1}))
    folder.distill().check(0)
    done = convert(folder.at("backup"), "-o", folder.at("events"))
    assert done.returncode == 0, done.stderr
    expected = expect(folder.rows(), plain_tag, ["batch"])
    expected.update(expect(
        folder.rows("backup/student_gsnr.csv"), lambda row, key: f"{key}/{row['component']}" + (
            "" if row["layer"] == "-1" else f"/layer {row['layer']}"),
        ["batch", "layer", "component"]))
    assert len(expected) > 30 and "valid/top1" in expected and "gsnr/tog/layer 0" in expected
    check_events(events(folder, "events/student"), expected)


@test
def names(folder):
    """runs of one name are apart; what is there already is not added to"""
    need()
    for seed in "12":
        os.makedirs(folder.at(f"runs/kd-{seed}/backup"))
        folder.write(f"runs/kd-{seed}/backup/kd.csv", HEADER + ROW)
    words = folder.at("runs"), "-o", folder.at("events")
    assert convert(*words).returncode == 0
    for seed in "12":
        assert events(folder, f"events/kd-{seed}/kd")["train/loss"] == {10: 1.5}
    check_refused(convert(*words), "kd-1/kd: found event files", "another -o")


@test
def follow(folder):
    """--follow: rows as they come, a half one when it is whole, until the run has ended"""
    need()
    folder.write("kd.csv", HEADER + ROW + "20,.2,12")
    folder.write("kd.lock", "")
    with subprocess.Popen(command(folder.at("kd.csv"), "-o", folder.at("events"), "--follow"),
                          stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + tap.PATIENCE
        while time.monotonic() < until and not (os.path.isdir(folder.at("events/kd")) and events(
                folder, "events/kd").get("train/loss")):
            time.sleep(.2)
        assert events(folder, "events/kd")["train/loss"] == {10: 1.5}
        with open(folder.at("kd.csv"), "a", encoding="ascii") as file:
            file.write("80,2.5,1,1,0,0,9,.01,900,,,\n20,.2,1280,,,,,,,,,.5,.625,.9\n")
        folder.write("kd_gsnr.csv", "batch,layer,component,gsnr\n20,-1,tog,1.25\n")
        folder.remove("kd.lock")
        said = process.communicate(timeout=tap.PATIENCE)[0]
    assert process.returncode == 0 and "1 runs, 4 rows" in said, said
    found = events(folder, "events/kd")
    assert found["train/loss"] == {10: 1.5, 20: 2.5} and found["valid/top1"] == {20: .625}, found
    assert found["gsnr/tog"] == {20: 1.25}, found


@test
def refused(folder):
    """what is no run, or not whole"""
    need()
    os.makedirs(folder.at("empty"))
    check_refused(convert(folder.at("empty"), "-o", folder.at("out")), "found no CSV file")
    for text, *words in ((HEADER + "10,.1,64", "line 2", "no end of the line"),
                         ("a,b\n1,2\n", "no column batch"),
                         (HEADER + "10,.1,64\n", "line 2: found 3 columns", "expected 14"),
                         (HEADER + ROW.replace("1.5", "x"), "line 2", "'x', expected a number")):
        folder.write("kd.csv", text)
        check_refused(convert(folder.at("kd.csv"), "-o", folder.at("out")), "kd.csv", *words)
        assert not os.path.exists(folder.at("out"))


if __name__ == "__main__":
    tap.main()
