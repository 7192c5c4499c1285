#!/usr/bin/python3
"""Trains and compares the rows of scripts/rows.py: `make table`, `make table-yolo`.

    scripts/table.py [--task fmnist] [--jobs 2] [--seeds 5] [--out DIR] [--search-only | --report]

Tasks: fmnist, classifiers; scenes, detectors; one-class, detectors of the same scenes whose
garments are all of one class.

1. The learning rate of each row, by the same rule for all: the rates of the task's
   grid, --search-seeds seeds, 11 of 12 training images; the best mean top-1 (a detector: mAP@0.50)
   on the others wins, the lower rate if two are equal. As long as it is at an edge, the
   grid grows by a factor 2 beyond it, four times at most. A run that diverges loses to
   any other.
   A row may follow another's search, and a task without a grid has none: rows.py says so.
2. With that rate, --seeds other seeds on all training images. What counts is the
   accuracy of the last weights on the test images (of the scenes: val), at which
   nothing looked before: no best of several epochs, no choice among runs. A run that
   diverges counts as 0 %.

The teacher runs once for all rows, and once for all that see two views of an image: `deepkd cache`
keeps its logits of each seed's run in DIR/caches, which can be removed when the table is done.

Every run is a process `darknet distill` with one thread. Its outcome becomes a line of
DIR/results.jsonl (or of --results), under a hash of its cfg, lists, teacher, first weights
and seed, so a stopped table goes on where it was. The hash knows neither the program nor
the pictures and their boxes: after a change of those, remove the file (the report says if
the program changed). docs/tables has the lines behind docs/results.md.

With --start the students begin with these weights: of a run that was trained before.

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

EXTENSIONS = 4
SEARCH_SEED = 1000
HELD_OUT = 12  # one training image in 12
DIVERGED = -1  # the scores of such a run

# split: "search" (training images only) or "test"
Run = collections.namedtuple("Run", "row rate seed split")
# Files of a split and what they hold
# rest: of --labelled, training images that only rows with unlabelled are shown; else None
Lists = collections.namedtuple("Lists", "train valid rest train_images valid_images digest")
Active = collections.namedtuple("Active", "run process log began program")
# Of the runs of one split and seed
Cache = collections.namedtuple("Cache", "split seed path cfg top")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=rows.TASKS, default="fmnist", help="default: fmnist")
    parser.add_argument("--jobs", type=positive, default=2, help="runs at once (default: 2)")
    parser.add_argument("--seeds", type=positive, help="final runs a row (default: "
                        + ", ".join(f"{name} {task.seeds}" for name, task in rows.TASKS.items())
                        + ")")
    parser.add_argument("--out", metavar="DIR", help="default: <BUILD>/table, with "
                        + " or ".join(filter(None, (t.suffix for t in rows.TASKS.values()))))
    parser.add_argument("--rows", metavar="A,B", type=lambda text: text.split(","),
                        help="only these rows of rows.py (default: all but those in bfloat16 "
                        "and int8, which not every processor has, of methods by trainer, which "
                        "take long, of methods beyond the paper, and of a part of the teacher's "
                        "logits)")
    parser.add_argument("--baseline", metavar="ROW", help="what the others are compared with "
                        f"(default: {rows.BASELINE}; of a sweep its first)")
    parser.add_argument("--sweep", choices=["topk"], help="in place of the task's rows: DeepKD "
                        "without a mask and with K = 1, 2, 4, ... throughout")
    parser.add_argument("--batches", type=positive,
                        help="budget of every run (default: max_batches of the student's cfg)")
    parser.add_argument("--limit", type=positive, metavar="N",
                        help="only the first N images of each list, for trying things out")
    parser.add_argument("--teacher", metavar="WEIGHTS", help="default: the task's")
    parser.add_argument("--search-seeds", type=positive, metavar="N", default=1,
                        help="of which the search takes the mean (default: 1)")
    parser.add_argument("--labelled", type=positive, metavar="N", default=1,
                        help="only each N-th training image has labels; rows of unlabelled images "
                        "are shown the others without, the other rows are not")
    parser.add_argument("--start", metavar="WEIGHTS", help="the students' first weights")
    parser.add_argument("--results", metavar="FILE", help="default: <DIR>/results.jsonl")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--search-only", action="store_true", help="stop after the rates")
    only.add_argument("--report", action="store_true", help="run nothing, print what is there")
    args = parser.parse_args()
    args.task = rows.find_task(args.task)
    if args.sweep:
        data = read(os.path.join(BUILD, args.task.data))
        args.task = rows.sweep_topk(args.task, int(rows.get_option(data, "classes")))
    args.baseline = args.baseline or (next(iter(args.task.rows)) if args.sweep else rows.BASELINE)
    args.rows = args.rows or [name for name in args.task.rows if name not in rows.ON_REQUEST]
    args.seeds = args.seeds or args.task.seeds
    args.out = os.path.abspath(args.out or os.path.join(BUILD, "table" + args.task.suffix))
    args.results = os.path.abspath(args.results or os.path.join(args.out, "results.jsonl"))
    args.teacher = os.path.abspath(args.teacher or os.path.join(BUILD, args.task.weights))
    args.start = args.start and os.path.abspath(args.start)
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
    rest = [path for i, path in enumerate(train) if i % args.labelled]
    train = train[::args.labelled]
    files = [os.path.join(args.out, f"{name}-{part}.list") for part in ("train", "valid", "rest")]
    for path, lines in zip(files, (train, valid, rest)):
        if lines:
            write_lines(path, lines)
        elif lines is not rest:
            raise InputError(f"{path}: would be empty, expected images")
    train_file, valid_file, rest_file = map(seen_from_build, files)
    return Lists(train_file, valid_file, rest_file if rest else None, len(train), len(valid),
                 digest("\n".join(train), "\n".join(valid)))


def listed(args, key):
    """The image list that the task's .data file names."""
    return os.path.join(BUILD, rows.get_option(args.data, key))


