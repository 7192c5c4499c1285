#!/usr/bin/python3
"""Measures training steps of `darknet distill` and prints tests/bench/README.md's tables.

    tests/bench/bench.py BUILD [STOCK_BUILD] [--repeat 5] [--only PART,...] [--baseline BUILD]

tests/bench/bench.sh calls it. What the parts need and is not there is made first: data sets,
STOCK_BUILD (without BLAS, OpenMP and oneDNN), the programs beside this file.
Where BUILD has GPU=1, the GPU is measured, else --cores cores of the CPU.
A case is a cfg and a program, `darknet` or PyTorch (peer_pytorch.py). The cases of a part run in
turn, --repeat rounds of them; a case's step time is the median over a run's batches, without the
first ones. A ratio is taken within each round, so that what else the machine does hits both sides;
the table has its median, least and greatest.

The teachers' weights are random: they cost the same time. Nothing is learned
here, and nothing is asserted about time.
"""
import argparse
import collections
import functools
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import floors  # noqa: E402
import gpu  # noqa: E402
import tables  # noqa: E402
import rows  # noqa: E402
from imagelist import InputError, positive, run, write_lines, write_png  # noqa: E402
from oneline import write_bytes  # noqa: E402
from parts import EVALUATIONS, MODES, PAIRS, Ours, all_parts, cases_of, default_parts, switches  # noqa: E402
from tables import Outcome, Result  # noqa: E402
from table import cpu_model, first_line, read  # noqa: E402

RATE = 1e-5  # nothing may overflow in a long run
LISTED, PICTURES = 4096, 256  # of a data set at most; of the random scenes
INTERVAL = 10  # batches between two training lines on a GPU, from which losses are read only then

# lines: [(time, line)] of stdout; said: stderr; memory: MiB at most, None: unknown
Ran = collections.namedtuple("Ran", "lines said memory")

GEMM_NET = "[net]\nbatch=1\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_crop=36\n" \
    "learning_rate=0.001\nmomentum=0.9\nmax_batches=1\n" + "".join(
        f"\n[convolutional]\nbatch_normalize=1\nfilters={n}\nsize=3\nstride=1\npad=1\n"
        "activation=leaky\n" for n in (64, 128, 256)) + \
    "\n[avgpool]\n\n[connected]\noutput=10\nactivation=linear\n\n[softmax]\ngroups=1\n"


# Programs

def last_line(text):
    return (text.strip().split("\n") or [""])[-1]


def memory_so_far(pid):
    """MiB that the process had in memory at most, or None."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", read(f"/proc/{pid}/status"))
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def run_program(name, words, cwd=None, **env):
    """A Ran; InputError when it fails. name: what it is then called."""
    lines, memory = [], None
    with tempfile.TemporaryFile("w+") as stderr, subprocess.Popen(
            words, cwd=cwd, env={**os.environ, **gpu.ORDER, **env}, text=True, stderr=stderr,
            stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            lines.append((time.time(), line))
            memory = memory_so_far(process.pid) or memory
        process.wait()
        stderr.seek(0)
        said = stderr.read()
    if process.returncode:
        raise InputError(f"{name}: exit status {process.returncode}: {last_line(said)}")
    return Ran(lines, said, memory)


def on_cores(cores):
    """Words before a command, and its environment, for the first of the CPU's cores; 0: all."""
    if not cores:
        return [], {}
    numbers = sorted(os.sched_getaffinity(0))[:cores]
    return ["taskset", "--cpu-list", ",".join(map(str, numbers))], {"OMP_NUM_THREADS": str(cores)}


def run_darknet(build, words, cores=0):
    """[(time, line)] of its stdout, and all of its stderr."""
    return measured_darknet(build, words, cores)[:2]


def measured_darknet(build, words, cores):
    first, env = on_cores(cores)
    return run_program(f"darknet {' '.join(words)}", [*first, "./darknet", *words], build,
                       OPENBLAS_NUM_THREADS="1", **env)


# What the parts need, made where it is not there

