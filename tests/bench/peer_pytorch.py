#!/usr/bin/python3
"""One training step in PyTorch: the peer that `make bench` sets beside `darknet distill`.

    peer_pytorch.py --pair fmnist|resnet|scenes|yolo|yolov4-tiny --method task|kd|deepkd [--device cuda] ...
        measures steps and prints one line of JSON
    peer_pytorch.py --check BATCH.npz STUDENT.cfg STUDENT.weights [TEACHER.cfg TEACHER.weights]
        computes Darknet's losses in double precision, or with --amp, and prints them; for
        tests/cli/peer.t

The networks come from Darknet's cfg files (torch_networks.py). The losses are Darknet's and the
plugin's (plugin/math/kd_math.h), on whole tensors: no loop over images, cells or boxes.

    task    the student alone: one backward pass, torch.optim.SGD
    kd      the same with the teacher's forward pass and the KD loss
    deepkd  as the official code does it: the losses of NCG, TCG and TOG (the task) go back one
            after another through one graph, each into gradients of its own; each has a momentum
            buffer; all weights are updated three times, by TOG, NCG and TCG. The momenta are
            [net] momentum - .075 for TOG and TCG, + .075 for NCG; decay is in TCG's gradient.

What the official code does besides is left out, to the peer's advantage: searches of Python lists
for each parameter, losses and accuracies read back in each step. Nor does it load pictures: some
batches of random numbers wait in memory and are copied to the device. The update works on all
parameters at once on a GPU (torch._foreach) and in a loop on the CPU: what SGD itself does there.

--amp is PyTorch's mixed precision: both networks under autocast to bfloat16, channels last;
losses, weights, gradients and updates in single precision.
"""
import argparse
import collections
import importlib
import json
import os
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

from parts import PAIRS
from torch_networks import Network, load_weights, numbers, whole

TEMPERATURE = 4
RATE = 1e-5  # when measuring: nothing is learnt, and nothing may overflow
BATCHES = 4  # of random images, which take turns

# classes: [rows]; a detector's row is a box: image: [rows], its place in the batch; box: [rows, 4],
# x, y, w, h in parts of the image; boxes: [batch, most, 4], the same by image, filled up with 0
Truth = collections.namedtuple("Truth", "classes image box boxes")


# What a network's outputs mean

class Classifier:
    def __init__(self, network):
        self.network, self.logistic = network, False
        self.classes = network.shapes[-1][0]

    def rows(self, outputs, _):
        """[rows, classes] logits to be distilled."""
        return outputs[0].flatten(1)

    def task(self, outputs, truth):
        return F.cross_entropy(outputs[0].flatten(1), truth.classes)


