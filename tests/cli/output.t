#!/usr/bin/python3 -B
"""What a run writes, and the run as a process, in TAP.

Proves: no link, pipe or file of somebody else's is written to, and what a killed
run left goes; closed, full and broken standard streams; names with dots; that
two runs don't write the same files; which signals end a run; a clock that jumps;
a backup folder that goes away, too few file handles and too little memory. Each failure is one
line and exit status 1, and what was saved before is whole.
"""
import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import time

import tap
from tap import DARKNET, Skip, check_error, data_file, student_cfg, test, without_time

BATCHES = 20
STATE = "backup/student.state"
WRITTEN = ("student_last.weights", "student_best.weights", "student_final.weights",
           "student.state", "student_previous.state", "student.csv", "student.cfg")


def set_up(folder, batches=BATCHES, **data):
    folder.write("student.cfg", student_cfg(max_batches=batches))
    folder.write("deepkd.data", data_file(**{"eval_interval": 7, "save_interval": 5, **data}))


def outcome(folder):
    """What a whole run has written."""
    names = [name for name in WRITTEN if name != "student.csv"]
    return {name: folder.read(f"backup/{name}") for name in names}, without_time(folder.rows())


def uninterrupted(folder):
    """The outcome of a run; backup/ is empty afterwards."""
    folder.distill().check(0)
    assert set(folder.names()) == set(WRITTEN), folder.names()
    found = outcome(folder)
    for name in folder.names():
        folder.remove(f"backup/{name}")
    return found


def in_child(function):
    """preexec_fn that runs in the folder, with the process number that darknet will have"""
    return {"preexec_fn": function}


# Temporary files

def temporary(name, number):
    return f"backup/{name}.{number}.tmp"


def in_the_way(make):
    """What make(path) puts where the temporary files would be stays; the run goes round it."""
    def run(folder):
        set_up(folder)
        expected = uninterrupted(folder)
        folder.write("precious", "text")

        def put():
            for name in WRITTEN:
                make(folder.at(temporary(name, os.getpid())))
        folder.distill(**in_child(put)).check(0)
        assert outcome(folder) == expected, "another outcome"
        assert folder.read("precious") == b"text", "a link was written through"
        left = [name for name in folder.names() if name.endswith(".tmp")]
        assert len(left) == len(WRITTEN), left
    return run


test(in_the_way(lambda path: os.symlink("../precious", path)),
     "a symbolic link with the temporary file's name is not written through")
test(in_the_way(os.mkfifo), "a pipe with the temporary file's name is not waited for")


@test
def links_to_targets(folder):
    """a link that the user made stays: the file that it leads to is replaced, its mode kept"""
    set_up(folder)
    os.mkdir(folder.at("disk"))
    folder.write("disk/last.weights", "old")
    os.chmod(folder.at("disk/last.weights"), 0o640)
    os.symlink("../disk/last.weights", folder.at("backup/student_last.weights"))
    folder.distill().check(0)
    assert os.path.islink(folder.at("backup/student_last.weights")), "the link is gone"
    assert folder.read("disk/last.weights") == folder.read("backup/student_final.weights")
    assert os.stat(folder.at("disk/last.weights")).st_mode & 0o777 == 0o640


@test
def links_to_descriptors(folder):
    """/dev/stdout and links like it are written to, not replaced, whatever they lead to"""
    set_up(folder)
    os.symlink("/proc/self/fd/1", folder.at("link"))
    for name in ("link", "/dev/stdout", "/dev/fd/1"):
        with open(folder.at("out.weights"), "wb") as out:
            subprocess.run([DARKNET, "partial", "teacher.cfg", "teacher.weights", name, "1"],
                           cwd=folder.path, stdout=out, stderr=subprocess.DEVNULL, check=True)
        numbers = folder.read("out.weights")[20:]  # behind the head, which has the images seen
        assert numbers and numbers in folder.read("teacher.weights"), (name, len(numbers))
    assert os.readlink(folder.at("link")) == "/proc/self/fd/1", "the link is another"


@test
def nowhere_to_write(folder):
    """commands that write without a name to write to have a usage, not a crash"""
    set_up(folder)
    for words in (["rescale", "teacher.cfg", "teacher.weights"], ["partial", "teacher.cfg"],
                  ["mkimg", "teacher.cfg"], ["print"], ["-nogpu"], ["ops"]):
        result = folder.darknet(*words).check(1)
        assert result.err.startswith("usage: ") and result.err.count("\n") == 1, result.err


@test
def cleared(folder):
    """with -clear, the state before the newest is never that of the run that was cleared"""
    set_up(folder, save_interval=5)
    folder.distill().check(0)
    folder.write("deepkd.data", data_file(eval_interval=100, save_interval=100))
    folder.distill_until(lambda line: line.startswith("3, ") or " images/s" in line,
                         signal.SIGTERM, "-clear").check(143)
    assert "student_previous.state" not in folder.names(), folder.names()


