#!/usr/bin/python3 -B
"""kill -9, in TAP.

Proves: a run that is killed at random moments, while it starts, trains, evaluates or saves, and
gone on with each time, ends with the same bits as one that was not; whatever is in backup/ after a
kill is whole, and what the kill left half written is gone at the end.

KILLS=1000 tests/cli/kill.t kills so often; run after run, each with a seed of its own.
"""
import os
import random
import signal
import subprocess
import time

import tap
from tap import data_file, student_cfg, test, without_time

KILLS = int(os.environ.get("KILLS", "12"))
WEIGHTS = ("student_best.weights", "student_final.weights", "student_last.weights")
SCHEDULE = {"max_batches": 120, "policy": "poly", "power": 2, "burn_in": 4}


def outcome(folder):
    files = folder.snapshot()
    return {name: files[name] for name in (*WEIGHTS, "student.state")}, without_time(folder.rows())


def empty(folder):
    for name in folder.names():
        folder.remove(f"backup/{name}")


def kill_once(folder, moment, seed, *flags):
    """Distils, and kills after so many seconds; true when it was still there."""
    words = folder.distill_words(*flags, seed=seed)
    with subprocess.Popen(**folder.command(*words), stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        try:
            err = process.communicate(timeout=moment)[1].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            err = process.communicate()[1].decode()
    assert process.returncode in (0, -signal.SIGKILL), f"exit {process.returncode}: {err}"
    return process.returncode != 0


def check_whole(folder):
    """What a kill left, but for temporary files"""
    for name in set(folder.names()) & set(WEIGHTS):
        tap.check_weights(folder.read(f"backup/{name}"))


def kill_run(folder, seed, moments, most):
    """One run to its end, killed up to `most` times on the way; how often, and where it came to."""
    began = time.monotonic()
    folder.distill(seed=seed).check(0)
    seconds = time.monotonic() - began
    expected = outcome(folder)
    empty(folder)
    kills, flags = 0, ()
    while kills < most and kill_once(folder, moments.uniform(0, seconds), seed, *flags):
        kills += 1
        check_whole(folder)
        if "student.state" in folder.names():
            flags = ("-resume",)
    folder.distill(*flags, seed=seed).check(0)
    found = outcome(folder)
    for name, content in found[0].items():
        assert content == expected[0][name], f"seed {seed}, after {kills} kills: {name} differs"
    assert found[1] == expected[1], f"seed {seed}, after {kills} kills: the rows differ"
    left = [name for name in folder.names() if name.endswith((".tmp", ".lock"))]
    assert not left, f"seed {seed}: left over: {left}"
    empty(folder)
    return kills


def kill(folder):
    folder.write("student.cfg", student_cfg({"method": "dkd"}, **SCHEDULE))
    folder.write("deepkd.data", data_file(save_interval=1, eval_interval=2))
    moments, kills, seed = random.Random(1), 0, 0
    while kills < KILLS:
        seed += 1
        kills += kill_run(folder, str(seed), moments, KILLS - kills)


test(kill, f"kill -9, {KILLS} times: whole files each time, and the same bits at the end")
tap.main()
