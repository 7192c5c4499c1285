#!/usr/bin/python3
"""Measures training steps of `darknet distill` and prints tests/bench/README.md's table.

    tests/bench/bench.py BUILD STOCK_BUILD [--repeat 5] [--only PART,...]

tests/bench/bench.sh builds both folders (STOCK_BUILD with BLAS=0) and calls it.
A case is a cfg and a program. The cases of a part run in turn, --repeat rounds
of them, one thread each; a case's step time is the median over a run's batches,
without the first ones. A ratio is taken within each round, so that what else
the machine does hits both sides; the table has its median, least and greatest.

The teachers' weights are random: they cost the same time. Nothing is learned
here, and nothing is asserted about time.
"""
import argparse
import collections
import os
import re
import statistics
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
# pylint: disable=wrong-import-position
import rows  # noqa: E402
from imagelist import InputError, positive, replace_file, run, write_lines  # noqa: E402
from table import cpu_model, first_line, read  # noqa: E402

ALONE = {"trainer": "sgd", "teacher_weight": "0"}
STEPS = {
    "task only": ALONE,
    "KD": {"trainer": "sgd"},
    "DeepKD, two groups": {"trainer": "deepkd"},
    "DeepKD, three groups": {"trainer": "deepkd", "delta_ncg": "0.05"},
}

# student, teacher: names of cfg files, as seen from BUILD, without .cfg; batches: those timed,
# after the first `skip`; cases: the first one is what the others are compared with
Part = collections.namedtuple("Part", "title student teacher classes batch batches skip cases")
# program: of BUILD or of STOCK_BUILD
Case = collections.namedtuple("Case", "title build options")

GEMM_NET = "[net]\nbatch=1\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_crop=36\n" \
    "learning_rate=0.001\nmomentum=0.9\nmax_batches=1\n" + "".join(
        f"\n[convolutional]\nbatch_normalize=1\nfilters={n}\nsize=3\nstride=1\npad=1\n"
        "activation=leaky\n" for n in (64, 128, 256)) + \
    "\n[avgpool]\n\n[connected]\noutput=10\nactivation=linear\n\n[softmax]\ngroups=1\n"


def parts(build, stock):
    steps = [Case(title, build, options) for title, options in STEPS.items()]
    gemm = [Case("Darknet's loops (BLAS=0)", stock, ALONE), Case("OpenBLAS", build, ALONE)]
    return {
        "gemm": Part("Convolutions of 64, 128 and 256 filters at 32x32, task only", "bench/gemm",
                     "bench/gemm", 10, 4, 5, 2, gemm),
        "fmnist": Part("Fashion-MNIST pair", "cfg/fmnist-student-plain", "cfg/fmnist-teacher",
                       10, 64, 40, 5, steps),
        "resnet": Part("ResNet-32x4 teaches ResNet-8x4", "cfg/resnet8x4", "cfg/resnet32x4",
                       100, 16, 5, 2, steps),
    }


# What a run needs: lists, labels, weights, cfgs; all in BUILD/bench

def run_darknet(build, words):
    result = subprocess.run(["./darknet", *words], cwd=build, capture_output=True, text=True,
                            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False)
    if result.returncode:
        last = (result.stderr.strip().split("\n") or [""])[-1]
        raise InputError(f"darknet {' '.join(words)}: exit status {result.returncode}: {last}")
    return result


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


def layer_arrays(text):
    """The weights file's arrays, as (kind, size), from the layers that Darknet printed."""
    for line in text.split("\n"):
        conv = re.match(r" *\d+ conv +(\d+) +(\d+) x *(\d+) */ *\d+ +\d+ x *\d+ x *(\d+) ", line)
        connected = re.match(r" *\d+ connected +(\d+) +-> +(\d+)", line)
        if conv:
            filters, height, width, channels = map(int, conv.groups())
            yield from (("zero", filters), ("one", filters), ("zero", filters), ("one", filters),
                        (height * width * channels, filters * height * width * channels))
        elif connected:
            inputs, outputs = map(int, connected.groups())
            yield from (("zero", outputs), (inputs, inputs * outputs))


def make_weights(build, cfg, path):
    """Random weights; each convolution, all with batch norm, keeps its input's size."""
    generator = np.random.default_rng(1)
    values = {"zero": np.zeros, "one": np.ones}
    arrays = [values[kind](size) if kind in values else
              generator.standard_normal(size) * (2 / kind) ** .5
              for kind, size in layer_arrays(run_darknet(build, ["ops", cfg]).stderr)]
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([0], "<u8").tobytes()
    data = header + np.concatenate(arrays).astype("<f4").tobytes()

    def write(temporary):
        with open(temporary, "wb") as file:
            file.write(data)
    replace_file(path, write)


