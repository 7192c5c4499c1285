#!/usr/bin/python3
"""Writes kd_vectors.txt: what PyTorch's autograd says about one row.

It is an independent reference for plugin/math/kd_math.c, derived from the losses
alone: they are written with log_softmax, logsumexp, logsigmoid and kl_div in
double precision, and every gradient comes from autograd, never from a formula.
tests/lib/vectors.h reads the result for the tests of CPU and GPU, which so need no Python.

    apt-get install -y --no-install-recommends python3-torch
    /usr/bin/python3 make_vectors.py           writes kd_vectors.txt beside it
    /usr/bin/python3 make_vectors.py --check   compares the file with a new run

To add a case, yield it from one of the *_cases functions and run the script.

Left out: a student whose logits are all equal (or with one class only) under
standardization. The standard deviation has no derivative there and autograd
answers NaN. An all-equal teacher is in, since no gradient goes through it.
"""
import itertools
import math
import os
import random
import sys
from collections import namedtuple

import torch
import torch.nn.functional as F

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kd_vectors.txt")
SEED = 20250515

Config = namedtuple("Config", "method activation standardize T alpha beta")
Case = namedtuple("Case", "name config z y target keep")
Result = namedtuple("Result", "tcg ncg tcg_grad ncg_grad")

HEADER = """\
# Losses and gradients of one row, from PyTorch's autograd in double precision.
# Written by tests/reference/make_vectors.py, seed %d; do not edit.
# Numbers are decimal and exact: they read back as the very same doubles.
#
#   cases N             how many cases follow; each is six lines:
#   case NAME METHOD ACTIVATION STANDARDIZE T ALPHA BETA CLASSES TARGET KEEP
#                       METHOD+gate: with tcg_gate=1; METHOD+swap: with swap=1
#   z ...               [CLASSES] the student's logits
#   y ...               [CLASSES] the teacher's logits
#   loss TCG NCG        the weighted losses
#   tcg ...             [CLASSES] dTCG/dz
#   ncg ...             [CLASSES] dNCG/dz
"""


# ---- the losses -----------------------------------------------------------

def standardized(x):
    return (x - x.mean()) / (1e-7 + x.std())


def kept_classes(y, target, keep):
    """The `keep` largest non-target classes of y; of equals, the lower index."""
    others = [j for j in range(len(y)) if j != target]
    order = torch.sort(y[others], descending=True, stable=True).indices
    return [others[i] for i in order[:keep]]


def kl(log_q, log_p):
    return F.kl_div(log_p, log_q, reduction="sum", log_target=True)


def swapped(y, target):
    """The target's logit and the largest one exchanged, where the target's is not that."""
    order = list(range(len(y)))
    best = int(y.argmax())
    if y[best] > y[target]:
        order[best], order[target] = target, best
    return y[order]


def softmax_losses(c, z, y, target, kept):
    method, _, option = c.method.partition("+")
    others = [j for j in range(len(z)) if j != target]

    def target_and_rest(x):
        log_p = F.log_softmax(x, dim=0)
        return torch.stack([log_p[target], torch.logsumexp(log_p[others], dim=0)])

    log_q = target_and_rest(y)
    weight = c.beta if method == "dkd" else log_q[1].exp()
    tcg = kl(log_q, target_and_rest(z))
    p, q = F.softmax(z, dim=0), F.softmax(y, dim=0)
    if option == "gate" and bool((p[others] <= q[others]).all()):
        tcg = 0.0 * z.sum()
    if not kept:  # no class, no distribution: the loss is 0 by definition
        return c.alpha * c.T ** 2 * tcg, 0.0 * z.sum()
    ncg = kl(F.log_softmax(y[kept], dim=0), F.log_softmax(z[kept], dim=0))
    return c.alpha * c.T ** 2 * tcg, weight * c.T ** 2 * ncg


def logistic_losses(c, z, y, target, kept):
    def outcomes(x):
        return torch.stack([F.logsigmoid(x), F.logsigmoid(-x)])

    weight = c.beta if c.method.startswith("dkd") else 1.0
    tcg = kl(outcomes(y[[target]]), outcomes(z[[target]]))
    ncg = kl(outcomes(y[kept]), outcomes(z[kept])) if kept else 0.0 * z.sum()
    return c.alpha * c.T ** 2 * tcg, weight * c.T ** 2 * ncg