@test
def leftovers(folder):
    """what a killed run left goes; what a living one writes, and other files, stay"""
    set_up(folder)
    for name in set(WRITTEN) - {"student_previous.state"}:  # that is another name of the state
        folder.write(temporary(name, 4711), "half")
    kept = ["backup/student.state.tmp", "backup/student.state.1a.tmp", "backup/notes.12.tmp",
            temporary("student.state", 4712)]
    for name in kept:
        folder.write(name, "mine")
    with open(folder.at(kept[-1]), "rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        folder.distill().check(0)
    assert sorted(folder.names()) == sorted([*WRITTEN, *map(os.path.basename, kept)]), \
        folder.names()


@test
def pipes_for_files(folder):
    """pipes where a run's files should be are one line each, not a wait"""
    set_up(folder)
    for name in ("student.state", "student_last.weights", "student.csv"):
        os.mkfifo(folder.at(f"backup/{name}"))
        result = folder.distill().check(1)
        check_error(result, [f"backup/{name}"])
        for left in folder.names():
            folder.remove(f"backup/{left}")


# Standard streams

@test
def closed_streams(folder):
    """closed standard streams: nothing of what is said lands in a file"""
    set_up(folder)
    expected = uninterrupted(folder)
    for closed in ((1,), (2,), (0, 1, 2)):
        def close(closed=closed):
            for number in closed:
                os.close(number)
        folder.distill("-clear", **in_child(close)).check(0)
        assert outcome(folder) == expected, f"{closed} closed"


def onto_a_full_disk():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


@test
def full_stdout(folder):
    """standard output on a full disk: saved, one line, exit 1; -resume goes on"""
    set_up(folder)
    expected = uninterrupted(folder)
    result = folder.distill(**in_child(onto_a_full_disk)).check(1)
    check_error(result, ["standard output cannot be written", "-resume goes on from " + STATE])
    folder.distill("-resume").check(0)
    files, rows = outcome(folder)
    del files["student_previous.state"], expected[0]["student_previous.state"]
    assert (files, rows) == expected, "another outcome"


@test
def full_stdout_elsewhere(folder):
    """standard output on a full disk: exit 1 of stock commands and of the tool box"""
    for words in ("classifier predict deepkd.data teacher.cfg teacher.weights "
                  "images/valid/class-a-0.png", "deepkd version", "deepkd export student.cfg",
                  "distill --help", "ops teacher.cfg"):
        result = folder.darknet(*words.split(), **in_child(onto_a_full_disk))
        assert result.status == 1 and "standard output" in result.err, (words, result.err)


def run_into(folder, lines, *flags, **options):
    """Distils, and closes the pipe after so many lines; the exit status."""
    with subprocess.Popen(**folder.command(*folder.distill_words(*flags)), **options,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        return process.wait(tap.PATIENCE)


@test
def broken_pipe(folder):
    """output into a pipe that is closed: saved, exit 141, as a signal; -resume goes on"""
    set_up(folder, 200)
    expected = uninterrupted(folder)
    assert run_into(folder, 14) == 128 + signal.SIGPIPE
    assert "student_final.weights" not in folder.names(), "it went on to its end"
    folder.distill("-resume").check(0)
    assert outcome(folder)[1] == expected[1], "other rows"


# Names

@test
def dots(folder):
    """s.v1.cfg and s.v2.cfg share no outputs; a name with one dot is what it was"""
    set_up(folder)
    folder.distill().check(0)
    names = set(folder.names())
    assert names == set(WRITTEN), names
    for name in ("s.v1", "s.v2"):
        folder.write(f"{name}.cfg", folder.read("student.cfg"))
        folder.darknet("distill", "deepkd.data", f"{name}.cfg", "teacher.weights").check(0)
        names |= {own.replace("student", name) for own in WRITTEN}
        assert set(folder.names()) == names, folder.names()


@test
def stock_dots(folder):
    """nor do they in `classifier train`"""
    for name in ("s.v1", "s.v2"):
        folder.write(f"{name}.cfg", folder.read("teacher.cfg"))
        folder.darknet("classifier", "train", "deepkd.data", f"{name}.cfg").check(0)
    assert {"s.v1.weights", "s.v2.weights"} <= set(folder.names()), folder.names()


# Two runs

def start(folder, *flags):
    """A run that has begun to train"""
    with open(folder.at("stderr.txt"), "wb") as err:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            **folder.command(*folder.distill_words(*flags)), stdout=subprocess.PIPE, stderr=err)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    for line in process.stdout:
        if b" images/s" in line:
            return process
    raise AssertionError("it did not begin to train")


def end(process, number):
    process.send_signal(number)
    process.stdout.read()
    process.stdout.close()
    return process.wait(tap.PATIENCE)


@test
def second_run(folder):
    """two runs of one name in one folder: the second is refused while the first one lives"""
    set_up(folder, 1000)
    folder.write("other.cfg", student_cfg(max_batches=2))
    first = start(folder)
    try:
        for flags in ((), ("-clear",), ("-resume",)):
            check_error(folder.distill(*flags).check(1),
                        ["backup/student.lock", f"process {first.pid} ", "expected another"])
        folder.darknet("distill", "deepkd.data", "other.cfg", "teacher.weights").check(0)
    finally:
        status = end(first, signal.SIGKILL)
    assert status == -signal.SIGKILL, "the first run ended by itself"
    assert "student.lock" in folder.names(), "expected what a kill leaves"
    set_up(folder)
    folder.distill("-clear").check(0)
    assert "student.lock" not in folder.names(), folder.names()


# Signals

@test
def hangup(folder):
    """SIGHUP, twice: saved, exit 129"""
    set_up(folder, 1000)
    run = start(folder)
    run.send_signal(signal.SIGHUP)
    status = end(run, signal.SIGHUP)
    assert status == 128 + signal.SIGHUP, f"{status}: {folder.read('stderr.txt')[-300:]}"
    tap.check_weights(folder.read("backup/student_last.weights"))
    assert "student_final.weights" not in folder.names(), "it went on to its end"


@test
def nohup(folder):
    """SIGHUP where it was ignored, as by nohup: the run goes on to its end"""
    set_up(folder, 200)
    result = folder.distill_until(lambda line: " images/s" in line, signal.SIGHUP,
                                  **in_child(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)))
    result.check(0)
    assert "last: " in result.out, result.out