def make_student(build, part, case, path):
    text = read(os.path.join(build, part.student + ".cfg"))
    text += f"\n[teacher]\ncfg={build}/{part.teacher}.cfg\n\n[deepkd_loss]\n"
    net = {"batch": part.batch, "max_batches": part.batches + part.skip, "learning_rate": .001,
           "policy": "constant"}
    for key, value in net.items():
        text = rows.set_option(text, "net", key, value)
    for key, value in case.options.items():
        text = rows.set_option(text, "deepkd_loss", key, value)
    write_lines(path, text.split("\n"))


# Measuring

def step_time(build, part, case):
    """Seconds of one batch: the median of a run's, without the first ones."""
    folder = os.path.join(build, "bench")
    cfg, data = os.path.join(folder, "student.cfg"), os.path.join(folder, "run.data")
    make_student(build, part, case, cfg)
    write_lines(data, [f"classes={part.classes}", f"train={folder}/train.list",
                       f"valid={folder}/valid.list", f"labels={folder}/labels{part.classes}.txt",
                       f"backup={folder}/backup", "log_interval=1"])
    weights = os.path.join(folder, os.path.basename(part.teacher) + ".weights")
    output = run_darknet(case.build, ["distill", data, cfg, weights, "-clear", "-seed", "1",
                                      "-threads", "1"]).stdout
    seconds = [float(text) for text in re.findall(r" rate, ([\d.]+) seconds,", output)]
    if len(seconds) != part.batches + part.skip:
        raise InputError(f"{part.title}: found {len(seconds)} timed batches, expected "
                         f"{part.batches + part.skip}")
    return statistics.median(seconds[part.skip:])


def measure(build, part, repeat):
    """{case: its step time in each round}"""
    times = {case: [] for case in range(len(part.cases))}
    for i in range(repeat):
        print(f"{part.title}: round {i + 1} of {repeat}", file=sys.stderr, flush=True)
        for number, case in enumerate(part.cases):
            times[number].append(step_time(build, part, case))
    return list(times.values())


def part_table(part, times):
    lines = [f"| {part.title}, batch {part.batch} | ms a step | images/s | relative time | least | "
             "greatest |", "|---|---:|---:|---:|---:|---:|"]
    for case, values in zip(part.cases, times):
        seconds = statistics.median(values)
        ratios = sorted(value / base for value, base in zip(values, times[0]))
        lines.append(f"| {case.title} | {1000 * seconds:.1f} | {part.batch / seconds:.0f} | "
                     f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f} |")
    return "\n".join(lines)


def ratio_line(what, tops, bottoms):
    ratios = sorted(top / bottom for top, bottom in zip(tops, bottoms))
    return f"{what}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def summary(name, times):
    """The lines below a part's table."""
    if name == "gemm":
        return "- " + ratio_line("OpenBLAS is faster by the factor", *times)
    alone, kd = times[:2]
    extra = [b - a for a, b in zip(alone, kd)]
    return "\n".join("- " + line for line in (
        ratio_line("the teacher's share of a KD step, 1 - task only / KD", extra, kd),
        ratio_line("two groups against KD", times[2], kd),
        ratio_line("three groups against KD", times[3], kd)))


def describe(args):
    return (f"- command: make bench, which runs tests/bench/bench.py with --repeat {args.repeat}\n"
            f"- machine: {cpu_model()}, one thread; load average {args.load:.1f} when it began\n"
            f"- compiler: {first_line('gcc', '--version')}\n"
            f"- commit: {first_line('git', '-C', ROOT, 'describe', '--always', '--dirty')}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", metavar="BUILD", type=os.path.abspath)
    parser.add_argument("stock", metavar="STOCK_BUILD", type=os.path.abspath)
    parser.add_argument("--repeat", type=positive, default=5, help="rounds (default: 5)")
    parser.add_argument("--only", metavar="PART,...", type=lambda text: text.split(","),
                        default=["gemm", "fmnist", "resnet"], help="gemm, fmnist, resnet")
    return parser.parse_args()


def main():
    args = arguments()
    args.load = os.getloadavg()[0]
    chosen = parts(args.build, args.stock)
    for name in args.only:
        if name not in chosen:
            raise InputError(f"--only: {name}: expected some of {','.join(chosen)}")
    folder = os.path.join(args.build, "bench")
    os.makedirs(os.path.join(folder, "backup"), exist_ok=True)
    make_lists(args.build)
    write_lines(os.path.join(folder, "gemm.cfg"), GEMM_NET.split("\n"))
    text = []
    for name in args.only:
        part = chosen[name]
        make_weights(args.build, part.teacher + ".cfg",
                     os.path.join(folder, os.path.basename(part.teacher) + ".weights"))
        times = measure(args.build, part, args.repeat)
        text += [part_table(part, times), summary(name, times)]
    text = "\n\n".join([*text, describe(args)])
    write_lines(os.path.join(folder, "bench.md"), text.split("\n"))
    print(text)


if __name__ == "__main__":
    run(main, "nothing was written")
