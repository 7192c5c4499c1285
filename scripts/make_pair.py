#!/usr/bin/python3
"""Writes the cfg files of one of the papers' pairs: the teacher's and the student's.

    scripts/make_pair.py resnet32x4_resnet8x4 build/pairs
    scripts/make_pair.py imagenet-resnet34_resnet18 build/pairs --method dkd

OUT/TEACHER.cfg is the teacher, OUT/TEACHER_STUDENT-METHOD.cfg the student, with [teacher] and
[deepkd_loss]. Schedules, deltas and weights are those of the official configs/
(github.com/haiduo/DeepKD), for `trainer=deepkd`; docs/pairs.md says what is not the same here.
scripts/networks.py has the networks, scripts/from_torch.py fills the teacher with a PyTorch one's
weights. To add a method: a row of METHODS; a pair: a row in each of them.
"""
import argparse
import collections
import math
import os

import imagelist
import networks
import torch_weights
from imagelist import InputError
from networks import CIFAR, IMAGENET, NETWORKS, section

STEPS = {"epochs": 240, "batch": 64, "learning_rate": .05, "steps": (150, 180, 210),
         "decay": .0005}
COSINE = {"epochs": 100, "batch": 512, "learning_rate": .2, "decay": .0001}
SCHEDULES = {CIFAR: STEPS, IMAGENET: COSINE}
MOMENTUM = .9
BURN_IN = 20  # epochs, of COSINE
LEAST_RATE = .00005
SUBDIVISION = 64  # images of ImageNet; the official code too shares a batch among GPUs

# What all of a method's pairs have in [deepkd_loss] unless their row says otherwise, by data.
# rows: {pair: what else it has}; STEPS' keys are [net]'s.
Method = collections.namedtuple("Method", "shared rows")


def row(delta_ncg, delta_tcg=-.075, **others):
    return {"delta_tog": .075, "delta_tcg": delta_tcg, "delta_ncg": delta_ncg, **others}


STAIRS = {"warmup": 20, "warmup_shape": "epochs"}
COSINE_STEPS = {"steps": ()}  # of CIFAR, in place of STEPS'
HALVES = {"task_weight": .5, "teacher_weight": .5}
TENTHS = {"task_weight": .1, "teacher_weight": .9}  # where a config says nothing

