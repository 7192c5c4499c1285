#!/usr/bin/python3 -B
"""A short run in which one thing after the other fails, in TAP.

Proves: a request for memory that is refused, and a system call that writes or opens files that
fails, whichever of them it is, ends a run with one line and exit status 1; what is in backup/ then
is whole, and the run goes on from it, or begins anew, to the same weights.

Some of them, spread over the run, are tried; FAULTS=all tests/cli/faults.t tries each.
"""
import os
import shutil
import subprocess

import tap
from tap import DARKNET, PATIENCE, ROOT, Skip, check_error, check_sane, data_file, student_cfg, test

ALL = os.environ.get("FAULTS") == "all"
SOURCE = os.path.join(ROOT, "tests", "lib", "failing_malloc.c")
STATE = "backup/student.state"
FINAL = "backup/student_final.weights"


def has_sanitizers():
    return b"libasan" in subprocess.run(["ldd", DARKNET], capture_output=True, check=True).stdout


def set_up(folder):
    """A run of three batches that saves at each; returns the weights it ends with."""
    folder.write("student.cfg", student_cfg({"method": "dkd"}, max_batches=3))
    folder.write("deepkd.data", data_file(save_interval=1, eval_interval=2))
    folder.distill().check(0)
    final = folder.read(FINAL)
    empty(folder)
    return final


def empty(folder):
    for name in folder.names():
        folder.remove(f"backup/{name}")


def check_goes_on(folder, what, final):
    """What a failure left is whole, and goes on to the same weights."""
    for name in folder.names():
        if name.endswith(".weights"):
            tap.check_weights(folder.read(f"backup/{name}"))
    flags = ["-resume"] if "student.state" in folder.names() else []
    folder.distill(*flags).check(0)
    assert folder.read(FINAL) == final, f"{what}: other weights"
    # a loader that fails while a file is being opened may leave it, until the next one is written
    left = [name for name in folder.names() if name.endswith((".tmp", ".lock"))]
    assert not left, f"{what}: left over: {left}"
    empty(folder)


def some_of(count, most):
    """Numbers from 1 to count, `most` of them unless all are asked for"""
    step = 1 if ALL else max(1, count // most)
    return range(1, count + 1, step)


@test
def memory(folder):
    """each request for memory is refused in turn: one line, exit 1, files to go on from"""
    if has_sanitizers():
        raise Skip("the sanitizers have a malloc of their own")
    final = set_up(folder)
    library = folder.at("failing.so")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    env = {**tap.ENVIRONMENT, "LD_PRELOAD": library}
    folder.distill(env={**env, "FAIL_COUNT": folder.at("count")}).check(0)
    count = int(folder.read("count"))
    assert count > 500, f"{count} requests: is the count right?"
    empty(folder)
    tried, unneeded = some_of(count, 40), 0
    for number in tried:
        result = folder.distill(env={**env, "FAIL_AT": str(number)})
        if result.status == 0:  # it was for an image behind the last batch, or did not come
            assert folder.read(FINAL) == final, f"request {number} of {count}: other weights"
            unneeded += 1
            empty(folder)
            continue
        check_error(result.check(1), ["emory"])
        check_goes_on(folder, f"request {number} of {count}", final)
    assert unneeded <= len(tried) // 5, f"{unneeded} of {len(tried)} were refused without a word"


def traced(folder, call, error, number):
    """The run with the call's number-th use failing, and whether it did"""
    words = ["strace", "-f", "-qq", "-o", folder.at("trace"), "-e", f"trace={call}",
             "-e", f"inject={call}:error={error}:when={number}", DARKNET,
             *folder.distill_words("-clear", threads="1")]
    done = subprocess.run(words, cwd=folder.path, env=tap.ENVIRONMENT, capture_output=True,
                          check=False, timeout=PATIENCE)
    lines = [line for line in folder.read("trace").decode("utf-8", "replace").split("\n")
             if "(INJECTED)" in line]
    return check_sane(tap.Result(words, done.returncode, done.stdout, done.stderr)), lines


def failing(call, error, most):
    """A test: the call fails at its first, second, ... use in a thread"""
    def run(folder):
        if not shutil.which("strace"):
            raise tap.missing("strace")
        if has_sanitizers():
            raise Skip("the sanitizers make calls of their own")
        final = set_up(folder)
        _, lines = traced(folder, call, error, 1)
        if not lines:
            raise Skip("this strace makes no call fail")
        empty(folder)
        number, tried = 1, 0
        while lines:
            result, lines = traced(folder, call, error, number)
            what = f"{call} {number}: {lines}"
            if any(f"{call}(2," in line for line in lines):
                assert result.status in (0, 1), f"{what}: {result.describe()}"
            elif result.status not in (0, 127):  # 127: the program could not be loaded
                assert result.status == 1, f"{what}: {result.describe()}"
                check_error(result, [])
            if result.status == 0:
                assert folder.read(FINAL) == final, f"{what}: other weights"
                empty(folder)
            else:
                tried += 1
                check_goes_on(folder, what, final)
            number += 1 if ALL else most
        assert tried, "nothing failed"
    test(run, f"{call} fails with {error}, at one use after the other: one line, exit 1")


failing("write", "ENOSPC", 3)
failing("fsync", "EIO", 1)
failing("rename", "EACCES", 1)
failing("openat", "EMFILE", 5)
tap.main()
