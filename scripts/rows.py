#!/usr/bin/python3
"""The tasks and rows that scripts/table.py compares and scripts/demo.sh shows: where a task's
files are, what each row changes in its student's cfg, and the learning rate it is given.

    rows.py TASK names                               one row's name a line
    rows.py TASK title ROW                           what the row is called in a table
    rows.py TASK cfg ROW STUDENT.cfg [KEY=VALUE ...] prints the row's cfg; KEY=VALUE goes to [net]
    rows.py TASK get FIELD                           student, teacher, weights, data or suffix

A rate is the outcome of table.py's search, which never looks at test images;
table.py says so when the two differ. This file trains nothing.
"""
import collections
import re
import sys

from imagelist import InputError, run

# student, teacher, weights, data: files as seen from BUILD; suffix: of the folders demo and table;
# maker: what makes the weights; grid: the learning rates that the search begins with, none: no
# search; seeds: final runs a row; flags: of `darknet distill`; metrics: {name: column of its CSV},
# the first one chooses
Task = collections.namedtuple(
    "Task", "student teacher weights data suffix maker grid seeds flags metrics rows")
# title: in tables; rate: [net] learning_rate, or the row whose search decides it; options: of
# [deepkd_loss], None: not the student's own; teacher: of [teacher]; unlabelled: shows also images
# without labels (--labelled); top: how many classes besides the target its cache of logits has,
# 0: all
Row = collections.namedtuple("Row", "title rate options teacher unlabelled top",
                             defaults=[{}, False, 0])

NO_WARMUP = {"momentum_warmup": "0"}
SGD_KD = {"trainer": "sgd", "method": "kd", "topk_schedule": "off"}
ALONE = {**SGD_KD, **NO_WARMUP, "teacher_weight": "0"}
FIXED = {"trainer": "deepkd", "method": "kd", "topk_schedule": "off"}
DTM = {**FIXED, "topk_schedule": "dynamic"}
GSNR = {**FIXED, "momentum_rule": "gsnr"}
# Whole after 8 % of the run, as DKD's 20 of 240 epochs
WARMUP = {"warmup": "8%"}
DKD = {"method": "dkd", "beta": "8", **WARMUP}
# With the warm-up that the official configs give them too, and the crop of all other rows
TWO_VIEWS = {**WARMUP, "views": "2", "augment": "darknet"}
CRLD = {"method": "crld", **TWO_VIEWS}
MLKD = {"method": "mlkd", "temperature": None, **TWO_VIEWS}  # it has several
NARROW, BYTES = {"precision": "bfloat16"}, {"precision": "int8"}
DENSE = {"rows": "dense"}
OBJECTNESS = {"objectness_weight": "1"}
BOXES = {"box_weight": "1"}
BCKD = {"method": "bckd", **DENSE}
# What the authors' code does, with [net] momentum=0.9: TOG -0.075, TCG -0.075, NCG +0.075; of
# deltas, since other [net]s have another momentum
OFFICIAL = {**FIXED, **NO_WARMUP, "delta_tog": "-.075", "delta_tcg": "-.075", "delta_ncg": ".075",
            "decay_component": "tcg"}

# What all others are compared with: KD with what the defaults of every row have, the warm-up
BASELINE = "kd"

# At the rates of float32's rows
IN_FEW_BITS = {
    "kd-bfloat16": Row("KD, the student in bfloat16", "kd", {**SGD_KD, **NARROW}),
    "deepkd-bfloat16": Row("DeepKD, the student in bfloat16", "deepkd", {**FIXED, **NARROW}),
    "kd-int8": Row("KD, the teacher in int8", "kd", SGD_KD, BYTES),
    "deepkd-int8": Row("DeepKD, the teacher in int8", "deepkd", FIXED, BYTES),
}
# Of the teacher's logits a part
OF_TOP = {
    "kd-top10": Row("KD, 10 largest logits", "kd", SGD_KD, top=10),
    "deepkd-top10": Row("DeepKD, 10 largest logits", "deepkd", FIXED, top=10),
}