def make_lists(args):
    """The two splits' lists of images. The search's come from the training list alone."""
    train, valid = (read(listed(args, key)).split() for key in ("train", "valid"))
    return {"search": make_split(args, "search", *hold_out(train[:args.limit])),
            "test": make_split(args, "test", train[:args.limit], valid[:args.limit])}


def data_file(args, split, backup, is_shown_rest=False):
    """The task's .data file with this split. The annotations are of the test images alone: the
    truths of others come from their label files, as in training."""
    lists = args.lists[split]
    new = {"train": lists.train, "valid": lists.valid, "backup": seen_from_build(backup),
           "eval_interval": args.batches, "save_interval": args.batches, "log_interval": 50}
    if is_shown_rest:
        new["unlabelled"] = lists.rest
    dropped = [*new, "annotations"] if split == "search" else [*new]
    old = [line for line in args.data.split("\n")
           if line and not line.startswith("#") and line.split("=")[0].strip() not in dropped]
    return "\n".join([*old, *(f"{key}={value}" for key, value in new.items())])


# One run

def run_cfg(args, run):
    return rows.row_cfg(args.task, run.row, args.student,
                        {"learning_rate": f"{run.rate:g}", "max_batches": args.batches})


def shows_rest(args, run):
    return args.task.rows[run.row].unlabelled and args.lists[run.split].rest is not None


def run_key(args, run):
    teacher = read(os.path.join(BUILD, args.task.teacher)), read(args.teacher, "rb")
    start = [read(args.start, "rb")] if args.start else []
    rest = [read(os.path.join(BUILD, args.lists[run.split].rest))] if shows_rest(args, run) else []
    return digest(*args.task.metrics, run_cfg(args, run), args.lists[run.split].digest, *teacher,
                  *start, run.seed, *rest, *top_of(args.task.rows[run.row]))