def cause(log):
    """The line that says why make stopped."""
    lines = [line for line in log.split("\n") if line and not line.startswith("make")]
    return next((line for line in lines if re.search(r"\berror\b", line)), (lines or [""])[-1])


def run_make(args, what, *words):
    """Nothing that a calling make was told. InputError with one line when it fails."""
    path = bench_file(args, f"{what}.log")
    print(f"bench: make {what}", file=sys.stderr, flush=True)
    with open(path, "w", encoding="utf-8") as log:
        done = subprocess.run(
            ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "--no-print-directory", *words],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise InputError(f"make {what}: {cause(read(path))}; {path} has all of it")


def missing_data(args):
    """The data sets, each a target of make's, whose lists are not there."""
    wanted = {PAIRS[part.pair].data for name in args.only for part in all_parts(args)[name]}
    if "evaluate" in args.only:
        wanted |= {"fashion-mnist", "scenes"}
    return sorted(data for data in wanted if data and not os.path.exists(
        os.path.join(args.build, "data", data, "train.list")))


def provide(args):
    """Only what args.only needs. Without the programs floors, or the GPU's update, are left out."""
    os.makedirs(bench_file(args, ""), exist_ok=True)
    for data in missing_data(args):
        run_make(args, data, data, f"BUILD={args.build}")
    if "gemm" in args.only:
        run_make(args, "stock", f"BUILD={args.stock}", "BLAS=0", "OPENMP=0", "DNNL=0")
    try:
        run_make(args, "bench-programs", "bench-programs", f"BUILD={args.build}",
                 *read(os.path.join(args.build, ".switches")).splitlines())
    except InputError as error:
        leave_out(args, "update of the weights alone" if args.gpu else "floors", error)


def leave_out(args, what, error):
    """Says it now and below the tables."""
    args.left_out.append(what)
    args.notes.append(f"no {what}: {error}")
    print(f"bench: {args.notes[-1]}", file=sys.stderr, flush=True)


def provide_torch(on_gpu):
    """PYTHONPATH of a PyTorch: the one that is there, or one fetched by pip. Else InputError."""
    folder = os.path.join(ROOT, "build", "python-bench")
    path = ":".join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    ask = [sys.executable, "-c", "import torch, torchvision; print(torch.cuda.is_available())"]
    try:
        lines = run_program("PyTorch", ask, PYTHONPATH=path).lines
    except InputError:
        wanted = os.environ.get("TORCH", "torch torchvision").split()
        print(f"installing {' '.join(wanted)} into {folder}", file=sys.stderr, flush=True)
        run_program("pip", [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check",
                            "install", "--root-user-action=ignore", "--only-binary", ":all:",
                            "--target", folder, *wanted])
        lines = run_program("PyTorch", ask, PYTHONPATH=path).lines
    if on_gpu and lines[-1][1] != "True\n":
        raise InputError("it finds no GPU that it can use; TORCH=torch==VERSION chooses another")
    return path


# What a run needs: lists, labels, weights, cfgs; all in BUILD/bench

def bench_file(args, name):
    return os.path.join(args.build, "bench", name)


