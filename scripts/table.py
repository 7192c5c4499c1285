#!/usr/bin/python3
"""Trains and compares the rows of scripts/rows.py on Fashion-MNIST: `make table`.

    scripts/table.py [--jobs 2] [--seeds 5] [--out DIR] [--search-only | --report]

1. The learning rate of each row, by the same rule for all: the rates of GRID,
   one seed, 55,000 of the training images; the best top-1 on the other 5,000
   wins, the lower rate if two are equal. If it is at an edge, the grid grows by
   a factor 2 beyond it, twice at most. A run that diverges counts as 0 %.
2. With that rate, --seeds other seeds on all 60,000 images. What counts is the
   top-1 of the last weights on the 10,000 test images, which nothing looked at
   before: no best of several epochs, no choice among runs.

Every run is a process `darknet distill` with one thread. Its outcome is kept in
DIR/results, under a hash of its cfg, lists, teacher and seed, so a stopped table
goes on where it was. The hash knows neither the program nor the pictures: after
a change of those, remove DIR (the report says if the program changed).

It tunes nothing but the learning rate: temperature, loss weights and momenta
are each method's own defaults.
"""
import argparse
import collections
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time

import imagelist
import rows
from imagelist import InputError, positive, write_lines

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ.get("ROOT") or os.path.dirname(HERE)
BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD") or "build"))

GRID = (.0125, .025, .05, .1)
EXTENSIONS = 2
SEARCH_SEED = 1000
HELD_OUT = 12  # one training image in 12: 5,000 of 60,000
BATCH = 64

# split: "search" (training images only) or "test"
Run = collections.namedtuple("Run", "row rate seed split")
# Files of a split and what they hold
Lists = collections.namedtuple("Lists", "train valid train_images valid_images digest")
Active = collections.namedtuple("Active", "run process log began program")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=2, help="runs at once (default: 2)")
    parser.add_argument("--seeds", type=positive, default=5, help="final runs a row (default: 5)")
    parser.add_argument("--out", metavar="DIR", default=os.path.join(BUILD, "table"),
                        help="default: <BUILD>/table")
    parser.add_argument("--rows", metavar="A,B", type=lambda text: text.split(","),
                        default=list(rows.ROWS), help="only these rows of rows.py")
    parser.add_argument("--batches", type=positive, default=rows.BATCHES,
                        help=f"budget of every run (default: {rows.BATCHES})")
    parser.add_argument("--limit", type=positive, metavar="N",
                        help="only the first N images of each list, for trying things out")
    parser.add_argument("--teacher",
                        default=os.path.join(BUILD, "cfg/fmnist-teacher.weights"))
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--search-only", action="store_true", help="stop after the rates")
    only.add_argument("--report", action="store_true", help="run nothing, print what is there")
    args = parser.parse_args()
    if args.seeds >= SEARCH_SEED:
        parser.error(f"--seeds {args.seeds}: expected less than {SEARCH_SEED}, the search's seed")
    return args


# Files

def read(path, mode="r"):
    with open(path, mode, encoding=None if "b" in mode else "utf-8") as file:
        return file.read()


def digest(*parts):
    """A short name for these texts or bytes."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


def program_digest():
    return digest(read(os.path.join(BUILD, "darknet"), "rb"))


def write_text(path, text):
    write_lines(path, text.rstrip("\n").split("\n"))


def seen_from_build(path):
    """The path as Darknet is given it: it runs in BUILD."""
    inside = os.path.relpath(path, BUILD)
    return os.path.abspath(path) if inside.startswith("..") else inside


def hold_out(paths):
    """Splits a list in two by a shuffle that is the same everywhere: the order of hashes."""
    order = sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest())
    cut = len(order) - len(order) // HELD_OUT
    return order[:cut], order[cut:]


def make_split(args, name, train, valid):
    files = [os.path.join(args.out, f"{name}-{part}.list") for part in ("train", "valid")]
    for path, lines in zip(files, (train, valid)):
        if not lines:
            raise InputError(f"{path}: would be empty, expected images")
        write_lines(path, lines)
    return Lists(*map(seen_from_build, files), len(train), len(valid),
                 digest("\n".join(train), "\n".join(valid)))


def make_lists(args):
    """The two splits' lists of images. The search's come from the training list alone."""
    train, valid = (read(os.path.join(BUILD, f"data/fashion-mnist/{name}.list")).split()
                    for name in ("train", "valid"))
    return {"search": make_split(args, "search", *hold_out(train[:args.limit])),
            "test": make_split(args, "test", train[:args.limit], valid[:args.limit])}


def data_file(args, lists, backup):
    return (f"classes=10\ntrain={lists.train}\nvalid={lists.valid}\n"
            "labels=data/fashion-mnist/labels.txt\n"
            f"backup={seen_from_build(backup)}\ntop=2\n"
            f"eval_interval={args.batches}\nsave_interval={args.batches}\nlog_interval=50\n")


# One run

def run_cfg(args, run):
    return rows.row_cfg(run.row, read(os.path.join(ROOT, "cfg/fmnist-student.cfg")),
                        {"learning_rate": f"{run.rate:g}", "max_batches": args.batches})


def run_key(args, run):
    teacher = read(os.path.join(ROOT, "cfg/fmnist-teacher.cfg")), read(args.teacher, "rb")
    return digest(run_cfg(args, run), args.lists[run.split].digest, *teacher, run.seed)


def result_file(args, run):
    return os.path.join(args.out, "results", run_key(args, run) + ".json")


def find_result(args, run):
    try:
        return json.loads(read(result_file(args, run)))
    except FileNotFoundError:
        return None


def run_folder(args, run):
    return os.path.join(args.out, "runs", f"{run.row}-{run.split}-{run.rate:g}-{run.seed}")


def command(args, run):
    files = [os.path.join(run_folder(args, run), f"{run.row}.{end}") for end in ("data", "cfg")]
    return ["./darknet", "distill", *map(seen_from_build, [*files, args.teacher]),
            "-seed", str(run.seed), "-threads", "1"]


def start(args, run):
    folder = run_folder(args, run)
    backup = os.path.join(folder, "backup")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    os.makedirs(backup)
    stem = os.path.join(folder, run.row)
    write_text(stem + ".cfg", run_cfg(args, run))
    write_text(stem + ".data", data_file(args, args.lists[run.split], backup))
    log = stem + ".log"
    with open(log, "wb") as file:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            command(args, run), cwd=BUILD, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    return Active(run, process, log, time.monotonic(), program_digest())


def last_top1(path, batches):
    """The accuracy, 0 to 1, in the last line of a run's CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        line = list(csv.DictReader(file))[-1]
    if int(line["batch"]) != batches or not line["valid_top1"]:
        raise InputError(f"{path}: ends without an evaluation at batch {batches}")
    return float(line["valid_top1"])


