#!/usr/bin/python3 -B
"""Several processes that train as one, in TAP.

Proves: 2, 4 and 8 ranks of mpirun leave the weights, the state and the rows of the log of one
process, to the byte, of classifiers and detectors, with all that batch norm, dropout, views,
methods of whole batches, subdivisions and momentum groups add; a run goes on with another number
of ranks; what differs between ranks, and what they cannot do, is refused in one line; a rank that
is killed ends the others.
"""
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import time

import tap
from small_nets import FAMILIES
from tap import (DARKNET, ENVIRONMENT, PATIENCE, Skip, conv, data_file, detector_cfg, student_cfg,
                 without_time)

# as root, on fewer cores than ranks: Open MPI 4's words and 5's
LAUNCH = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
          "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
          "OMPI_MCA_hwloc_base_binding_policy": "none",
          "OMPI_MCA_mpi_yield_when_idle": "1",
          "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
          "PRTE_MCA_hwloc_default_binding_policy": "none"}
FILES = ("student_best.weights", "student_final.weights", "student_last.weights", "student.state",
         "student_gsnr.csv")
EVERY = {"eval_interval": 3, "save_interval": 2, "log_interval": 1}


def why_not():
    """Why no ranks can be started here, or None"""
    switches = subprocess.run([DARKNET, "deepkd", "version"], capture_output=True, check=True).stdout
    if b"\nMPI 1\n" not in switches:
        return Skip("built with MPI=0")
    return None if shutil.which("mpirun") else tap.missing("openmpi-bin")


WHY_NOT = why_not()


def test(function, name=None):
    """A test with ranks"""
    return function if WHY_NOT else tap.test(function, name)


def launch(folder, ranks, *flags):
    return ["mpirun", "-n", str(ranks), DARKNET, *folder.distill_words(*flags)]


def run(folder, ranks, *flags, command=None):
    """Distils on so many ranks; 0: one process, without mpirun."""
    words = command or (launch(folder, ranks, *flags) if ranks else
                        [DARKNET, *folder.distill_words(*flags)])
    done = subprocess.run(words, cwd=folder.path, env=LAUNCH, capture_output=True, check=False,
                          timeout=PATIENCE)
    return tap.check_sane(tap.Result(words, done.returncode, done.stdout, done.stderr))


def outcome(folder):
    files = folder.snapshot()
    return {name: files.get(name) for name in FILES}, without_time(folder.rows())


def printed(result):
    """What rank 0 prints, without times; of the first lines, all but what the ranks are."""
    return [re.sub(r"[\d.]+ seconds|[\d.]+ images/s.*", "", line) for line in
            result.out.replace("\r", "").split("\n") if not line.startswith("ranks: ")]


def check_same_bits(folder, ranks=(2, 4, 8), *flags):
    expected = None
    for n in (0, *ranks):
        folder.forget_run()
        result = run(folder, n, *flags).check(0)
        found = (*outcome(folder), printed(result))
        expected = expected or found
        for name, content in found[0].items():
            assert content == expected[0][name], f"{n} ranks: {name} differs"
        assert found[1] == expected[1], f"{n} ranks: rows {found[1]}, expected {expected[1]}"
        assert n == 1 or found[2] == expected[2], f"{n} ranks: {result.out}, expected {expected[2]}"
        assert not [name for name in folder.names() if name.endswith((".tmp", ".lock"))]


def same_bits(name, loss=None, ranks=(2, 4, 8), **net):
    def compare(folder):
        folder.write("deepkd.data", data_file(**EVERY))
        folder.write("student.cfg", student_cfg(loss, **net))
        check_same_bits(folder, ranks)
    test(compare, f"the same bits on {', '.join(map(str, ranks))} ranks: {name}")


same_bits("batch norm, [shortcut], [dropout], [connected], two momentum groups")
same_bits("subdivisions, 16 parts", {"parts": 16}, batch=32, subdivisions=2)
same_bits("MLKD, whole batches", {"method": "mlkd"}, ranks=(4,))
same_bits("CRLD, two views", {"method": "crld"}, ranks=(4,))
same_bits("DIST, wrong logits swapped", {"method": "dist", "swap": 1}, ranks=(4,))
same_bits("the GSNR measured, two views", {"method": "crld", "gsnr_interval": 2},
          ranks=(4,))
