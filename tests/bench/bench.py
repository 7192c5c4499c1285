#!/usr/bin/python3
"""Measures training steps of `darknet distill` and prints tests/bench/README.md's tables.

    tests/bench/bench.py BUILD [STOCK_BUILD] [--repeat 5] [--only PART,...] [--peer]

tests/bench/bench.sh builds both folders (STOCK_BUILD with BLAS=0) and calls it. Where BUILD has
GPU=1, the GPU is measured, else the CPU, with one thread.
A case is a cfg and a program, `darknet` or PyTorch (peer_pytorch.py). The cases of a part run in
turn, --repeat rounds of them; a case's step time is the median over a run's batches, without the
first ones. A ratio is taken within each round, so that what else the machine does hits both sides;
the table has its median, least and greatest.

The teachers' weights are random: they cost the same time. Nothing is learned
here, and nothing is asserted about time.
"""
import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import gpu  # noqa: E402
import rows  # noqa: E402
from imagelist import (InputError, positive, replace_file, run, write_lines,  # noqa: E402
                       write_png)
from table import cpu_model, first_line, read  # noqa: E402

ALONE = {"trainer": "sgd", "teacher_weight": "0"}
STEPS = {
    "task only": ALONE,
    "KD": {"trainer": "sgd"},
    "DeepKD, two groups": {"trainer": "deepkd"},
    "DeepKD, three groups": {"trainer": "deepkd", "delta_ncg": "0.05"},
}
# The peer's methods, and which of the rows above has the same mathematics
PEER_STEPS = {"task": ("task only", [0]), "kd": ("KD", [1]), "deepkd": ("DeepKD", [2, 3])}

RATE = 1e-5  # nothing may overflow in a long run
PICTURES, BOXES = 256, 8  # of the random scenes, and boxes in each
INTERVAL = 10  # batches between two training lines on a GPU, from which losses are read only then

# The cfg files, as seen from BUILD, and the size of both networks' input, None: their own
Pair = collections.namedtuple("Pair", "student teacher size")
PAIRS = {
    "gemm": Pair("bench/gemm.cfg", "bench/gemm.cfg", None),
    "fmnist": Pair("cfg/fmnist-student-plain.cfg", "cfg/fmnist-teacher.cfg", None),
    "resnet": Pair("cfg/resnet8x4.cfg", "cfg/resnet32x4.cfg", None),
    "yolo": Pair("cfg/yolov3-tiny.cfg", "cfg/yolov3.cfg", (416, 416)),
}

# name: of a pair; batches: those timed, after the first `skip`; cases: the first one is what the
# others are compared with
Part = collections.namedtuple("Part", "name title classes batch batches skip cases")
# build: BUILD or STOCK_BUILD; options: of [deepkd_loss]
Ours = collections.namedtuple("Ours", "title build options")
Peer = collections.namedtuple("Peer", "title method compile")
# seconds: of a step; use: of the GPU, per cent; memory: of the GPU, MiB at most; None: unknown
Result = collections.namedtuple("Result", "seconds use memory")

GEMM_NET = "[net]\nbatch=1\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_crop=36\n" \
    "learning_rate=0.001\nmomentum=0.9\nmax_batches=1\n" + "".join(
        f"\n[convolutional]\nbatch_normalize=1\nfilters={n}\nsize=3\nstride=1\npad=1\n"
        "activation=leaky\n" for n in (64, 128, 256)) + \
    "\n[avgpool]\n\n[connected]\noutput=10\nactivation=linear\n\n[softmax]\ngroups=1\n"