def make_lists(args, part):
    """Lists of few images, with absolute paths, and the classes' names."""
    pair, names = PAIRS[part.pair], []
    if part.name == "photos":
        paths = photos(args) * (LISTED // len(photos(args)))  # each line is decoded by itself
        names = [os.path.basename(path) for path in photos(args)]
    elif pair.data:
        folder = os.path.join(args.build, "data", pair.data)
        listed = read(os.path.join(folder, "train.list")).split()[:LISTED]
        paths = [os.path.join(args.build, path) for path in listed]
        names = read(os.path.join(folder, "names.txt" if pair.boxes else "labels.txt")).splitlines()
    else:
        paths = make_scenes(args, part)
    names += [f"no_such_label_{i}" for i in range(len(names), part.classes)]
    for kind, lines in {"train": paths, "valid": paths[:1], "names": names}.items():
        write_lines(bench_file(args, f"{part.name}-{kind}.list"), lines)


def photos(args):
    """Darknet's own: JPEGs of some 400,000 pixels."""
    return sorted(glob.glob(os.path.join(args.build, "data", "*.jpg")))


def make_scenes(args, part):
    """Random pictures of the networks' size with random boxes; their paths."""
    folder = bench_file(args, f"{part.name}-pictures")
    os.makedirs(folder, exist_ok=True)
    generator = np.random.default_rng(1)
    pair = PAIRS[part.pair]
    width, height = pair.size
    paths = [os.path.join(folder, f"{i:03d}.png") for i in range(PICTURES)]
    for path in paths:
        blocks = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        write_png(path, np.kron(blocks, np.ones((8, 8, 1), np.uint8)))
        size = generator.uniform(.02, .42, (pair.boxes, 2))
        place = size / 2 + generator.random((pair.boxes, 2)) * (1 - size)
        lines = [f"{generator.integers(part.classes)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"
                 for (x, y), (w, h) in zip(place, size)]
        write_lines(path[:-3] + "txt", lines)
    return paths


def make_data(args, part):
    listed = {kind: bench_file(args, f"{part.name}-{kind}.list")
              for kind in ("train", "valid", "names")}
    path = bench_file(args, "run.data")
    write_lines(path, [f"classes={part.classes}", f"train={listed['train']}",
                       f"valid={listed['valid']}",
                       f"{'names' if PAIRS[part.pair].boxes else 'labels'}={listed['names']}",
                       f"backup={bench_file(args, 'backup')}", "eval_interval=1000000",
                       "save_interval=1000000", f"log_interval={args.interval}"])
    return path


def layer_arrays(text, normalize):
    """
    The weights file's arrays, as (kind, size), from the layers that Darknet printed; normalize:
    whether each [convolutional] has batch norm.
    """
    normalize = iter(normalize)
    for line in text.split("\n"):
        conv = re.match(r" *\d+ conv +(\d+) +(\d+) x *(\d+) */ *\d+ +\d+ x *\d+ x *(\d+) ", line)
        connected = re.match(r" *\d+ connected +(\d+) +-> +(\d+)", line)
        if conv:
            filters, height, width, channels = map(int, conv.groups())
            yield "zero", filters
            if next(normalize):
                yield from (("one", filters), ("zero", filters), ("one", filters))
            yield height * width * channels, filters * height * width * channels
        elif connected:
            inputs, outputs = map(int, connected.groups())
            yield from (("zero", outputs), (inputs, inputs * outputs))


def make_weights(build, cfg, path):
    """Random weights, each layer's so small that a sum over shortcuts stays finite."""
    generator = np.random.default_rng(1)
    values = {"zero": np.zeros, "one": np.ones}
    sections = re.findall(r"^\[convolutional\]\n([^\[]*)", read(cfg), re.MULTILINE)
    normalize = [rows.get_option(text, "batch_normalize") == "1" for text in sections]
    arrays = [values[kind](size) if kind in values else
              generator.standard_normal(size) * kind ** -.5
              for kind, size in layer_arrays(run_darknet(build, ["ops", cfg])[1], normalize)]
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([0], "<u8").tobytes()
    data = header + np.concatenate(arrays).astype("<f4").tobytes()
    write_bytes(path, data)


def network_file(args, part, suffix):
    return bench_file(args, f"{part.name}-{suffix}")


def sized(args, part, cfg):
    """The text of the cfg's network, with the part's input size and classes."""
    pair = PAIRS[part.pair]
    text = read(os.path.join(args.build, cfg)).split("\n[teacher]")[0]
    net = {**(dict(zip(("width", "height"), pair.size)) if pair.size else {}),
           **({"tf32": args.tf32} if args.gpu else {})}
    for key, value in net.items():
        text = rows.set_option(text, "net", key, value)
    return text if pair.boxes else rows.set_option(text, "connected", "output", part.classes)


def make_networks(args, part):
    pair = PAIRS[part.pair]
    for role, cfg in (("student", pair.student), ("teacher", pair.teacher)):
        write_lines(network_file(args, part, role + ".cfg"), sized(args, part, cfg).split("\n"))
    make_weights(args.build, network_file(args, part, "teacher.cfg"),
                 network_file(args, part, "teacher.weights"))


def make_student(args, part, step):
    """The cfg that is trained."""
    text = re.sub("(?m)^random=1", "random=0", read(network_file(args, part, "student.cfg")))
    net = {"batch": part.batch, "subdivisions": 1, "max_batches": part.batches + part.skip,
           "learning_rate": RATE, "policy": "constant"}
    for key, value in net.items():
        text = rows.set_option(text, "net", key, value)
    student, teacher = (f"precision={given}\n" if given else ""
                        for given in (step.student, step.teacher))
    text += f"\n[teacher]\ncfg={network_file(args, part, 'teacher.cfg')}\n{teacher}" \
        f"\n[deepkd_loss]\n{student}"
    for key, value in step.options.items():
        text = rows.set_option(text, "deepkd_loss", key, value)
    path = bench_file(args, "student.cfg")
    write_lines(path, text.split("\n"))
    return path


# Measuring

def seconds_a_step(args, part, lines):
    """
    The median over a run, from its training lines, and when those began and ended. On the CPU a
    line has its batch's time. On a GPU a batch only ends when the next line is about to be
    printed, so that the time between two lines counts.
    """
    pattern = re.compile(r" rate, ([\d.]+) seconds,")
    found = [(at, pattern.search(line)) for at, line in lines if pattern.search(line)]
    expected = (part.batches + part.skip) // args.interval
    if len(found) != expected:
        raise InputError(f"{part.title}: found {len(found)} training lines, expected {expected}")
    found = found[part.skip // args.interval - 1:]
    times = [at for at, _ in found]
    seconds = [(b - a) / args.interval for a, b in zip(times, times[1:])] if args.gpu else \
        [float(match[1]) for _, match in found[1:]]
    return statistics.median(seconds), times[0], times[-1]


def waiting(lines):
    """Per cent of the training's time, None if it is not said, as by an older build."""
    for _, line in lines:
        found = re.match(r"waited for data: ([\d.]+) of ([\d.]+) seconds", line)
        if found:
            return 100 * float(found[1]) / float(found[2])
    return None


def run_ours(args, part, case):
    """A Ran, and what seconds_a_step gives."""
    words = ["distill", make_data(args, part), make_student(args, part, case.step),
             network_file(args, part, "teacher.weights"), "-clear", "-seed", "1", "-threads",
             str(case.cores or args.threads)]
    try:
        ran = measured_darknet(case.build, words + ["-verbose"] * (not args.gpu), case.cores)
    except InputError as error:
        if "-verbose: expected" not in str(error):
            raise
        ran = measured_darknet(case.build, words, case.cores)  # an older build's classifier
    return ran, seconds_a_step(args, part, ran.lines)


def run_peer(args, part, case):
    first, env = on_cores(case.cores)
    words = [sys.executable, "-B", os.path.join(HERE, "peer_pytorch.py"), "--pair", part.name,
             "--method", case.method, "--batch", part.batch, "--steps", part.batches,
             "--warmup", part.skip, "--build", args.build,
             *(["--device", "cuda", "--tf32", args.tf32] if args.gpu else
               ["--device", "cpu", "--threads", case.cores]),
             *MODES[case.mode]]
    ran = run_program("peer_pytorch.py", [*first, *map(str, words)], PYTHONPATH=args.torch,
                      TORCHINDUCTOR_CACHE_DIR=bench_file(args, "inductor"), **env)
    said = json.loads(ran.lines[-1][1])
    args.torch_version = said["torch"]
    return ran, (said["ms"] / 1000, said["began"], said["ended"])


def measure_case(args, part, case):
    began = time.time()
    ran, (seconds, timed_from, timed_to) = \
        (run_ours if isinstance(case, Ours) else run_peer)(args, part, case)
    if not args.gpu:
        return Result(seconds, None, ran.memory, waiting(ran.lines))
    return Result(seconds, args.watch.utilisation(timed_from, timed_to),
                  args.watch.peak(began, time.time()), None)


def check_peaks(program, lines, cores):
    """InputError unless they are floor.c's, for one core and for all."""
    try:
        found = sorted(floors.best_peaks(lines))
    except (LookupError, TypeError, ValueError):
        raise InputError(f"{program}: found {''.join(lines)!r}, expected JSON of peaks") from None
    if found != sorted({1, cores}):
        raise InputError(f"{program}: found peaks of {found} threads, expected "
                         f"{sorted({1, cores})}")


def measure_peaks(args):
    """Lines of floor.c; none on a GPU, or once it has failed, which is then said."""
    if args.gpu or "floors" in args.left_out:
        return []
    program = os.path.join(args.build, "tests", "bench_floor")
    first, env = on_cores(args.cores)
    try:
        lines = [line for _, line in run_program(program, [*first, program], **env).lines]
        check_peaks(program, lines, args.cores)
        return lines
    except InputError as error:
        leave_out(args, "floors", error)
        return []


def measure(args, jobs):
    """
    jobs: [(part, case)]. The results of each from all rounds; none of a peer that fails, or of what
    this machine does not have, which is then said.
    """
    results, failed = [[] for _ in jobs], set()
    for i in range(args.repeat):
        print(f"{jobs[0][0].title}: round {i + 1} of {args.repeat}", file=sys.stderr, flush=True)
        args.peaks += measure_peaks(args)
        for k, (part, case) in enumerate(jobs):
            if k in failed:
                continue
            try:
                results[k].append(measure_case(args, part, case))
            except InputError as error:
                if isinstance(case, Ours) and "precision=int8, which" not in str(error):
                    raise  # int8 not every processor has
                failed.add(k)
                results[k] = []
                args.notes.append(f"{part.title}: no row {case.title}: {error}")
    return results


def measure_parts(args, group):
    """[(part, [(case, its results)])]; the cases of all take turns."""
    for part in group:
        make_lists(args, part)
        make_networks(args, part)
    jobs = [(part, case) for part in group for case in cases_of(args, part)]
    results = measure(args, jobs)
    return [(part, [(case, found) for (own, case), found in zip(jobs, results)
                    if own is part and found]) for part in group]


def make_outcome(args, peaks, part, cases):
    """peaks: of floors.best_peaks; cases: [(case, its results)]"""
    student, teacher = (floors.network_cost(run_darknet(args.build, ["ops", network_file(
        args, part, role + ".cfg")])[1]) for role in ("student", "teacher"))
    return Outcome(
        part, {case.title: case for case, _ in cases}, {case.title: found for case, found in cases},
        {case.title: floors.step_floor(case.step, student, teacher, part.batch, peaks[case.cores])
         for case, _ in cases if peaks},
        floors.teacher_floor(teacher, part.batch, peaks[args.cores]) if peaks else None)


def measure_update(args):
    """What update_bandwidth.c says on a GPU; nothing if it was not built, which has been said."""
    program = os.path.join(args.build, "tests", "bench_update")
    if not args.gpu or args.left_out:
        return []
    return [json.loads(line) for _, line in run_program(program, [program]).lines]


def copies_of(args, form):
    """The photographs in another format; their paths."""
    paths = []
    for path in photos(args):
        paths.append(bench_file(args, f"{os.path.basename(path)}.{form.lower()}"))
        Image.open(path).save(paths[-1], form)
    return paths


def measure_decoding(args):
    """{format: (pixels, [(seconds before, now)])}"""
    program, found = os.path.join(args.build, "tests", "bench_decode"), {}
    first, env = on_cores(1)
    for name, paths in {"JPEG": photos(args), "PNG": copies_of(args, "PNG"),
                        "BMP": copies_of(args, "BMP")}.items():
        said = json.loads(last_line(run_program(program, [*first, program, *paths], **env)
                                    .lines[-1][1]))
        found[name] = said["pixels"], said["rounds"]
    return found


def evaluation_seconds(args, build, one):
    """Of a detector the whole of `deepkd map`; of a classifier what it takes to judge the teacher,
    between two lines of `distill`."""
    if "--annotations" in one.judge:
        began = time.time()
        run_darknet(build, ["deepkd", "map", one.data, one.cfg, one.weights], args.cores)
        return time.time() - began
    student = one.cfg.replace("teacher", "student")
    text = rows.set_option(read(os.path.join(args.build, student)), "net", "max_batches", "1")
    path = bench_file(args, "student.cfg")
    write_lines(path, text.split("\n"))
    lines, _ = run_darknet(build, ["distill", one.data, path, one.weights, "-clear"], args.cores)
    at = {start: when for when, line in lines for start in (" training images, ", "teacher: top-1")
          if start in line}
    return at["teacher: top-1"] - at[" training images, "]


def peer_evaluation_seconds(args, one, flags):
    first, env = on_cores(args.cores)
    words = [sys.executable, "-B", os.path.join(HERE, "peer_evaluate.py"), one.cfg, one.weights,
             one.list, *one.judge, "--threads", str(args.cores), *flags]
    ran = run_program("peer_evaluate.py", first + words, args.build, PYTHONPATH=args.torch, **env)
    said = json.loads(ran.lines[-1][1])
    args.torch_version = said["torch"]
    return said["seconds"]


def measure_evaluation(args):
    """{evaluation's title: {case: [seconds of each round]}}"""
    cases = {"this build": functools.partial(evaluation_seconds, args, args.build)}
    if args.baseline:
        cases["before"] = functools.partial(evaluation_seconds, args, args.baseline)
    for mode in args.modes:
        if "compiled" in mode:  # it would compile for longer than it runs
            continue
        cases[f"PyTorch {mode}"] = functools.partial(peer_evaluation_seconds, args,
                                                     flags=MODES[mode])
    found = {one.title: {} for one in EVALUATIONS}
    for name, run_one in cases.items():
        try:
            for one in EVALUATIONS:
                found[one.title][name] = [run_one(one) for _ in range(args.repeat)]
        except InputError as error:
            if not name.startswith("PyTorch"):
                raise
            leave_out(args, f"evaluation by {name}", error)
            for seconds in found.values():
                seconds.pop(name, None)
    return found


# The whole

def cpu_seconds():
    """That all programs have used so far, and of those this one and what it has run."""
    user, nice, system, _, _, *interrupts = map(int, read("/proc/stat").split("\n")[0].split()[1:9])
    total = user + nice + system + sum(interrupts)
    return np.array([total / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])])


