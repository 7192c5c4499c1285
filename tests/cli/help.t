#!/usr/bin/python3 -B
"""What `darknet distill` and `darknet deepkd` say of themselves, in TAP.

Proves: --help lists the words that the command's parser takes, all of them and no other, on stdout
with exit status 0; what it does not list is an error; `deepkd version` has its lines, and they
agree with the build, its switches and the cores it may use.
"""
import os
import re
import subprocess

import tap
from tap import DARKNET, ENVIRONMENT, ROOT, test

HELP = ("-h", "-help", "--help")
VERBS = ("wrap", "export", "cache", "merge", "map", "logits", "landscape", "detect", "anchors",
         "version")
# files that are not there, as many as each command takes
FILES = {"distill": 3, "deepkd wrap": 1, "deepkd export": 2, "deepkd cache": 3, "deepkd merge": 2,
         "deepkd map": 3, "deepkd logits": 3, "deepkd landscape": 3, "deepkd detect": 4,
         "deepkd anchors": 2, "deepkd version": 0}
SWITCHES = ["GPU", "CUDNN", "OPENCV", "OPENMP", "BLAS", "CJSON", "DNNL", "IMAGES", "MPI", "SQLITE",
            "ORT", "DEBUG", "SANITIZE"]
LIBRARIES = [("OpenBLAS", "BLAS"), ("oneDNN", "DNNL"), ("cJSON", "CJSON"), ("SQLite", "SQLITE"),
             ("ONNXRuntime", "ORT"), ("libjpeg-turbo", "IMAGES"), ("libpng", "IMAGES"),
             ("CUDA", "GPU"), ("cuDNN", "CUDNN"), ("OpenCV", "OPENCV")]


def page(folder, *words):
    result = folder.darknet(*words).check(0)
    assert not result.err, result.err
    return result.out


def pages(folder):
    """{command: its part of the help}"""
    text = page(folder, "distill", "--help") + page(folder, "deepkd", "--help")
    parts = re.split("^usage: darknet ", text, flags=re.MULTILINE)[1:]
    return {re.match("(distill|deepkd [a-z]+)", part)[1]: part for part in parts}


def flags_of(part):
    """{flag: the name of its value or None}, from the help's rows"""
    rows = re.findall(r"^  (-\w+)(?: (\S+))?  +\S", part, re.MULTILINE)
    return {flag: value or None for flag, value in rows}


def refused(folder, command, *words):
    result = folder.darknet(*command.split(), *words).check(1)
    assert result.err.count("\n") == 1 and not result.out, f"{result.out}\n{result.err}"
    return result.err


@test
def on_stdout(folder):
    """help is one page, however it is asked for, whatever else is there"""
    for command in ("distill", "deepkd"):
        expected = page(folder, command, "--help")
        for flag in HELP:
            assert page(folder, command, flag) == expected, flag
        assert page(folder, command, "no.data", "-speed", "--help") == expected
    expected = page(folder, "deepkd", "--help")
    for verb in VERBS:
        assert page(folder, "deepkd", verb, "--help") == expected, verb
        assert f"usage: darknet deepkd {verb}" in expected, expected


@test
def rows(folder):
    """the usage names the rows' words, in their order; each has a line of help"""
    for command, part in pages(folder).items():
        usage = part.split("\n")[0].removeprefix(command).replace("[", "").replace("]", "").strip()
        forms = re.findall(r"^  (\S+(?: \S+)?)  +\S", part, re.MULTILINE)
        assert " ".join(forms) == usage, f"{forms}\n{usage}"
        files = [form for form in forms if not form.startswith("-")]
        assert len(files) == FILES[command], files
        assert max(map(len, part.split("\n")[1:])) <= 110, part


@test
def taken(folder):
    """the parser knows every flag of the help, and misses its value where the help names one"""
    for command, part in pages(folder).items():
        for flag, value in flags_of(part).items():
            said = refused(folder, command, *["no.file"] * FILES[command], flag)
            assert "unknown flag" not in said, said
            assert ("value is missing" in said) == bool(value), f"{flag} {value}: {said}"


