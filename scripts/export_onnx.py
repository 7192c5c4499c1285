#!/usr/bin/python3
"""Writes a network of Darknet's as an ONNX file: what `darknet deepkd export -onnx` starts.

    export_onnx.py cfg=CFG weights=WEIGHTS onnx=FILE [heads=FORM] [names=FILE] [half=1]
                   [batchnorm=1] <DESCRIPTION

DESCRIPTION is plugin/net/description.h's, cfg and weights are its sources, for messages. What the
words ask for, what comes in and out, and the metadata: docs/onnx.md.

All images are [batch, channels, height, width] from layer to layer, of any batch; a node is named
by its layer. A layer's function takes the graph, the layer and the name of what comes in, adds
nodes, and gives the name of what comes out. To add a layer: one function, and a row of MAKERS.
"""
import json
import os
import sys
import types

# where scripts/deps.sh puts onnx; searched last
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                             "build", "python"))
# pylint: disable=wrong-import-position
from oneline import InputError, replace_file, run  # noqa: E402

try:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper
except ImportError as error:
    sys.exit(f"export_onnx.py: {sys.executable}: {error}: expected Debian's python3-onnx, or type "
             "scripts/deps.sh install onnx, or PYTHON= another Python that has it")

OPSET, IR_VERSION = 13, 7  # the least that quantisation by channels takes; old readers know them
FORMS = ("yolov5", "yolov8", "raw")
TENSOR_TYPES = {np.float16: onnx.TensorProto.FLOAT16, np.float32: onnx.TensorProto.FLOAT}


