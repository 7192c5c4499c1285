#!/usr/bin/python3
"""Writes batch_vectors.txt: what PyTorch's autograd says about the methods of whole batches.

MLKD, CRLD and DIST, of a batch of one or two views: losses and gradients of all components, as
sums over the images. They are written from the papers' formulas (and, with official=1, from those of
DeepKD's code) with softmax and matrix products in double precision; every gradient comes from
autograd. tests/unit/test_batch_methods.c reads the result.

    /usr/bin/python3 make_batch_vectors.py           writes batch_vectors.txt beside it
    /usr/bin/python3 make_batch_vectors.py --check   compares the file with a new run

To add a case, yield it at the end of cases().
"""
import itertools
import math
import os
import random
import sys
from collections import namedtuple

import torch
import torch.nn.functional as F

from make_vectors import check, kl, numbers, write

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "batch_vectors.txt")
SEED = 20230601
WHOLE_KL = -1  # a beta: 1 - q_t of each row

Case = namedtuple("Case", "name method alpha parameters T views targets z y")

HEADER = """\
# Losses and gradients of whole batches, from PyTorch's autograd in double precision.
# Written by tests/reference/make_batch_vectors.py, seed %d; do not edit.
#
#   cases N             how many cases follow, each of
#   case NAME METHOD ALPHA VIEWS IMAGES CLASSES TEMPERATURES PARAMETERS
#   temperatures ...    [TEMPERATURES]
#   parameters ...      [PARAMETERS], as methods.c has them; a beta of -1 is 1 - q_t of each row
#   targets ...         [IMAGES]
#   z ...  y ...        of each view, weak and strong: [IMAGES][CLASSES] the student's, the teacher's
#   loss TOG TCG NCG    sums over the images
#   tog ... tcg ... ncg ...   of each view: [IMAGES][CLASSES] d/dz
"""


def row_losses(z, y, target, T, alpha, beta):
    """TCKD and NCKD of one image at T, times T^2 and their weights."""
    others = [j for j in range(len(z)) if j != target]

    def split(x):
        log_p = F.log_softmax(x / T, dim=0)
        return torch.stack([log_p[target], torch.logsumexp(log_p[others], dim=0)])

    log_q = split(y)
    weight = log_q[1].exp() if beta == WHOLE_KL else beta
    tcg = kl(log_q, split(z))
    ncg = kl(F.log_softmax(y[others] / T, dim=0), F.log_softmax(z[others] / T, dim=0))
    return alpha * T ** 2 * tcg, weight * T ** 2 * ncg


def confidence(y):
    return F.softmax(y, dim=1).max(dim=1).values


def median(x):
    ordered = sorted(x.tolist())
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def instance_level(case, z, y, weights, of_student, of_teacher):
    """Sum of the images' TCG and NCG between two views, over all temperatures."""
    tcg, ncg = 0, 0
    for i, target in enumerate(case.targets):
        for T in case.T:
            one, other = row_losses(z[of_student][i], y[of_teacher][i], target, T, case.alpha,
                                    case.parameters[0])
            tcg, ncg = tcg + weights[i] * one, ncg + weights[i] * other
    return tcg, ncg


def mlkd(case, z, y):
    _, batch_weight, class_weight, official = case.parameters
    images, classes = z[0].shape
    sure = confidence(y[0])
    of_images = (sure <= median(sure)).double()
    mass = F.softmax(y[0], dim=1).sum(dim=0)
    of_classes = (mass <= median(mass)).double()
    rows = of_images.mean().expand(images) if official else of_images
    tcg, ncg = instance_level(case, z, y, rows, 0, 0)
    if case.views == 2:
        strong = instance_level(case, z, y, torch.ones(images), 1, 1)
        tcg, ncg = tcg + strong[0], ncg + strong[1]
    levels = 0
    for T in case.T:
        p, q = F.softmax(z[0] / T, dim=1), F.softmax(y[0] / T, dim=1)
        batch = (p @ p.T - q @ q.T) ** 2
        by_class = (p.T @ p - q.T @ q) ** 2
        if official:
            of_batch = batch.sum() / images * of_images.mean()
            of_class = by_class.sum() / classes * of_classes.mean()
        else:
            of_batch = (batch * torch.outer(of_images, of_images)).sum() / images
            of_class = (by_class * torch.outer(of_classes, of_classes)).sum() / classes
        levels = levels + images * (batch_weight * of_batch + class_weight * of_class)
    return (levels, tcg, ncg) if official else (0 * levels, tcg, ncg + levels)


def crld(case, z, y):
    _, within, across, weak, strong, official = case.parameters
    tcg, ncg = 0, 0
    for of_student, of_teacher in itertools.product([0, 1], repeat=2):
        is_within = of_student == of_teacher
        mask = confidence(y[0]) >= weak if is_within else confidence(y[1]) >= strong
        weights = mask.double()
        if official:
            weights = weights.mean().expand(len(weights))
        one = instance_level(case, z, y, (within if is_within else across) * weights, of_student,
                             of_teacher)
        tcg, ncg = tcg + one[0], ncg + one[1]
    return 0 * (z[0].sum() + z[1].sum()), tcg, ncg


def correlated(p, q):
    """1 - Pearson's correlation of the rows, their sum"""
    a, b = p - p.mean(dim=1, keepdim=True), q - q.mean(dim=1, keepdim=True)
    return (1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)).sum()


