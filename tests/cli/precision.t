#!/usr/bin/python3 -B
"""precision= of [teacher] and of [deepkd_loss], in TAP.

Proves: with bfloat16 a teacher, and a student, gives other logits than with float32, by less than
bfloat16's 8 bits explain, to classifiers and detectors; one seed gives the same student with any
number of threads and cores, after -resume and, of a teacher, from a cache; auto is bfloat16 where the processor has it; where a build or a
processor has none, bfloat16 is refused and auto is float32, bit for bit; a teacher that
comes to what is no number is refused; wrong values.
of int8, a teacher's alone, the same.
What the arithmetic itself does is tests/unit/test_convolution.c's.
"""
import itertools
import os
import re
import signal
import struct

import tap
from tap import (DARKNET, DetectorFolder, ENVIRONMENT, Skip, check_error, detector_cfg,
                 student_cfg, test, without_time)

WEIGHTS = "backup/student_final.weights"
BATCHES = 20
ROLES = {"teacher": "[teacher]", "student": "[deepkd_loss]"}
LIMIT = next((name for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA") if name in os.environ),
             None)


def has_onednn():
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="ascii") as file:
        return "DNNL=1" in file.read().split()


def has_flag(name):
    """Of this processor, if this build uses it and nobody has told oneDNN not to."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        return has_onednn() and not LIMIT and f" {name} " in file.read().replace("\n", " ")


def need(folder, precision, flag):
    write_cfg(folder, precision)
    result = folder.distill()
    if not result.status:
        return
    assert not has_flag(flag), result.describe()
    raise Skip(f"no {precision} here")


def need_bfloat16(folder):
    need(folder, "bfloat16", "avx512bw")


def write_teacher(folder, layers):
    folder.write("teacher.cfg", tap.teacher_cfg(
        [*layers, ("avgpool", {}), ("connected", {"output": tap.CLASSES, "activation": "linear"}),
         ("softmax", {"groups": 1})]))
    folder.darknet("partial", "teacher.cfg", "", "teacher.weights", "99").check(0)


def write_wide_teacher(folder):
    """One with layers that have enough channels for int8"""
    write_teacher(folder, [tap.conv(filters, stride, batch_normalize=None)
                           for filters, stride in ((16, 1), (32, 1), (16, 1), (24, 2))])


def write_cfg(folder, precision, role="teacher"):
    make = detector_cfg if isinstance(folder, DetectorFolder) else student_cfg
    given = {"precision": precision} if precision else {}
    folder.write("student.cfg", make(
        teacher={"cfg": "teacher.cfg", **(given if role == "teacher" else {})},
        loss=given if role == "student" else {}, max_batches=BATCHES))


def outcome(folder, precision, role="teacher", *flags, **options):
    """Weights and CSV; what it says of the precision."""
    write_cfg(folder, precision, role)
    result = folder.distill(*flags, **options).check(0)
    return (folder.read(WEIGHTS), without_time(folder.rows())), \
        re.findall(f"^{role}'s precision: (.*)", result.out, re.M)


def check_near(folder, bound, role, precision="bfloat16"):
    (weights, rows), said = outcome(folder, "float32", role)
    assert not said and outcome(folder, None)[0] == (weights, rows), "float32 is not the default"
    (others, near), said = outcome(folder, precision, role)
    assert said[0].startswith(precision), said
    assert others != weights, f"the same student; {said}"
    first, second = ([float(row[key]) for key in ("tog", "tcg", "ncg")]
                     for row in (rows[0], near[0]))
    assert first != second, "the same logits"
    for one, other in zip(first, second):
        assert abs(one - other) <= bound * abs(one), f"{first}, {second}"
    for threads in ("1", "3"):
        env = {**ENVIRONMENT, "OMP_NUM_THREADS": threads}
        assert outcome(folder, precision, role, threads=threads, env=env)[0] == (others, near), \
            threads


@test
def classifier(folder):
    """a classifier's first losses differ by up to 1 %, and by nothing with other threads"""
    need_bfloat16(folder)
    for role in ROLES:
        check_near(folder, .01, role)


@test
def detector(folder):
    """a detector's"""
    detectors = DetectorFolder(folder.at("detectors"))
    detectors.fill()
    need_bfloat16(detectors)
    for role in ROLES:
        check_near(detectors, .02, role)


@test
def automatic(folder):
    """auto is bfloat16 where the processor has it, else float32"""
    fast = has_flag("avx512_bf16")
    if LIMIT:
        raise Skip(f"{LIMIT} is set")
    for role in ROLES:
        expected = outcome(folder, "bfloat16" if fast else "float32", role)
        assert outcome(folder, "auto", role) == expected and bool(expected[1]) == fast, expected[1]


@test
def resumed(folder):
    """a run that stopped goes on to the same bits"""
    need_bfloat16(folder)
    for role in ROLES:
        expected = outcome(folder, "bfloat16", role)[0]
        folder.forget_run()
        folder.distill_until(lambda line: line.startswith("9,"), signal.SIGTERM)
        write_cfg(folder, "float32", role)
        check_error(folder.distill("-resume").check(1),
                    ["backup/student.state", "precision=bfloat16"])
        assert outcome(folder, "bfloat16", role, "-resume")[0] == expected
        folder.forget_run()