class Graph:
    """The nodes so far. What is given to add() and is no name becomes a constant: arrays of whole
    numbers as they are, all else of the graph's type."""

    def __init__(self, half, keeps_norm):
        self.nodes, self.constants, self.outputs = [], [], []
        self.type = np.float16 if half else np.float32
        self.keeps_norm = keeps_norm
        self.at = ""  # the layer in hand, for names

    def constant(self, value, kind=None):
        is_whole = isinstance(value, np.ndarray) and value.dtype.kind == "i"
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(kind or (np.int64 if is_whole else self.type))
        if array.dtype == np.float16 and not np.isfinite(array).all():
            raise InputError(f"layer {self.at}: numbers beyond float16's, expected no -half")
        name = f"{self.at}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op, *inputs, **attributes):
        """Adds a node of one output, whose name it gives; inputs are names and numbers."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        out = f"{self.at}_{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [out], name=out, **attributes))
        return out

    def reshape(self, x, *shape):
        """To [batch, *shape]"""
        return self.add("Reshape", x, np.array([-1, *shape]))

    def cut(self, x, axis, start, end, step=1):
        return self.add("Slice", x, *(np.array([n]) for n in (start, end, axis, step)))

    def cast(self, x, kind):
        return self.add("Cast", x, to=TENSOR_TYPES[kind])

    def name_output(self, x, name, *shape):
        """x is an output, [batch, *shape]."""
        self.nodes.append(helper.make_node("Identity", [x], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT,
                                                          ["batch", *shape]))


# Activations: the graph and what comes in

def between(g, x, low, high):
    return g.add("Clip", x, low, high)


def pieces(g, x, low, high, inner, outer):
    """Of slope `inner` from low to high, of slope `outer` beyond"""
    middle = between(g, x, low, high)
    rest = g.add("Mul", g.add("Sub", x, middle), outer)
    return g.add("Add", g.add("Mul", middle, inner), rest)


ACTIVATIONS = {
    "linear": lambda g, x: x,
    "logistic": lambda g, x: g.add("Sigmoid", x),
    "loggy": lambda g, x: g.add("Sub", g.add("Mul", g.add("Sigmoid", x), 2.), 1.),
    "relu": lambda g, x: g.add("Relu", x),
    "relu6": lambda g, x: between(g, x, 0., 6.),
    "relie": lambda g, x: g.add("LeakyRelu", x, alpha=.01),
    "leaky": lambda g, x: g.add("LeakyRelu", x, alpha=.1),
    "ramp": lambda g, x: g.add("Add", g.add("Relu", x), g.add("Mul", x, .1)),
    "elu": lambda g, x: g.add("Elu", x, alpha=1.),
    "selu": lambda g, x: g.add("Selu", x, alpha=1.6732, gamma=1.0507),
    "tanh": lambda g, x: g.add("Tanh", x),
    "hardtan": lambda g, x: between(g, x, -1., 1.),
    "lhtan": lambda g, x: pieces(g, x, 0., 1., 1., .001),
    "plse": lambda g, x: g.add("Add", pieces(g, x, -4., 4., .125, .01), .5),
    "mish": lambda g, x: g.add("Mul", x, g.add("Tanh", g.add("Softplus", x))),
    "hard_mish": lambda g, x: g.add("Mul", x, between(
        g, g.add("Add", g.add("Mul", x, .5), 1.), 0., 1.)),
    "swish": lambda g, x: g.add("Mul", x, g.add("Sigmoid", x)),
}


def refuse(layer, what):
    raise InputError(f"layer {layer.number}, [{layer.section}]: {what}")


def activate(g, layer, x):
    if layer.activation not in ACTIVATIONS:
        refuse(layer, f"activation={layer.activation} has no ONNX form here: expected one of "
               f"{', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[layer.activation](g, x)


# Layers

def deviation(layer):
    """What Darknet divides by in inference."""
    return np.sqrt(layer.variances.astype(np.float64)) + 1e-6


def filtered(g, op, layer, x, weights, axis, **attributes):
    """A convolution, batch norm and activation; `axis` of the weights is that of the filters."""
    biases = layer.biases
    if layer.batch_normalize and g.keeps_norm:
        x = g.add(op, x, weights, **attributes)
        x = g.add("BatchNormalization", x, layer.scales, biases, layer.means, deviation(layer) ** 2,
                  epsilon=0.)
        return activate(g, layer, x)
    if layer.batch_normalize:
        factors = layer.scales / deviation(layer)
        biases = biases - layer.means * factors
        weights = weights * np.expand_dims(factors, tuple(i for i in range(4) if i != axis))
    return activate(g, layer, g.add(op, x, weights, biases, **attributes))


def make_convolutional(g, layer, x):
    if layer.binary or layer.xnor:
        refuse(layer, "binary=1 and xnor=1 have no ONNX form: expected a layer without them")
    weights = layer.weights.reshape(layer.n, -1, layer.size, layer.size)
    return filtered(g, "Conv", layer, x, weights, 0, group=layer.groups, pads=[layer.pad] * 4,
                    kernel_shape=[layer.size] * 2, strides=[layer.stride_y, layer.stride_x],
                    dilations=[layer.dilation] * 2)


def make_deconvolutional(g, layer, x):
    weights = layer.weights.reshape(-1, layer.n, layer.size, layer.size)
    return filtered(g, "ConvTranspose", layer, x, weights, 1, pads=[layer.pad] * 4,
                    kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2)


def make_connected(g, layer, x):
    """A convolution whose window is the whole image"""
    weights = layer.weights.reshape(layer.outputs, *layer.given)
    return filtered(g, "Conv", layer, x, weights, 0, kernel_shape=list(layer.given[1:]))


def make_batchnorm(g, layer, x):
    factors = layer.scales / deviation(layer)
    offsets = (layer.biases if layer.biases.size else 0) - layer.means * factors
    x = g.add("Mul", x, factors.reshape(-1, 1, 1))
    return g.add("Add", x, offsets.reshape(-1, 1, 1))


def pool(g, op, layer, x, **attributes):
    """Darknet's padding is one number for both ends, of which this end has the smaller half."""
    before = layer.pad // 2
    after = layer.pad - before
    pads = [before, before, after, after]
    if layer.count_padding:  # pixels of their own: OpenCV 4 counts no others
        x = g.add("Pad", x, np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]))
        pads = [0] * 4
    return g.add(op, x, kernel_shape=[layer.size] * 2, strides=[layer.stride_y, layer.stride_x],
                 pads=pads, **attributes)


def make_maxpool(g, layer, x):
    return pool(g, "MaxPool", layer, x)


def make_local_avgpool(g, layer, x):
    return pool(g, "AveragePool", layer, x, count_include_pad=0)