# Each method by three trainers; KD's and DKD's other rows are among CLASSIFIERS
BY_TRAINER = {
    "dkd-dot": Row("DOT (DKD)", .1, {**SGD_KD, **DKD, "trainer": "dot"}),
    "dkd-deepkd": Row("DeepKD (DKD)", .1, {**FIXED, **DKD}),
    "mlkd": Row("MLKD", .05, {**SGD_KD, **MLKD}),
    "mlkd-dot": Row("DOT (MLKD)", .05, {**SGD_KD, **MLKD, "trainer": "dot"}),
    "mlkd-deepkd": Row("DeepKD (MLKD)", .05, {**FIXED, **MLKD}),
    "crld": Row("CRLD", .1, {**SGD_KD, **CRLD}),
    "crld-dot": Row("DOT (CRLD)", .1, {**SGD_KD, **CRLD, "trainer": "dot"}),
    "crld-deepkd": Row("DeepKD (CRLD)", .1, {**FIXED, **CRLD}),
}

# Beyond the paper's
GATE, SWAP = {"tcg_gate": "1"}, {"swap": "1"}
BEYOND = {
    "dist": Row("DIST", .2, {**SGD_KD, "method": "dist"}),
    "kd-gate": Row("KD, TCG gated", .2, {**SGD_KD, **GATE}),
    "kd-swap": Row("KD, wrong logits swapped", .2, {**SGD_KD, **SWAP}),
    "deepkd-gate": Row("DeepKD, TCG gated", .1, {**FIXED, **GATE}),
    "deepkd-swap": Row("DeepKD, wrong logits swapped", .1, {**FIXED, **SWAP}),
}

# What table.py leaves out unless --rows names it
ON_REQUEST = {*IN_FEW_BITS, *OF_TOP, *BY_TRAINER, *BEYOND}

CLASSIFIERS = {
    "alone": Row("student alone", .2, ALONE),
    "kd-plain": Row("KD without warm-up", .2, {**SGD_KD, **NO_WARMUP}),
    "kd": Row("KD", .2, SGD_KD),
    "dkd": Row("DKD", .1, {**SGD_KD, **DKD}),
    "dot": Row("DOT (KD)", .2, {**SGD_KD, "trainer": "dot"}),
    "deepkd": Row("DeepKD", .1, FIXED),
    "deepkd-gsnr": Row("DeepKD, momenta by GSNR", .2, GSNR),
    "deepkd-dtm": Row("DeepKD with DTM", .2, DTM),
    "deepkd-official": Row("DeepKD as the official code runs", .025, OFFICIAL),
    **IN_FEW_BITS,
}

# At 8 epochs
CIFAR10_RATES = {"kd": .1, "dot": .05, "deepkd-gsnr": .05, "deepkd-dtm": .05,
                 "deepkd-official": .05}
CIFAR10 = {name: row._replace(rate=CIFAR10_RATES.get(name, row.rate))
           for name, row in {**CLASSIFIERS, **BY_TRAINER, **BEYOND}.items()}

SCENES = {
    "alone": Row("student alone", .02, ALONE),
    "kd-plain": Row("KD without warm-up", .02, {**SGD_KD, **NO_WARMUP}),
    "kd": Row("KD", .04, SGD_KD),
    "dkd": Row("DKD", .005, {**SGD_KD, **DKD}),
    "dot": Row("DOT (KD)", .02, {**SGD_KD, "trainer": "dot"}),
    "deepkd": Row("DeepKD", .02, FIXED),
    "deepkd-gsnr": Row("DeepKD, momenta by GSNR", .02, GSNR),
    "deepkd-dtm": Row("DeepKD with DTM", .04, DTM),
    "deepkd-official": Row("DeepKD as the official code runs", .01, OFFICIAL),
    "kd-objectness": Row("KD + objectness", "kd", {**SGD_KD, **OBJECTNESS}),
    "kd-dense": Row("KD on dense rows", "kd", {**SGD_KD, **DENSE}),
    "deepkd-objectness": Row("DeepKD + objectness", .02, {**FIXED, **OBJECTNESS}),
    "deepkd-boxes": Row("DeepKD + boxes", .02, {**FIXED, **BOXES}),
    "deepkd-bckd": Row("DeepKD of BCKD, dense", .04, {**FIXED, **BCKD}),
    **IN_FEW_BITS,
}