def describe(args, peaks):
    used = f"{args.threads} threads that load pictures" if args.gpu else \
        f"{args.cores} core{'s' * (args.cores > 1)}"
    seconds = time.time() - args.began
    total, own = cpu_seconds() - args.used
    lines = [f"command: make bench{' GPU=1' if args.gpu else ''}, which runs "
             f"tests/bench/bench.py with --repeat {args.repeat}",
             f"machine: {cpu_model()}, {used}; {seconds / 60:.0f} minutes, in which other programs "
             f"used {100 * max(0, total - own) / seconds / os.cpu_count():.0f} % of the CPU"]
    if args.gpu:
        before = args.watch.used_before()
        lines.append(f"GPU: {args.gpu}, tf32={args.tf32}; nvidia-smi: "
                     + ("not there" if before is None else f"{before} MiB in use before"))
    if peaks:
        lines.append(tables.peaks_line(peaks))
    if args.torch_version:
        lines.append(f"PyTorch: {args.torch_version}")
    lines += [f"switches: {switches(args.build)}"
              + (f"; before: {switches(args.baseline)}" if args.baseline else ""),
              f"compiler: {first_line('gcc', '--version')}",
              f"commit: {first_line('git', '-C', ROOT, 'describe', '--always', '--dirty')}"]
    return ["- " + line for line in lines + args.notes]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", metavar="BUILD", type=os.path.abspath)
    parser.add_argument("stock", metavar="STOCK_BUILD", type=os.path.abspath, nargs="?")
    parser.add_argument("--repeat", type=positive, default=5, help="rounds (default: 5)")
    parser.add_argument("--only", metavar="PART,...", type=lambda text: text.split(","),
                        help="gemm, fmnist, resnet, scenes, photos, decode, evaluate, growth, "
                        "yolov4-tiny, yolo (default: all but yolo; on a GPU fmnist, resnet, yolo)")
    parser.add_argument("--batches", type=positive, metavar="N",
                        help="timed batches of a run (default: as many as a part needs)")
    parser.add_argument("--cores", type=positive, default=min(2, len(os.sched_getaffinity(0))),
                        help="of the CPU, for ours and for PyTorch (default: 2, if there are)")
    parser.add_argument("--baseline", metavar="BUILD", type=os.path.abspath,
                        help="another build folder of ours, measured in the same rounds as rows "
                        "\"before\"; without PyTorch and rows of one core")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction,
                        help="PyTorch beside ours (default, unless --baseline)")
    parser.add_argument("--modes", metavar="MODE,...", type=lambda text: text.split(","),
                        default=list(MODES), help="of PyTorch: " + ", ".join(MODES)
                        + " (default: all)")
    parser.add_argument("--tf32", type=int, choices=(0, 1), default=0,
                        help="1: ours and PyTorch may round to TF32 (default: 0)")
    args = parser.parse_args()
    for mode in args.modes:
        if mode not in MODES:
            parser.error(f"--modes: found {mode}, expected some of {','.join(MODES)}")
    if args.cores > len(os.sched_getaffinity(0)):
        parser.error(f"--cores {args.cores}: expected at most {len(os.sched_getaffinity(0))}")
    return args