def parts(args):
    cases = [Ours(title, args.build, options) for title, options in STEPS.items()]
    cases += [Peer(f"PyTorch {mode}, {title}", method, mode == "compiled")
              for mode in ("eager", "compiled") if args.peer
              for method, (title, _) in PEER_STEPS.items()]
    gemm = [Ours("Darknet's loops (BLAS=0)", args.stock, ALONE),
            Ours("OpenBLAS", args.build, ALONE)]
    # batch, batches, skip; on a GPU these last long enough to be watched
    sizes = [(4, 5, 2), (64, 40, 5), (16, 5, 2), (1, 3, 1)] if not args.gpu else \
        [None, (64, 2000, 200), (64, 400, 50), (16, 100, 20)]
    found = [("gemm", "Convolutions of 64, 128 and 256 filters at 32x32, task only", 10, gemm),
             ("fmnist", "Fashion-MNIST pair", 10, cases),
             ("resnet", "ResNet-32x4 teaches ResNet-8x4", 100, cases),
             ("yolo", "YOLOv3 teaches YOLOv3-tiny at 416x416", 80, cases)]
    return {name: Part(name, title, classes, *limited(size, args), cases)
            for (name, title, classes, cases), size in zip(found, sizes)
            if name != "gemm" or args.stock}


def limited(size, args):
    """batch, batches, skip with --batches, in whole intervals."""
    batch, batches, skip = size
    if not args.batches:
        return size
    batches = -(-args.batches // args.interval) * args.interval
    return batch, batches, min(skip, batches)


# Programs

def last_line(text):
    return (text.strip().split("\n") or [""])[-1]


def timed_lines(name, words, cwd=None, **env):
    """
    [(time, line)] of a program's stdout, and all of its stderr; InputError when it fails. name:
    what it is then called.
    """
    with tempfile.TemporaryFile("w+") as stderr, subprocess.Popen(
            words, cwd=cwd, env={**os.environ, **gpu.ORDER, **env}, text=True, stderr=stderr,
            stdout=subprocess.PIPE) as process:
        lines = [(time.time(), line) for line in process.stdout]
        process.wait()
        stderr.seek(0)
        said = stderr.read()
    if process.returncode:
        raise InputError(f"{name}: exit status {process.returncode}: {last_line(said)}")
    return lines, said


def run_darknet(build, words):
    return timed_lines(f"darknet {' '.join(words)}", ["./darknet", *words], build,
                       OPENBLAS_NUM_THREADS="1")


def provide_torch(on_gpu):
    """PYTHONPATH of a PyTorch: the one that is there, or one fetched by pip. Else InputError."""
    folder = os.path.join(ROOT, "build", "python-bench")
    path = ":".join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    ask = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    try:
        said, _ = timed_lines("PyTorch", ask, PYTHONPATH=path)
    except InputError:
        wanted = os.environ.get("TORCH", "torch")
        print(f"installing {wanted} into {folder}", file=sys.stderr, flush=True)
        timed_lines("pip", [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check",
                            "install", "--root-user-action=ignore", "--only-binary", ":all:",
                            "--target", folder, wanted])
        said, _ = timed_lines("PyTorch", ask, PYTHONPATH=path)
    if on_gpu and said[-1][1] != "True\n":
        raise InputError("it finds no GPU that it can use; TORCH=torch==VERSION chooses another")
    return path


# What a run needs: lists, labels, weights, cfgs; all in BUILD/bench

def make_lists(build):
    """Lists of few images, with absolute paths; labels for 10 classes and for 100."""
    folder = os.path.join(build, "bench")
    train = read(os.path.join(build, "data/fashion-mnist/train.list")).split()
    labels = read(os.path.join(build, "data/fashion-mnist/labels.txt")).split()
    train = [os.path.join(build, path) for path in train[:4096]]
    write_lines(os.path.join(folder, "train.list"), train)
    write_lines(os.path.join(folder, "valid.list"), train[:16])
    for classes in (10, 100):
        unused = [f"no_such_label_{i}" for i in range(10, classes)]
        write_lines(os.path.join(folder, f"labels{classes}.txt"), labels + unused)


def make_scenes(build, part):
    """Random pictures of the networks' size with random boxes, and their lists."""
    folder = os.path.join(build, "bench", "scenes")
    os.makedirs(folder, exist_ok=True)
    generator = np.random.default_rng(1)
    width, height = PAIRS[part.name].size
    paths = [os.path.join(folder, f"{i:03d}.png") for i in range(PICTURES)]
    for path in paths:
        blocks = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        write_png(path, np.kron(blocks, np.ones((8, 8, 1), np.uint8)))
        size = generator.uniform(.02, .42, (BOXES, 2))
        place = size / 2 + generator.random((BOXES, 2)) * (1 - size)
        lines = [f"{generator.integers(part.classes)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"
                 for (x, y), (w, h) in zip(place, size)]
        write_lines(path[:-3] + "txt", lines)
    write_lines(os.path.join(build, "bench", "train-scenes.list"), paths)
    write_lines(os.path.join(build, "bench", "valid-scenes.list"), paths[:1])
    write_lines(os.path.join(build, "bench", "names.txt"), map(str, range(part.classes)))


def is_detector(part):
    return part.name == "yolo"


def make_data(args, part):
    folder = os.path.join(args.build, "bench")
    kind = "-scenes" if is_detector(part) else ""
    labels = "names=names.txt" if is_detector(part) else f"labels=labels{part.classes}.txt"
    path = os.path.join(folder, "run.data")
    write_lines(path, [f"classes={part.classes}", f"train={folder}/train{kind}.list",
                       f"valid={folder}/valid{kind}.list", labels.replace("=", f"={folder}/"),
                       f"backup={folder}/backup", "eval_interval=1000000",
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

    def write(temporary):
        with open(temporary, "wb") as file:
            file.write(data)
    replace_file(path, write)


def sized(args, part, cfg, net):
    """The cfg's text with these options of [net], and the pair's."""
    text = read(os.path.join(args.build, cfg))
    size = PAIRS[part.name].size
    net = {**net, **(dict(zip(("width", "height"), size)) if size else {}),
           **({"tf32": args.tf32} if args.gpu else {})}
    for key, value in net.items():
        text = rows.set_option(text, "net", key, value)
    return text


def teacher_file(args, part, suffix):
    return os.path.join(args.build, "bench", f"{part.name}-teacher.{suffix}")


def make_teacher(args, part):
    text = sized(args, part, PAIRS[part.name].teacher, {})
    cfg = teacher_file(args, part, "cfg")
    write_lines(cfg, text.split("\n"))
    make_weights(args.build, cfg, teacher_file(args, part, "weights"))


def make_student(args, part, case):
    text = sized(args, part, PAIRS[part.name].student, {
        "batch": part.batch, "subdivisions": 1, "max_batches": part.batches + part.skip,
        "learning_rate": RATE, "policy": "constant"})
    text = re.sub("(?m)^random=1", "random=0", text)
    text += f"\n[teacher]\ncfg={teacher_file(args, part, 'cfg')}\n\n[deepkd_loss]\n"
    for key, value in case.options.items():
        text = rows.set_option(text, "deepkd_loss", key, value)
    path = os.path.join(args.build, "bench", "student.cfg")
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


def run_ours(args, part, case):
    words = ["distill", make_data(args, part), make_student(args, part, case),
             teacher_file(args, part, "weights"), "-clear", "-seed", "1", "-threads",
             str(args.threads)]
    lines, _ = run_darknet(case.build, words)
    return seconds_a_step(args, part, lines)


def run_peer(args, part, case):
    words = [sys.executable, "-B", os.path.join(HERE, "peer_pytorch.py"), "--pair", part.name,
             "--method", case.method, "--batch", part.batch, "--steps", part.batches,
             "--warmup", part.skip, "--build", args.build, "--device",
             "cuda" if args.gpu else "cpu", *(["--tf32", args.tf32] if args.gpu else []),
             *(["--compile"] if case.compile else [])]
    lines, _ = timed_lines("peer_pytorch.py", list(map(str, words)), PYTHONPATH=args.torch,
                           TORCHINDUCTOR_CACHE_DIR=os.path.join(args.build, "bench", "inductor"))
    said = json.loads(lines[-1][1])
    args.torch_version = said["torch"]
    return said["ms"] / 1000, said["began"], said["ended"]


def measure_case(args, part, case):
    began = time.time()
    runner = run_ours if isinstance(case, Ours) else run_peer
    seconds, timed_from, timed_to = runner(args, part, case)
    if not args.gpu:
        return Result(seconds, None, None)
    return Result(seconds, args.watch.utilisation(timed_from, timed_to),
                  args.watch.peak(began, time.time()))


def measure(args, part):
    """[(case, its result in each round)]; a peer that fails is left out, and said to be so"""
    results = {case.title: [] for case in part.cases}
    for i in range(args.repeat):
        print(f"{part.title}: round {i + 1} of {args.repeat}", file=sys.stderr, flush=True)
        for case in part.cases:
            if case.title not in results:
                continue
            try:
                results[case.title].append(measure_case(args, part, case))
            except InputError as error:
                if isinstance(case, Ours):
                    raise
                del results[case.title]
                args.notes.append(f"{part.title}: no row {case.title}: {error}")
    return [(case, results[case.title]) for case in part.cases if case.title in results]


# Tables

def seconds_of(results):
    return [result.seconds for result in results]


def median_or_dash(values):
    values = [value for value in values if value is not None]
    return f"{statistics.median(values):.0f}" if values else "-"


def part_table(args, part, results):
    more = [" GPU use, % |", " peak MiB |"] if args.gpu else []
    lines = [f"| {part.title}, batch {part.batch} | ms a step | images/s | relative time | least | "
             "greatest |" + "".join(more), "|---|---:|---:|---:|---:|---:|" + "---:|" * len(more)]
    first = seconds_of(results[0][1])
    for case, found in results:
        seconds = statistics.median(seconds_of(found))
        ratios = sorted(value / base for value, base in zip(seconds_of(found), first))
        rate = part.batch / seconds
        line = f"| {case.title} | {1000 * seconds:.1f} | {rate:.{int(rate < 10)}f} | " \
            f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f} |"
        if args.gpu:
            line += f" {median_or_dash([r.use for r in found])} |" \
                f" {median_or_dash([r.memory for r in found])} |"
        lines.append(line)
    return "\n".join(lines)


def ratio_line(what, tops, bottoms):
    ratios = sorted(top / bottom for top, bottom in zip(tops, bottoms))
    return f"- {what}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def summary(results):
    """The lines below a part's table."""
    times = [seconds_of(found) for _, found in results]
    if len(times) == 2:
        return ratio_line("OpenBLAS is faster by the factor", *times)
    alone, kd = times[:2]
    extra = [b - a for a, b in zip(alone, kd)]
    lines = [ratio_line("the teacher's share of a KD step, 1 - task only / KD", extra, kd),
             ratio_line("two groups against KD", times[2], kd),
             ratio_line("three groups against KD", times[3], kd)]
    for (case, _), peer in zip(results, times):
        if isinstance(case, Peer):
            lines += [ratio_line(f"{results[i][0].title} against {case.title}", times[i], peer)
                      for i in PEER_STEPS[case.method][1]]
    return "\n".join(lines)


def update_lines(args):
    """What update_bandwidth.c measures, a line for each number of groups; none if not built."""
    program = os.path.join(args.build, "tests", "bench_update")
    if not args.gpu or not os.access(program, os.X_OK):
        return []
    found = [json.loads(line) for _, line in timed_lines(program, [program])[0]]
    return [f"- update of {one['parameters'] / 1e6:.1f} million weights, groups: {one['groups']}: "
            f"{one['bytes'] / 1e6:.0f} MB in {1000 * one['seconds']:.3f} ms, "
            f"{one['update_gb_s']:.0f} GB/s, {one['update_gb_s'] / one['copy_gb_s']:.2f} of the "
            f"card's copy at {one['copy_gb_s']:.0f} GB/s" for one in found]


def describe(args):
    threads = f"{args.threads} threads that load pictures" if args.gpu else "one thread"
    lines = [f"command: make bench{' GPU=1' if args.gpu else ''}, which runs "
             f"tests/bench/bench.py with --repeat {args.repeat}",
             f"machine: {cpu_model()}, {threads}; load average {args.load:.1f} when it began"]
    if args.gpu:
        before = args.watch.used_before()
        lines.append(f"GPU: {args.gpu}, tf32={args.tf32}; nvidia-smi: "
                     + ("not there" if before is None else f"{before} MiB in use before"))
    if args.torch_version:
        lines.append(f"PyTorch: {args.torch_version}")
    lines += [f"compiler: {first_line('gcc', '--version')}",
              f"commit: {first_line('git', '-C', ROOT, 'describe', '--always', '--dirty')}"]
    return "\n".join("- " + line for line in lines + args.notes)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", metavar="BUILD", type=os.path.abspath)
    parser.add_argument("stock", metavar="STOCK_BUILD", type=os.path.abspath, nargs="?")
    parser.add_argument("--repeat", type=positive, default=5, help="rounds (default: 5)")
    parser.add_argument("--only", metavar="PART,...", type=lambda text: text.split(","),
                        help="gemm, fmnist, resnet, yolo (default: all but yolo; on a GPU all but "
                        "gemm)")
    parser.add_argument("--batches", type=positive, metavar="N",
                        help="timed batches of a run (default: as many as a part needs)")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction,
                        help="PyTorch beside ours (default: on a GPU)")
    parser.add_argument("--tf32", type=int, choices=(0, 1), default=0,
                        help="1: ours and PyTorch may round to TF32 (default: 0)")
    return parser.parse_args()


def complete(args):
    """Adds what the arguments leave open and what a run finds out."""
    args.load = os.getloadavg()[0]
    args.gpu = args.watch = args.torch = args.torch_version = None
    args.notes = []
    if "GPU=1" in read(os.path.join(args.build, ".switches")).split():
        try:
            args.gpu = gpu.find_gpu()
        except gpu.NoGpu as error:
            raise InputError(error) from None
        args.watch = gpu.Watch()
    args.threads = min(8, os.cpu_count()) if args.gpu else 1
    args.interval = INTERVAL if args.gpu else 1
    args.peer = bool(args.gpu) if args.peer is None else args.peer
    if args.peer:
        try:
            args.torch = provide_torch(args.gpu)
        except InputError as error:
            args.notes.append(f"no PyTorch: {error}")
            args.peer = False


def run_parts(args):
    """The tables, and the lines below them."""
    chosen = parts(args)
    only = args.only or [name for name in chosen if args.gpu or name != "yolo"]
    for name in only:
        if name not in chosen:
            raise InputError(f"--only: {name}: expected some of {','.join(chosen)}")
    folder = os.path.join(args.build, "bench")
    os.makedirs(os.path.join(folder, "backup"), exist_ok=True)
    make_lists(args.build)
    write_lines(os.path.join(folder, "gemm.cfg"), GEMM_NET.split("\n"))
    text = []
    for name in only:
        part = chosen[name]
        if is_detector(part):
            make_scenes(args.build, part)
        make_teacher(args, part)
        results = measure(args, part)
        text += [part_table(args, part, results), summary(results)]
    return "\n\n".join([*text, "\n".join(update_lines(args) + [describe(args)])])


def main():
    args = arguments()
    complete(args)
    try:
        text = run_parts(args)
    finally:
        if args.watch:
            args.watch.close()
    write_lines(os.path.join(args.build, "bench", "bench.md"), text.split("\n"))
    print(text)


if __name__ == "__main__":
    run(main, "nothing was written")
