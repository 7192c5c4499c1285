"""The networks of the papers' pairs: each as Darknet's sections and PyTorch's tensors at once.

    layers = build("resnet56")      [Layer], from the first convolution to [softmax]
    print(cfg_sections(layers))     the cfg below [net]

A network is a short function that a Net grows by; make_pair.py writes cfg files from what it
leaves, from_torch.py the weights. The architectures are those of mdistiller
(github.com/megvii-research/mdistiller), whose module names the layers carry; those of ImageNet but
MobileNet-V1 are torchvision's. To add one: a function, and a row of NETWORKS.

This is a module; scripts/make_pair.py and scripts/from_torch.py are the commands.
"""
import collections

# module: PyTorch's name of the convolution or linear layer, None: it has no weights; norm: of the
# batch norm behind it, or of a [batchnorm]; shape: of module's weight; has_bias: module has one
# in PyTorch; channels: of the output
Layer = collections.namedtuple("Layer", "section options channels module norm shape has_bias",
                               defaults=(None, None, None, False))

# images: of an epoch; mean, deviation: what is taken out of pixels of 0 to 1 before the first layer
Data = collections.namedtuple("Data", "classes side images mean deviation")
CIFAR = Data(100, 32, 50000, (.5071, .4867, .4408), (.2675, .2565, .2761))
IMAGENET = Data(1000, 224, 1281167, (.485, .456, .406), (.229, .224, .225))

INPUT = "pixels"  # norm of the [batchnorm] that takes Data's mean and deviation out