same_bits("momenta that follow the GSNR", {"momentum_rule": "gsnr", "gsnr_interval": 2}, ranks=(4,))
same_bits("[batchnorm], mish, groups, [deconvolutional], [connected] with batch norm",
          ranks=(2, 8), layers=[
              conv(8, activation="mish"), ("maxpool", {"size": 2, "stride": 2}),
              conv(8, batch_normalize=None, groups=4, activation="linear"), ("batchnorm", {"affine": 1}),
              ("deconvolutional", {"filters": 4, "size": 2, "stride": 2, "activation": "relu"}),
              ("shuffle", {"groups": 2}), ("activation", {"activation": "leaky"}),
              ("connected", {"output": 9, "activation": "relu", "batch_normalize": 1}),
              ("connected", {"output": tap.CLASSES, "activation": "linear"}), ("softmax", {})])
same_bits("bfloat16", {"precision": "bfloat16"}, ranks=(2, 8))


def detector(folder):
    other = tap.DetectorFolder(folder.at("detector"))
    other.fill()
    return other


@test
def same_detector(folder):
    """the same bits on 2, 4 and 8 ranks: a detector, its figures and mAP, a size that changes"""
    folder = detector(folder)
    layers = [*tap.YOLO[:-1], ("yolo", {**tap.YOLO[-1][1], "random": "1.4"})]
    folder.write("deepkd.data", tap.detector_data(**EVERY))
    folder.write("student.cfg", detector_cfg(layers=layers, max_batches=14, mosaic=1))
    check_same_bits(folder, (2, 4, 8), "-map")
    folder.write("student.cfg", detector_cfg({"rows": "dense", "box_weight": 1}, tap.REGION,
                                             {"cfg": "teacher.cfg", "resize": 1}))
    check_same_bits(folder, (4,))


@test
def same_families(folder):
    """the same bits on 4 ranks: nets of YOLOv4-tiny's, EfficientNet's kind, and with attention"""
    folder = detector(folder)
    folder.write("deepkd.data", tap.detector_data(**EVERY))
    for kind in ("YOLOv4-tiny", "EfficientNet", "attention"):
        folder.write("student.cfg", detector_cfg(layers=FAMILIES[kind], width=64, height=64,
                                                 max_batches=3))
        check_same_bits(folder, (4,))


@test
def same_ensemble(folder):
    """the same bits on 4 ranks: two teachers, the mean of their probabilities"""
    folder.write("other.cfg", tap.teacher_cfg(width=16, height=20))
    folder.write("student.cfg", tap.cfg([
        *tap.STUDENT_LAYERS, *[("teacher", {"cfg": name, "weights": "teacher.weights"})
                               for name in ("teacher.cfg", "other.cfg")],
        ("deepkd_loss", {"ensemble": "probabilities"})]))
    folder.distill_words = lambda *flags: [word for word in tap.Folder.distill_words(*flags)
                                           if word != "teacher.weights"]
    check_same_bits(folder, (4,))


@test
def same_cache(folder):
    """the same bits on 2 and 8 ranks: the teacher's logits from a cache"""
    folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-seed", "7",
                   "-out", "cache").check(0)
    check_same_bits(folder, (2, 8), "-cache", "cache")


@test
def one_rank(folder):
    """the same bits on 1 rank"""
    check_same_bits(folder, (1,))


def ip(*words):
    if subprocess.run(["ip", *words], capture_output=True, check=False).returncode:
        raise Skip(f"ip {' '.join(words)} fails here")