# One class has no others: NCG is 0, and TCG is the class's own yes or no, or the objectness. Rates
# are those of the scenes' search
ONE_CLASS = {
    "alone": Row("student alone", .02, ALONE),
    "kd": Row("KD", .02, SGD_KD),
    "kd-objectness": Row("KD + objectness", .02, {**SGD_KD, **OBJECTNESS}),
    "deepkd-objectness": Row("DeepKD + objectness", .005, {**FIXED, **OBJECTNESS}),
}

# The scenes' rows with rates found at 400 batches: KD diverges at .02 here
BCCD_RATES = {"alone": .005, "kd-plain": .005, "kd": .01, "dkd": .01, "dot": .02, "deepkd": .02,
              "deepkd-dtm": .01, "deepkd-official": .005}
BCCD = {name: row._replace(rate=BCCD_RATES.get(name, row.rate)) for name, row in SCENES.items()}

# YOLOv4-tiny's: each row by a search of its own
BCCD4_RATES = {"alone": .01, "kd": .01, "deepkd": .02, "deepkd-objectness": .04,
               "deepkd-boxes": .04, "deepkd-bckd": .02}
BCCD4 = {name: SCENES[name]._replace(rate=rate) for name, rate in BCCD4_RATES.items()}
ALL_OF_IT = {**FIXED, **OBJECTNESS, **BOXES, **DENSE}
BCCD4["deepkd-all"] = Row("DeepKD, dense, + objectness, boxes", .01, ALL_OF_IT)
BCCD4["deepkd-unlabelled"] = Row("the same, + images without labels", .02, ALL_OF_IT,
                                 unlabelled=True)

DETECTOR = {"seeds": 3, "flags": ["-map"],
            "metrics": {"mAP@0.50": "valid_map50", "mAP@[.50:.95]": "valid_map"}}

TASKS = {
    "fmnist": Task("cfg/fmnist-student.cfg", "cfg/fmnist-teacher.cfg",
                   "cfg/fmnist-teacher.weights", "cfg/deepkd.data", "",
                   "scripts/train-teacher.sh, then make,", (.05, .1, .2, .4), 5, [],
                   {"top-1": "valid_top1"}, CLASSIFIERS),
    "scenes": Task("cfg/scenes-student.cfg", "cfg/scenes-teacher.cfg",
                   "cfg/scenes-teacher.weights", "cfg/scenes.data", "-yolo",
                   "scripts/train-teacher.sh scenes, then make,", (.0025, .005, .01),
                   rows=SCENES, **DETECTOR),
    "one-class": Task("data/one-class/one-class-student.cfg",
                      "data/one-class/one-class-teacher.cfg",
                      "data/one-class/one-class-teacher.weights", "data/one-class/one-class.data",
                      "-one-class", "scripts/train-teacher.sh one-class", (), rows=ONE_CLASS,
                      **DETECTOR),
    # Many classes; the rates are those of the garments' search
    "glyphs": Task("cfg/glyphs-student.cfg", "cfg/glyphs-teacher.cfg",
                   "cfg/glyphs-teacher.weights", "cfg/glyphs.data", "-glyphs",
                   "scripts/train-teacher.sh glyphs, then make,", (.1, .2, .4, .8), 5, [],
                   {"top-1": "valid_top1"},
                   {**CLASSIFIERS, **BY_TRAINER, **BEYOND, **OF_TOP}),
    # Real photographs, which are not ours to hand out: `make table-cifar10` says where they are
    "cifar10": Task("cfg/cifar10-student.cfg", "cfg/cifar10-teacher.cfg",
                    "cfg/cifar10-teacher.weights", "cfg/cifar10.data", "-cifar10",
                    "scripts/train-teacher.sh cifar10, then make,", (.05, .1, .2, .4), 5, [],
                    {"top-1": "valid_top1"}, CIFAR10),
    "bccd": Task("cfg/bccd-student.cfg", "cfg/bccd-teacher.cfg", "cfg/bccd-teacher.weights",
                 "cfg/bccd.data", "-bccd", "scripts/train-teacher.sh bccd, then make,",
                 (.0025, .005, .01), rows=BCCD, **DETECTOR),
    "bccd4": Task("cfg/bccd4-student.cfg", "cfg/bccd4-teacher.cfg", "cfg/bccd4-teacher.weights",
                  "cfg/bccd.data", "-bccd4", "scripts/train-teacher.sh bccd4, then make,",
                  (.005, .01, .02), rows=BCCD4, **DETECTOR),
}
FIELDS = ("student", "teacher", "weights", "data", "suffix")


