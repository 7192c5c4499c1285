#!/usr/bin/python3 -B
"""Stopping and going on, in TAP.

Proves: a run that was stopped by a signal (killed: kill.t) and resumed writes the
same weights, to the byte, and the same rows as one that was not: between
epochs and inside one, with subdivisions, dropout, batch norm and two or three
momentum groups; a state that does not belong to the run, or is damaged, and a disk that
is full cost nothing that was there.
"""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import tap
from tap import Skip, data_file, student_cfg, test, without_time

BATCHES = 60
WEIGHTS = ("student_best.weights", "student_final.weights", "student_last.weights")
SCHEDULE = {"max_batches": BATCHES, "policy": "poly", "power": 2, "burn_in": 4}


def set_up(folder, loss=None, data=None, **net):
    folder.write("student.cfg", student_cfg(loss, **{**SCHEDULE, **net}))
    folder.write("deepkd.data", data_file(**{"eval_interval": 7, "save_interval": 5,
                                             **(data or {})}))


def outcome(folder):
    """What two equal runs have in common."""
    files = folder.snapshot()
    for name in WEIGHTS:
        tap.check_weights(files[name])
    return {name: files.get(name) for name in (*WEIGHTS, "student.state", "student_gsnr.csv")}, \
        without_time(folder.rows())


def uninterrupted(folder, *flags):
    """The outcome of a run to the end; backup/ is empty afterwards."""
    folder.distill(*flags).check(0)
    found = outcome(folder)
    for name in folder.names():
        folder.remove(f"backup/{name}")
    return found


def check_equal(folder, expected):
    files, rows = outcome(folder)
    for name, content in files.items():
        assert content == expected[0][name], f"{name} differs"
    for found, row in zip(rows, expected[1]):
        assert found == row, f"a row differs: {found}, expected {row}"
    assert len(rows) == len(expected[1]), f"{len(rows)} rows, expected {len(expected[1])}"
    assert not [name for name in folder.names() if name.endswith(".tmp")], folder.names()


def stop(folder, batch, number=signal.SIGINT, *flags):
    """Distils until a line of this batch or a later one, then sends the signal; the batch at
    which the run stopped."""
    def reached(line):
        match = re.match(r"(\d+), .* images/s", line)
        return match and int(match[1]) >= batch
    result = folder.distill_until(reached, number, *flags).check(128 + number)
    last = result.out.rstrip("\n").split("\n")[-1]
    assert last.startswith("stopped at batch "), result.out
    assert "-resume" in last and "backup/student.state" in last, last
    assert "student_final.weights" not in folder.names(), "a final file of a stopped run"
    return int(last.split()[3].rstrip(";"))


def stop_and_go_on(folder, loss=None, number=signal.SIGINT, data=None, **net):
    """Two stops, each followed by -resume; the rest of the run, and the comparison."""
    set_up(folder, loss, data, **net)
    expected = uninterrupted(folder)
    first = stop(folder, 9, number)
    second = stop(folder, first + 5, number, "-resume")
    assert 9 <= first < second < BATCHES, f"stopped at {first} and {second}"
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


def add(name, *args, **options):
    test(lambda folder: stop_and_go_on(folder, *args, **options), name)


add("SIGINT inside an epoch, two momentum groups")
add("SIGTERM inside an epoch, three momentum groups", {"method": "dkd"}, signal.SIGTERM)
add("SIGINT with one momentum group, standardized logits",
    {"trainer": "sgd", "logit_standardization": 1})
add("SIGINT with subdivisions=2, warmup", {"trainer": "dot", "warmup": 40}, subdivisions=2)
add("SIGINT with momenta by GSNR, while they warm up", {"momentum_rule": "gsnr", "gsnr_interval": 4})
add("SIGINT without a warm-up of momenta", {"momentum_warmup": 0})
add("SIGINT with a log line every 4 batches, saves every 100", None, signal.SIGINT,
    {"log_interval": 4, "save_interval": 100})


add("MLKD of two views", {"method": "mlkd"}, subdivisions=2)
add("CRLD of two views, warmed up by epochs", {"method": "crld", "warmup": 4, "warmup_shape": "epochs"})