def read_results(path):
    """{key: outcome} of a file that has one a line, and that is replaced whole"""
    lines = read(path).splitlines() if os.path.exists(path) else []
    return {outcome["key"]: outcome for outcome in map(json.loads, lines)}


def find_result(args, run):
    return args.known.get(run_key(args, run))


def keep_result(args, outcome):
    args.known[outcome["key"]] = outcome
    write_text(args.results, "\n".join(map(json.dumps, args.known.values())))


def run_folder(args, run):
    started = "-started" if args.start else ""  # not the folder that the weights may lie in
    return os.path.join(args.out, "runs", f"{run.row}-{run.split}-{run.rate:g}-{run.seed}{started}")


def top_of(row):
    """What a cache of some logits alone depends on besides."""
    return [f"top {row.top} at {row.options.get('temperature')}"] if row.top else []


def cache_of(args, run):
    """The teacher's logits that the run learns from; None: none, or more than caches hold."""
    row = args.task.rows[run.row]
    if row.options.get("teacher_weight") == "0" or "rows" in row.options or row.teacher:
        return None
    key = digest(args.student, args.batches, args.lists[run.split].digest,
                 read(os.path.join(BUILD, args.task.teacher)), read(args.teacher, "rb"),
                 *["boxes"] * ("box_weight" in row.options),
                 *["two views"] * ("views" in row.options), *top_of(row))
    path = os.path.join(args.out, "caches", f"{run.split}-{run.seed}-{key}.sqlite")
    return Cache(run.split, run.seed, path, run_cfg(args, run), row.top)


def command(args, run):
    files = [os.path.join(run_folder(args, run), f"{run.row}.{end}") for end in ("data", "cfg")]
    cache = cache_of(args, run)
    return ["./darknet", "distill", *map(seen_from_build, [*files, args.teacher]),
            *(["-cache", seen_from_build(cache.path)] if cache else []),
            *(["-start", seen_from_build(args.start), "-clear"] if args.start else []),
            "-seed", str(run.seed), "-threads", "1", *args.task.flags]


def start(args, run):
    folder = run_folder(args, run)
    backup = os.path.join(folder, "backup")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    os.makedirs(backup)
    stem = os.path.join(folder, run.row)
    write_text(stem + ".cfg", run_cfg(args, run))
    write_text(stem + ".data", data_file(args, run.split, backup, shows_rest(args, run)))
    return launch(run, command(args, run), stem + ".log")


def launch(run, words, log):
    with open(log, "wb") as file:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            words, cwd=BUILD, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return Active(run, process, log, time.monotonic(), program_digest())


def start_cache(args, cache):
    """Makes it, goes on with it, or finds it whole."""
    folder = os.path.dirname(cache.path)
    os.makedirs(folder, exist_ok=True)
    stem = cache.path.removesuffix(".sqlite")
    write_text(stem + ".cfg", cache.cfg)
    write_text(stem + ".data", data_file(args, cache.split, folder))
    files = [stem + ".data", stem + ".cfg", args.teacher]
    return launch(cache, ["./darknet", "deepkd", "cache", *map(seen_from_build, files), "-seed",
                          str(cache.seed), "-threads", "1", "-out", seen_from_build(cache.path),
                          *(["-top", str(cache.top)] if cache.top else []), *args.task.flags],
                  stem + ".log")