def find(kind, table, name):
    if name not in table:
        raise InputError(f"{name}: no such {kind}, expected one of {', '.join(table)}")
    return table[name]


def find_task(name):
    return find("task", TASKS, name)


def searched(task, name):
    """The row whose learning rate this one has: itself or another."""
    own = find_row(task, name).rate
    return own if isinstance(own, str) else name


def rate(task, name):
    return task.rows[searched(task, name)].rate


def find_row(task, name):
    return find("row", task.rows, name)


def sweep_topk(task, classes):
    """The task with DeepKD alone: without a mask, and with a constant K of 1, 2, 4, ... of the
    other classes, at the rate of the first."""
    found = {"deepkd": find_row(task, "deepkd")}
    for k in (2 ** i for i in range((classes - 2).bit_length())):
        found[f"deepkd-topk-{k}"] = Row(f"DeepKD, K = {k}", "deepkd", {
            **FIXED, "topk_schedule": "static", "topk": str(k)})
    return task._replace(rows=found)


def get_option(text, key):
    """The value of the first key= in a cfg's or .data file's text, or None."""
    found = re.search(rf"^[ \t]*{re.escape(key)}[ \t]*=[ \t]*(\S+)", text, re.MULTILINE)
    return found and found[1]


def set_option(text, section, key, value):
    """The cfg's text with key=value in its first [section]: replaced, or put at the top of it; with
    None it goes."""
    start = re.search(rf"^\[{re.escape(section)}\][ \t]*\n", text, re.MULTILINE)
    if not start:
        raise InputError(f"found no [{section}], expected a cfg with one")
    head, body = text[:start.end()], text[start.end():]
    end = re.search(r"^\[", body, re.MULTILINE)
    rest = body[end.start():] if end else ""
    body = body[:end.start()] if end else body
    line = "" if value is None else f"{key}={value}\n"
    body, found = re.subn(rf"^{re.escape(key)}[ \t]*=.*\n", line, body, count=1,
                          flags=re.MULTILINE)
    return head + (body if found else line + body) + rest


def set_batches(text, batches):
    """The cfg's text with that max_batches, and [net] steps= moved along."""
    steps, old = get_option(text, "steps"), get_option(text, "max_batches")
    if steps and old:
        moved = (max(1, round(int(step) * batches / int(old))) for step in steps.split(","))
        text = set_option(text, "net", "steps", ",".join(map(str, moved)))
    return set_option(text, "net", "max_batches", batches)


def row_cfg(task, name, text, net):
    """The row's cfg, from the student's; net: options of [net], such as max_batches."""
    row = find_row(task, name)
    net = {"learning_rate": rate(task, name), **net}
    batches = int(net.pop("max_batches", None) or get_option(text, "max_batches"))
    text = set_batches(text, batches)
    for key, value in net.items():
        text = set_option(text, "net", key, value)
    for key, value in row.options.items():
        if value and value.endswith("%"):
            value = round(batches * int(value[:-1]) / 100)
        text = set_option(text, "deepkd_loss", key, value)
    for key, value in row.teacher.items():
        text = set_option(text, "teacher", key, value)
    return text


def parse_net(words):
    bad = [word for word in words if not re.fullmatch(r"\w+=\S+", word)]
    if bad:
        raise InputError(f"{bad[0]}: expected KEY=VALUE")
    return dict(word.split("=", 1) for word in words)


def main(words):
    command = words[1:2]
    if len(words) == 2 and command == ["names"]:
        print("\n".join(find_task(words[0]).rows))
    elif len(words) == 3 and command == ["title"]:
        print(find_row(find_task(words[0]), words[2]).title)
    elif len(words) == 3 and command == ["get"] and words[2] in FIELDS:
        print(getattr(find_task(words[0]), words[2]))
    elif len(words) >= 4 and command == ["cfg"]:
        with open(words[3], encoding="utf-8") as file:
            sys.stdout.write(row_cfg(find_task(words[0]), words[2], file.read(),
                                     parse_net(words[4:])))
    else:
        raise InputError("usage: rows.py TASK names | title ROW | get FIELD | cfg ROW STUDENT.cfg "
                         "[KEY=VALUE ...]")


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]), "nothing was printed")
