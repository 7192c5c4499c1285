#!/usr/bin/python3
"""Makes Darknet weights, and their cfg, of a PyTorch network of the papers' pairs.

    scripts/from_torch.py resnet32x4 ckpt_epoch_240.pth build/pairs/resnet32x4

FILE is what torch.save wrote: a state dict, or a dict that has one as "model" or "state_dict"; the
names of its tensors are mdistiller's, of ImageNet's ResNets torchvision's, with or without
"module." in front. OUT.cfg and OUT.weights are written: a teacher of Darknet's whose logits are the
network's, of pixels of 0 to 1. The first section takes the data set's mean and deviation out, as
PyTorch's loaders do.

scripts/torch_weights.py says how batch norm is converted.

Every tensor must have its place, and every place its tensor, or nothing is written. Only these
networks are known (scripts/networks.py), and nothing is downloaded.
"""
import argparse
import sys

import numpy as np

import imagelist
import make_pair
import networks
import torch_weights
from imagelist import InputError
from networks import INPUT, NETWORKS
from oneline import write_bytes

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
    except OSError:
        raise
    except Exception as error:  # pylint: disable=broad-except  # a damaged pickle fails in any way
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
    data = NETWORKS[args.network][0]
    layers = networks.build(args.network, args.classes, not args.raw_pixels)
    tensors = state_dict(args.file, load(args.file))
    check(args.file, args.network, wanted_tensors(layers), tensors)
    content, numbers = torch_weights.weights_file(layers, data, tensors)
    text = make_pair.network_cfg(args.network, args.classes, normalized=not args.raw_pixels)
    write_bytes(args.out + ".weights", content)
    imagelist.write_lines(args.out + ".cfg", text.rstrip("\n").split("\n"))
    print(f"wrote {args.out}.weights, {numbers} numbers, and {args.out}.cfg")


if __name__ == "__main__":
    imagelist.run(main, f"{sys.argv[-1]} may not be there")