class Hosts:
    """Two network namespaces with a cable between them; what Open MPI 4 needs to start a rank in
    each as on two machines"""

    def __init__(self):
        self.names = [f"deepkd-{os.getpid()}{letter}" for letter in "ab"]

    def __enter__(self):
        if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
            raise Skip("not root, or missing: iproute2")
        a, b = self.names
        ip("netns", "add", a)
        try:
            ip("netns", "add", b)
            ip("link", "add", "kd0", "netns", a, "type", "veth", "peer", "name", "kd0", "netns", b)
            for number, name in enumerate(self.names, 1):
                ip("-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", "kd0")
                ip("-n", name, "link", "set", "kd0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except Skip:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def words(self, folder, command):
        a, b = self.names
        folder.write("agent", f"#!/bin/sh\nshift\nexec ip netns exec {b} unshare --uts "
                     f'sh -c "hostname {b}; $*"\n')
        os.chmod(folder.at("agent"), 0o755)
        network = ("--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "10.99.0.0/24",
                   "--mca", "oob_tcp_if_include", "10.99.0.0/24")
        return ["ip", "netns", "exec", a, "unshare", "--uts", "sh", "-c",
                f'hostname {a}; exec "$@"', "sh", command[0], "--mca", "plm_rsh_agent",
                folder.at("agent"), *network, "--host", "10.99.0.1:2,10.99.0.2:2", *command[1:]]


@test
def two_hosts(folder):
    """the same bits on two hosts with two ranks each, over TCP"""
    version = subprocess.run(["mpirun", "--version"], capture_output=True, check=True).stdout
    if b"(Open MPI) 4." not in version:
        raise Skip("not Open MPI 4")
    run(folder, 0).check(0)
    expected = outcome(folder)
    folder.forget_run()
    with Hosts() as hosts:
        run(folder, 0, command=hosts.words(folder, launch(folder, 4))).check(0)
    assert outcome(folder) == expected, "other bits"


# Stopping and going on

LONG = {"max_batches": 400, "policy": "poly", "power": 2}
KILLS = int(os.environ.get("KILLS", "3"))


def clear(folder):
    for name in folder.names():
        folder.remove(f"backup/{name}")


def start(folder, ranks, *flags):
    return subprocess.Popen(launch(folder, ranks, *flags), cwd=folder.path, env=LAUNCH, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_batch(process, batch):
    for line in process.stdout:
        match = re.match(r"(\d+), .* images/s", line)
        if match and int(match[1]) >= batch:
            return
    raise AssertionError(f"ended before batch {batch}: {process.stderr.read()}")


def pid_of(process, rank):
    """Of a rank, a child of mpirun's"""
    for name in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{name}/stat", encoding="ascii") as stat, \
                    open(f"{name}/environ", encoding="utf-8") as environ:
                is_child = int(stat.read().rsplit(")", 1)[1].split()[1]) == process.pid
                if is_child and re.search(rf"(^|\0)(OMPI_COMM_WORLD|PMI)_RANK={rank}\0", environ.read()):
                    return int(os.path.basename(name))
        except OSError:  # it has ended
            continue
    raise AssertionError(f"found no rank {rank}")


@test
def go_on(folder):
    """a signal to any rank stops all at one batch; -resume with another number, the same bits"""
    folder.write("deepkd.data", data_file(**EVERY))
    folder.write("student.cfg", student_cfg(**LONG))
    run(folder, 0).check(0)
    expected = outcome(folder)
    clear(folder)
    for ranks, rank, batch, flags in ((4, 3, 20, ()), (2, 0, 40, ("-resume",)),
                                      (8, 5, 60, ("-resume",))):
        with start(folder, ranks, *flags) as process:
            wait_for_batch(process, batch)
            os.kill(pid_of(process, rank), signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGTERM, (process.returncode, err)
        assert "stopped at batch" in out, out
    run(folder, 0, "-resume").check(0)
    found = outcome(folder)
    for name, content in found[0].items():
        assert content == expected[0][name], f"{name} differs"
    assert found[1] == expected[1], "other rows"


def kill_one(folder, ranks, *flags):
    """kill -9 of a rank at a random moment"""
    rank = random.randrange(ranks)
    with start(folder, ranks, *flags) as process:
        wait_for_batch(process, 0)
        time.sleep(random.uniform(0, 1))
        victim, began = pid_of(process, rank), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode, "exit 0"
    assert time.monotonic() - began < 60, "the others went on"
    assert re.search(rf"rank {rank}\b.*signal 9|PID {victim}\b", err), err
    assert not [name for name in folder.names() if name.endswith(".tmp")], folder.names()


@test
def killed(folder):
    """kill -9 of any rank ends the others, and mpirun says which it was; the same bits at the end"""
    folder.write("deepkd.data", data_file(eval_interval=100, save_interval=20))
    folder.write("student.cfg", student_cfg(**{**LONG, "max_batches": 1000 * KILLS}))
    run(folder, 0).check(0)
    expected = outcome(folder)[0]
    clear(folder)
    for kill in range(KILLS):
        kill_one(folder, (2, 4, 8)[kill % 3],
                 *(["-resume"] if "student.state" in folder.names() else []))
    run(folder, 0, *(["-resume"] if "student.state" in folder.names() else [])).check(0)
    assert outcome(folder)[0] == expected, "other bits"


# Refusals

def check_refused(folder, words, command):
    result = run(folder, 0, command=command)
    assert result.status, result.out
    line = [line for line in result.err.split("\n") if all(word in line for word in words)]
    assert len(line) == 1, f"{words}: {line}: {result.err}"
    assert folder.names() in ([], ["student.lock"]), folder.names()  # mpirun kills who has it


def refuse(name, words, ranks=2, flags=(), **net):
    def check(folder):
        folder.write("student.cfg", student_cfg(**net))
        check_refused(folder, words, launch(folder, ranks, *flags))
    test(check, name)


refuse("a number that does not divide the parts", ["student.cfg", "found 3 ranks", "divisor of 8"], 3)
refuse("a layer that ranks cannot share", ["student.cfg", "layer 0: found [crop]"],
       layers=[("crop", {"crop_width": 12, "crop_height": 12}), *tap.TEACHER_LAYERS])
refuse("what all ranks find wrong is said once", ["-nonsense"], flags=("-nonsense",))


def beside(folder, edit, *prefix, program=DARKNET):
    """mpirun's words for this folder's run and one in a copy of it that is edited."""
    copy = tap.Folder(folder.at("copy"), folder.path)
    for name in ("deepkd.data", "student.cfg", "teacher.cfg"):
        shutil.copy(folder.at(name), copy.path)
    edit(copy)
    words = tap.Folder.distill_words()
    return ["mpirun", "-n", "1", DARKNET, *words, ":", "-wdir", copy.path, "-n", "1", *prefix,
            program, *words]


@test
def refuse_others(folder):
    """a rank with another cfg, teacher, list, metric, build or processor is refused by name"""
    other = folder.at("other-darknet")
    with open(DARKNET, "rb") as program, open(other, "wb") as file:
        file.write(program.read() + b"0")
    os.chmod(other, 0o755)
    for what, edit, *more in (
            ("student's cfg", lambda copy: copy.write("student.cfg", student_cfg(decay=".001"))),
            ("teacher's cfg", lambda copy: copy.write("teacher.cfg", tap.teacher_cfg(decay=".1"))),
            ("teacher", lambda copy: copy.write("teacher.weights",
                                                copy.read("teacher.weights")[:-1] + b"0")),
            ("list of training images", lambda copy: copy.write(
                "train.list", copy.read("train.list").split(b"\n", 1)[1])),
            ("list of validation images", lambda copy: copy.write(
                "valid.list", copy.read("valid.list").split(b"\n", 1)[1])),
            (".data file", lambda copy: copy.write("deepkd.data", data_file(eval_interval=9))),
            ("kind of processor", lambda copy: None, "env", "OPENBLAS_CORETYPE=Prescott",
             "DNNL_MAX_CPU_ISA=SSE41")):
        check_refused(folder, ["rank 1: found another " + what, "rank 0's"],
                      beside(folder, edit, *more))
        shutil.rmtree(folder.at("copy"))
    check_refused(folder, ["rank 1: found another build"],
                  beside(folder, lambda copy: None, program=other))


@test
def error_of_one(folder):
    """what one rank alone finds wrong is said with its number, and ends all"""
    lines = folder.read("valid.list").decode().split()
    folder.write("class-a-broken.png", "no image")
    folder.write("valid.list", "\n".join([*lines[:7], "class-a-broken.png", *lines[8:]]) + "\n")
    check_refused(folder, ["rank 1: ", "class-a-broken.png: cannot be decoded"], launch(folder, 2))
    check_refused(folder, ["rank 1: ", "teacher.weights"],
                  beside(folder, lambda copy: copy.remove("teacher.weights")))


def without_ranks(_):
    """several ranks"""
    raise WHY_NOT


def without_mpi(folder):
    """several processes of a build without MPI=1 are refused"""
    result = folder.distill(env={**ENVIRONMENT, "OMPI_COMM_WORLD_SIZE": "2"})
    tap.check_error(result.check(1), ["mpirun: found 2 processes", "MPI=0"])


if __name__ == "__main__":
    if WHY_NOT:
        tap.test(without_ranks)
        if WHY_NOT.args[0] == "built with MPI=0":
            tap.test(without_mpi)
    tap.main()