class Detector:
    """
    The predictions of all [yolo] layers as one array, [batch, n, 5 + classes], ordered by layer,
    anchor and cell. Of each: cell [n, 2], its column and row; grid [n, 2], the layer's columns
    and rows; stretch [n, 1], its scale_x_y; anchor [n, 2], in pixels. Of each anchor of the cfg:
    where its predictions begin.
    """

    def __init__(self, network, device, dtype=torch.float32):
        self.network, self.logistic = network, True
        options = list(network.heads.values())
        self.classes = whole(options[0], "classes", 20)
        self.ignore = float(options[0].get("ignore_thresh", .5))
        self.by_overlap = options[0].get("iou_loss") == "ciou"
        self.box_weight = float(options[0].get("iou_normalizer", 1))
        anchors = torch.tensor(numbers(options[0]["anchors"]), dtype=dtype).view(-1, 2)
        first, grids, stretches, cells, owners = {}, {}, {}, [], []
        for i, head in network.heads.items():
            height, width = network.shapes[i + 1][1:]
            for k in map(int, numbers(head.get("mask", ",".join(map(str, range(len(anchors))))))):
                first[k], grids[k] = len(cells), [width, height]
                stretches[k] = [float(head.get("scale_x_y", 1))]
                cells += [[column, row] for row in range(height) for column in range(width)]
                owners += [k] * (width * height)
        if sorted(first) != list(range(len(anchors))) or \
                len(cells) != sum(width * height for width, height in grids.values()):
            raise SystemExit("[yolo] mask=: expected each anchor in one of the layers")
        self.size = torch.tensor(network.size[::-1], dtype=dtype, device=device)
        self.anchors = anchors.to(device)
        self.first, self.grids, stretches = (
            torch.tensor([of[k] for k in sorted(of)], device=device)
            for of in (first, grids, stretches))
        self.cell = torch.tensor(cells, dtype=dtype, device=device)
        self.grid, self.anchor = self.grids[owners].to(dtype), self.anchors[owners]
        self.stretch = stretches[owners].to(dtype)

    def predictions(self, outputs):
        return torch.cat([x.flatten(2).unflatten(1, (-1, 5 + self.classes)).transpose(2, 3)
                          .flatten(1, 2) for x in outputs], 1)

    def assigned(self, truth):
        """[rows] the prediction of each box: its centre's cell, the anchor of the best shape."""
        shape = (truth.box[:, 2:] * self.size)[:, None]
        both = torch.minimum(shape, self.anchors).prod(-1)
        best = (both / (shape.prod(-1) + self.anchors.prod(-1) - both)).argmax(1)
        grid = self.grids[best]
        column, row = (truth.box[:, :2] * grid).long().minimum(grid - 1).unbind(1)
        return self.first[best] + row * grid[:, 0] + column

    def rows(self, outputs, truth):
        return self.predictions(outputs)[truth.image, self.assigned(truth), 5:]

    def boxes(self, p, at=slice(None)):
        """Centres and sizes, in parts of the image, of predictions p at these places."""
        stretch = self.stretch[at]
        centre = p[..., :2].sigmoid() * stretch - (stretch - 1) / 2
        return (centre + self.cell[at]) / self.grid[at], \
            p[..., 2:4].exp() * self.anchor[at] / self.size

    @torch.no_grad()
    def best_iou(self, p, boxes):
        """[batch, n] of each predicted box with the truths of its image."""
        centre, size = (x[:, :, None] for x in self.boxes(p))
        truth_centre, truth_size = boxes[:, None].split(2, -1)
        low = torch.maximum(centre - size / 2, truth_centre - truth_size / 2)
        high = torch.minimum(centre + size / 2, truth_centre + truth_size / 2)
        both = (high - low).clamp(min=0).prod(-1)
        return (both / (size.prod(-1) + truth_size.prod(-1) - both)).amax(-1)

    def box_loss(self, own, at, box):
        """
        By squares, or a cross-entropy with the same gradient, as YOLOv3; by iou_loss=ciou as
        torchvision has it: Darknet's max_delta= and its own idea of the gradient are left out.
        """
        if self.by_overlap:
            centre, size = self.boxes(own, at)
            found, truth = (torch.cat((c - s / 2, c + s / 2), 1)
                            for c, s in ((centre, size), box.split(2, 1)))
            ciou = importlib.import_module("torchvision.ops").complete_box_iou_loss
            return self.box_weight * ciou(found, truth, reduction="sum")
        scale = (2 - box[:, 2:].prod(1))[:, None]
        place = box[:, :2] * self.grid[at] - self.cell[at]
        shape = (box[:, 2:] * self.size / self.anchor[at]).log()
        return cross_entropy(own[:, :2], place, scale) + \
            (scale * (own[:, 2:4] - shape) ** 2).sum() / 2

    def task(self, outputs, truth):
        """
        The loss whose gradient is the delta of Darknet's [yolo], a mean over the images: for x, y,
        the objectness and the classes it is that of a cross-entropy. No two boxes of an image may
        have the same prediction: Darknet then keeps one, this adds both. YOLOv4's heads ignore
        no prediction that is not sure of any class.
        """
        p, at = self.predictions(outputs), self.assigned(truth)
        own = p[truth.image, at]
        objectness = torch.zeros_like(p[..., 4])
        objectness[truth.image, at] = 1
        counts = (self.best_iou(p, truth.boxes) <= self.ignore) | (objectness > 0)
        if self.by_overlap:
            counts |= p[..., 5:].amax(-1).sigmoid() <= .25
        total = self.box_loss(own, at, truth.box) + \
            cross_entropy(own[:, 5:], F.one_hot(truth.classes, self.classes).to(p.dtype)) + \
            cross_entropy(p[..., 4], objectness, counts.to(p.dtype))
        return total / len(p)


