"""From PyTorch's tensors of a network (scripts/networks.py) to a Darknet weights file.

    content, numbers = weights_file(layers, data, tensors)
    write_start("resnet20.weights", "resnet20", None, seed=1)

Batch norm divides by sqrt(variance + 1e-5) in PyTorch and by sqrt(variance) + 1e-6 in Darknet, so
the variance becomes another one; the bias of a convolution before it goes into the mean.

This is a module; scripts/from_torch.py and scripts/make_pair.py are the commands. It needs no
PyTorch: tensors are arrays here.
"""
import struct

import numpy as np

import networks
from networks import INPUT, NETWORKS
from oneline import write_bytes

TORCH_EPSILON, EPSILON = 1e-5, 1e-6
HEADER = struct.pack("<iiiq", 0, 2, 0, 0)  # Darknet's version, and no image seen


def statistics(mean, divisor):
    """Darknet's mean and variance, of what is divided by divisor."""
    return [mean, (divisor - EPSILON) ** 2]


def norm_arrays(tensors, norm, bias=0):
    """bias: of the convolution before it"""
    scale, shift, mean, variance = (tensors[f"{norm}.{which}"] for which in (
        "weight", "bias", "running_mean", "running_var"))
    return [shift, scale, *statistics(mean - bias, np.sqrt(variance + TORCH_EPSILON))]


def layer_arrays(layer, data, tensors):
    """Of one layer, in the order of a weights file."""
    if layer.norm == INPUT:
        mean, deviation = np.array(data.mean), np.array(data.deviation)
        return [np.ones(3), *statistics(mean, deviation)]
    if not layer.module:
        return norm_arrays(tensors, layer.norm) if layer.norm else []
    bias = tensors[f"{layer.module}.bias"] if layer.has_bias else np.zeros(layer.channels)
    first = norm_arrays(tensors, layer.norm, bias) if layer.norm else [bias]
    return [*first, tensors[f"{layer.module}.weight"]]


def weights_file(layers, data, tensors):
    """Its bytes, and how many numbers they are."""
    arrays = [array for layer in layers for array in layer_arrays(layer, data, tensors)]
    numbers = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
    return HEADER + numbers.tobytes(), len(numbers)


# Initial weights

def draw_convolution(random, shape, by_output):
    """He's: normal, by the numbers that a pixel goes to; or PyTorch's, by those it comes from."""
    if by_output:
        return random.normal(0, np.sqrt(2 / (shape[0] * shape[2] * shape[3])), shape)
    bound = 1 / np.sqrt(np.prod(shape[1:]))
    return random.uniform(-bound, bound, shape)


def draw_linear(random, shape, kind):
    """Its weight and bias: PyTorch's own; with a bias of 0; or small ones."""
    bound = 1 / np.sqrt(shape[1])
    if kind == "small":
        return random.normal(0, .01, shape), np.zeros(shape[0])
    weight, bias = random.uniform(-bound, bound, shape), random.uniform(-bound, bound, shape[0])
    return weight, np.zeros(shape[0]) if kind == "no bias" else bias


def draw(layers, start, seed):
    """{name: array} as mdistiller's networks begin; convolutions' biases are of no effect."""
    random, tensors = np.random.RandomState(seed), {}
    for layer in layers:
        if layer.norm:
            values = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
            tensors.update({f"{layer.norm}.{which}": np.full(layer.channels, float(value))
                            for which, value in values.items()})
        if not layer.module:
            continue
        weight, bias = draw_linear(random, layer.shape, start.linear) if len(layer.shape) == 2 \
            else (draw_convolution(random, layer.shape, start.by_output), np.zeros(layer.channels))
        tensors.update({f"{layer.module}.weight": weight, f"{layer.module}.bias": bias})
    return tensors


def write_start(path, name, classes, seed):
    """PyTorch's initial weights of a student, by the seed."""
    data, _, start = NETWORKS[name]
    layers = networks.build(name, classes)
    write_bytes(path, weights_file(layers, data, draw(layers, start, seed))[0])