class Net:
    """A network as it grows."""

    def __init__(self):
        self.layers, self.channels = [], 3

    def last(self):
        """The place of the last layer."""
        return len(self.layers) - 1

    def back(self, place):
        """How a cfg's next section calls the layer at this place."""
        return place - len(self.layers)

    def add(self, section, options, channels=None, **torch):
        self.channels = channels or self.channels
        self.layers.append(Layer(section, options, self.channels, **torch))

    # pylint: disable-next=too-many-arguments,too-many-positional-arguments
    def conv(self, module, norm, filters, size=1, stride=1, activation="relu", groups=1,
             has_bias=False):
        shape = (filters, self.channels // groups, size, size)
        options = {"batch_normalize": 1 if norm else 0, "filters": filters, "size": size,
                   "stride": stride, "pad": 1, "groups": groups, "activation": activation}
        for key, default in (("batch_normalize", 0), ("groups", 1)):
            if options[key] == default:
                del options[key]
        self.add("convolutional", options, filters, module=module, norm=norm, shape=shape,
                 has_bias=has_bias)

    def depthwise(self, module, norm, stride, activation="relu"):
        self.conv(module, norm, self.channels, 3, stride, activation, self.channels)

    def norm(self, norm):
        """Batch norm in front of a convolution, with its ReLU."""
        self.add("batchnorm", {"affine": 1}, norm=norm)
        self.add("activation", {"activation": "relu"})

    def shortcut(self, place, activation="linear"):
        self.add("shortcut", {"from": self.back(place), "activation": activation})

    def route(self, *places):
        self.add("route", {"layers": ",".join(str(self.back(place)) for place in places)},
                 sum(self.layers[place].channels for place in places))

    def half(self, place, number):
        """Half of the layer's channels, the first (0) or the second (1)."""
        self.add("route", {"layers": self.back(place), "groups": 2, "group_id": number},
                 self.layers[place].channels // 2)

    def shuffle(self, groups):
        if groups > 1:
            self.add("shuffle", {"groups": groups})

    def end(self, linear, classes):
        """The mean of each channel, and from there to the classes."""
        inputs = self.channels
        self.add("avgpool", {})
        self.add("connected", {"output": classes, "activation": "linear"}, classes, module=linear,
                 shape=(classes, inputs), has_bias=True)
        self.add("softmax", {})


# ResNets: of CIFAR, and torchvision's

def add_block(net, name, shapes, stride, skip):
    """A residual block: a convolution for each (filters, size) of shapes, of which the first of 3x3
    steps. skip: PyTorch's name of the 1x1 convolution beside it, which is there where the shape
    changes."""
    start, end_width = net.last(), shapes[-1][0]
    is_same = stride == 1 and net.channels == end_width
    sizes = [size for _, size in shapes]
    for number, (filters, size) in enumerate(shapes, 1):
        net.conv(f"{name}.conv{number}", f"{name}.bn{number}", filters, size,
                 stride if number - 1 == sizes.index(3) else 1,
                 "relu" if number < len(shapes) else "linear")
    end = net.last()
    if not is_same:
        net.route(start)
        net.conv(f"{name}.{skip}.0", f"{name}.{skip}.1", end_width, 1, stride, "linear")
    net.shortcut(start if is_same else end, "relu")


def basic(width):
    return ((width, 3), (width, 3))


def bottleneck(width):
    return ((width, 1), (width, 3), (4 * width, 1))


def add_stages(net, block, widths, counts, skip):
    for stage, (width, count) in enumerate(zip(widths, counts), 1):
        for number in range(count):
            add_block(net, f"layer{stage}.{number}", block(width),
                      2 if stage > 1 and not number else 1, skip)


def small_resnet(depth, widths):
    def grow(net, classes):
        net.conv("conv1", "bn1", widths[0], 3)
        add_stages(net, basic, widths[1:], 3 * [(depth - 2) // 6], "downsample")
        net.end("fc", classes)
    return grow


def cifar_resnet50(net, classes):
    net.conv("conv1", "bn1", 64, 3)
    add_stages(net, bottleneck, (64, 128, 256, 512), (3, 4, 6, 3), "shortcut")
    net.end("linear", classes)


def large_resnet(block, counts):
    def grow(net, classes):
        net.conv("conv1", "bn1", 64, 7, 2)
        net.add("maxpool", {"size": 3, "stride": 2, "padding": 2})
        add_stages(net, block, (64, 128, 256, 512), counts, "downsample")
        net.end("fc", classes)
    return grow


# Wide ResNets: batch norm comes before the convolutions

def add_wide_block(net, name, width, stride):
    start, is_same = net.last(), net.channels == width
    net.norm(f"{name}.bn1")
    normed = net.last()
    net.conv(f"{name}.conv1", f"{name}.bn2", width, 3, stride)
    net.conv(f"{name}.conv2", None, width, 3, activation="linear")
    end = net.last()
    if not is_same:
        net.route(normed)
        net.conv(f"{name}.convShortcut", None, width, 1, stride, "linear")
    net.shortcut(start if is_same else end)


def wide_resnet(depth, factor):
    def grow(net, classes):
        net.conv("conv1", None, 16, 3, activation="linear")
        for stage, width in enumerate((16, 32, 64), 1):
            for number in range((depth - 4) // 6):
                add_wide_block(net, f"block{stage}.layer.{number}", factor * width,
                               2 if stage > 1 and not number else 1)
        net.norm("bn1")
        net.end("fc", classes)
    return grow


def vgg(*blocks):
    """blocks: the filters of each block's convolutions"""
    def grow(net, classes):
        for block, widths in enumerate(blocks):
            for number, width in enumerate(widths):
                name = f"block{block}.{3 * number}"
                net.conv(name, f"block{block}.{3 * number + 1}", width, 3, has_bias=True)
            if block < 3:
                net.add("maxpool", {"size": 2, "stride": 2})
        net.end("classifier", classes)
    return grow


# MobileNets

def half_mobilenet_v2(net, classes):
    """Half as wide as published: expansion, channels, blocks and stride of each stage."""
    stages = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1),
              (6, 80, 3, 2), (6, 160, 1, 1))
    net.conv("conv1.0", "conv1.1", 16, 3, 2)
    for stage, (expansion, width, count, stride) in enumerate(stages):
        for number in range(count):
            step, start = (1 if number else stride), net.last()
            name, is_same = f"blocks.{stage}.{number}.conv", step == 1 and net.channels == width
            net.conv(f"{name}.0", f"{name}.1", expansion * net.channels)
            net.depthwise(f"{name}.3", f"{name}.4", step)
            net.conv(f"{name}.6", f"{name}.7", width, activation="linear")
            if is_same:
                net.shortcut(start)
    net.conv("conv2.0", "conv2.1", 1280)
    net.end("classifier.0", classes)


def mobilenet_v1(net, classes):
    stages = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *5 * ((512, 1),),
              (1024, 2), (1024, 1))
    net.conv("model.0.0", "model.0.1", 32, 3, 2)
    for number, (width, stride) in enumerate(stages, 1):
        net.depthwise(f"model.{number}.0", f"model.{number}.1", stride)
        net.conv(f"model.{number}.3", f"model.{number}.4", width)
    net.end("fc", classes)


# ShuffleNets

def add_shuffle_v1_block(net, name, width, stride):
    """Of 3 groups. With a stride of 2 the input's means are put behind, else the input is added."""
    start, groups = net.last(), 1 if net.channels == 24 else 3
    filters = width - net.channels if stride == 2 else width
    net.conv(f"{name}.conv1", f"{name}.bn1", filters // 4, groups=groups)
    net.shuffle(groups)
    net.depthwise(f"{name}.conv2", f"{name}.bn2", stride)
    # what is put behind is not below 0, so it needs no ReLU
    net.conv(f"{name}.conv3", f"{name}.bn3", filters, groups=3,
             activation="relu" if stride == 2 else "linear")
    end = net.last()
    if stride == 1:
        net.shortcut(start, "relu")
        return
    net.route(start)
    net.add("local_avgpool", {"size": 3, "stride": 2, "padding": 2, "count_padding": 1})
    net.route(end, net.last())


def shuffle_v1(net, classes):
    net.conv("conv1", "bn1", 24)
    for stage, (width, count) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
        for number in range(count):
            add_shuffle_v1_block(net, f"layer{stage}.{number}", width, 1 if number else 2)
    net.end("linear", classes)


def add_down_block(net, name, width):
    """Both halves of the output see the whole input."""
    start = net.last()
    net.depthwise(f"{name}.conv1", f"{name}.bn1", 2, "linear")
    net.conv(f"{name}.conv2", f"{name}.bn2", width // 2)
    left = net.last()
    net.route(start)
    net.conv(f"{name}.conv3", f"{name}.bn3", width // 2)
    net.depthwise(f"{name}.conv4", f"{name}.bn4", 2, "linear")
    net.conv(f"{name}.conv5", f"{name}.bn5", width // 2)
    net.route(left, net.last())
    net.shuffle(2)


def add_split_block(net, name):
    """The first half of the channels passes."""
    start = net.last()
    net.half(start, 0)
    passing = net.last()
    net.half(start, 1)
    net.conv(f"{name}.conv1", f"{name}.bn1", net.channels)
    net.depthwise(f"{name}.conv2", f"{name}.bn2", 1, "linear")
    net.conv(f"{name}.conv3", f"{name}.bn3", net.channels)
    net.route(passing, net.last())
    net.shuffle(2)


def shuffle_v2(net, classes):
    net.conv("conv1", "bn1", 24)
    for stage, (width, count) in enumerate(((116, 3), (232, 7), (464, 3)), 1):
        add_down_block(net, f"layer{stage}.0", width)
        for number in range(1, count + 1):
            add_split_block(net, f"layer{stage}.{number}")
    net.conv("conv2", "bn2", 1024)
    net.end("linear", classes)


# How mdistiller's networks begin. by_output: convolutions' weights are drawn by the numbers that a
# pixel goes to, else by those that it comes from, as PyTorch's are; linear: see torch_weights.py
Start = collections.namedtuple("Start", "by_output linear")
HE, HE_NO_BIAS, HE_SMALL = Start(True, "own"), Start(True, "no bias"), Start(True, "small")
OWN = Start(False, "own")

THIN, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)

NETWORKS = {  # name: (Data, function, Start)
    "resnet20": (CIFAR, small_resnet(20, THIN), HE),
    "resnet32": (CIFAR, small_resnet(32, THIN), HE),
    "resnet56": (CIFAR, small_resnet(56, THIN), HE),
    "resnet110": (CIFAR, small_resnet(110, THIN), HE),
    "resnet8x4": (CIFAR, small_resnet(8, WIDE), HE),
    "resnet32x4": (CIFAR, small_resnet(32, WIDE), HE),
    "wrn_16_2": (CIFAR, wide_resnet(16, 2), HE_NO_BIAS),
    "wrn_40_1": (CIFAR, wide_resnet(40, 1), HE_NO_BIAS),
    "wrn_40_2": (CIFAR, wide_resnet(40, 2), HE_NO_BIAS),
    "vgg8": (CIFAR, vgg((64,), (128,), (256,), (512,), (512,)), HE_SMALL),
    "vgg13": (CIFAR, vgg((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)), HE_SMALL),
    "ResNet50": (CIFAR, cifar_resnet50, HE),
    "MobileNetV2": (CIFAR, half_mobilenet_v2, HE_SMALL),
    "ShuffleV1": (CIFAR, shuffle_v1, OWN),
    "ShuffleV2": (CIFAR, shuffle_v2, OWN),
    "imagenet-resnet18": (IMAGENET, large_resnet(basic, (2, 2, 2, 2)), HE),
    "imagenet-resnet34": (IMAGENET, large_resnet(basic, (3, 4, 6, 3)), HE),
    "imagenet-resnet50": (IMAGENET, large_resnet(bottleneck, (3, 4, 6, 3)), HE),
    "imagenet-mobilenetv1": (IMAGENET, mobilenet_v1, OWN),
}


def build(name, classes=None, normalized=False):
    """The network's [Layer]. normalized: a [batchnorm] in front takes out Data's mean and
    deviation, as PyTorch's loaders do."""
    data, grow, _ = NETWORKS[name]
    net = Net()
    if normalized:
        net.add("batchnorm", {}, norm=INPUT)
    grow(net, classes or data.classes)
    return net.layers


def tensors(layers):
    """{PyTorch's name of a tensor: its shape}, of what is trained."""
    found = {}
    for layer in layers:
        if layer.module:
            found[f"{layer.module}.weight"] = layer.shape
        if layer.has_bias:
            found[f"{layer.module}.bias"] = layer.shape[:1]
        if layer.norm and layer.norm != INPUT:
            found.update({f"{layer.norm}.{which}": (layer.channels,) for which in
                          ("weight", "bias")})
    return found


def section(name, options):
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in options.items())]) + "\n"


def cfg_sections(layers):
    """The cfg's text below [net]; above each section with weights PyTorch's names of them."""
    def one(layer):
        names = ", ".join(filter(None, (layer.module, layer.norm)))
        return (f"# {names}\n" if names else "") + section(layer.section, layer.options)
    return "\n".join(map(one, layers))