def cross_entropy(logits, targets, weight=None):
    return F.binary_cross_entropy_with_logits(logits, targets, weight, reduction="sum")


# Distillation: z, y are the student's and the teacher's logits, [rows, classes]; target [rows].
# Each loss is a sum over the rows, as plugin/math/kd_math.h defines it.

def binary_kl(z, y):
    """KL of two outcomes with the logit y from those with z, each element on its own."""
    q = y.sigmoid()
    return F.binary_cross_entropy_with_logits(z, q, reduction="none") - \
        F.binary_cross_entropy_with_logits(y, q, reduction="none")


def softmax_kl(z, y):
    return F.kl_div(z.log_softmax(1), y.log_softmax(1), reduction="none", log_target=True).sum(1)


def kd_loss(z, y, logistic):
    z, y = z / TEMPERATURE, y / TEMPERATURE
    return TEMPERATURE ** 2 * (binary_kl(z, y) if logistic else softmax_kl(z, y)).sum()


def odds(x, target, is_target):
    """[rows] the target's logit against all other classes."""
    others = x.masked_fill(is_target, -float("inf")).logsumexp(1)
    return x.gather(1, target[:, None])[:, 0] - others


def deepkd_losses(z, y, target, logistic):
    """TCG, and NCG with half of the non-target classes kept, those best for the teacher."""
    classes = z.shape[1]
    is_target = F.one_hot(target, classes).bool()
    best = y.masked_fill(is_target, -float("inf")).topk(max(1, (classes - 1) // 2)).indices
    kept = torch.zeros_like(is_target).scatter(1, best, True)
    z, y = z / TEMPERATURE, y / TEMPERATURE
    if logistic:
        losses = binary_kl(z, y)
        tcg, ncg = losses * is_target, losses * kept
    else:
        ahead_z, ahead_y = (odds(x, target, is_target) for x in (z, y))
        tcg = binary_kl(ahead_z, ahead_y)
        ncg = (-ahead_y).sigmoid() * softmax_kl(z.masked_fill(~kept, -1e9),
                                                y.masked_fill(~kept, -1e9))
    return [TEMPERATURE ** 2 * loss.sum() for loss in (tcg, ncg)]


def find_losses(method, student, teacher, outputs, images, truth):
    """[task], and the teacher's: [task, KD] or [task, TCG, NCG]; means over the images."""
    losses = [student.task(outputs, truth)]
    if method == "task":
        return losses
    with torch.no_grad():
        y = teacher.rows(teacher.network(images), truth)
    z = student.rows(outputs, truth)
    found = [kd_loss(z, y, student.logistic)] if method == "kd" else \
        deepkd_losses(z, y, truth.classes, student.logistic)
    return losses + [loss / len(images) for loss in found]


class Autocast(torch.nn.Module):
    """A network in mixed precision; images, as weights, are channels last."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        with torch.autocast(images.device.type, torch.bfloat16):
            outputs = self.network(images)
        return [x.float() for x in outputs]


# Updates; step() takes find_losses' list through backward and into the weights

class Sgd:
    def __init__(self, parameters, rate, momentum, decay):
        self.sgd = torch.optim.SGD(parameters, rate, momentum, weight_decay=decay)

    def step(self, losses):
        self.sgd.zero_grad(set_to_none=True)
        sum(losses).backward()
        self.sgd.step()


class DeepKD:
    def __init__(self, parameters, rate, momentum, decay):
        self.parameters, self.rate = list(parameters), rate
        self.momenta = [momentum - .075, momentum - .075, momentum + .075]
        self.decays = [0, decay, 0]
        self.buffers = [[torch.zeros_like(p) for p in self.parameters] for _ in self.momenta]

    def step(self, losses):
        gradients = [None] * 3
        for i in (2, 1, 0):  # NCG, TCG, TOG
            for p in self.parameters:
                p.grad = None
            losses[i].backward(retain_graph=i > 0)
            gradients[i] = [p.grad for p in self.parameters]
        update = update_all if self.parameters[0].is_cuda else update_each
        with torch.no_grad():
            for i in (0, 2, 1):
                update(self.parameters, gradients[i], self.buffers[i], self.rate, self.momenta[i],
                       self.decays[i])


def update_each(parameters, gradients, buffers, rate, momentum, decay):
    for p, gradient, buffer in zip(parameters, gradients, buffers):
        if decay:
            gradient = gradient.add(p, alpha=decay)
        buffer.mul_(momentum).add_(gradient)
        p.add_(buffer, alpha=-rate)


def update_all(parameters, gradients, buffers, rate, momentum, decay):
    # pylint: disable=protected-access  # torch.optim's own way
    if decay:
        gradients = torch._foreach_add(gradients, parameters, alpha=decay)
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, gradients)
    torch._foreach_add_(parameters, buffers, alpha=-rate)


def make_updater(method, network, rate):
    momentum, decay = (float(network.options.get(key, default)) for key, default in
                       (("momentum", .9), ("decay", 1e-4)))
    return (DeepKD if method == "deepkd" else Sgd)(network.parameters(), rate, momentum, decay)


# Data

def make_truth(classes, image, box, batch):
    """From arrays of rows; image and box are None for a classifier."""
    classes = torch.as_tensor(classes).long()
    if box is None:
        return Truth(classes, None, None, None)
    image, box = torch.as_tensor(image).long(), torch.as_tensor(box)
    places = [sum(image[:k] == image[k]) for k in range(len(image))]
    boxes = torch.zeros(batch, int(max(places)) + 1, 4, dtype=box.dtype)
    boxes[image, places] = box
    return Truth(classes, image, box, boxes)


def random_batch(student, batch, boxes, pin, memory_format):
    """boxes: of an image; 0: a classifier's"""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(batch, 3, *student.network.size, generator=generator)
    images = images.contiguous(memory_format=memory_format)
    rows = batch * (boxes or 1)
    classes = torch.randint(student.classes, (rows,), generator=generator)
    image = box = None
    if boxes:
        image = torch.arange(batch).repeat_interleave(boxes)
        size = torch.rand(rows, 2, generator=generator) * .4 + .02
        place = size / 2 + torch.rand(rows, 2, generator=generator) * (1 - size)
        box = torch.cat((place, size), 1)
    truth = make_truth(classes, image, box, batch)
    if pin:
        return images.pin_memory(), each(truth, torch.Tensor.pin_memory)
    return images, truth


def each(truth, change):
    return Truth(*(x if x is None else change(x) for x in truth))


def move(images, truth, device):
    return images.to(device, non_blocking=True), \
        each(truth, lambda x: x.to(device, non_blocking=True))


# Measuring

def open_network(cfg, device, size=None, dtype=torch.float32, weights=None):
    network = Network(cfg, size).to(dtype)
    if weights:
        load_weights(network, weights)
    network.to(device)
    if network.heads and "anchors" in list(network.heads.values())[0]:
        return Detector(network, device, dtype)
    return Classifier(network)


def set_up(args):
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = bool(args.tf32)
    if args.compile and args.method == "deepkd":
        # compiled backward passes may overwrite what the next one through the graph needs
        importlib.import_module("torch._functorch.config").donated_buffer = False


def prepare(network, args):
    """As --amp and --compile want it; the parameters are the same objects."""
    if args.amp:
        network = Autocast(network.to(memory_format=torch.channels_last))
    return torch.compile(network) if args.compile else network


class Clock:
    """Marks on the GPU's own time line, so that Python may run ahead of it; or on the CPU's."""

    def __init__(self, device):
        self.cuda, self.marks = device == "cuda", []

    def mark(self):
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        self.marks.append(event if self.cuda else time.perf_counter())

    def milliseconds(self):
        """Between one mark and the next."""
        if self.cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]
        return [1000 * (b - a) for a, b in zip(self.marks, self.marks[1:])]


def measure(args):
    """What is printed."""
    pair = PAIRS[args.pair]
    set_up(args)
    size = pair.size and pair.size[::-1]
    student, teacher = (open_network(os.path.join(args.build, cfg), args.device, size)
                        for cfg in (pair.student, pair.teacher))
    memory_format = torch.channels_last if args.amp else torch.contiguous_format
    batches = [random_batch(student, args.batch, pair.boxes, args.device == "cuda", memory_format)
               for _ in range(BATCHES)]
    updater = make_updater(args.method, student.network, RATE)
    student.network.train()
    teacher.network.eval()
    for one in (student, teacher):
        one.network = prepare(one.network, args)
    clock = Clock(args.device)
    for i in range(args.warmup + args.steps):
        if i == args.warmup:
            clock.milliseconds()  # waits for the GPU
            began = time.time()
            clock.mark()
        images, truth = move(*batches[i % BATCHES], args.device)
        updater.step(find_losses(args.method, student, teacher, student.network(images), images,
                                 truth))
        if i >= args.warmup:
            clock.mark()
    times = clock.milliseconds()
    ms = statistics.median(times)
    return {"ms": ms, "images_per_s": 1000 * args.batch / ms, "began": began,
            "ended": time.time(), "all_ms": times, "torch": torch.__version__,
            "peak_bytes": torch.cuda.max_memory_allocated() if args.device == "cuda" else None,
            "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
            **{key: getattr(args, key) for key in
               ("pair", "method", "batch", "amp", "compile", "tf32", "threads")}}


# Checking

def darknets_loss(student, outputs, truth):
    """What Darknet prints: a classifier's cross-entropy; a detector's deltas, squared."""
    loss = student.task(outputs, truth)
    if not isinstance(student, Detector):
        return loss.item()
    images = len(outputs[0])
    gradients = torch.autograd.grad(loss * images, outputs, retain_graph=True)
    return sum((gradient ** 2).sum().item() for gradient in gradients) / len(outputs) / images


def check(args):
    """
    BATCH.npz has images [n, 3, h, w], classes [rows], and a detector's image and box [rows].
    Without a teacher: {"loss"} of the student in inference. With one: {"losses"}, those of each
    of --steps training steps on the batch, from the student's own [net] learning_rate.
    """
    batch, cfg, weights, *teachers = args.check
    dtype = torch.float32 if args.amp else torch.float64
    with np.load(batch) as arrays:
        images = torch.from_numpy(arrays["images"]).to(dtype)
        box = torch.from_numpy(arrays["box"]).to(dtype) if "box" in arrays else None
        truth = make_truth(arrays["classes"], arrays.get("image"), box, len(images))
    student = open_network(cfg, "cpu", None, dtype, weights)
    student.network.eval()
    if not teachers:
        return {"loss": darknets_loss(student, student.network(images), truth)}
    teacher = open_network(teachers[0], "cpu", None, dtype, teachers[1])
    teacher.network.eval()
    student.network.train()
    updater = make_updater(args.method, student.network,
                           float(student.network.options["learning_rate"]))
    for one in (student, teacher):
        one.network = prepare(one.network, args)
    found = []
    for _ in range(args.steps):
        outputs = student.network(images)
        losses = find_losses(args.method, student, teacher, outputs, images, truth)
        found.append([darknets_loss(student, outputs, truth)] + [x.item() for x in losses[1:]])
        updater.step(losses)
    return {"losses": found}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pair", choices=PAIRS)
    what.add_argument("--check", nargs="+", metavar="FILE")
    parser.add_argument("--method", choices=("task", "kd", "deepkd"), default="deepkd")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--amp", action="store_true", help="both networks in bfloat16 (autocast)")
    parser.add_argument("--compile", action="store_true", help="both networks by torch.compile")
    parser.add_argument("--tf32", type=int, choices=(0, 1), default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="that are timed (default: 20)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them (default: 5)")
    parser.add_argument("--build", default="build", help="where the cfg files are seen from")
    args = parser.parse_args()
    if args.check and len(args.check) not in (3, 5):
        parser.error("--check: expected BATCH.npz STUDENT.cfg STUDENT.weights [TEACHER.cfg "
                     "TEACHER.weights]")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU that it can use")
    return args


def main():
    args = arguments()
    print(json.dumps(check(args) if args.check else measure(args)))


if __name__ == "__main__":
    main()