def choose_parts(args):
    """Adds what is measured, and on what; InputError before anything is made or measured."""
    args.gpu = None
    args.notes, args.left_out = [], []
    if "GPU=1" in switches(args.build).split():
        try:
            args.gpu = gpu.find_gpu()
        except gpu.NoGpu as error:
            raise InputError(error) from None
        args.cores = 0
    args.interval = INTERVAL if args.gpu else 1
    args.only = args.only or default_parts(args)
    for name in args.only:
        if name not in all_parts(args):
            raise InputError(f"--only: found {name}, expected some of "
                             + ",".join(all_parts(args)))


def complete(args):
    """Adds what else the arguments leave open and what a run finds out."""
    args.began, args.used = time.time(), cpu_seconds()
    args.watch = args.torch = args.torch_version = None
    args.peaks = []
    args.threads = min(8, os.cpu_count())
    if args.peer is None:
        args.peer = not args.baseline
    if not args.peer or not set(args.only) - {"gemm", "growth", "photos", "decode"}:
        args.modes = []
        return
    try:
        args.torch = provide_torch(args.gpu)
    except InputError as error:
        args.modes = []
        args.notes.append(f"no PyTorch: {error}")


def run_parts(args):
    """The tables, and the lines below them."""
    os.makedirs(bench_file(args, "backup"), exist_ok=True)
    write_lines(bench_file(args, "gemm.cfg"), GEMM_NET.split("\n"))
    measured = {name: measure_parts(args, all_parts(args)[name]) for name in args.only
                if all_parts(args)[name]}
    peaks = floors.best_peaks(args.peaks)
    outcomes = {name: [make_outcome(args, peaks, *one) for one in group]
                for name, group in measured.items()}
    growth = outcomes.pop("growth", [])
    outcomes = [one for group in outcomes.values() for one in group]
    text = [words for one in outcomes
            for words in (tables.part_table(args, one), tables.summary(args, one))]
    text += [tables.growth_table(growth)] if growth else []
    text += [tables.decode_table(measure_decoding(args))] if "decode" in args.only else []
    text += [tables.evaluation_table(measure_evaluation(args))] if "evaluate" in args.only else []
    text += tables.goals_table(args, outcomes)
    notes = tables.update_lines(measure_update(args)) + describe(args, peaks)
    return "\n\n".join([*filter(None, text), "\n".join(notes)])


def main():
    args = arguments()
    choose_parts(args)
    provide(args)
    complete(args)
    if args.gpu:
        args.watch = gpu.Watch()
    try:
        text = run_parts(args)
    finally:
        if args.watch:
            args.watch.close()
    write_lines(bench_file(args, "bench.md"), text.split("\n"))
    print(text)


if __name__ == "__main__":
    run(main, "nothing was written")