# The clock

def has_sanitizers():
    return b"libasan" in subprocess.run(["ldd", DARKNET], capture_output=True, check=True).stdout


JUMP = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* each look at the time of day is a year later, or one before, than the last one */
static long jump(void) { static int n; return ++n % 3 ? n * 31536000L : -n * 31536000L; }
int gettimeofday(struct timeval *t, void *zone)
{
    int status = syscall(SYS_gettimeofday, t, zone);
    t->tv_sec += jump();
    return status;
}
time_t time(time_t *t) { time_t now = 1700000000 + jump(); return t ? *t = now : now; }
int clock_gettime(clockid_t clock, struct timespec *t)
{
    int status = syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME) t->tv_sec += jump();
    return status;
}
"""


@test
def clock(folder):
    """a clock that is set again and again: speeds and the time left are none of its business"""
    if has_sanitizers():
        raise Skip("the sanitizers want to be loaded first")
    set_up(folder)
    folder.write("jump.c", JUMP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder.at("jump.so"), folder.at("jump.c")],
                   check=True)
    result = folder.distill(env={**tap.ENVIRONMENT, "LD_PRELOAD": folder.at("jump.so")}).check(0)
    found = re.findall(r" ([-.\d]+) seconds, .* ([-\d]+) images/s, (\w+) left", result.out)
    assert len(found) == BATCHES, result.out
    for seconds, speed, left in found:
        assert 0 < float(seconds) < 60 and int(speed) > 0 and "h" not in left, (seconds, speed, left)


# What a run needs of the system

def check_saved(folder):
    """What is there after a failure is whole: weights, and a state to go on from."""
    assert not [name for name in folder.names() if name.endswith((".tmp", ".lock"))], folder.names()
    for name in folder.names():
        if name.endswith(".weights"):
            tap.check_weights(folder.read(f"backup/{name}"))


@test
def folder_removed(folder):
    """the backup folder is removed in mid-run: one line, exit 1"""
    set_up(folder, 1000)
    run = start(folder)
    while os.path.exists(folder.at("backup")):  # the run writes, and renames, meanwhile
        shutil.rmtree(folder.at("backup"), ignore_errors=True)
    run.stdout.read()
    run.stdout.close()
    assert run.wait(tap.PATIENCE) == 1


@test
def few_handles(folder):
    """too few file handles: one line, exit 1, whatever their number"""
    set_up(folder)
    statuses = []
    for most in range(3, 40):  # with the first few, the program is not even loaded
        result = folder.distill("-clear", **in_child(
            lambda most=most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))))
        statuses.append(result.status)
        if result.status not in (0, 127):
            check_error(result.check(1), [])
            check_saved(folder)
    assert 1 in statuses and statuses[-1] == 0, statuses
    outcome(folder)


def comes_to_main(limit):
    """OpenBLAS 0.3.29 (Debian 13) waits for ever for memory when it is loaded."""
    try:
        subprocess.run([DARKNET], capture_output=True, check=False, timeout=10, **in_child(limit))
    except subprocess.TimeoutExpired:
        return False
    return True


@test
def memory_limits(folder):
    """a limit of memory (ulimit -v), from too little to enough: one line, exit 1; no crash, no hang"""
    if has_sanitizers():
        raise Skip("the sanitizers need more memory than any limit")
    set_up(folder)
    ends = set()
    for megabytes in (*range(100, 900, 75), 4000):
        def limit(most=megabytes << 20):
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if not comes_to_main(limit):
            continue
        result = folder.distill("-clear", **in_child(limit))
        if re.search("OpenBLAS blas_thread_init|error while loading shared", result.err):
            continue  # it did not come to main()
        assert result.status in (0, 1), f"{megabytes} MiB: {result.describe()}"
        line = result.err.rstrip("\n").split("\n")[-1]
        assert not result.status or "emory" in line or "hread" in line, f"{megabytes} MiB: {line}"
        check_saved(folder)
        ends.add(result.status)
    assert ends == {0, 1}, ends


tap.main()
