#!/usr/bin/python3
"""The rows that scripts/table.py compares and scripts/demo.sh shows: what each
one changes in cfg/fmnist-student.cfg, and the learning rate it is given.

    rows.py names                               one row's name a line
    rows.py title ROW                           what the row is called in a table
    rows.py cfg ROW STUDENT.cfg [KEY=VALUE ...] prints the row's cfg; KEY=VALUE goes to [net]

A rate is the outcome of table.py's search, which never looks at test images;
table.py says so when the two differ. This file trains nothing.
"""
import collections
import re
import sys

from imagelist import InputError, run

BATCHES = 938  # the budget of every row: one epoch of 60,000 images, 64 a batch

# title: in tables; rate: [net] learning_rate; options: of [deepkd_loss]
Row = collections.namedtuple("Row", "title rate options")

SGD_KD = {"trainer": "sgd", "method": "kd", "topk_schedule": "off"}
# Above zero after 8 % of the run, as DKD's 20 of 240 epochs
DKD = {"method": "dkd", "beta": "8", "warmup": "8%"}

ROWS = {
    "alone": Row("student alone", .4, {**SGD_KD, "teacher_weight": "0"}),
    "kd": Row("KD", .2, SGD_KD),
    "dkd": Row("DKD", .1, {**SGD_KD, **DKD}),
    "dot": Row("DOT (KD)", .1, {**SGD_KD, "trainer": "dot"}),
    "deepkd-nomask": Row("DeepKD without top-k (KD)", .1, {**SGD_KD, "trainer": "deepkd"}),
    "deepkd": Row("DeepKD (KD)", .1,
                  {"trainer": "deepkd", "method": "kd", "topk_schedule": "dynamic"}),
    "deepkd-dkd": Row("DeepKD (DKD)", .025,
                      {"trainer": "deepkd", "topk_schedule": "dynamic", **DKD}),
    # What the authors' code does, with [net] momentum=0.9: TOG -0.075, TCG -0.075, NCG +0.075
    "deepkd-official": Row("DeepKD as the official code runs (KD)", .025,
                           {**SGD_KD, "trainer": "deepkd", "momentum_tog": "0.825",
                            "momentum_tcg": "0.825", "momentum_ncg": "0.975",
                            "decay_component": "tcg"}),
}


def find_row(name):
    if name not in ROWS:
        raise InputError(f"{name}: no such row, expected one of {', '.join(ROWS)}")
    return ROWS[name]


def set_option(text, section, key, value):
    """The cfg's text with key=value in its first [section]: replaced, or put at the top of it."""
    start = re.search(rf"^\[{re.escape(section)}\][ \t]*\n", text, re.MULTILINE)
    if not start:
        raise InputError(f"found no [{section}], expected a cfg with one")
    head, body = text[:start.end()], text[start.end():]
    end = re.search(r"^\[", body, re.MULTILINE)
    rest = body[end.start():] if end else ""
    body = body[:end.start()] if end else body
    line = f"{key}={value}\n"
    body, found = re.subn(rf"^{re.escape(key)}[ \t]*=.*\n", line, body, count=1,
                          flags=re.MULTILINE)
    return head + (body if found else line + body) + rest


def row_cfg(name, text, net):
    """The row's cfg, from the student's; net: options of [net], such as max_batches."""
    row = find_row(name)
    net = {"learning_rate": row.rate, "max_batches": BATCHES, **net}
    for key, value in net.items():
        text = set_option(text, "net", key, value)
    for key, value in row.options.items():
        if value.endswith("%"):
            value = round(int(net["max_batches"]) * int(value[:-1]) / 100)
        text = set_option(text, "deepkd_loss", key, value)
    return text


def parse_net(words):
    bad = [word for word in words if not re.fullmatch(r"\w+=\S+", word)]
    if bad:
        raise InputError(f"{bad[0]}: expected KEY=VALUE")
    return dict(word.split("=", 1) for word in words)


def main(words):
    if words == ["names"]:
        print("\n".join(ROWS))
    elif len(words) == 2 and words[0] == "title":
        print(find_row(words[1]).title)
    elif len(words) >= 3 and words[0] == "cfg":
        with open(words[2], encoding="utf-8") as file:
            sys.stdout.write(row_cfg(words[1], file.read(), parse_net(words[3:])))
    else:
        raise InputError("usage: rows.py names | title ROW | cfg ROW STUDENT.cfg [KEY=VALUE ...]")


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]), "nothing was printed")
