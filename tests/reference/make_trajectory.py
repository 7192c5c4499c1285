#!/usr/bin/python3
"""Writes trajectories.txt: 100 steps of each method with each trainer.

PyTorch runs in double precision of a small student and a fixed teacher, with the three gradients
(TOG, TCG, NCG) in three momentum buffers of their own. The same weights and images in our plugin
must give the same losses and the same final weights, up to Darknet's single precision. There is no
batch norm, because Darknet's differs from PyTorch's by a hair.

    apt-get install -y --no-install-recommends python3-torch
    /usr/bin/python3 make_trajectory.py          writes the file beside it
    /usr/bin/python3 make_trajectory.py --check  compares it with a new run

Student: conv 3x3 pad 1, 3->4, leaky -> conv 3x3 stride 2 pad 1, 4->6, leaky -> global average
pool -> connected 6->5 -> softmax. Teacher: conv 3x3 pad 1, 3->8, leaky -> global average pool ->
connected 8->5. Leaky is max(x, 0.1 x). Of an image's strong view here some pixels are others.

Each step: task loss = the cross-entropies summed over the batch and its views, over its images;
TCG and NCG: the same of the methods' losses (make_vectors.py, make_batch_vectors.py), times
teacher_weight and what warmup= makes of it in this batch. For each component
v <- mu v + gradient, mu = min(its momentum, 1 - 1/(1 + c t)) in batch t, then
w <- w - rate (v_tog + v_tcg + v_ncg). TOG's gradient has decay w added, for weights and not for
biases.

To add a run: a row of RUNS.
"""
import math
import os
import random
import sys
from collections import namedtuple

import torch
import torch.nn.functional as F

import make_batch_vectors as batches
from make_vectors import Config, check, numbers, row_losses, write

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trajectories.txt")
SEED = 13
CLASSES, BATCH, STEPS, BATCHES = 5, 4, 100, 3
SHOWN = 10  # every so many steps
RATE, DECAY, T = 0.005, 0.01, 4.0
OPTIMAL_K, PHASES = 2, (0.25, 0.7)  # no K lies between two integers

COMPONENTS = ("tog", "tcg", "ncg")
# The method with its own parameters; options: of [deepkd_loss], as the plugin is given them
Run = namedtuple("Run", "method views momenta warmup c weight masked parameters options")
TEMPERATURES = {"mlkd": [2.0, 3.0, 4.0, 5.0, 6.0], "crld": [T]}
WARMUP = 1  # of the momenta, so that .975 is reached within the run
# With [net] momentum=.9
MOMENTA = {"sgd": (.9, .9, .9), "dot": (.825, .975, .975), "deepkd": (.975, .825, .95)}
WHOLE_KL = batches.WHOLE_KL


def run(method, trainer, views=1, weight=1.0, **options):
    """A method by the trainer, with the defaults but for what is given."""
    momenta = MOMENTA[trainer]
    if (method, trainer) == ("kd", "deepkd"):
        momenta = (.975, .825, .975)
    warmup = 0 if method == "kd" else 20
    given = {"method": method, "trainer": trainer, "warmup": warmup, "teacher_weight": weight}
    if method in ("mlkd", "crld"):
        given["views"] = views
    beta = WHOLE_KL if trainer != "deepkd" else {"mlkd": 8.0, "crld": .5}.get(method)
    parameters = {"kd": [], "dkd": [8.0], "mlkd": [beta, 1.0, 1.0, 0],
                  "crld": [beta, 1.0, .5, options.get("confidence_weak"),
                           options.get("confidence_strong"), 0]}[method]
    return Run(method, views, momenta, warmup, WARMUP, weight, False, parameters,
               {**given, "momentum_warmup": WARMUP, **options})


def masked(method):
    """As the paper has it: no warm-up, and the dynamic mask."""
    given = {"method": method, "momentum_warmup": 0, "topk": OPTIMAL_K,
             "topk_phases": ",".join(map(str, PHASES))}
    return run(method, "deepkd")._replace(warmup=0, c=0, masked=True, options=given)


SURE = {"confidence_weak": .6, "confidence_strong": .5}
RUNS = {
    **{f"kd-{trainer}": run("kd", trainer) for trainer in MOMENTA},
    # with a whole beta of 8 and a momentum of .975 rounding grows tenfold in a few steps
    **{f"dkd-{trainer}": run("dkd", trainer, weight=.2) for trainer in MOMENTA},
    **{f"{method}-masked": masked(method) for method in ("kd", "dkd")},
    **{f"mlkd-{views}-{trainer}": run("mlkd", trainer, views, .1)
       for views in (1, 2) for trainer in MOMENTA},
    **{f"crld-{trainer}": run("crld", trainer, 2, **SURE) for trainer in MOMENTA},
}

STUDENT = [("conv1.weights", (4, 3, 3, 3), 0.3), ("conv1.biases", (4,), 0.1),
           ("conv2.weights", (6, 4, 3, 3), 0.3), ("conv2.biases", (6,), 0.1),
           ("connected.weights", (5, 6), 0.6), ("connected.biases", (5,), 0.1)]
TEACHER = [("conv1.weights", (8, 3, 3, 3), 0.5), ("conv1.biases", (8,), 0.3),
           ("connected.weights", (5, 8), 6.0), ("connected.biases", (5,), 1.0)]

