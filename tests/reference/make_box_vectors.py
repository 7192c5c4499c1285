#!/usr/bin/python3
"""Writes what PyTorch's autograd says about how two boxes overlap, to box_vectors.txt, and about
the loss of a detector's box, from its logits, to a teacher's, to box_row_vectors.txt.

It is an independent reference for [yolo]'s iou_loss= (patches/layers/03), in double precision,
from the definitions of IoU, GIoU (arXiv 1902.09630), DIoU and CIoU (1911.08287) alone. The
gradients come from autograd, the weight of CIoU's aspect held fixed as there; each part's is then
scaled as box_overlap_gradient says in src/box.h. The second file is of plugin/math/box_formulas.h:
there nothing is scaled.

    apt-get install -y --no-install-recommends python3-torch
    /usr/bin/python3 make_box_vectors.py           writes both beside it
    /usr/bin/python3 make_box_vectors.py --check   compares them with a new run
"""
import math
import os
import sys

import torch

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "box_vectors.txt")
ROW_FILE = FILE.replace("vectors", "row_vectors")
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


# ---- box_row_vectors.txt ---------------------------------------------------

ROW_HEADER = """\
# Losses 1 - overlap of boxes from logits, and their gradients, from PyTorch's autograd in double.
# Written by tests/reference/make_box_vectors.py; do not edit. Three lines each:
# KIND LOSS  gradient by the student's logits: x y w h
# the student's I J COLUMNS ROWS ANCHOR_W ANCHOR_H SCALE NEW_COORDS  logits: x y w h
# the teacher's, the same
"""


def decoded(place, t):
    i, j, columns, rows, w, h, scale, new_coords = place
    s = torch.sigmoid(t)
    sides = 4 * s[2:] ** 2 if new_coords else torch.exp(t[2:])
    return torch.stack([(i + scale * s[0] - (scale - 1) / 2) / columns,
                        (j + scale * s[1] - (scale - 1) / 2) / rows, sides[0] * w, sides[1] * h])


def random_head(n):
    """A place in a head, and logits; cells near the middle, that some boxes meet."""
    columns, rows = (int(x) for x in torch.randint(3, 20, (2,)))
    i, j = int(columns * (.3 + .4 * torch.rand(1))), int(rows * (.3 + .4 * torch.rand(1)))
    w, h = (.05 + .4 * torch.rand(2, dtype=torch.double)).tolist()
    scale, new_coords = ((1, 0), (1.05, 0), (2, 1))[n % 3]
    return ((i, j, columns, rows, w, h, scale, new_coords),
            2 * torch.randn(4, dtype=torch.double))


def row_text():
    lines = [ROW_HEADER]
    torch.manual_seed(20180511)
    for kind in KINDS[1:]:
        for n in range(60):
            place, z = random_head(n)
            theirs, y = random_head(n + n // 3 % 2)
            z.requires_grad_()
            loss = 1 - sum(parts(kind, decoded(place, z), decoded(theirs, y)))
            gradient_z, = torch.autograd.grad(loss, z)
            for first, numbers in ((kind, [loss.item(), *gradient_z.tolist()]),
                                   ("", [*place, *z.tolist()]), ("", [*theirs, *y.tolist()])):
                lines.append(f"{first} ".lstrip() + " ".join(f"{x:.17g}" for x in numbers) + "\n")
    return "".join(lines)


def main():
    for path, content in ((FILE, text()), (ROW_FILE, row_text())):
        if sys.argv[1:] != ["--check"]:
            with open(path, "w", encoding="ascii") as file:
                file.write(content)
            continue
        with open(path, encoding="ascii") as file:
            if file.read() != content:
                sys.exit(f"{path}: differs from a new run")


if __name__ == "__main__":
    main()