METHODS = {
    "kd": Method({CIFAR: {"temperature": 4, "task_weight": .1},
                  IMAGENET: {"temperature": 1, "task_weight": .5}}, {
        "resnet56_resnet20": row(.025),
        "resnet110_resnet20": row(-.05, -.1),
        "resnet110_resnet32": row(.05, -.1),
        "resnet32x4_resnet8x4": row(.075, task_weight=.5),
        "resnet32x4_vgg8": row(.075),
        "resnet32x4_wrn_16_2": row(.075, -.1),
        "resnet32x4_wrn_40_2": row(.05, -.1),
        "resnet32x4_ShuffleV1": row(.075, learning_rate=.01),
        "resnet32x4_ShuffleV2": row(.075, learning_rate=.01),
        "wrn_40_2_wrn_16_2": row(.085, task_weight=.6),
        "wrn_40_2_wrn_40_1": row(.05, -.1),
        "wrn_40_2_resnet8x4": row(.085, task_weight=.8, batch=128),
        "wrn_40_2_MobileNetV2": row(.05, task_weight=.5, learning_rate=.01),
        "wrn_40_2_ShuffleV1": row(.085, learning_rate=.01),
        "vgg13_vgg8": row(.05),
        "vgg13_MobileNetV2": row(.095, task_weight=.8, learning_rate=.01),
        "ResNet50_MobileNetV2": row(.025, -.1, learning_rate=.01),
        "imagenet-resnet34_resnet18": row(.075),
        "imagenet-resnet50_mobilenetv1": row(.075),
    }),
    "dkd": Method({CIFAR: {"temperature": 4, "alpha": 1, "beta": 8, **STAIRS},
                   IMAGENET: {"temperature": 1, "alpha": 1, "beta": 1}}, {
        "resnet56_resnet20": row(.075, beta=.5),
        "resnet110_resnet20": row(.05, -.1, beta=2),
        "resnet110_resnet32": row(0, beta=3),
        "resnet32x4_resnet8x4": row(.05),
        "resnet32x4_wrn_16_2": row(.05, -.1, task_weight=.1),
        "resnet32x4_wrn_40_2": row(.05),
        "resnet32x4_ShuffleV1": row(.085, learning_rate=.01),
        "resnet32x4_ShuffleV2": row(.075, learning_rate=.01),
        "wrn_40_2_wrn_16_2": row(.05, -.1, epochs=480, steps=(180, 300, 420), learning_rate=.04),
        "wrn_40_2_wrn_40_1": row(.05, -.1, beta=4),
        "wrn_40_2_resnet8x4": row(.05, beta=4),
        "wrn_40_2_MobileNetV2": row(.08, alpha=1.5, beta=4, epochs=480, steps=(180, 300, 420),
                                    learning_rate=.006),
        "wrn_40_2_ShuffleV1": row(.085, learning_rate=.01),
        "vgg13_vgg8": row(.025, beta=6),
        "vgg13_MobileNetV2": row(.08, beta=1, learning_rate=.01),
        "ResNet50_MobileNetV2": row(.025, -.1, beta=2, learning_rate=.01),
        "imagenet-resnet34_resnet18": row(.05),
        "imagenet-resnet50_mobilenetv1": row(.075, beta=2),
    }),
}
METHODS["mlkd"] = Method(
    {CIFAR: {**HALVES, "beta": 8, "epochs": 480, "learning_rate": .025, **STAIRS},
     IMAGENET: {"temperatures": "1,2,3,5,6", "beta": .5, **STAIRS}}, {
        "resnet56_resnet20": row(.05),
        "resnet110_resnet20": row(.05),
        "resnet110_resnet32": row(.05),
        "resnet32x4_resnet8x4": row(.05, beta=2),
        "resnet32x4_vgg8": row(.05, teacher_weight=.9),
        "resnet32x4_wrn_16_2": row(.05),
        "resnet32x4_wrn_40_2": row(.05),
        "resnet32x4_ShuffleV1": row(.05, teacher_weight=.9, learning_rate=.01, epochs=960),
        "resnet32x4_ShuffleV2": row(.05, learning_rate=.01),
        "wrn_40_2_wrn_16_2": row(.05),
        "wrn_40_2_wrn_40_1": row(.025),
        "wrn_40_2_resnet8x4": row(.05, learning_rate=.05),
        "wrn_40_2_MobileNetV2": row(.05, **TENTHS, beta=.5, learning_rate=.005),
        "wrn_40_2_ShuffleV1": row(.05, **TENTHS, learning_rate=.01),
        "vgg13_vgg8": row(.075, **TENTHS, beta=.5, learning_rate=.01),
        "vgg13_MobileNetV2": row(.05, task_weight=1, teacher_weight=1, alpha=1.5, beta=1,
                                 learning_rate=.01),
        "ResNet50_MobileNetV2": row(.05, **TENTHS, beta=.5, learning_rate=.01),
        "imagenet-resnet34_resnet18": row(.05, **TENTHS, learning_rate=.1),
        "imagenet-resnet50_mobilenetv1": row(.05, **HALVES),
    })