HEADER = """\
# Training runs with three momentum buffers, from PyTorch in double precision.
# Written by tests/reference/make_trajectory.py, seed %d; do not edit.
# Images and initial weights are exact in single precision.
#
#   size CLASSES BATCH BATCHES STEPS
#   image I LABEL ...       [3][8][8] the pixels. Step i (from 1) trains on the images
#   strong I ...            BATCH b .. BATCH b + BATCH - 1, b = (i - 1) mod BATCHES; and their
#                           strong views
#   student NAME ...        initial, Darknet's layouts: convolution [n][c][k][k],
#   teacher NAME ...        connected [out][in], biases [n]; in network order
#   net OPTION ...          of [net], of all runs that follow, each of
#   run NAME OPTION ...     options of [deepkd_loss]
#   step I K TOG TCG NCG    some steps: K kept classes, and the losses before the update, of an
#                           image's view
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


def mask_losses(method, z, y, labels, keep):
    config = Config(method, "softmax", 0, T, 1.0, 8.0)
    rows = [row_losses(config, z[i], y[i], labels[i], keep) for i in range(BATCH)]
    return sum(tcg for tcg, _ in rows), sum(ncg for _, ncg in rows)


def distilled(one, z, y, labels, keep):
    """Sums of TCG and NCG over the batch; z, y: of each view."""
    if one.method in ("kd", "dkd"):
        return mask_losses(one.method, z[0], y[0], labels, keep)
    case = batches.Case("", one.method, 1.0, one.parameters, TEMPERATURES[one.method], one.views,
                        labels, z, y)
    return getattr(batches, one.method)(case, z, y)[1:]


def component_losses(one, z, y, labels, step, keep):
    """Over the number of images, not of their views"""
    warm = one.weight * (min(1, step / one.warmup) if one.warmup else 1)
    task = sum(F.cross_entropy(view, torch.tensor(labels), reduction="sum") for view in z)
    tcg, ncg = distilled(one, z, y, labels, keep)
    return dict(zip(COMPONENTS, (task / BATCH, warm * tcg / BATCH, warm * ncg / BATCH)))


def update(one, weights, buffers, losses, step):
    grads = {g: torch.autograd.grad(loss, list(weights.values()), retain_graph=True,
                                    allow_unused=True) for g, loss in losses.items()}
    with torch.no_grad():
        for i, name in enumerate(weights):
            for g, mu in zip(COMPONENTS, one.momenta):
                grad = grads[g][i]
                if g == "tog" and name.endswith(".weights"):
                    grad = grad + DECAY * weights[name]
                if one.c:
                    mu = min(mu, 1 - 1 / (1 + one.c * step))
                buffers[g][name] = mu * buffers[g][name] + grad
            weights[name] -= RATE * sum(buffers[g][name] for g in COMPONENTS)


def train(one, images, labels, weights, teacher):
    """images: of each view. Changes `weights`; returns one line a step that is shown."""
    for w in weights.values():
        w.requires_grad_()
    buffers = {g: {n: torch.zeros_like(w) for n, w in weights.items()} for g in COMPONENTS}
    lines = []
    for step in range(1, STEPS + 1):
        first = (step - 1) % BATCHES * BATCH
        x = [view[first:first + BATCH] for view in images[:one.views]]
        keep = dynamic_k(step / STEPS) if one.masked else CLASSES - 1
        losses = component_losses(one, [student_logits(view, weights) for view in x],
                                  [teacher_logits(view, teacher) for view in x],
                                  labels[first:first + BATCH], step, keep)
        if step % SHOWN in (0, 1):
            shown = [losses[g].item() / one.views for g in COMPONENTS]
            lines.append(f"step {step} {keep} " + numbers(shown))
        update(one, weights, buffers, losses, step)
    return lines


def short(tensor, digits=10):
    return " ".join(f"{x:.{digits}g}" for x in tensor.detach().flatten().tolist())


def weight_lines(label, weights, digits=10):
    return [f"{label} {name} " + short(w, digits) for name, w in weights.items()]


def words(options):
    return " ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                    for key, value in options.items())


def run_lines(name, one, images, labels, teacher, student):
    weights = {key: value.clone() for key, value in student.items()}
    lines = [f"run {name} " + words(one.options)]
    lines += train(one, images, labels, weights, teacher)
    return lines + weight_lines("final", weights, 8)


def strengthened(rng, images):
    """A square of 4 x 4 of each image in another colour"""
    images = images.clone()
    for image in images:
        x, y = rng.randrange(5), rng.randrange(5)
        for channel in image:
            channel[y:y + 4, x:x + 4] = rng.randrange(64) / 64
    return images


def file_text():
    rng = random.Random(SEED)
    images, student = random_images(rng), random_weights(rng, STUDENT)
    teacher = random_weights(rng, TEACHER)
    labels = [rng.randrange(CLASSES) for _ in images]
    views = [images, strengthened(rng, images)]
    lines = [f"size {CLASSES} {BATCH} {BATCHES} {STEPS}"]
    for i, label in enumerate(labels):
        lines += [f"image {i} {label} " + short(views[0][i]), f"strong {i} " + short(views[1][i])]
    lines += weight_lines("student", student) + weight_lines("teacher", teacher)
    lines.append("net " + words({"batch": BATCH, "learning_rate": RATE, "decay": DECAY,
                                 "momentum": .9, "max_batches": STEPS}))
    for name, one in RUNS.items():
        lines += run_lines(name, one, views, labels, teacher, student)
    return HEADER % SEED + "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_trajectory.py [--check]")
    torch.set_num_threads(1)
    if sys.argv[1:]:
        check(FILE, file_text(), exact=["size", "image", "strong", "student", "teacher", "net",
                                        "run"], tolerance=1e-7)
    else:
        write(FILE, file_text())


if __name__ == "__main__":
    main()
