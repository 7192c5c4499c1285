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
import re
import shutil
import signal
import subprocess
import time

import tap
from tap import (DARKNET, ENVIRONMENT, PATIENCE, Skip, conv, data_file, detector_cfg, student_cfg,
                 test, without_time)

# as root, on fewer cores than ranks: Open MPI 4's words and 5's
LAUNCH = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
          "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
          "OMPI_MCA_hwloc_base_binding_policy": "none",
          "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
          "PRTE_MCA_hwloc_default_binding_policy": "none"}
FILES = ("student_best.weights", "student_final.weights", "student_last.weights", "student.state",
         "student_gsnr.csv")
EVERY = {"eval_interval": 3, "save_interval": 2, "log_interval": 1}


def need_mpi():
    switches = subprocess.run([DARKNET, "deepkd", "version"], capture_output=True, check=True).stdout
    if b"\nMPI 1\n" not in switches:
        raise Skip("built with MPI=0")
    if not shutil.which("mpirun"):
        raise tap.missing("openmpi-bin")


def launch(ranks, *flags, program=DARKNET):
    return ["mpirun", "-n", str(ranks), program, *tap.Folder.distill_words(*flags)]


def run(folder, ranks, *flags, command=None):
    """Distils on so many ranks; 0: one process, without mpirun."""
    words = command or (launch(ranks, *flags) if ranks else
                        [DARKNET, *tap.Folder.distill_words(*flags)])
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


def check_same_bits(folder, ranks=(2, 4, 8)):
    expected = None
    for n in (0, *ranks):
        folder.forget_run()
        result = run(folder, n).check(0)
        found = (*outcome(folder), printed(result))
        expected = expected or found
        for name, content in found[0].items():
            assert content == expected[0][name], f"{n} ranks: {name} differs"
        assert found[1] == expected[1], f"{n} ranks: rows {found[1]}, expected {expected[1]}"
        assert found[2] == expected[2], f"{n} ranks: {result.out}, expected {expected[2]}"
        assert not [name for name in folder.names() if name.endswith((".tmp", ".lock"))]


def same_bits(name, loss=None, ranks=(2, 4, 8), **net):
    def compare(folder):
        need_mpi()
        folder.write("deepkd.data", data_file(**EVERY))
        folder.write("student.cfg", student_cfg(loss, **net))
        check_same_bits(folder, ranks)
    test(compare, f"the same bits on 2, 4 and 8 ranks: {name}")


same_bits("batch norm, [shortcut], [dropout], [connected], two momentum groups")
same_bits("subdivisions, 16 parts", {"parts": 16}, batch=32, subdivisions=2)
same_bits("MLKD, whole batches", {"method": "mlkd"}, ranks=(4,))
same_bits("CRLD, two views", {"method": "crld"}, ranks=(4,))
same_bits("momenta that follow the GSNR", {"momentum_rule": "gsnr", "gsnr_interval": 2}, ranks=(4,))
same_bits("bfloat16", {"precision": "bfloat16"}, ranks=(2, 8))


def detectors(folder, loss=None, **net):
    other = tap.DetectorFolder(folder.at("detector"))
    other.fill()
    other.write("deepkd.data", tap.detector_data(**EVERY))
    other.write("student.cfg", detector_cfg(loss, **net))
    return other


@test
def same_detector(folder):
    """the same bits on 2, 4 and 8 ranks: detectors, their losses and mAP, dense rows, boxes"""
    need_mpi()
    check_same_bits(detectors(folder))


def main():
    tap.main()


if __name__ == "__main__":
    main()
