#!/usr/bin/python3
"""Makes an INT8 copy of an ONNX file that `darknet deepkd export` wrote, by ONNX Runtime.

    scripts/quantize_onnx.py MODEL.onnx LIST OUT.onnx [--images 100]

LIST names images of the kind that the network will see, one path a line, as Darknet's lists do; the
ranges of what comes out of each layer are those of its first --images. Static quantisation:
convolutions, and the pools, sums and joins between them, in 8 bits, weights by channel; a
detector's last convolutions and what decodes boxes stay float32. OUT has MODEL's inputs, outputs
and metadata, and a new key, "precision". What it costs: scripts/detect_onnx.py measures.
"""
import argparse
import logging
import os
import tempfile

from imagelist import positive
from onnx_boxes import open_model, place_image, read_image
from oneline import InputError, replace_file, run

try:
    import onnx
    from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                          quantize_static)
except (ImportError, AttributeError) as error:  # the second: an onnx that is older than the other
    MISSING = error
else:
    MISSING = None
QUANTIZED = ["Conv", "ConvTranspose", "MaxPool", "Concat", "Add", "LeakyRelu", "Relu", "Resize",
             "GlobalAveragePool"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("list", metavar="LIST")
    parser.add_argument("out", metavar="OUT.onnx")
    parser.add_argument("--images", type=positive, default=100, metavar="N", help="default: 100")
    return parser.parse_args()


def read_list(path, most):
    with open(path, encoding="utf-8") as file:
        paths = [line.strip() for line in file if line.strip()]
    if not paths:
        raise InputError(f"{path}: found no paths, expected some")
    return paths[:most]


def left_alone(graph):
    """What decodes boxes, and the convolutions right before, whose logits it wants exact"""
    decoding = [node for node in graph.node if node.name.startswith(("boxes", "logits"))]
    read = {name for node in decoding for name in node.input}
    return [node.name for node in graph.node if node in decoding or read & set(node.output)]


def quantize(args, paths, out):
    model = open_model(args.model)
    images = iter([{"images": place_image(read_image(path), model)[0][None]} for path in paths])

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(images, None)
    plain = onnx.load(args.model)
    logging.getLogger().setLevel(logging.ERROR)  # or it advises to fold batch norm, which is done
    quantize_static(args.model, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    op_types_to_quantize=QUANTIZED, nodes_to_exclude=left_alone(plain.graph))
    done = onnx.load(out)
    texts = {entry.key: entry.value for entry in plain.metadata_props}
    onnx.helper.set_model_props(done, {**texts, "precision": "int8"})
    onnx.checker.check_model(done)
    onnx.save(done, out)


def main():
    args = arguments()
    if MISSING:
        raise InputError(f"no ONNX Runtime that quantises ({MISSING}); to install, type: "
                         "scripts/deps.sh install onnx")
    if not args.out.endswith(".onnx"):
        raise InputError(f"{args.out}: expected a name that ends with .onnx")
    paths = read_list(args.list, args.images)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(args.out))) as folder:
        made = os.path.join(folder, "int8.onnx")
        quantize(args, paths, made)
        os.replace(made, args.out)
    before, now = (os.path.getsize(path) / 1e6 for path in (args.model, args.out))
    print(f"{args.out}: {len(paths)} images looked at, {before:.1f} MB before, {now:.1f} now")


if __name__ == "__main__":
    run(main, "nothing was written")
