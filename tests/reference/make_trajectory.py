#!/usr/bin/python3
"""Writes trajectory_kd.txt and trajectory_dkd.txt: 20 steps of DeepKD.

A PyTorch run in double precision of a small student and a fixed teacher, with
the three gradients (TOG, TCG, NCG) in three momentum buffers of their own and
the dynamic top-k mask. The same weights and batches in our plugin must give the
same losses and the same final weights, up to Darknet's single precision. There
is no batch norm, because Darknet's differs from PyTorch's by a hair.

    apt-get install -y --no-install-recommends python3-torch
    /usr/bin/python3 make_trajectory.py          writes both files beside it
    /usr/bin/python3 make_trajectory.py --check  compares them with a new run

Student: conv 3x3 pad 1, 3->4, leaky -> conv 3x3 stride 2 pad 1, 4->6, leaky ->
global average pool -> connected 6->5 -> softmax. Teacher: conv 3x3 pad 1, 3->8,
leaky -> global average pool -> connected 8->5. Leaky is max(x, 0.1 x).

Each step: task loss = cross-entropy summed over the batch, over its size; TCG
and NCG = the mean over the rows of the weighted row losses. For each group g
v_g <- mu_g v_g + grad_g, then w <- w - lr (v_tog + v_tcg + v_ncg). TOG's gradient
has decay w added, for weights and not for biases.
"""
import math
import os
import random
import sys

import torch
import torch.nn.functional as F

from make_vectors import Config, check, numbers, row_losses, write

SEED = 13
CLASSES, BATCH, STEPS, BATCHES = 5, 4, 20, 5
RATE, DECAY = 0.05, 0.01
MOMENTUM = {"tog": 0.975, "tcg": 0.825, "ncg": 0.95}
OPTIMAL_K, PHASES = 2, (0.25, 0.7)  # no K lies between two integers
CONFIGS = {method: Config(method, "softmax", 0, 4.0, 1.0, 8.0) for method in ("kd", "dkd")}

STUDENT = [("conv1.weights", (4, 3, 3, 3), 0.3), ("conv1.biases", (4,), 0.1),
           ("conv2.weights", (6, 4, 3, 3), 0.3), ("conv2.biases", (6,), 0.1),
           ("connected.weights", (5, 6), 0.6), ("connected.biases", (5,), 0.1)]
TEACHER = [("conv1.weights", (8, 3, 3, 3), 0.5), ("conv1.biases", (8,), 0.3),
           ("connected.weights", (5, 8), 6.0), ("connected.biases", (5,), 1.0)]

HEADER = """\
# A training run with three momentum buffers, from PyTorch in double precision.
# Written by tests/reference/make_trajectory.py, seed %d; do not edit.
# Images and initial weights are exact in single precision.
#
#   method METHOD           kd or dkd; activation softmax, no standardization
#   config KEY VALUE ...    T, alpha, beta, rate, decay, mu_tog, mu_tcg, mu_ncg,
#                           topk, phase1, phase2, classes, batch, steps, batches
#   image I LABEL ...       [3][8][8] the pixels. Step i (from 1) trains on the
#                           images 4 b .. 4 b + 3, b = (i - 1) mod batches, and
#                           is at i / steps of the run
#   student NAME ...        initial, Darknet's layouts: convolution [n][c][k][k],
#   teacher NAME ...        connected [out][in], biases [n]; in network order
#   step I K TOG TCG NCG    K kept classes, and the losses before the update
#   final NAME ...          the student's weights after the last step
"""


def random_weights(rng, shapes):
    """Multiples of 1/1024: exact in single precision, and short to write."""
    weights = {}
    for name, shape, spread in shapes:
        values = [round(rng.uniform(-spread, spread) * 1024) / 1024
                  for _ in range(math.prod(shape))]
        weights[name] = torch.tensor(values, dtype=torch.float64).reshape(shape)
    return weights


def random_images(rng):
    """Noise on a plain colour, so that pooled features differ between images."""
    images = []
    for _ in range(BATCH * BATCHES):
        colour = [rng.uniform(0, 48) for _ in range(3)]
        images.append([round(c + rng.uniform(0, 16)) / 64 for c in colour
                       for _ in range(64)])
    return torch.tensor(images, dtype=torch.float64).reshape(-1, 3, 8, 8)


def convolution(x, weights, name, stride):
    x = F.conv2d(x, weights[name + ".weights"], weights[name + ".biases"], stride, padding=1)
    return F.leaky_relu(x, 0.1)