@test
def cached(folder):
    """a cache in bfloat16 teaches the same student, also without AVX-512, and none in float32"""
    need_bfloat16(folder)
    expected = outcome(folder, "bfloat16")[0]
    folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-out",
                   "logits.sqlite", "-seed", "7").check(0)
    assert outcome(folder, "bfloat16", "teacher", "-cache", "logits.sqlite")[0] == expected
    elsewhere = {**ENVIRONMENT, "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
    for value in ("bfloat16", "auto"):
        write_cfg(folder, value)
        folder.distill("-cache", "logits.sqlite", env=elsewhere).check(0)
    write_cfg(folder, "float32")
    check_error(folder.distill("-cache", "logits.sqlite").check(1),
                ["teacher's input: found", ", bfloat16, expected"])


@test
def without(folder):
    """without AVX-512, or without oneDNN: bfloat16 is refused, auto is float32"""
    env = {**ENVIRONMENT, "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
    for role, section in ROLES.items():
        write_cfg(folder, "bfloat16", role)
        check_error(folder.distill(env=env).check(1), [
            f"student.cfg: {section} precision=bfloat16, which is oneDNN's (make DNNL=1), on a "
            "processor with AVX-512: expected float32 or auto"])
        assert not folder.names(), folder.names()
    write_cfg(folder, "int8")
    check_error(folder.distill(env=env).check(1), [
        "student.cfg: [teacher] precision=int8, which is oneDNN's (make DNNL=1), on a processor "
        "with AVX512_VNNI: expected float32, bfloat16 or auto"])
    expected = outcome(folder, "float32", env=env)
    for role in ROLES:
        assert outcome(folder, "auto", role, env=env) == expected and not expected[1]


@test
def slow(folder):
    """with AVX-512 but no bfloat16: bfloat16's student, and the run says that it is slow"""
    if not has_flag("avx512bw"):
        raise Skip("no AVX-512 here")
    for role in ROLES:
        write_cfg(folder, "bfloat16", role)
        result = folder.distill("-clear", env={**ENVIRONMENT, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"})
        assert f"\n{role}'s precision: bfloat16, slow on this processor; float32: layer " in result.check(0).out, \
            result.out


@test
def not_finite(folder):
    """a teacher whose relu gets what is no number: refused, as in float32"""
    need_bfloat16(folder)
    write_teacher(folder, [tap.conv(12, 1, activation="relu"),
                           tap.conv(8, 1, batch_normalize=None, activation="relu")])
    weights = bytearray(folder.read("teacher.weights"))
    variance = 20 + 4 * 12 * 3  # behind biases, scales and means of the first layer
    weights[variance:variance + 4] = struct.pack("<f", -1)
    folder.write("teacher.weights", bytes(weights))
    for precision in ("float32", "bfloat16"):
        write_cfg(folder, precision)
        check_error(folder.distill().check(1), ["not finite in the teacher's logits"])
    if has_flag("avx512_vnni"):
        write_cfg(folder, "int8")
        check_error(folder.distill().check(1), ["teacher.cfg: layer 0: found a number that is not "
                                                "finite in its output, expected none"])


@test
def in_int8(folder):
    """a teacher in int8: up to 5 % from float32, and what else holds in bfloat16"""
    write_wide_teacher(folder)
    need(folder, "int8", "avx512_vnni")
    check_near(folder, .05, "teacher", "int8")
    expected, said = outcome(folder, "int8")
    assert re.fullmatch("int8; (bfloat16: layer 0 convolutional; float32: layer 5 connected|"
                        "float32: layer 0 convolutional, 5 connected)", said[0]), said
    folder.forget_run()
    folder.distill_until(lambda line: line.startswith("9,"), signal.SIGTERM)
    assert outcome(folder, "int8", "teacher", "-resume")[0] == expected
    folder.darknet("deepkd", "cache", "deepkd.data", "student.cfg", "teacher.weights", "-out",
                   "logits.sqlite", "-seed", "7").check(0)
    assert outcome(folder, "int8", "teacher", "-cache", "logits.sqlite")[0] == expected
    write_cfg(folder, "bfloat16")
    check_error(folder.distill("-cache", "logits.sqlite").check(1),
                ["teacher's input: found", ", int8, expected"])


@test
def no_int8(folder):
    """a teacher without a layer that can be in int8: one line"""
    write_wide_teacher(folder)
    need(folder, "int8", "avx512_vnni")
    write_teacher(folder, [tap.conv(16, stride, activation="hard_mish") for stride in (1, 1, 2)])
    write_cfg(folder, "int8")
    check_error(folder.distill().check(1), [
        "teacher.cfg: precision=int8: found no linear, leaky, relu, mish or swish", "expected another"])


@test
def wrong(folder):
    """another value"""
    for value, (role, section) in itertools.product(("float16", "16", "BFLOAT16"), ROLES.items()):
        write_cfg(folder, value, role)
        check_error(folder.distill().check(1), [
            f"student.cfg: {section} precision={value}: expected float32|bfloat16|auto"])
    write_cfg(folder, "int8", "student")
    check_error(folder.distill().check(1), [
        "student.cfg: [deepkd_loss] precision=int8: expected float32|bfloat16|auto"])


if __name__ == "__main__":
    tap.main()