@test
def between_epochs(folder):
    """SIGINT between two epochs, of one batch each"""
    folder.write("train.list", "".join(
        f"{line}\n" for line in folder.read("train.list").decode().split("\n")[:tap.BATCH]))
    stop_and_go_on(folder, data={"eval_interval": None})


@test
def seedless(folder):
    """-resume without -seed goes on with the state's seed, and with other -threads"""
    set_up(folder)
    expected = uninterrupted(folder)
    stop(folder, 9)
    folder.distill("-resume", seed=None, threads="3").check(0)
    check_equal(folder, expected)


@test
def more_batches(folder):
    """-resume of a run that has ended says so again and changes no weights"""
    set_up(folder)
    folder.distill().check(0)
    expected = outcome(folder)
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


def long_evaluation(folder):
    """A validation list that takes a while."""
    folder.write("valid.list", folder.read("valid.list") * 60)
    set_up(folder, data={"eval_interval": 10})


@test
def during_teacher_evaluation(folder):
    """SIGINT while the teacher is evaluated: nothing is trained, -resume goes on"""
    long_evaluation(folder)
    expected = uninterrupted(folder)
    result = folder.distill_until(lambda line: " training images, " in line, signal.SIGINT)
    result.check(130)
    assert "teacher: top-1" not in result.out, "the teacher had been evaluated"
    assert "stopped at batch 0" in result.out, result.out
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


@test
def during_evaluation(folder):
    """SIGINT while the student is evaluated: -resume begins with that evaluation"""
    long_evaluation(folder)
    expected = uninterrupted(folder)
    assert stop(folder, 10) == 10
    assert not [row for row in folder.rows() if row["valid_top1"]], "it had been evaluated"
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