METHODS["crld"] = Method(
    {CIFAR: {"temperature": 4, "beta": .5, "within_weight": 2, "across_weight": .5, **STAIRS},
     IMAGENET: {"temperature": 1, "task_weight": 2, "beta": .5, "within_weight": 2,
                "across_weight": .5, **STAIRS}}, {
        "resnet56_resnet20": row(.05, within_weight=.5, **COSINE_STEPS),
        "resnet110_resnet20": row(.05, beta=1, within_weight=1, **COSINE_STEPS),
        "resnet110_resnet32": row(.05, within_weight=1, **COSINE_STEPS),
        "resnet32x4_resnet8x4": row(.05, beta=2),
        "resnet32x4_wrn_16_2": row(.05),
        "resnet32x4_wrn_40_2": row(.05, **COSINE_STEPS),
        "resnet32x4_ShuffleV2": row(.075, beta=1, within_weight=.5, learning_rate=.01,
                                    **COSINE_STEPS),
        "wrn_40_2_wrn_16_2": row(.05),
        "wrn_40_2_wrn_40_1": row(.05, within_weight=.5, **COSINE_STEPS),
        "wrn_40_2_resnet8x4": row(.05, within_weight=1, **COSINE_STEPS),
        "wrn_40_2_MobileNetV2": row(.05, beta=2, learning_rate=.01, **COSINE_STEPS),
        "vgg13_vgg8": row(.05),
        "vgg13_MobileNetV2": row(.05, learning_rate=.01, **COSINE_STEPS),
        "ResNet50_MobileNetV2": row(.05, learning_rate=.01, **COSINE_STEPS),
        "imagenet-resnet34_resnet18": row(.05),
        "imagenet-resnet50_mobilenetv1": row(.05),
    })
PAIRS = list(METHODS["kd"].rows)


def split_pair(pair):
    """The names of its two networks."""
    for place, letter in enumerate(pair):
        teacher, student = pair[:place], pair[place + 1:]
        if pair.startswith("imagenet-"):
            student = "imagenet-" + student
        if letter == "_" and teacher in NETWORKS and student in NETWORKS:
            return teacher, student
    raise AssertionError(pair)


def find_row(pair, method):
    """What this method has for the pair, its schedule and its options in one."""
    if pair not in PAIRS:
        raise InputError(f"{pair}: no such pair, expected one of {', '.join(PAIRS)}")
    rows = METHODS[method].rows
    if pair not in rows:
        others = [name for name, other in METHODS.items() if pair in other.rows]
        raise InputError(f"{pair}: the official code has no {method} for it, expected --method "
                         f"{' or '.join(others)}")
    data = NETWORKS[split_pair(pair)[0]][0]
    return {**SCHEDULES[data], **METHODS[method].shared[data], **rows[pair]}


# [net]

def batches(data, row, epochs):
    return math.ceil(epochs * data.images / row["batch"])


def rate_keys(data, row):
    """Darknet's learning rate policy."""
    keys = {"learning_rate": row["learning_rate"]}
    if row.get("steps"):
        return {**keys, "policy": "steps",
                "steps": ",".join(str(batches(data, row, epoch)) for epoch in row["steps"]),
                "scales": ",".join(".1" for _ in row["steps"])}
    # the first cycle passes while the rate burns in, the second has all other epochs
    burn_in = batches(data, row, BURN_IN)
    return {**keys, "burn_in": burn_in, "power": 1, "policy": "cosine",
            "learning_rate_min": f"{LEAST_RATE:.5f}", "sgdr_cycle": burn_in,
            "sgdr_mult": math.ceil(row["epochs"] / BURN_IN) - 1}


def crop_keys(data):
    """For the stock commands, and for ImageNet, as near to the official augmentation as Darknet's
    comes; flips are always on."""
    if data == CIFAR:
        return {"min_crop": 32, "max_crop": 40}
    return {"min_crop": 224, "max_crop": 448, "aspect": .75}


def net_section(data, row):
    extra = {key: row[key] for key in ("batch_norm_momentum",) if key in row}
    return section("net", {
        "batch": row["batch"],
        "subdivisions": row["batch"] // SUBDIVISION if data == IMAGENET else 1,
        "width": data.side, "height": data.side, "channels": 3, **crop_keys(data),
        "momentum": MOMENTUM, "decay": row["decay"], **extra, **rate_keys(data, row),
        "max_batches": batches(data, row, row["epochs"])})


# The two files

SCHEDULE_KEYS = (*STEPS, "batch_norm_momentum")
AUGMENTATION = {CIFAR: "cifar", IMAGENET: "darknet"}


def loss_section(data, method, row):
    options = {key: value for key, value in row.items() if key not in SCHEDULE_KEYS}
    options["augment"] = AUGMENTATION[data]
    return section("deepkd_loss", {"method": method, "trainer": "deepkd", **options})


