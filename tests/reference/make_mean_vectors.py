#!/usr/bin/python3
"""Writes mean_vectors.txt: what PyTorch says about the logits of an ensemble of teachers.

The mean of logits, and the logits of the mean of probabilities, of softmax and of sigmoid, in
double precision from logits that a float holds. tests/unit/test_mean_logits.c reads the result.

    /usr/bin/python3 make_mean_vectors.py           writes mean_vectors.txt beside it
    /usr/bin/python3 make_mean_vectors.py --check   compares the file with a new run
"""
import os
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F

from make_vectors import check, numbers, write

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mean_vectors.txt")
SEED = 20151503

HEADER = """\
# The logits of ensembles, from PyTorch in double precision.
# Written by tests/reference/make_mean_vectors.py, seed %d; do not edit.
#
#   cases N                  how many cases follow, each of
#   case TEACHERS CLASSES
#   y ...                    of each teacher: [CLASSES] logits
#   logits ... softmax ... logistic ...   [CLASSES] their mean, by the three rules
"""


def cases():
    rng = random.Random(SEED)
    for teachers in (1, 2, 3, 5, 8):
        for classes, spread in ((1, 2), (2, 1), (7, 3), (40, 8), (10, 1e3), (5, 2e4)):
            yield [[float(np.float32(rng.gauss(0, spread))) for _ in range(classes)]
                   for _ in range(teachers)]


def log_mean(log_p):
    return torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(len(log_p), dtype=torch.float64))


def case_lines(rows):
    y = torch.tensor(rows, dtype=torch.float64)
    means = {"logits": y.mean(dim=0), "softmax": log_mean(F.log_softmax(y, dim=1)),
             "logistic": log_mean(F.logsigmoid(y)) - log_mean(F.logsigmoid(-y))}
    return [f"case {len(rows)} {len(rows[0])}", *(f"y {numbers(row)}" for row in rows),
            *(f"{name} {numbers(mean.tolist())}" for name, mean in means.items())]


def file_text():
    made = list(cases())
    lines = [line for rows in made for line in case_lines(rows)]
    return HEADER % SEED + f"cases {len(made)}\n" + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_mean_vectors.py [--check]")
    if sys.argv[1:]:
        check(FILE, file_text(), exact=["case", "cases", "y"], tolerance=1e-9)
    else:
        write(FILE, file_text())


if __name__ == "__main__":
    main()