def make_shuffle(g, layer, x):
    c, h, w = layer.given
    x = g.reshape(x, layer.groups, c // layer.groups, h, w)
    return g.reshape(g.add("Transpose", x, perm=[0, 2, 1, 3, 4]), c, h, w)


def make_maxpool_depth(g, layer, x):
    """The largest of every out_c-th channel"""
    c, h, w = layer.given
    rounds = -(-c // layer.out_c)
    if c % layer.out_c:  # the last round takes again what it has not
        x = g.add("Concat", x, g.cut(x, 1, c - layer.out_c, (rounds - 1) * layer.out_c), axis=1)
    x = g.reshape(x, rounds, layer.out_c, h, w)
    return g.add("ReduceMax", x, axes=[1], keepdims=0)


def make_normalization(g, layer, x):
    """Darknet's sum over neighbouring channels, which ONNX's LRN is not: it never adds channel
    size / 2."""
    half = layer.size // 2
    band = np.zeros((layer.c, layer.c))
    band[0, :half] = 1
    for k in range(1, layer.c):
        first, last = k - (layer.size - 1) // 2 - 1, k + half
        band[k] = band[k - 1]
        if first >= 0:
            band[k, first] -= 1
        if last < layer.c:
            band[k, last] += 1
    sums = g.add("Conv", g.add("Mul", x, x), layer.alpha * band[:, :, None, None],
                 np.full(layer.c, float(layer.kappa)), kernel_shape=[1, 1])
    return g.add("Mul", x, g.add("Pow", sums, -layer.beta))


def make_l2norm(g, _, x):
    return g.add("Div", x, g.add("ReduceL2", x, axes=[1], keepdims=1))


def make_upsample(g, layer, x):
    scales = g.constant([1., 1., layer.stride, layer.stride], np.float32)
    x = g.add("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")
    return x if layer.scale == 1 else g.add("Mul", x, layer.scale)


def make_reorg(g, layer, x):
    """Blocks of pixels become channels, of [reorg3d]. [reorg] reads its image as one of another
    shape first, and reverse=1 goes the way back."""
    if layer.flatten or layer.extra:
        refuse(layer, "flatten= and extra= have no ONNX form: expected a layer without them")
    (c, h, w), s = layer.given, layer.stride
    if layer.reverse:
        x = g.reshape(x, s, s, c // s ** 2, h, w)
        x = g.add("Transpose", x, perm=[0, 3, 4, 1, 5, 2])
    else:
        if not layer.space_to_depth:
            c, h, w = c // s ** 2, h * s, w * s
        x = g.reshape(x, c, h // s, s, w // s, s)
        x = g.add("Transpose", x, perm=[0, 3, 5, 1, 2, 4])
    return g.reshape(x, layer.out_c, layer.out_h, layer.out_w)


def make_crop(g, layer, x):
    """The middle, as in inference"""
    for axis, (side, out) in enumerate(((layer.h, layer.out_h), (layer.w, layer.out_w)), 2):
        start = (side - out) // 2
        x = g.cut(x, axis, start, start + out)
    return x if layer.noadjust else g.add("Sub", g.add("Mul", x, 2.), 1.)


def make_softmax(g, layer, x):
    x = g.reshape(x, int(np.prod(layer.given)))
    if layer.temperature != 1:
        x = g.add("Mul", x, 1 / layer.temperature)
    return g.add("Softmax", x, axis=1)


def make_route(g, layer, _):
    parts = []
    if not layer.out_c:
        refuse(layer, "layers of several sizes have no ONNX form: expected one size")
    for x, (c, _, _) in layer.sources:
        part = c // layer.groups
        start = layer.group_id * part
        parts.append(x if layer.groups == 1 else g.cut(x, 1, start, start + part))
    return g.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def fitted(g, layer, x, shape):
    """An image as [shortcut] adds it: every so many-th pixel, of the channels that both have."""
    c, h, w = layer.given
    step = shape[2] // w
    if not step:
        refuse(layer, f"from={layer.index}, a smaller image, has no ONNX form here: expected one "
               f"of {w} x {h} or more")
    if step > 1:
        x = g.cut(g.cut(x, 2, 0, (h - 1) * step + 1, step), 3, 0, (w - 1) * step + 1, step)
    if shape[0] > c:
        x = g.cut(x, 1, 0, c)
    if shape[0] < c:
        x = g.add("Pad", x, np.array([0, 0, 0, 0, 0, c - shape[0], 0, 0]))
    return x


def make_shortcut(g, layer, x):
    other, shape = layer.sources[0]
    other = fitted(g, layer, other, shape)
    if layer.alpha != 1:  # where something is added
        both = np.arange(layer.given[0]) < shape[0]
        x = g.add("Mul", x, np.where(both, layer.alpha, 1.)[:, None, None])
    if layer.beta != 1:
        other = g.add("Mul", other, layer.beta)
    return activate(g, layer, g.add("Add", x, other))


def shares(layer):
    """What each source is multiplied with: [1 + sources][1 or channels]"""
    weights = layer.weights.reshape(len(layer.sources) + 1, -1).astype(np.float64)
    if layer.weights_normalization == 1:
        weights = np.maximum(weights, 0)
    if layer.weights_normalization == 2:
        weights = np.exp(weights - weights.max(0))
    return weights / (1e-4 + weights.sum(0)) if layer.weights_normalization else weights


def make_shortcuts(g, layer, x):
    """[shortcut] from= several layers"""
    images = [x] + [fitted(g, layer, other, shape) for other, shape in layer.sources]
    if layer.weights.size:
        images = [g.add("Mul", image, share[:, None, None])
                  for image, share in zip(images, shares(layer))]
    total = images[0]
    for image in images[1:]:
        total = g.add("Add", total, image)
    return activate(g, layer, total)


def make_gate(g, layer, x):
    """[sam], [scale_channels]: the image first, for readers that stretch the second alone"""
    return activate(g, layer, g.add("Mul", layer.sources[0][0], x))


MAKERS = {
    "convolutional": make_convolutional, "deconvolutional": make_deconvolutional,
    "connected": make_connected, "batchnorm": make_batchnorm, "maxpool": make_maxpool,
    "maxpool_depth": make_maxpool_depth, "local_avgpool": make_local_avgpool,
    "avgpool": lambda g, layer, x: g.add("GlobalAveragePool", x),
    "normalization": make_normalization, "l2norm": make_l2norm, "upsample": make_upsample,
    "reorg": make_reorg, "shuffle": make_shuffle, "crop": make_crop,
    "softmax": lambda g, layer, x: g.reshape(make_softmax(g, layer, x), *layer.given),
    "logistic": lambda g, layer, x: g.add("Sigmoid", x), "activation": activate,
    "dropout": lambda g, layer, x: x, "route": make_route, "shortcut": make_shortcut,
    "shortcuts": make_shortcuts, "sam": make_gate, "scale_channels": make_gate,
}
SECTIONS = {"maxpool_depth": "maxpool", "shortcuts": "shortcut"}  # others are named as they are
SAME_SHAPE = ("softmax", "dropout", "activation", "logistic", "l2norm", "normalization",
              "batchnorm")


# Heads of detectors: one, in float32

def decoded(g, net, layer, x):
    """x y, w h in pixels of the network's input, objectness, classes: [batch, anchors, n, cells]"""
    c, h, w = layer.given
    count = layer.n
    x = g.reshape(x, count, c // count, h * w)
    centre = g.add("Sigmoid", g.cut(x, 2, 0, 2))
    if layer.scale_x_y != 1 and layer.type == "yolo":
        centre = g.add("Sub", g.add("Mul", centre, layer.scale_x_y), (layer.scale_x_y - 1) / 2)
    cells = np.stack([np.tile(np.arange(w), h), np.repeat(np.arange(h), w)])
    pixels = np.array([net.width / w, net.height / h])[:, None]
    whole = np.ones((1, count, 2, h * w))  # OpenCV 4 takes no shorter constant
    centre = g.add("Mul", g.add("Add", centre, whole * cells), whole * pixels)
    size, anchors = g.cut(x, 2, 2, 4), whole * np.array(layer.anchors)[:, :, None]
    if layer.new_coords:
        size = g.add("Sigmoid", size)
        size = g.add("Mul", g.add("Mul", size, size), 4 * anchors)
    else:
        size = g.add("Mul", g.add("Exp", size), anchors)
    objectness, classes = g.add("Sigmoid", g.cut(x, 2, 4, 5)), g.cut(x, 2, 5, 5 + layer.classes)
    is_softmax = layer.type == "region" and layer.softmax
    classes = g.add("Softmax", classes, axis=2) if is_softmax else g.add("Sigmoid", classes)
    return centre, size, objectness, classes


def add_boxes(g, net, heads, form):
    """All heads' boxes as one output; heads: [(layer, name)]"""
    parts, total = [], 0
    for layer, x in heads:
        g.at = f"boxes_{layer.number}"
        _, h, w = layer.given
        centre, size, objectness, classes = decoded(g, net, layer, x)
        total += layer.n * h * w
        if form == "yolov5":
            x = g.add("Concat", centre, size, objectness, classes, axis=2)
            x = g.add("Transpose", x, perm=[0, 1, 3, 2])
            parts.append(g.reshape(x, layer.n * h * w, 5 + layer.classes))
        else:
            x = g.add("Concat", centre, size, g.add("Mul", classes, objectness), axis=2)
            x = g.add("Transpose", x, perm=[0, 2, 1, 3])
            parts.append(g.reshape(x, 4 + layer.classes, layer.n * h * w))
    shape = (total, 5 + net.classes) if form == "yolov5" else (4 + net.classes, total)
    x = parts[0] if len(parts) == 1 else g.add("Concat", *parts, axis=1 if form == "yolov5" else 2)
    g.name_output(x, "boxes", *shape)


def add_raw(g, net, heads):
    for layer, x in heads:
        g.at = str(layer.number)
        shape = (net.classes,) if layer.type == "softmax" else layer.given
        x = g.reshape(x, net.classes) if layer.type == "softmax" else x
        g.name_output(x, "logits" if len(heads) == 1 else f"logits_{layer.number}", *shape)


def add_outputs(g, net, heads, form):
    g.at = "outputs"
    if g.type == np.float16:
        heads = [(layer, g.cast(x, np.float32)) for layer, x in heads]
    g.type = np.float32
    if form == "raw":
        add_raw(g, net, heads)
    elif form:
        add_boxes(g, net, heads, form)
    else:
        (layer, x), = heads
        g.at = str(layer.number)
        g.name_output(make_softmax(g, layer, x), "probabilities", net.classes)


# The network

def read_network(file):
    """The description: fields, layers with their numbers."""
    net = types.SimpleNamespace(**json.loads(file.readline()))
    net.layers = [types.SimpleNamespace(**fields) for fields in net.layers]
    for i, layer in enumerate(net.layers):
        layer.number, layer.section = i, SECTIONS.get(layer.type, layer.type)
        weights, biases, scales = layer.numbers
        for name, count in (("weights", weights), ("biases", biases), ("scales", scales),
                            ("means", scales), ("variances", scales)):
            setattr(layer, name, np.frombuffer(file.read(4 * count), np.float32))
    return net


def shape_of(layer):
    """Of its output, (c, h, w)"""
    if layer.type in SAME_SHAPE:
        return layer.given
    return layer.out_c, layer.out_h, layer.out_w


def find_sources(net, layer, images):
    """[(name, shape)] of the layers above that it reads; it comes with their numbers alone."""
    numbers = getattr(layer, "sources", None)
    if layer.type in ("shortcut", "sam", "scale_channels"):
        numbers = [layer.index]
    for number in numbers or ():
        if number in net.outputs:
            refuse(layer, f"layer {number} is an output: expected another layer's")
    return [images[number] for number in numbers or ()]


def add_layers(g, net):
    """All up to the last output; the heads: [(layer, name of what comes in)]"""
    x, shape = "images", (net.channels, net.height, net.width)
    if g.type == np.float16:
        g.at = "images"
        x = g.cast(x, np.float16)
    images, heads = [], []  # images: each layer's (name, shape)
    for layer in net.layers[:net.outputs[-1] + 1]:
        layer.given = shape
        if layer.number in net.outputs:
            heads.append((layer, x))
        elif layer.type not in MAKERS:
            refuse(layer, "has no ONNX form: expected one of " + ", ".join(
                f"[{name}]" for name in sorted({SECTIONS.get(name, name) for name in MAKERS})))
        else:
            g.at = f"{layer.number}_{layer.section}"
            layer.sources = find_sources(net, layer, images)
            x, shape = MAKERS[layer.type](g, layer, x), shape_of(layer)
        images.append((x, shape))
    return heads


def make_model(net, form, half, keeps_norm):
    g = Graph(half, keeps_norm)
    add_outputs(g, net, add_layers(g, net), form)
    images = helper.make_tensor_value_info(
        "images", onnx.TensorProto.FLOAT, ["batch", net.channels, net.height, net.width])
    graph = helper.make_graph(g.nodes, "darknet", [images], g.outputs, g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                              ir_version=IR_VERSION, producer_name="DeepKD for Darknet")
    return model


def metadata(net, form, names):
    """{key: text}, which docs/onnx.md explains"""
    is_detector = net.layers[net.outputs[0]].type != "softmax"
    resize = ("letterbox" if net.letter_box else "stretch") if is_detector else "crop"
    found = {"task": "detect" if is_detector else "classify", "width": net.width,
             "height": net.height, "channels": net.channels, "classes": net.classes,
             "names": json.dumps(names, ensure_ascii=False), "resize": resize, "colours": "RGB",
             "scale": repr(1 / 255), "form": form or "probabilities"}
    if is_detector:
        found["heads"] = json.dumps([
            {"layer": layer.number, "type": layer.type, "grid": [layer.w, layer.h],
             "anchors": layer.anchors,
             "scale_x_y": round(layer.scale_x_y, 6) if layer.type == "yolo" else 1,
             "new_coords": layer.new_coords,
             "softmax": layer.softmax if layer.type == "region" else 0}
            for layer in (net.layers[i] for i in net.outputs)])
    return {key: str(value) for key, value in found.items()}


# The command

def read_names(path, classes):
    if path is None:
        return [f"class {i}" for i in range(classes)]
    with open(path, encoding="utf-8") as file:
        names = [line.strip() for line in file.read().rstrip("\n").split("\n")]
    if len(names) != classes or not all(names):
        raise InputError(f"{path}: found {len([name for name in names if name])} names, expected "
                         f"{classes}, one a line")
    return names


def check_words(words, is_detector):
    path, form = words["onnx"], words.get("heads")
    if not path.endswith(".onnx"):
        raise InputError(f"-onnx {path}: expected a name that ends with .onnx")
    if form is not None and form not in (FORMS if is_detector else ("raw",)):
        expected = ", ".join(FORMS) if is_detector else "raw, or a detector"
        raise InputError(f"-heads {form}: expected {expected}")
    if words.get("half") and words.get("batchnorm"):
        raise InputError("-half and -batchnorm: a filter's variance may be too small for float16: "
                         "expected one of them")
    if os.path.isdir(path):
        raise InputError(f"-onnx {path}: found a folder, expected a file's name")


def describe(model, path):
    """A line: what was written"""
    def texts(values):
        return ", ".join(
            f"{value.name} [" + ", ".join(
                str(d.dim_param or d.dim_value) for d in value.type.tensor_type.shape.dim) + "]"
            for value in values)
    size = os.path.getsize(path) / 1e6
    return f"{path}: {texts(model.graph.input)} -> {texts(model.graph.output)}, {size:.1f} MB"


def main():
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if "onnx" not in words:
        raise InputError("expected to be started by `darknet deepkd export ... -onnx FILE`")
    net = read_network(sys.stdin.buffer)
    is_detector = net.layers[net.outputs[0]].type != "softmax"
    check_words(words, is_detector)
    form = words.get("heads") or ("yolov5" if is_detector else None)
    names = read_names(words.get("names"), net.classes)
    try:
        model = make_model(net, form, "half" in words, "batchnorm" in words)
    except InputError as error:
        raise InputError(f"{words['cfg']}: {error}") from error
    helper.set_model_props(model, metadata(net, form, names))
    onnx.checker.check_model(model, full_check=True)
    replace_file(words["onnx"], lambda temporary: onnx.save(model, temporary))
    print(describe(model, words["onnx"]))


if __name__ == "__main__":
    run(main, "nothing was written")