def read_outcome(args, active):
    """top-1 of the student and the teacher, of a run that has ended; else InputError."""
    log = read(active.log)
    status = active.process.returncode
    if status and active.run.split == "search" and "not finite" in log:
        return {"top1": 0.0, "diverged": True}
    if status:
        last = (log.strip().split("\n") or [""])[-1]
        raise InputError(f"{active.log}: exit status {status}: {last}")
    teacher = re.search(r"^teacher: top-1 ([\d.]+) %", log, re.MULTILINE)
    csv_file = os.path.join(run_folder(args, active.run), "backup", active.run.row + ".csv")
    return {"top1": last_top1(csv_file, args.batches), "teacher": float(teacher[1]) / 100}


def finish(args, active):
    run = active.run
    outcome = {**run._asdict(), **read_outcome(args, active), "batches": args.batches,
               "seconds": round(time.monotonic() - active.began, 1), "program": active.program}
    os.makedirs(os.path.join(args.out, "results"), exist_ok=True)
    write_text(result_file(args, run), json.dumps(outcome))
    return outcome


# Many runs

def show(run, outcome, done, total):
    top1 = "diverged" if outcome.get("diverged") else f"top-1 {100 * outcome['top1']:.2f} %"
    print(f"[{done}/{total}] {run.row}, {run.split}, rate {run.rate:g}, seed {run.seed}: {top1}, "
          f"{outcome['seconds']:.0f} s", flush=True)


def stop(active):
    for a in active:
        a.process.kill()
        a.process.wait()


def run_all(args, runs):
    """Sees to it that every run has a result; the first failure stops the others."""
    waiting = [run for run in runs if find_result(args, run) is None]
    done, active = len(runs) - len(waiting), []
    if waiting and args.report:
        raise InputError(f"{args.out}: {len(waiting)} of {len(runs)} runs are missing, such as "
                         f"{os.path.basename(run_folder(args, waiting[0]))}; run it without "
                         "--report")
    try:
        while waiting or active:
            while waiting and len(active) < args.jobs:
                active.append(start(args, waiting.pop(0)))
            for a in [a for a in active if a.process.poll() is not None]:
                active.remove(a)
                done += 1
                show(a.run, finish(args, a), done, len(runs))
            time.sleep(.05)
    finally:
        stop(active)
    return {run: find_result(args, run) for run in runs}


def best_rate(tried):
    """Of {rate: top-1}: the rate with the highest, the lowest such rate."""
    return max(sorted(tried), key=lambda rate: tried[rate])


def beyond(tried):
    """The rates to try next: one beyond the edge at which the best one is, or none."""
    best = best_rate(tried)
    if best == min(tried):
        return [best / 2]
    return [best * 2] if best == max(tried) else []


def search(args):
    """{row: {rate: top-1 on the held-out images}}"""
    grids = {row: list(GRID) for row in args.rows}
    for extension in range(EXTENSIONS + 1):
        found = run_all(args, [Run(row, rate, SEARCH_SEED, "search")
                               for row, grid in grids.items() for rate in grid])
        tried = {row: {rate: found[Run(row, rate, SEARCH_SEED, "search")]["top1"]
                       for rate in grid} for row, grid in grids.items()}
        if extension < EXTENSIONS:
            for row, grid in grids.items():
                grid += beyond(tried[row])
    return tried