def last_scores(args, path):
    """The accuracies, 0 to 1, in the last line of a run's CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        line = list(csv.DictReader(file))[-1]
    scores = [line[column] for column in args.task.metrics.values()]
    if int(line["batch"]) != args.batches or not all(scores):
        raise InputError(f"{path}: ends without an evaluation at batch {args.batches}")
    return list(map(float, scores))


def teacher_scores(args, log):
    """What the log says of the teacher, 0 to 1; None if nothing."""
    line = re.search(r"^teacher: (.* %) on ", log, re.MULTILINE)
    scores = [float(text) / 100 for text in re.findall(r" ([\d.]+) %", line[1] if line else "")]
    return scores[:len(args.task.metrics)] or None


def check_status(active):
    status = active.process.returncode
    if status:
        last = (read(active.log).strip().split("\n") or [""])[-1]
        raise InputError(f"{active.log}: exit status {status}: {last}")


def read_outcome(args, active):
    """The scores of the student and the teacher, of a run that has ended; else InputError."""
    log = read(active.log)
    cache = cache_of(args, active.run)
    teacher = teacher_scores(args, read(cache.path.removesuffix(".sqlite") + ".log")
                             if cache else log)
    if active.process.returncode and re.search(r"batch \d+: .*not finite", log):
        return {"scores": [DIVERGED] * len(args.task.metrics), "teacher": teacher}
    check_status(active)
    csv_file = os.path.join(run_folder(args, active.run), "backup", active.run.row + ".csv")
    return {"scores": last_scores(args, csv_file), "teacher": teacher}


def finish(args, active):
    run = active.run
    outcome = {"key": run_key(args, run), **run._asdict(), **read_outcome(args, active),
               "batches": args.batches, "seconds": round(time.monotonic() - active.began, 1),
               "program": active.program}
    keep_result(args, outcome)
    return outcome


# Many runs

def show(args, run, outcome, done, total):
    scores = ", ".join(f"{name} {percent(value)} %" for name, value in
                       zip(args.task.metrics, outcome["scores"]))
    if DIVERGED in outcome["scores"]:
        scores = "diverged"
    print(f"[{done}/{total}] {run.row}, {run.split}, rate {run.rate:g}, seed {run.seed}: {scores}, "
          f"{outcome['seconds']:.0f} s", flush=True)


def stop(active):
    for a in active:
        a.process.kill()
        a.process.wait()


def run_each(args, waiting, begin, end):
    """begin()s each, so many at once, and end()s it; the first failure stops the others."""
    waiting, active = list(waiting), []
    try:
        while waiting or active:
            while waiting and len(active) < args.jobs:
                active.append(begin(args, waiting.pop(0)))
            for a in [a for a in active if a.process.poll() is not None]:
                active.remove(a)
                end(a)
            time.sleep(.05)
    finally:
        stop(active)


def run_all(args, runs):
    """Sees to it that every run has a result."""
    waiting = [run for run in runs if find_result(args, run) is None]
    done = len(runs) - len(waiting)
    if waiting and args.report:
        raise InputError(f"{args.out}: {len(waiting)} of {len(runs)} runs are missing, such as "
                         f"{os.path.basename(run_folder(args, waiting[0]))}; run it without "
                         "--report")
    caches = {cache.path: cache for cache in (cache_of(args, run) for run in waiting) if cache}
    run_each(args, caches.values(), start_cache, check_status)

    def end(active):
        nonlocal done
        done += 1
        show(args, active.run, finish(args, active), done, len(runs))
    run_each(args, waiting, start, end)
    return {run: find_result(args, run) for run in runs}


def best_rate(tried):
    """Of {rate: score}: the rate with the highest, the lowest such rate."""
    return max(sorted(tried), key=lambda rate: tried[rate])


def beyond(tried):
    """The rates to try next: one beyond the edge at which the best one is, or none."""
    best = best_rate(tried)
    if best == min(tried):
        return [best / 2]
    return [best * 2] if best == max(tried) else []


def search_runs(args, grids):
    """grids: {row: rates}"""
    return [Run(row, rate, SEARCH_SEED + i, "search") for row, grid in grids.items()
            for rate in grid for i in range(args.search_seeds)]


def mean_score(args, found, row, rate):
    """On the held-out images; DIVERGED if one of the seeds did."""
    scores = [found[run]["scores"][0] for run in search_runs(args, {row: [rate]})]
    return DIVERGED if DIVERGED in scores else statistics.mean(scores)


def search(args):
    """{row: {rate: first score on the held-out images}} of the rows that others' rates follow."""
    if not args.task.grid:
        return {}
    grids = {rows.searched(args.task, row): list(args.task.grid) for row in args.rows}
    for extension in range(EXTENSIONS + 1):
        found = run_all(args, search_runs(args, grids))
        tried = {row: {rate: mean_score(args, found, row, rate) for rate in grid}
                 for row, grid in grids.items()}
        if extension < EXTENSIONS:
            for row, grid in grids.items():
                grid += beyond(tried[row])
    return tried