def distant_losses(c, z, y, target, kept):
    """BCKD: each class's binary cross-entropy, times how far its probabilities are apart."""
    def distant(classes):
        p, q = torch.sigmoid(z[classes]), torch.sigmoid(y[classes])
        entropy = F.binary_cross_entropy_with_logits(z[classes], q, reduction="none")
        return ((q - p).abs() * entropy).sum()

    ncg = distant(kept) if kept else 0.0 * z.sum()
    return c.alpha * c.T ** 2 * distant([target]), c.T ** 2 * ncg


def row_losses(c, z, y, target, keep):
    """The weighted TCG and NCG of one row, differentiable in z."""
    if c.method.endswith("+swap"):
        y = swapped(y, target)
    kept = kept_classes(y, target, keep)
    if c.standardize:
        z, y = standardized(z), standardized(y)
    losses = softmax_losses if c.activation == "softmax" else logistic_losses
    if c.method == "bckd":
        losses = distant_losses
    return losses(c, z / c.T, y / c.T, target, kept)


def evaluate(case):
    z = torch.tensor(case.z, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(case.y, dtype=torch.float64)
    tcg, ncg = row_losses(case.config, z, y, case.target, case.keep)
    tcg_grad, = torch.autograd.grad(tcg, z, retain_graph=True)
    ncg_grad, = torch.autograd.grad(ncg, z)
    result = Result(tcg.item(), ncg.item(), tcg_grad.tolist(), ncg_grad.tolist())
    for x in [result.tcg, result.ncg] + result.tcg_grad + result.ncg_grad:
        assert math.isfinite(x), case.name
    return result


# ---- the cases ------------------------------------------------------------

METHODS = ["kd", "dkd"]
ACTIVATIONS = ["softmax", "logistic"]
TEMPERATURES = [0.5, 1.0, 4.0, 20.0]
ALPHAS = [1.0, 0.7, 2.5]
BETAS = [8.0, 1.0, 0.3]
KINDS = list(itertools.product(METHODS, ACTIVATIONS, [0, 1]))


def logits(rng, classes, spread=3.0):
    return [round(rng.gauss(0, spread), 3) for _ in range(classes)]


def tied_logits(rng, classes):
    return [float(rng.randint(-1, 1)) for _ in range(classes)]


def one_hot(classes, hot, high=1e4, low=-1e4):
    return [high if j == hot else low for j in range(classes)]


def targets(classes):
    return [0, classes - 1, classes // 2]


def grid_cases(rng):
    """Every kind with every mask; T, alpha, beta and target take turns."""
    turn = itertools.count()
    keeps = {2: [1, 0], 3: [2, 1], 10: [9, 1, 4, 8], 100: [99, 1, 30]}
    for classes, kind in itertools.product(keeps, KINDS):
        for keep in keeps[classes]:
            i = next(turn)
            config = Config(*kind, T=TEMPERATURES[i % 4], alpha=ALPHAS[i % 3],
                            beta=BETAS[i // 3 % 3])
            yield Case("grid", config, logits(rng, classes), logits(rng, classes),
                       targets(classes)[i // 2 % 3], keep)


def temperature_cases(rng):
    """Every kind at every temperature."""
    for kind, T in itertools.product(KINDS, TEMPERATURES):
        yield Case("temperature", Config(*kind, T, 0.7, 2.0), logits(rng, 10),
                   logits(rng, 10), rng.randrange(10), rng.choice([9, 5]))


def single_class_cases(rng):
    for method, T in itertools.product(METHODS, TEMPERATURES):
        yield Case("one-class", Config(method, "logistic", 0, T, 2.5, 8.0),
                   logits(rng, 1), logits(rng, 1), 0, 0)
    for z, y in itertools.product([-1e4, 0.0, 1e4], repeat=2):
        yield Case("one-class-extreme", Config("kd", "logistic", 0, 1.0, 1.0, 1.0),
                   [z], [y], 0, 0)


def big_cases(rng):
    kinds = [("kd", "softmax", 0, 999), ("kd", "softmax", 1, 50),
             ("dkd", "softmax", 0, 500), ("dkd", "softmax", 1, 999),
             ("dkd", "softmax", 0, 1), ("kd", "logistic", 0, 999),
             ("dkd", "logistic", 1, 200)]
    for i, (method, activation, standardize, keep) in enumerate(kinds):
        config = Config(method, activation, standardize, TEMPERATURES[i % 4], 0.7, 8.0)
        yield Case("big", config, logits(rng, 1000), logits(rng, 1000),
                   targets(1000)[i % 3], keep)


def tie_cases(rng):
    """Equal teacher logits across the mask's border: the lower index stays."""
    for kind, keep in itertools.product(KINDS, [1, 3, 6]):
        yield Case("ties", Config(*kind, 4.0, 1.0, 8.0), logits(rng, 10),
                   tied_logits(rng, 10), rng.choice(targets(10)), keep)
    for kind, keep in itertools.product(KINDS, [1, 4]):
        yield Case("ties-all-equal", Config(*kind, 1.0, 1.0, 2.0), logits(rng, 10),
                   [2.0] * 10, rng.choice(targets(10)), keep)


def raw_rank_cases(rng):
    """Standardization rounds the small logits to one value; the mask, ranked on
    the raw ones, still tells them apart."""
    for method, activation in itertools.product(METHODS, ACTIVATIONS):
        y = [float(j) for j in range(10)]
        y[4] = 1e18
        yield Case("raw-rank", Config(method, activation, 1, 4.0, 1.0, 2.0),
                   logits(rng, 10), y, 4, 3)


def extreme_rows(rng, classes, t):
    wrong = (t + 1) % classes
    usual = logits(rng, classes)
    wide = [round(rng.uniform(-1e4, 1e4), 1) for _ in range(classes)]
    return [("teacher-certain", usual, one_hot(classes, t)),
            ("teacher-certain-other", usual, one_hot(classes, wrong)),
            ("student-certain-wrong", one_hot(classes, wrong), usual),
            ("student-certain-right", one_hot(classes, t), usual),
            ("both-certain-opposed", one_hot(classes, wrong), one_hot(classes, t)),
            ("both-certain-right", one_hot(classes, t), one_hot(classes, t)),
            ("target-hopeless", one_hot(classes, t, -1e4, 1e4), usual),
            ("wide", wide, wide[1:] + wide[:1]),
            ("wide-student", wide, usual),
            ("shifted-up", [x + 1e4 for x in usual], [x - 1e4 for x in wide])]


def extreme_cases(rng):
    turn = itertools.count()
    for classes, kind in itertools.product([2, 10], KINDS):
        t = targets(classes)[next(turn) % 3]
        for name, z, y in extreme_rows(rng, classes, t):
            i = next(turn)
            config = Config(*kind, TEMPERATURES[i % 4], ALPHAS[i % 3], BETAS[i // 2 % 3])
            keep = max(1, [classes - 1, classes // 2][i // 4 % 2])
            yield Case(name, config, z, y, t, keep)


def equal_cases(rng):
    for kind, classes in itertools.product(KINDS, [2, 3, 10]):
        config = Config(*kind, 4.0, 0.7, 2.0)
        t = rng.choice(targets(classes))
        usual = logits(rng, classes)
        yield Case("teacher-is-student", config, usual, usual, t, classes - 1)
        yield Case("teacher-all-equal", config, usual, [3.0] * classes, t, classes - 1)
        if not config.standardize:
            yield Case("student-all-equal", config, [-1.5] * classes, usual, t, classes - 1)
            yield Case("both-all-equal", config, [5.0] * classes, [-2.0] * classes, t,
                       classes - 1)


def tiny_spread_cases(rng):
    """A deviation near 1e-7, where the constant beside it shows."""
    for method, activation in itertools.product(METHODS, ACTIVATIONS):
        tiny = [round(rng.gauss(0, 1), 3) * 1e-7 for _ in range(10)]
        yield Case("tiny-spread", Config(method, activation, 1, 4.0, 1.0, 2.0), tiny,
                   logits(rng, 10), 3, 5)


def zero_weight_cases(rng):
    for activation in ACTIVATIONS:
        yield Case("alpha-0", Config("kd", activation, 0, 4.0, 0.0, 1.0),
                   logits(rng, 10), logits(rng, 10), 3, 9)
        yield Case("beta-0", Config("dkd", activation, 0, 4.0, 1.0, 0.0),
                   logits(rng, 10), logits(rng, 10), 3, 9)
        yield Case("keep-0", Config("kd", activation, 0, 4.0, 1.0, 1.0),
                   logits(rng, 10), logits(rng, 10), 3, 0)


def bckd_cases(rng):
    for standardize, T, classes in itertools.product([0, 1], TEMPERATURES, [2, 3, 10, 100]):
        t = rng.randrange(classes)
        config = Config("bckd", "logistic", standardize, T, rng.choice(ALPHAS), 1.0)
        usual = logits(rng, classes)
        yield Case("bckd", config, usual, logits(rng, classes), t, classes - 1)
        yield Case("bckd-masked", config, usual, tied_logits(rng, classes), t, classes // 2)
    for name, z, y in extreme_rows(rng, 10, 4):
        if "both-certain-right" not in name:  # autograd: 0 times infinity
            yield Case("bckd-" + name, Config("bckd", "logistic", 0, 4.0, 1.0, 1.0), z, y, 4, 9)


def gate_cases(rng):
    """Students surer of the target than the teacher by the same shares, and others"""
    for method, T, classes in itertools.product(METHODS, TEMPERATURES, [2, 10, 100]):
        t = rng.choice(targets(classes))
        y = logits(rng, classes)
        surer = [y[j] + (1.5 if j == t else 0) for j in range(classes)]
        for z in (surer, [2 * x for x in y], logits(rng, classes)):
            config = Config(method + "+gate", "softmax", rng.choice([0, 1]), T, .7, 2.0)
            yield Case("gate", config, z, y, t, rng.choice([classes - 1, 1]))


def swap_cases(rng):
    for method, activation, classes in itertools.product(METHODS, ACTIVATIONS, [2, 10, 100]):
        y = logits(rng, classes)
        for t in (y.index(max(y)), y.index(min(y)), rng.randrange(classes)):
            config = Config(method + "+swap", activation, rng.choice([0, 1]), 4.0, .7, 2.0)
            yield Case("swap", config, logits(rng, classes), y, t,
                       rng.choice([classes - 1, classes // 2]))


def all_cases():
    rng = random.Random(SEED)
    families = [grid_cases, temperature_cases, single_class_cases, tie_cases,
                raw_rank_cases, extreme_cases, equal_cases, tiny_spread_cases,
                zero_weight_cases, big_cases, bckd_cases, gate_cases, swap_cases]
    return [case for family in families for case in family(rng)]


# ---- the file -------------------------------------------------------------

def number(x):
    """The shortest decimal that reads back as the same double."""
    return repr(int(x)) if x == int(x) and abs(x) < 1e6 else repr(x)


def numbers(xs):
    return " ".join(number(x) for x in xs)


def case_lines(index, case):
    c, r = case.config, evaluate(case)
    head = [f"{index}-{case.name}", c.method, c.activation, str(c.standardize),
            numbers([c.T, c.alpha, c.beta]), str(len(case.z)), str(case.target),
            str(case.keep)]
    return ["case " + " ".join(head), "z " + numbers(case.z), "y " + numbers(case.y),
            "loss " + numbers([r.tcg, r.ncg]), "tcg " + numbers(r.tcg_grad),
            "ncg " + numbers(r.ncg_grad)]


def file_text():
    cases = all_cases()
    lines = [line for i, case in enumerate(cases) for line in case_lines(i, case)]
    return HEADER % SEED + f"cases {len(cases)}\n" + "\n".join(lines) + "\n"


# ---- the comparison, also for make_trajectory.py ---------------------------

def same_line(old, new, exact, tolerance):
    """Equal words; on lines of results, numbers up to `tolerance` times the
    line's largest (another CPU's vector unit may round differently)."""
    a, b = old.split(), new.split()
    if a == b:
        return True
    if len(a) != len(b) or a[:1] != b[:1] or a[0] in exact or a[0] == "#":
        return False
    xs, ys = [float(x) for x in a[1:]], [float(y) for y in b[1:]]
    largest = max([1e-4] + [abs(x) for x in xs])
    return all(abs(x - y) <= tolerance * largest for x, y in zip(xs, ys))


def check(path, text, exact, tolerance):
    with open(path) as f:
        old, new = f.read().splitlines(), text.splitlines()
    if len(old) != len(new):
        sys.exit(f"{path}: {len(old)} lines, a new run gives {len(new)}")
    bad = [i + 1 for i, (a, b) in enumerate(zip(old, new))
           if not same_line(a, b, exact, tolerance)]
    if bad:
        sys.exit(f"{path}: {len(bad)} lines differ, the first is line {bad[0]}")
    print(f"{path}: agrees with a new run")


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_vectors.py [--check]")
    torch.set_num_threads(1)
    if sys.argv[1:]:
        check(FILE, file_text(), exact=["case", "cases", "z", "y"], tolerance=1e-9)
    else:
        write(FILE, file_text())


if __name__ == "__main__":
    main()
