"""Darknet's networks as PyTorch modules: built from a cfg file, filled from a weights file.

    network = Network("cfg/resnet8x4.cfg")
    load_weights(network, "backup/resnet8x4_final.weights")
    logits = network(images)  # a list: what each [softmax] or [yolo] is given

Written as one would write them in PyTorch. What differs from Darknet: in training, batch norm
divides by the variance of n values where Darknet takes that of n - 1. Sections that are not in
MAKERS, and a [shortcut] between shapes that differ, end the program.
"""
import numpy as np
import torch
from torch import nn


def parse_cfg(path):
    """[(section, {key: text})]"""
    sections = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = "".join(line.split())
            if line.startswith("["):
                sections.append((line.strip("[]"), {}))
            elif line and line[0] not in "#;":
                key, value = line.split("=", 1)
                sections[-1][1][key] = value
    return sections


def whole(options, key, default):
    return int(options.get(key, default))


def numbers(text):
    return [float(word) for word in text.split(",")]


def activation(options, default="logistic"):
    """A list of no or one module."""
    return {"linear": lambda: [], "leaky": lambda: [nn.LeakyReLU(.1, inplace=True)],
            "relu": lambda: [nn.ReLU(inplace=True)], "logistic": lambda: [nn.Sigmoid()],
            "mish": lambda: [nn.Mish()], "swish": lambda: [nn.SiLU()],
            }[options.get("activation", default)]()


# Makers take a section's options and its input's shape (c, h, w); they give a module and its
# output's shape.

def make_convolutional(options, shape):
    filters, size = whole(options, "filters", 1), whole(options, "size", 1)
    stride, normalize = whole(options, "stride", 1), whole(options, "batch_normalize", 0)
    pad = size // 2 if whole(options, "pad", 0) else whole(options, "padding", 0)
    layers = [nn.Conv2d(shape[0], filters, size, stride, pad, bias=not normalize,
                        groups=whole(options, "groups", 1))]
    if normalize:
        layers.append(nn.BatchNorm2d(filters, momentum=.01))
    sides = [(side + 2 * pad - size) // stride + 1 for side in shape[1:]]
    return nn.Sequential(*layers, *activation(options)), (filters, *sides)


def make_maxpool(options, shape):
    stride = whole(options, "stride", 1)
    size = whole(options, "size", stride)
    padding = whole(options, "padding", size - 1)
    before = padding // 2
    sides = [(side + padding - size) // stride + 1 for side in shape[1:]]
    after = [max(0, (out - 1) * stride + size - before - side)
             for out, side in zip(sides, shape[1:])]
    pads = (before, after[1], before, after[0])
    layers = [nn.ConstantPad2d(pads, -float("inf"))] if any(pads) else []
    return nn.Sequential(*layers, nn.MaxPool2d(size, stride)), (shape[0], *sides)


def make_avgpool(_, shape):
    return nn.AdaptiveAvgPool2d(1), (shape[0], 1, 1)


def make_connected(options, shape):
    outputs = whole(options, "output", 1)
    linear = nn.Linear(shape[0] * shape[1] * shape[2], outputs)
    return nn.Sequential(nn.Flatten(), linear, *activation(options)), (outputs, 1, 1)


def make_upsample(options, shape):
    stride = whole(options, "stride", 2)
    return nn.Upsample(scale_factor=stride), (shape[0], stride * shape[1], stride * shape[2])


def make_dropout(options, shape):
    return nn.Dropout(float(options.get("probability", .5))), shape


def make_head(_, shape):
    return nn.Identity(), shape


class Shortcut(nn.Module):
    def __init__(self, source, options):
        super().__init__()
        self.source = source
        self.activation = nn.Sequential(*activation(options, "linear"))

    def forward(self, x, outputs):
        return self.activation(x + outputs[self.source])


class Route(nn.Module):
    """Of each source the channels that groups= and group_id= say."""

    def __init__(self, sources, options):
        super().__init__()
        self.sources = sources
        self.groups, self.group = whole(options, "groups", 1), whole(options, "group_id", 0)

    def forward(self, _, outputs):
        found = [outputs[i].chunk(self.groups, 1)[self.group] for i in self.sources]
        return torch.cat(found, 1) if len(found) > 1 else found[0]


MAKERS = {"convolutional": make_convolutional, "maxpool": make_maxpool, "avgpool": make_avgpool,
          "connected": make_connected, "upsample": make_upsample, "dropout": make_dropout,
          "softmax": make_head, "yolo": make_head}


def make_layer(name, options, shapes):
    """A module and its output's shape; shapes: the network's input's, then each layer's."""
    places = [int(i) for i in numbers(options.get("layers", options.get("from", "-1")))]
    sources = [i if i >= 0 else len(shapes) - 1 + i for i in places]
    if name == "shortcut":
        if shapes[sources[0] + 1] != shapes[-1]:
            raise SystemExit("[shortcut] between shapes that differ: expected the same")
        return Shortcut(sources[0], options), shapes[-1]
    if name == "route":
        found = [shapes[i + 1] for i in sources]
        route = Route(sources, options)
        return route, (sum(shape[0] // route.groups for shape in found), *found[0][1:])
    if name not in MAKERS:
        raise SystemExit(f"[{name}]: expected one of {', '.join(MAKERS)}, shortcut, route")
    return MAKERS[name](options, shapes[-1])


class Network(nn.Module):
    """A cfg's network; images -> [what each [softmax] or [yolo] is given]."""

    def __init__(self, path, size=None):
        super().__init__()
        (_, self.options), *sections = parse_cfg(path)
        self.size = size or (whole(self.options, "height", 0), whole(self.options, "width", 0))
        self.shapes = [(whole(self.options, "channels", 3), *self.size)]
        self.layers = nn.ModuleList()
        self.heads = {}  # {layer: options}
        for name, options in sections:
            if name in ("teacher", "deepkd_loss"):
                break
            if name in ("softmax", "yolo"):
                self.heads[len(self.layers)] = options
            layer, shape = make_layer(name, options, self.shapes)
            self.layers.append(layer)
            self.shapes.append(shape)
        joins = [layer for layer in self.layers if isinstance(layer, (Route, Shortcut))]
        self.kept = {i for join in joins for i in getattr(join, "sources", None) or [join.source]}

    def forward(self, x):
        outputs, found = {}, []
        for i, layer in enumerate(self.layers):
            if i in self.heads:
                found.append(x)
            x = layer(x, outputs) if isinstance(layer, (Route, Shortcut)) else layer(x)
            if i in self.kept:
                outputs[i] = x
        return found


def load_weights(network, path):
    """Reads a weights file of Darknet's."""
    with open(path, "rb") as file:
        major, minor, _ = np.fromfile(file, "<i4", 3)
        file.seek(20 if 10 * major + minor >= 2 else 16)
        values = torch.from_numpy(np.fromfile(file, "<f4"))
    arrays = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # before its convolution's weights
            arrays[-1:-1] = [module.bias, module.weight, module.running_mean, module.running_var]
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            arrays += [module.weight] if module.bias is None else [module.bias, module.weight]
    sizes = [array.numel() for array in arrays]
    if sum(sizes) != len(values):
        raise SystemExit(f"{path}: {len(values)} numbers, expected {sum(sizes)}")
    with torch.no_grad():
        for array, part in zip(arrays, values.split(sizes)):
            array.copy_(part.view_as(array))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # Darknet divides by sqrt(variance) + 1e-6
                variance = (module.running_var.sqrt() + 1e-6) ** 2
                module.running_var.copy_(variance - module.eps)