# The report

def percent(value):
    return f"{100 * value:.2f}"


def search_table(tried):
    rates = sorted({rate for row in tried.values() for rate in row})
    lines = ["| held-out top-1, % | " + " | ".join(f"{rate:g}" for rate in rates) + " |",
             "|---|" + "---:|" * len(rates)]
    for row, values in tried.items():
        cells = ["" if rate not in values else percent(values[rate]) if values[rate] else
                 "diverged" for rate in rates]
        best = rates.index(best_rate(values))
        cells[best] = f"**{cells[best]}**"
        lines.append(f"| {rows.ROWS[row].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def final_table(chosen, found, teacher):
    lines = ["| test top-1, % | learning rate | mean | standard deviation | min | max |",
             "|---|---:|---:|---:|---:|---:|",
             f"| the teacher | | {percent(teacher)} | | | |"]
    for row, rate in chosen.items():
        values = [result["top1"] for run, result in found.items() if run.row == row]
        deviation = percent(statistics.stdev(values)) if len(values) > 1 else ""
        lines.append(f"| {rows.ROWS[row].title} | {rate:g} | {percent(statistics.mean(values))} | "
                     f"{deviation} | {percent(min(values))} | {percent(max(values))} |")
    return "\n".join(lines)


def first_line(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True,
                              check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model():
    model = re.search(r"^model name\s*: (.*)", read("/proc/cpuinfo"), re.MULTILINE)
    return model[1] if model else os.uname().machine


def describe(args, tried, found):
    """What the numbers were made with, a line each."""
    lists = args.lists
    example = Run(args.rows[-1], best_rate(tried[args.rows[-1]]), 1, "test")
    switches = read(os.path.join(BUILD, ".switches")).split()
    programs = {result["program"] for result in found.values()}
    seconds = sum(result["seconds"] for result in found.values())
    lines = [
        f"command: {shlex.join(['scripts/table.py', *sys.argv[1:]])}",
        f"a run of it: cd {os.path.relpath(BUILD, ROOT)} && OPENBLAS_NUM_THREADS=1 "
        + shlex.join(command(args, example)),
        f"budget: {args.batches} batches of {BATCH} images a run; search: seed {SEARCH_SEED}, "
        f"{lists['search'].train_images} training images, chosen on {lists['search'].valid_images} "
        f"others; final: seeds 1 to {args.seeds}, {lists['test'].train_images} training images, "
        f"{lists['test'].valid_images} test images",
        f"machine: {cpu_model()}, {args.jobs} runs at once, one core each; {len(found)} runs, "
        f"{seconds / 60:.0f} minutes of one core",
        f"compiler: {first_line('gcc', '--version')}, "
        + " ".join(word for word in switches if not word.endswith("=0")),
        f"commit: {first_line('git', '-C', ROOT, 'describe', '--always', '--dirty')}",
    ]
    edge = [rows.ROWS[row].title for row, rates in tried.items() if beyond(rates)]
    if edge:
        lines.append("note: the best rate is still at its grid's edge in: " + ", ".join(edge))
    if programs != {program_digest()}:
        lines.append("note: the program was not the same in all these runs, or is another one now")
    return "\n".join("- " + line for line in lines)


def compare_rates(chosen):
    """Lines that say where scripts/rows.py has another rate than the search found."""
    return "".join(f"scripts/rows.py: {row} has the rate {rows.ROWS[row].rate:g}, the search "
                   f"found {rate:g}\n" for row, rate in chosen.items()
                   if rate != rows.ROWS[row].rate)


def report(args, tried):
    chosen = {row: best_rate(rates) for row, rates in tried.items()}
    searched = run_all(args, [Run(row, rate, SEARCH_SEED, "search")
                              for row, rates in tried.items() for rate in rates])
    text = [search_table(tried)]
    found = {}
    if not args.search_only:
        found = run_all(args, [Run(row, rate, 1 + i, "test")
                               for row, rate in chosen.items() for i in range(args.seeds)])
        teacher = next(iter(found.values()))["teacher"]
        text.insert(0, final_table(chosen, found, teacher))
    text = "\n\n".join([*text, describe(args, tried, {**searched, **found})]) + "\n"
    write_text(os.path.join(args.out, "search.md" if args.search_only else "table.md"), text)
    print("\n" + text)
    print(compare_rates(chosen), end="")


def check_inputs(args):
    for row in args.rows:
        rows.find_row(row)
    for path, remedy in ((os.path.join(BUILD, "darknet"), "make"),
                         (os.path.join(BUILD, "data/fashion-mnist/train.list"), "make data"),
                         (args.teacher, "scripts/train-teacher.sh, then make,")):
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file; {remedy} makes it")
    args.teacher = os.path.abspath(args.teacher)
    args.out = os.path.abspath(args.out)


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, interrupt)
    args = arguments()
    check_inputs(args)
    os.makedirs(args.out, exist_ok=True)
    args.lists = make_lists(args)
    report(args, search(args))


if __name__ == "__main__":
    imagelist.run(main, "the same command goes on from here")