@test
def second_signal(folder):
    """a second SIGINT ends the run at once"""
    long_evaluation(folder)
    folder.write("valid.list", folder.read("valid.list") * 10)
    with subprocess.Popen(**folder.command(*folder.distill_words()), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        for line in process.stdout:
            if line.startswith(b"teacher: top-1"):
                process.send_signal(signal.SIGINT)
                time.sleep(.01)
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
    assert process.returncode in (-signal.SIGINT, 130), process.returncode


@test
def loadable(folder):
    """the files of a stopped run load in Darknet's own commands"""
    set_up(folder)
    stop(folder, 15)
    for name in ("student_last.weights", "student_best.weights"):
        result = folder.darknet("classifier", "predict", "deepkd.data", "student.cfg",
                                f"backup/{name}", "images/valid/class-a-0.png").check(0)
        assert "%: class-" in result.out, result.out


@test
def half_row(folder):
    """-resume drops what is no whole row of the CSV"""
    set_up(folder)
    expected = uninterrupted(folder)
    stop(folder, 15)
    folder.write("backup/student.csv", folder.read("backup/student.csv") + b"1")
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


@test
def no_csv(folder):
    """-resume without the CSV begins a new one"""
    set_up(folder)
    at = stop(folder, 15)
    folder.remove("backup/student.csv")
    folder.distill("-resume").check(0)
    rows = [row for row in folder.rows() if row["loss"]]
    assert [int(row["batch"]) for row in rows] == list(range(at + 1, BATCHES + 1))


# States that do not belong to the run, or are damaged

def refuse(name, *words, seed="7", edit):
    """A test: after `edit`, -resume fails with one line and changes nothing in backup/."""
    def run(folder):
        set_up(folder)
        stop(folder, 9)
        edit(folder)
        before = folder.snapshot()
        result = folder.distill("-resume", seed=seed).check(1)
        last = result.err.rstrip("\n").split("\n")[-1]
        for word in ("backup/student.state", *words):
            assert word in last, f"no {word!r}: {last}"
        assert folder.snapshot() == before, "backup/ changed"
    test(run, f"-resume with {name} is refused, nothing is changed")


STATE = "backup/student.state"


def cut(count):
    return lambda f: f.write(STATE, f.read(STATE)[:count])


refuse("no state", "no such file", edit=lambda f: f.remove(STATE))
refuse("an empty state", "expected a state", edit=cut(0))
refuse("a state of 7 bytes", "expected a state", edit=cut(7))
refuse("a state cut in its head", "expected a state", edit=cut(50))
refuse("a state cut in its numbers", "damaged state", edit=cut(-4))
refuse("a state that is too long", "damaged state",
       edit=lambda f: f.write(STATE, f.read(STATE) + b"more"))
refuse("garbage for a state", "expected a state",
       edit=lambda f: f.write(STATE, random.Random(1).randbytes(len(f.read(STATE)))))
refuse("weights for a state", "expected a state",
       edit=lambda f: f.write(STATE, f.read("backup/student_last.weights")))
refuse("a state of before", "another version", edit=lambda f: f.write(
    STATE, b"DEEPKD03" + f.read(STATE)[8:]))
refuse("max_batches raised", "another student cfg", "[net] max_batches=60", "max_batches=61",
       "-start", edit=lambda f: f.write("student.cfg", f.read("student.cfg").replace(
           b"max_batches=60", b"max_batches=61")))
refuse("another student cfg", "another student cfg", "its end", "[deepkd_loss] alpha=2",
       edit=lambda f: f.write("student.cfg", student_cfg({"alpha": 2}, **SCHEDULE)))
refuse("another student network", "another student cfg", "[convolutional] filters=8",
       "[convolutional] filters=12",
       edit=lambda f: f.write("student.cfg", student_cfg(layers=tap.TEACHER_LAYERS, **SCHEDULE)))
refuse("another teacher", "another teacher's weights", "expected",
       edit=lambda f: f.write("teacher.weights", f.read("teacher.weights")[:-1] + b"\x3e"))
refuse("another seed", "another seed, 7", "expected", seed="8", edit=lambda f: None)
refuse("another list", "another list of training images", "expected",
       edit=lambda f: f.write("train.list", f.read("train.list") + b"images/valid/class-a-0.png\n"))


refuse("a list in another order", "another list of training images", "expected",
       edit=lambda f: f.write("train.list", b"".join(
           reversed(f.read("train.list").splitlines(keepends=True)))))
refuse("another teacher cfg", "another teacher's cfg", "expected",
       edit=lambda f: f.write("teacher.cfg", f.read("teacher.cfg").replace(b"leaky", b"relu")))


@test
def flipped_bits(folder):
    """a flipped bit anywhere in the state is found: 40 of 40, seed, position and best among them"""
    set_up(folder)
    stop(folder, 9)
    whole = folder.read(STATE)
    places = random.Random(1)
    head = range(8, 8 + 12 * 8)  # what stands before the cfg and the numbers
    for place in [*places.sample(head, 20), *places.sample(range(len(whole)), 20)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << places.randrange(8)
        folder.write(STATE, flipped)
        line = folder.distill("-resume").check(1).err.rstrip("\n").split("\n")[-1]
        assert STATE in line and "found" in line, f"byte {place}: {line}"
        assert folder.read(STATE) == flipped, "the state changed"
    assert "expected -clear" in folder.distill().check(1).err, "a new run went over it"


@test
def one_before(folder):
    """a damaged or lost state: the one before it is offered, and -resume goes on from there"""
    set_up(folder)
    expected = uninterrupted(folder)
    stopped = stop(folder, 19)
    for edit in (cut(-4), lambda f: f.remove(STATE)):
        edit(folder)
        line = folder.distill("-resume").check(1).err.rstrip("\n").split("\n")[-1]
        command = re.search(r"`mv '(.+)' '(.+)'` puts the one before it there, of batch (\d+)$",
                            line)
        assert command and stopped - 5 <= int(command[3]) <= stopped, f"{stopped}: {line}"
        shutil.copy(folder.at(command[1]), folder.at(command[2]))
    folder.distill("-resume").check(0)
    check_equal(folder, expected)


def check_not_overwritten(folder, *words):
    before = folder.snapshot()
    last = folder.darknet(*folder.distill_words()).check(1).err.rstrip("\n").split("\n")[-1]
    for word in ("backup/student.state", *words):
        assert word in last, f"no {word!r}: {last}"
    assert folder.snapshot() == before, "backup/ changed"


@test
def fresh_run_over_another(folder):
    """a run that stopped, or ended, is not overwritten without -clear"""
    set_up(folder)
    stop(folder, 9)
    check_not_overwritten(folder, "expected -resume", "or -clear")
    folder.distill("-clear").check(0)
    check_not_overwritten(folder, "has ended", "expected -clear")
    folder.distill("-clear").check(0)


@test
def comments(folder):
    """-resume after a change of comments and blanks in the cfg goes on"""
    set_up(folder)
    stop(folder, 9)
    text = folder.read("student.cfg").decode().replace("\n[", "\n# a comment\n\n[")
    folder.write("student.cfg", text.replace("=", " = "))
    folder.distill("-resume").check(0)


# Full disks

def check_intact(folder, result, before, words):
    """The run failed with one line that has the words; what was saved before is whole."""
    result.check(1)
    last = result.err.rstrip("\n").split("\n")[-1]
    for word in words:
        assert word in last, f"no {word!r}: {result.describe()}"
    assert not [name for name in folder.names() if name.endswith(".tmp")], folder.names()
    for name in WEIGHTS[::2]:
        if name in before:
            tap.check_weights(folder.read(f"backup/{name}"))
    assert len(folder.read(STATE)) == len(before["student.state"]), "the state's length"


def limited(folder, size, *flags):
    """Distils where no file can get larger than `size` bytes."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Popen gives SIGXFSZ its default back, after which limit() ignores it again
    return folder.distill(*flags, preexec_fn=limit)


def fails_at(name, size, *words):
    """A test: a write of more than `size` bytes fails."""
    def run(folder):
        set_up(folder)
        expected = uninterrupted(folder)
        stop(folder, 9)
        before = folder.snapshot()
        check_intact(folder, limited(folder, size, "-resume"), before, words)
        folder.distill("-resume").check(0)
        check_equal(folder, expected)
    test(run, f"{name} can't be written: exit 1, the last files stay, -resume goes on")


fails_at("the weights", tap.STUDENT_BYTES - 4, "backup/student_last.weights", "File too large")
fails_at("the state", tap.STUDENT_BYTES + 4, "backup/student.state", "File too large")
fails_at("the CSV at its begin", 20, "backup/student.csv", "File too large")


@test
def full_disk(folder):
    """a full disk: exit 1, one line, the last files stay, -resume goes on"""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none",
                              folder.at("backup")], capture_output=True, check=False)
    if mounted.returncode:
        raise Skip("only root can mount a small disk")
    try:
        set_up(folder)
        stop(folder, 9)
        before = folder.snapshot()
        fill(folder.at("backup/filler"), 6000)  # bytes left: the weights fit, the state doesn't
        check_intact(folder, folder.distill("-resume"), before, ("No space left on device",))
        fill(folder.at("backup/filler"), 0)
        check_intact(folder, folder.distill("-resume"), before, ("No space left on device",))
        folder.remove("backup/filler")
        folder.distill("-resume").check(0)
        outcome(folder)
    finally:
        subprocess.run(["umount", "-l", folder.at("backup")], check=True)


def fill(path, left):
    """Makes a file that leaves `left` bytes of its disk, or a little less."""
    info = os.statvfs(os.path.dirname(path))
    free = info.f_bavail * info.f_frsize
    with open(path, "ab") as file:
        file.write(bytes(free - -(-left // info.f_frsize) * info.f_frsize))


@test
def read_only(folder):
    """a backup folder that can't be written: exit 1, one line"""
    if os.geteuid() == 0:
        raise Skip("root can write everywhere")
    os.chmod(folder.at("backup"), 0o500)
    result = folder.distill().check(1)
    os.chmod(folder.at("backup"), 0o700)
    assert "backup=backup: Permission denied" in result.err.split("\n")[-2], result.err


tap.main()
