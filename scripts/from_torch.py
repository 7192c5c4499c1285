#!/usr/bin/python3
"""Makes Darknet weights, and their cfg, of a PyTorch network of the papers' pairs.

    scripts/from_torch.py resnet32x4 ckpt_epoch_240.pth build/pairs/resnet32x4

FILE is what torch.save wrote: a state dict, or a dict that has one as "model" or "state_dict"; the
names of its tensors are mdistiller's, of ImageNet's ResNets torchvision's, with or without
"module." in front. OUT.cfg and OUT.weights are written: a teacher of Darknet's whose logits are the
network's, of pixels of 0 to 1. The first section takes the data set's mean and deviation out, as
PyTorch's loaders do.

Batch norm divides by sqrt(variance + 1e-5) there and by sqrt(variance) + 1e-6 here, so the variance
becomes another one. The bias of a convolution before it goes into the mean.

Every tensor must have its place, and every place its tensor, or nothing is written. Only these
networks are known (scripts/networks.py), and nothing is downloaded.
"""
import argparse
import os
import pickle
import struct
import sys

import numpy as np

import imagelist
import make_pair
import networks
from imagelist import InputError
from networks import INPUT, NETWORKS

TORCH_EPSILON, EPSILON = 1e-5, 1e-6
HEADER = struct.pack("<iiiq", 0, 2, 0, 0)  # Darknet's version, and no image seen
COUNTED = ".num_batches_tracked"  # of no use in inference


def load(path):
    """What the file holds, by PyTorch's safe reader."""
    try:
        import torch  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise InputError("PyTorch can't be imported, which reads FILE: expected python3-torch, or "
                         "PYTHONPATH=") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError,
            AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not read, expected a state dict by torch.save ({reason})"
                         ) from error


def state_dict(path, found):
    """{name: array} of float64."""
    for key in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or \
            not all(hasattr(value, "shape") for value in found.values()):
        raise InputError(f"{path}: found no state dict, expected names with tensors, alone or as "
                         '"model" or "state_dict"')
    names = [str(name).removeprefix("module.") for name in found]
    return {name: value.detach().double().numpy() for name, value in zip(names, found.values())
            if not name.endswith(COUNTED)}


def some(names):
    """A list for one line."""
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def wanted_tensors(layers):
    """{name: shape}, with the statistics of batch norm."""
    wanted = networks.tensors(layers)
    for layer in layers:
        if layer.norm and layer.norm != INPUT:
            wanted.update({f"{layer.norm}.running_{which}": (layer.channels,)
                           for which in ("mean", "var")})
    return wanted


def check(path, name, wanted, tensors):
    missing, extra = set(wanted) - set(tensors), set(tensors) - set(wanted)
    if missing:
        raise InputError(f"{path}: {some(missing)} missing, expected the {len(wanted)} tensors of "
                         f"{name}" + (f"; found {some(extra)}" if extra else ""))
    if extra:
        raise InputError(f"{path}: {some(extra)}: no counterpart in {name}")
    for key, shape in wanted.items():
        if tensors[key].shape != tuple(shape):
            raise InputError(f"{path}: {key} is {'x'.join(map(str, tensors[key].shape))}, expected "
                             f"{'x'.join(map(str, shape))}")
        if not np.isfinite(tensors[key]).all():
            raise InputError(f"{path}: {key} holds numbers that are not finite")
        if key.endswith(".running_var") and (tensors[key] < 0).any():
            raise InputError(f"{path}: {key} holds {tensors[key].min():g}, expected no variance "
                             "below 0")


# Arrays of a weights file

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


def write_bytes(path, content):
    def write(temporary):
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    imagelist.replace_file(path, write)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", metavar="NETWORK", help="one of " + ", ".join(NETWORKS))
    parser.add_argument("file", metavar="FILE", help="PyTorch's state dict")
    parser.add_argument("out", metavar="OUT", help="OUT.cfg and OUT.weights are written")
    parser.add_argument("--classes", type=imagelist.positive, metavar="N", help="where they are "
                        "not the 100 of CIFAR-100 or the 1000 of ImageNet")
    parser.add_argument("--raw-pixels", action="store_true", help="FILE's network was given "
                        "pixels of 0 to 1: nothing is taken out of them, as in a student's cfg")
    return parser.parse_args()


def main():
    args = arguments()
    if args.network not in NETWORKS:
        raise InputError(f"{args.network}: no such network, expected one of {', '.join(NETWORKS)}")
    data, _ = NETWORKS[args.network]
    layers = networks.build(args.network, args.classes, not args.raw_pixels)
    tensors = state_dict(args.file, load(args.file))
    check(args.file, args.network, wanted_tensors(layers), tensors)
    content, numbers = weights_file(layers, data, tensors)
    text = make_pair.network_cfg(args.network, args.classes, normalized=not args.raw_pixels)
    write_bytes(args.out + ".weights", content)
    imagelist.write_lines(args.out + ".cfg", text.rstrip("\n").split("\n"))
    print(f"wrote {args.out}.weights, {numbers} numbers, and {args.out}.cfg")


if __name__ == "__main__":
    imagelist.run(main, f"{sys.argv[-1]} may not be there")