def split_softmax(odds, shares, targets, T):
    """softmax(z/T), in which odds gives the target's probability, shares how the rest is shared."""
    rows = []
    for i, target in enumerate(targets):
        others = [j for j in range(odds.shape[1]) if j != target]
        ahead = odds[i, target] / T - torch.logsumexp(odds[i, others] / T, dim=0)
        p_hat = F.softmax(shares[i, others] / T, dim=0) * torch.sigmoid(-ahead)
        rows.append(torch.cat([p_hat[:target], torch.sigmoid(ahead)[None], p_hat[target:]]))
    return torch.stack(rows)


def dist(case, z, y):
    """The loss, and its gradients by what moves the target's odds, and by what the others' shares"""
    inter, intra = case.parameters
    T, (images, classes) = case.T[0], z[0].shape
    odds, shares = (z[0].detach().clone().requires_grad_() for _ in range(2))
    p, q = split_softmax(odds, shares, case.targets, T), F.softmax(y[0] / T, dim=1)
    loss = T ** 2 * (inter * correlated(p, q) + intra * images / classes * correlated(p.T, q.T))
    tcg, ncg = torch.autograd.grad(loss, (odds, shares))
    nothing = torch.zeros_like(ncg)
    return [0.0, 0.0, loss.item()], [[nothing], [case.alpha * tcg], [ncg]]


def logits(rng, images, classes, spread):
    return [[round(rng.gauss(0, spread), 3) for _ in range(classes)] for _ in range(images)]


def make_case(rng, name, method, parameters, T, views, images, classes, spread=2.0):
    made = [logits(rng, images, classes, spread) for _ in range(2 * views)]
    targets = [rng.randrange(classes) for _ in range(images)]
    return Case(name, method, rng.choice([1.0, .7]), parameters, T, views, targets, made[::2],
                made[1::2])


def cases():
    rng = random.Random(SEED)
    several = [2.0, 3.0, 4.0, 5.0, 6.0]
    for beta, official, views in itertools.product([8.0, WHOLE_KL], [0, 1], [1, 2]):
        for images, classes in ((2, 3), (5, 4), (6, 11)):
            yield make_case(rng, "mlkd", "mlkd", [beta, 1.0, 1.0, official], several, views, images,
                            classes)
    for weights in ([1.0, 0.0], [0.0, 1.0], [.3, 2.0]):
        yield make_case(rng, "levels", "mlkd", [2.0, *weights, 0], [1.0, 4.0], 1, 7, 5)
    yield make_case(rng, "two-classes", "mlkd", [2.0, 1.0, 1.0, 0], [4.0], 2, 4, 2)
    yield make_case(rng, "far", "mlkd", [2.0, 1.0, 1.0, 0], [1.0, 2.0], 2, 4, 6, 30.0)
    for beta, official, sure in itertools.product([.5, WHOLE_KL], [0, 1],
                                                  [(.9, .2), (.5, .5), (0.0, 1.0)]):
        for images, classes in ((1, 3), (6, 4), (5, 10)):
            yield make_case(rng, "crld", "crld", [beta, 2.0, .5, *sure, official], [4.0], 2, images,
                            classes, 3.0)
    for T, weights in itertools.product([1.0, 4.0], ([1.0, 1.0], [2.0, 0.0], [0.0, .3])):
        for images, classes in ((2, 2), (5, 4), (3, 11)):
            yield make_case(rng, "dist", "dist", weights, [T], 1, images, classes)


def evaluate(case):
    """Losses and gradients, TOG TCG NCG: of each component, of each view."""
    if case.method == "dist":
        return dist(case, [torch.tensor(x, dtype=torch.float64) for x in case.z],
                    [torch.tensor(x, dtype=torch.float64) for x in case.y])
    z = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in case.z]
    y = [torch.tensor(x, dtype=torch.float64) for x in case.y]
    found = (mlkd if case.method == "mlkd" else crld)(case, z, y)
    gradients = []
    for loss in found:
        given = torch.autograd.grad(loss, z, retain_graph=True, allow_unused=True)
        gradients.append([torch.zeros_like(z[0]) if g is None else g for g in given])
    assert all(math.isfinite(loss.item()) for loss in found), case.name
    return [loss.item() for loss in found], gradients


def flat(rows):
    return numbers(float(x) for row in rows for x in row)


def case_lines(index, case):
    losses, gradients = evaluate(case)
    head = [f"{index}-{case.name}", case.method, numbers([case.alpha]), str(case.views),
            str(len(case.targets)), str(len(case.z[0][0])), str(len(case.T)),
            str(len(case.parameters))]
    lines = ["case " + " ".join(head), "temperatures " + numbers(case.T),
             "parameters " + numbers(case.parameters), "targets " + numbers(case.targets)]
    for z, y in zip(case.z, case.y):
        lines += ["z " + flat(z), "y " + flat(y)]
    lines.append("loss " + numbers(losses))
    for name, of_views in zip(("tog", "tcg", "ncg"), gradients):
        lines += [f"{name} " + flat(view.tolist()) for view in of_views]
    return lines


def file_text():
    made = list(cases())
    lines = [line for i, case in enumerate(made) for line in case_lines(i, case)]
    return HEADER % SEED + f"cases {len(made)}\n" + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_batch_vectors.py [--check]")
    torch.set_num_threads(1)
    if sys.argv[1:]:
        exact = ["case", "cases", "temperatures", "parameters", "targets", "z", "y"]
        check(FILE, file_text(), exact=exact, tolerance=1e-9)
    else:
        write(FILE, file_text())


if __name__ == "__main__":
    main()