def classify(x, weights):
    return F.linear(x.mean(dim=(2, 3)), weights["connected.weights"],
                    weights["connected.biases"])


def student_logits(x, weights):
    return classify(convolution(convolution(x, weights, "conv1", 1), weights, "conv2", 2),
                    weights)


def teacher_logits(x, weights):
    return classify(convolution(x, weights, "conv1", 1), weights)


def nearest(x):
    return math.floor(x + 0.5)


def dynamic_k(progress):
    """K at `progress`: K0 to K*, K*, then K* to the whole; nearest integers."""
    first = min(max(1, nearest(CLASSES / 20)), OPTIMAL_K)
    easy, transition = PHASES
    if progress < easy:
        return nearest(first + (OPTIMAL_K - first) * progress / easy)
    if progress < transition:
        return OPTIMAL_K
    share = (progress - transition) / (1 - transition)
    return nearest(OPTIMAL_K + (CLASSES - 1 - OPTIMAL_K) * share)


def component_losses(config, z, y, labels, keep):
    rows = [row_losses(config, z[i], y[i], labels[i], keep) for i in range(BATCH)]
    task = F.cross_entropy(z, torch.tensor(labels), reduction="sum") / BATCH
    return {"tog": task, "tcg": sum(tcg for tcg, _ in rows) / BATCH,
            "ncg": sum(ncg for _, ncg in rows) / BATCH}


def update(weights, buffers, losses):
    names = list(weights)
    grads = {g: torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
             for g, loss in losses.items()}
    with torch.no_grad():
        for i, name in enumerate(names):
            for g in losses:
                grad = grads[g][i]
                if g == "tog" and name.endswith(".weights"):
                    grad = grad + DECAY * weights[name]
                buffers[g][name] = MOMENTUM[g] * buffers[g][name] + grad
            weights[name] -= RATE * sum(buffers[g][name] for g in losses)


def train(config, images, labels, weights, teacher):
    """Changes `weights`; returns one line a step."""
    for w in weights.values():
        w.requires_grad_()
    buffers = {g: {n: torch.zeros_like(w) for n, w in weights.items()} for g in MOMENTUM}
    lines = []
    for step in range(1, STEPS + 1):
        first = (step - 1) % BATCHES * BATCH
        x, t = images[first:first + BATCH], labels[first:first + BATCH]
        keep = dynamic_k(step / STEPS)
        losses = component_losses(config, student_logits(x, weights),
                                  teacher_logits(x, teacher), t, keep)
        values = [losses[g].item() for g in ("tog", "tcg", "ncg")]
        lines.append(f"step {step} {keep} " + numbers(values))
        update(weights, buffers, losses)
    return lines


def weight_lines(label, weights):
    return [f"{label} {name} " + numbers(w.detach().flatten().tolist())
            for name, w in weights.items()]


def config_line(c):
    pairs = [("T", c.T), ("alpha", c.alpha), ("beta", c.beta), ("rate", RATE),
             ("decay", DECAY), *(("mu_" + g, mu) for g, mu in MOMENTUM.items()),
             ("topk", OPTIMAL_K), ("phase1", PHASES[0]), ("phase2", PHASES[1]),
             ("classes", CLASSES), ("batch", BATCH), ("steps", STEPS), ("batches", BATCHES)]
    return "config " + " ".join(f"{key} {value:g}" for key, value in pairs)


def file_text(config):
    rng = random.Random(SEED)
    images, student = random_images(rng), random_weights(rng, STUDENT)
    teacher = random_weights(rng, TEACHER)
    labels = [rng.randrange(CLASSES) for _ in images]
    lines = [f"method {config.method}", config_line(config)]
    lines += [f"image {i} {labels[i]} " + numbers(images[i].flatten().tolist())
              for i in range(len(labels))]
    lines += weight_lines("student", student) + weight_lines("teacher", teacher)
    lines += train(config, images, labels, student, teacher)
    lines += weight_lines("final", student)
    return HEADER % SEED + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_trajectory.py [--check]")
    torch.set_num_threads(1)
    folder = os.path.dirname(os.path.abspath(__file__))
    for method, config in CONFIGS.items():
        path = os.path.join(folder, f"trajectory_{method}.txt")
        if sys.argv[1:]:
            check(path, file_text(config), exact=["method", "config", "image", "student",
                                                  "teacher"], tolerance=1e-9)
        else:
            write(path, file_text(config))


if __name__ == "__main__":
    main()