def choose(args, tried):
    """{row: rate}: the search's, or without one that of rows.py."""
    if not tried:
        return {row: rows.rate(args.task, row) for row in args.rows}
    return {row: best_rate(tried[rows.searched(args.task, row)]) for row in args.rows}


# The report

def percent(value):
    return f"{100 * value:.2f}"


def title(args, row):
    return args.task.rows[row].title


def search_table(args, tried):
    rates = sorted({rate for row in tried.values() for rate in row})
    lines = [f"| held-out {next(iter(args.task.metrics))}, % | "
             + " | ".join(f"{rate:g}" for rate in rates) + " |", "|---|" + "---:|" * len(rates)]
    for row, values in tried.items():
        cells = ["" if rate not in values else "diverged" if values[rate] == DIVERGED else
                 percent(values[rate]) for rate in rates]
        best = rates.index(best_rate(values))
        cells[best] = f"**{cells[best]}**"
        lines.append(f"| {title(args, row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values):
    """Cells: mean, standard deviation, least and greatest."""
    values = [max(0, value) for value in values]  # DIVERGED
    deviation = percent(statistics.stdev(values)) if len(values) > 1 else ""
    return [percent(statistics.mean(values)), deviation, percent(min(values)),
            percent(max(values))]


def paired(values, baseline):
    """A cell: the mean difference to the baseline's runs of the same seeds, +- its error."""
    differences = [max(0, a) - max(0, b) for a, b in zip(values, baseline)]
    if not any(differences) or len(differences) < 2:
        return ""
    error = statistics.stdev(differences) / len(differences) ** .5
    return f"{100 * statistics.mean(differences):+.2f} ± {percent(error)}"


def scores_of(found, row):
    """[metric][seed] of a row's final runs."""
    return list(zip(*(result["scores"] for run, result in found.items() if run.row == row)))


def final_table(args, chosen, found):
    names = list(args.task.metrics)
    baseline = scores_of(found, args.baseline) if args.baseline in chosen else None
    head, body = [f"test {names[0]}, %", "learning rate"], []
    teacher = next(filter(None, (result["teacher"] for result in found.values())), None)
    for name in names:
        head += ["mean" if name == names[0] else f"{name}, mean", "standard deviation", "min",
                 "max", f"to {title(args, args.baseline)}, paired"]
    if teacher:  # lines of the first tables with caches may have none
        body.append(["the teacher", ""])
        for value in teacher:
            body[0] += [percent(value), "", "", "", ""]
    for row, rate in chosen.items():
        cells = [title(args, row), f"{rate:g}"]
        for i, values in enumerate(scores_of(found, row)):
            cells += [*spread(values), paired(values, baseline[i]) if baseline else ""]
        body.append(cells)
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *body)]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(head) - 1), *lines[1:]])


