#!/usr/bin/python3
"""Writes box_vectors.txt: what PyTorch's autograd says about how two boxes overlap.

It is an independent reference for [yolo]'s iou_loss= (patches/layers/03), in double precision,
from the definitions of IoU, GIoU (arXiv 1902.09630), DIoU and CIoU (1911.08287) alone. The
gradients come from autograd, the weight of CIoU's aspect held fixed as there; each part's is then
scaled as box_overlap_gradient says in src/box.h.

    apt-get install -y --no-install-recommends python3-torch
    /usr/bin/python3 make_box_vectors.py           writes box_vectors.txt beside it
    /usr/bin/python3 make_box_vectors.py --check   compares the file with a new run
"""
import math
import os
import sys

import torch

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "box_vectors.txt")
KINDS = ("mse", "iou", "giou", "diou", "ciou")  # in the order of BOX_LOSS
HEADER = """\
# Gradients of two boxes' overlap by the first, from PyTorch's autograd in double.
# Written by tests/reference/make_box_vectors.py; do not edit.
# KIND  a: x y w h  b: x y w h  gradient: x y w h
"""


def edges(box):
    x, y, w, h = box
    return x - w / 2, x + w / 2, y - h / 2, y + h / 2


def areas(a, b):
    """IoU, union, and width and height of the hull."""
    (l, r, t, d), (m, s, u, e) = edges(a), edges(b)
    width = torch.clamp(torch.minimum(r, s) - torch.maximum(l, m), min=0)
    height = torch.clamp(torch.minimum(d, e) - torch.maximum(t, u), min=0)
    both = width * height
    union = a[2] * a[3] + b[2] * b[3] - both
    return (both / union, union, torch.maximum(r, s) - torch.minimum(l, m),
            torch.maximum(d, e) - torch.minimum(t, u))


def parts(kind, a, b):
    """What adds up to the overlap: of areas, of distance, of aspect."""
    iou, union, w, h = areas(a, b)
    zero = 0 * a.sum()
    by_area = iou - (w * h - union) / (w * h) if kind == "giou" else iou
    distance = -((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (w ** 2 + h ** 2)
    v = 4 / math.pi ** 2 * (torch.atan(b[2] / b[3]) - torch.atan(a[2] / a[3])) ** 2
    aspect = -(v / (1 - iou + v + 1e-6)).detach() * v
    return (by_area, distance if kind in ("diou", "ciou") else zero,
            aspect if kind == "ciou" else zero)


def gradient(kind, a, b):
    def of(part):
        return torch.autograd.grad(parts(kind, a, b)[part], a)[0]
    twice = torch.tensor([1, 1, 2, 2], dtype=torch.double)
    return of(0) * twice + of(1) + of(2) * (a[2] ** 2 + a[3] ** 2).detach()


def cases():
    torch.manual_seed(20180226)
    for kind in KINDS:
        for i in range(40):
            a, b = torch.rand(2, 4, dtype=torch.float32).double()
            a[2:], b[2:] = a[2:] * .6 + .05, b[2:] * .6 + .05
            if i % 4 == 0:  # apart
                a[0], b[0] = -1, 1.5
            if i % 4 == 1:  # one in the other
                a[:2], a[2:] = b[:2] + .01, b[2:] * .5
            yield kind, a.float().double(), b.float().double()


def text():
    lines = [HEADER]
    for kind, a, b in cases():
        a.requires_grad_()
        numbers = [*a.tolist(), *b.tolist(), *gradient(kind, a, b).tolist()]
        lines.append(f"{kind} " + " ".join(f"{x:.17g}" for x in numbers) + "\n")
    return "".join(lines)


def main():
    if sys.argv[1:] == ["--check"]:
        with open(FILE, encoding="ascii") as file:
            sys.exit(0 if file.read() == text() else f"{FILE}: differs from a new run")
    with open(FILE, "w", encoding="ascii") as file:
        file.write(text())


if __name__ == "__main__":
    main()