def network_cfg(name, classes=None, head="", normalized=False, **row):
    """A cfg's text without our sections. row: what is not as in the data's own schedule"""
    data = NETWORKS[name][0]
    layers = networks.build(name, classes, normalized)
    head = f"# {name}, as scripts/make_pair.py writes it.\n{head}"
    return "\n".join([head, net_section(data, {**SCHEDULES[data], **row}),
                      networks.cfg_sections(layers)])


def as_official(method, row):
    """TOG's momentum is TCG's there, whatever its delta says."""
    others = {key: value for key, value in row.items() if key != "delta_tog"}
    if method in ("mlkd", "crld"):
        others["official"] = 1
    return {**others, "momentum_tog": round(MOMENTUM + row["delta_tcg"], 4),
            "decay_component": "tcg", "decay_all": 1, "momentum_warmup": 0,
            "batch_norm_momentum": .1}


def student_cfg(pair, method, prefix, classes=None, official=False):
    row = find_row(pair, method)
    row = as_official(method, row) if official else row
    teacher, student = split_pair(pair)
    data = NETWORKS[student][0]
    head = f"# Taught by {teacher}: DeepKD's official configs/ for {method}.\n"
    return "\n".join([network_cfg(student, classes, head, **row),
                      section("teacher", {"cfg": os.path.join(prefix, teacher + ".cfg")}),
                      loss_section(data, method, row)])


def seed(text):
    """An argparse type: what NumPy takes for one."""
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise ValueError
    return value


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="NAME is one of " + ", ".join(PAIRS) + ".")
    parser.add_argument("name", metavar="NAME", help="the pair, TEACHER_STUDENT")
    parser.add_argument("out", metavar="OUT", help="folder to write, such as build/pairs")
    parser.add_argument("--method", choices=METHODS, default="kd")
    parser.add_argument("--official", action="store_true", help="momenta, weight decay and batch "
                        "norm's rolling statistics as the official code has them in effect "
                        "(docs/official-code.md)")
    parser.add_argument("--start", type=seed, metavar="SEED", help="also draws PyTorch's initial "
                        "weights, OUT/NAME.weights, for -start")
    parser.add_argument("--classes", type=imagelist.positive, metavar="N", help="of other data "
                        "than CIFAR-100 or ImageNet, with images and a schedule like theirs")
    parser.add_argument("--prefix", help="what OUT is called in the student's cfg, as seen from "
                        "the folder in which Darknet runs (default: the last part of OUT)")
    return parser.parse_args()


def write_cfg(path, text):
    imagelist.write_lines(path, text.rstrip("\n").split("\n"))
    print(f"wrote {path}")


def write_start(args, network):
    path = os.path.join(args.out, args.name + ".weights")
    torch_weights.write_start(path, network, args.classes, args.start)
    print(f"wrote {path}")


def command(args, prefix, teacher, student):
    """What is run next, in the folder in which Darknet runs."""
    data = "cifar100" if NETWORKS[teacher][0] == CIFAR else "imagenet"
    words = ["./darknet distill", f"cfg/{data}.data", os.path.join(prefix, student + ".cfg"),
             os.path.join(prefix, teacher + ".weights")]
    if args.start is not None:
        words += ["-start", os.path.join(prefix, args.name + ".weights")]
    return " ".join(words)


def main():
    args = arguments()
    prefix = args.prefix
    if prefix is None:
        prefix = os.path.basename(os.path.abspath(args.out))
    imagelist.check_prefix(prefix)
    text = student_cfg(args.name, args.method, prefix, args.classes, args.official)
    teacher, network = split_pair(args.name)
    student = f"{args.name}-{args.method}"
    os.makedirs(args.out, exist_ok=True)
    write_cfg(os.path.join(args.out, teacher + ".cfg"),
              network_cfg(teacher, args.classes, normalized=True))
    write_cfg(os.path.join(args.out, student + ".cfg"), text)
    if args.start is not None:
        write_start(args, network)
    print(command(args, prefix, teacher, student))


if __name__ == "__main__":
    imagelist.run(main, "the cfg files may not be there")