def first_line(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True,
                              check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model():
    model = re.search(r"^model name\s*: (.*)", read("/proc/cpuinfo"), re.MULTILINE)
    return model[1] if model else os.uname().machine


def describe(args, tried, chosen, found):
    """What the numbers were made with, a line each."""
    search_lists, lists = args.lists["search"], args.lists["test"]
    example = Run(args.rows[-1], chosen[args.rows[-1]], 1, "test")
    seeds = f"seeds {SEARCH_SEED} to {SEARCH_SEED + args.search_seeds - 1}" \
        if args.search_seeds > 1 else f"seed {SEARCH_SEED}"
    how = (f"{seeds}, {search_lists.train_images} training images, chosen on "
           f"{search_lists.valid_images} others" if tried else "none, scripts/rows.py has the rates")
    switches = read(os.path.join(BUILD, ".switches")).split()
    programs = {result["program"] for result in found.values()}
    seconds = sum(result["seconds"] for result in found.values())
    lines = [
        f"command: {shlex.join(['scripts/table.py', *sys.argv[1:]])}",
        f"a run of it: cd {os.path.relpath(BUILD, ROOT)} && OMP_NUM_THREADS=1 "
        + shlex.join(command(args, example)),
        f"budget: {args.batches} batches of {rows.get_option(args.student, 'batch')} images a run; "
        f"search: {how}; final: seeds 1 to {args.seeds}, "
        f"{lists.train_images} training images, {lists.valid_images} test images",
        f"machine: {cpu_model()}, {args.jobs} runs at once, one core each; {len(found)} runs, "
        f"{seconds / 60:.0f} minutes of one core",
        f"compiler: {first_line('gcc', '--version')}, "
        + " ".join(word for word in switches if not word.endswith("=0")),
        f"commit: {first_line('git', '-C', ROOT, 'describe', '--always', '--dirty')}",
    ]
    diverged = [run.row for run, result in found.items()
                if run.split == "test" and DIVERGED in result["scores"]]
    if diverged:
        lines.append("note: final runs that diverged, and count as 0 %: " + ", ".join(diverged))
    edge = [title(args, row) for row, rates in tried.items() if beyond(rates)]
    if edge:
        lines.append("note: the best rate is still at its grid's edge in: " + ", ".join(edge))
    if programs - {program_digest()}:
        lines.append("note: the program was not the same in all these runs, or is another one now")
    return "\n".join("- " + line for line in lines)


def compare_rates(args, chosen):
    """Lines that say where scripts/rows.py has another rate than the search found."""
    planned = {row: rows.rate(args.task, row) for row in chosen}
    return "".join(f"scripts/rows.py: {row} has the rate {planned[row]:g}, the search found "
                   f"{rate:g}\n" for row, rate in chosen.items() if rate != planned[row])


def report(args, tried):
    chosen = choose(args, tried)
    searched = run_all(args, search_runs(args, tried))
    text = [search_table(args, tried)] if tried else []
    found = {}
    if not args.search_only:
        found = run_all(args, [Run(row, rate, 1 + i, "test")
                               for row, rate in chosen.items() for i in range(args.seeds)])
        text.insert(0, final_table(args, chosen, found))
    text = "\n\n".join([*text, describe(args, tried, chosen, {**searched, **found})]) + "\n"
    write_text(os.path.join(args.out, "search.md" if args.search_only else "table.md"), text)
    print("\n" + text)
    print(compare_rates(args, chosen), end="")


def check_there(path, remedy):
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; {remedy} makes it")


def read_inputs(args):
    """Checks that all is there, and reads the task's .data file and its student's cfg."""
    for row in [*args.rows, args.baseline]:
        rows.find_row(args.task, row)
    check_there(os.path.join(BUILD, "darknet"), "make")
    check_there(args.teacher, args.task.maker)
    if args.start:
        check_there(args.start, "a run of distill")
    args.data = read(os.path.join(BUILD, args.task.data))
    args.student = read(os.path.join(BUILD, args.task.student))
    args.batches = args.batches or int(rows.get_option(args.student, "max_batches"))
    check_there(listed(args, "train"), "make data")


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, interrupt)
    args = arguments()
    read_inputs(args)
    os.makedirs(args.out, exist_ok=True)
    args.lists = make_lists(args)
    args.known = read_results(args.results)
    report(args, search(args))


if __name__ == "__main__":
    imagelist.run(main, "the same command goes on from here")