@test
def listed(folder):
    """the commands' code has no flag that the help does not list"""
    cli, found = os.path.join(ROOT, "plugin", "cli"), set()
    for name in os.listdir(cli):
        with open(os.path.join(cli, name), encoding="utf-8") as file:
            found.update(re.findall(r'"(--?\w+)(?: [A-Z.,/a-z]+)?"', file.read()))
    expected = {flag for part in pages(folder).values() for flag in flags_of(part)}
    assert "-teacher" in expected and "-seed" in expected, expected
    assert found == {*expected, *HELP, "--version"}, found ^ expected


@test
def unknown(folder):
    """flags that are not listed are errors, a part or more of one that is, too; wrong verbs"""
    for command, part in pages(folder).items():
        for flag in ("-speed", "-", "--", "-see", "-seeds", "-outs", "-seed N"):
            said = refused(folder, command, *["no.file"] * FILES[command], flag)
            assert said.startswith(f"{flag}: unknown flag; usage: darknet {command}"), said
            assert said.endswith(part.split("\n")[0] + "\n"), said
        if command in ("deepkd detect", "deepkd merge"):  # which take any number of files
            continue
        said = refused(folder, command, *["no.file"] * (FILES[command] + 1))
        assert "no.file: one file too many; usage: " in said, said
    for words in ([], ["maps"], ["-map"], ["help"], ["--versions"]):
        said = refused(folder, "deepkd", *words)
        assert said.startswith("usage: darknet deepkd wrap ") and \
            all(f" | darknet deepkd {verb}" in said for verb in VERBS[1:]), said


@test
def full(folder):
    """a page that can't be written is an error"""
    for words in (["distill", "--help"], ["deepkd", "--help"], ["deepkd", "version"]):
        with open("/dev/full", "wb") as full_device:
            result = subprocess.run([DARKNET, *words], stdout=full_device, check=False,
                                    stderr=subprocess.PIPE, env=ENVIRONMENT)
        assert result.returncode == 1 and b"cannot be written" in result.stderr, result


def version(folder, *words, **env):
    result = folder.darknet("deepkd", *words, env={**ENVIRONMENT, **env}).check(0)
    return [line.split(" ", 1) for line in result.out.splitlines()]


@test
def version_lines(folder):
    """deepkd version: a name and a value a line; libraries are those of the switches"""
    lines = version(folder, "version")
    said = dict(lines)
    assert lines == version(folder, "--version") and len(said) == len(lines), lines
    libraries = [name for name, switch in LIBRARIES if said[switch] == "1"
                 and (name != "cuDNN" or said["GPU"] == "1")]
    assert [name for name, _ in lines] == ["deepkd", "commit", "darknet", *SWITCHES, *libraries,
                                           "cores"], lines
    with open(os.path.join(ROOT, "plugin", "deepkd.h"), encoding="utf-8") as file:
        assert f'#define DEEPKD_VERSION "{said["deepkd"]}"\n' in file.read(), said
    with open(os.path.join(ROOT, "scripts", "darknet-source.sh"), encoding="utf-8") as file:
        assert f"\nCOMMIT={said['darknet']}\n" in file.read(), said
    assert said["commit"], said
    for name in libraries:
        assert re.match(r"\d+\.\d+", said[name]), f"{name} {said[name]}"


@test
def version_build(folder):
    """deepkd version: the switches are make's; cores are those that it may use"""
    said = dict(version(folder, "version", OMP_NUM_THREADS="3"))
    assert said["cores"] == ("3" if said["OPENMP"] == "1" else "1"), said
    with open(os.path.join(os.path.dirname(DARKNET), ".switches"), encoding="utf-8") as file:
        given = dict(line.split("=", 1) for line in file.read().splitlines())
    assert {name: said[name] for name in SWITCHES} == {name: given[name] for name in SWITCHES}, \
        f"{said}\n{given}"


if __name__ == "__main__":
    tap.main()
