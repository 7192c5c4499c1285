#!/usr/bin/python3
"""The networks of the papers' pairs in PyTorch, with mdistiller's (ImageNet's: torchvision's) names.

    torch_twins.py NETWORK IMAGES.npy OUT.pth LOGITS.npy

A network with random weights and random batch-norm statistics is given IMAGES [n, 3, side, side] of
0 to 1, as the papers' loaders would hand them on; its state dict goes to OUT.pth and its logits to
LOGITS.npy. All in double precision but the state dict, whose float32 numbers the logits are of.
Written from the papers and mdistiller's state dicts, not from scripts/networks.py, which it is the
test of (tests/cli/pairs.t).
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CIFAR = (.5071, .4867, .4408), (.2675, .2565, .2761)
IMAGENET = (.485, .456, .406), (.229, .224, .225)


def conv(inputs, outputs, size, stride=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)


def conv_norm(inputs, outputs, size, stride=1, groups=1, relu=True):
    return [conv(inputs, outputs, size, stride, groups), nn.BatchNorm2d(outputs),
            *([nn.ReLU()] if relu else [])]


class Convs(nn.Module):
    """conv1, bn1, conv2, bn2, ... from rows of conv()'s arguments"""

    def __init__(self, *rows):
        super().__init__()
        for i, row in enumerate(rows, 1):
            setattr(self, f"conv{i}", conv(*row))
            setattr(self, f"bn{i}", nn.BatchNorm2d(row[1]))

    def normed(self, i, x):
        return getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))


# ResNets

class Block(Convs):
    def __init__(self, inputs, width, stride, expansion, skip):
        outputs = width * expansion
        super().__init__(*[(inputs, width, 3, stride), (width, width, 3)] if expansion == 1 else
                         [(inputs, width, 1), (width, width, 3, stride), (width, outputs, 1)])
        self.count, self.skip = (2 if expansion == 1 else 3), skip
        if stride > 1 or inputs != outputs:
            setattr(self, skip, nn.Sequential(*conv_norm(inputs, outputs, 1, stride, relu=False)))

    def forward(self, x):
        out = x
        for i in range(1, self.count):
            out = F.relu(self.normed(i, out))
        return F.relu(self.normed(self.count, out) + getattr(self, self.skip, nn.Identity())(x))


class ResNet(nn.Module):
    # pylint: disable-next=too-many-arguments,too-many-positional-arguments
    def __init__(self, widths, counts, classes, *, stem=3, first=None, expansion=1,
                 skip="downsample", last="fc"):
        super().__init__()
        first = first or widths[0]
        self.is_large, self.last, inputs = stem == 7, last, first
        self.conv1, self.bn1 = conv(3, first, stem, 2 if stem == 7 else 1), nn.BatchNorm2d(first)
        self.stages = len(widths)
        for stage, (width, count) in enumerate(zip(widths, counts), 1):
            blocks = []
            for number in range(count):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(Block(inputs, width, stride, expansion, skip))
                inputs = width * expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        setattr(self, last, nn.Linear(inputs, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.is_large:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return getattr(self, self.last)(x.mean((2, 3)))


def small(depth, factor):
    widths = [16 * factor, 32 * factor, 64 * factor]
    first = 16 if factor == 1 else 32
    return ResNet(widths, 3 * [(depth - 2) // 6], 100, first=first)


# Wide ResNets

class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        self.convShortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride)

    def forward(self, x):
        normed = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(normed))))
        return out + (self.convShortcut(normed) if self.convShortcut else x)


class WideStage(nn.Module):
    def __init__(self, inputs, outputs, count, stride):
        super().__init__()
        self.layer = nn.Sequential(*(
            WideBlock(outputs if i else inputs, outputs, 1 if i else stride) for i in range(count)))

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, factor):
        super().__init__()
        count, widths = (depth - 4) // 6, [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = conv(3, 16, 3)
        self.block1, self.block2, self.block3 = (
            WideStage(widths[i], widths[i + 1], count, 2 if i else 1) for i in range(3))
        self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], 100)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self, count):
        super().__init__()
        inputs = 3
        for block, width in enumerate((64, 128, 256, 512, 512)):
            layers = []
            for _ in range(count):
                layers += [conv(inputs, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            setattr(self, f"block{block}", nn.Sequential(*layers[:-1]))
        self.classifier = nn.Linear(512, 100)

    def forward(self, x):
        for block in range(5):
            x = F.relu(getattr(self, f"block{block}")(x))
            if block < 3:
                x = F.max_pool2d(x, 2)
        return self.classifier(x.mean((2, 3)))


# MobileNets

class Inverted(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        self.adds, wide = stride == 1 and inputs == outputs, inputs * expansion
        self.conv = nn.Sequential(*conv_norm(inputs, wide, 1),
                                  *conv_norm(wide, wide, 3, stride, wide),
                                  *conv_norm(wide, outputs, 1, relu=False))

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, inputs, blocks = nn.Sequential(*conv_norm(3, 16, 3, 2)), 16, []
        for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2),
                           (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
            stage = []
            for number in range(n):
                stage.append(Inverted(inputs, c // 2, 1 if number else s, t))
                inputs = c // 2
            blocks.append(nn.Sequential(*stage))
        self.blocks = nn.ModuleList(blocks)
        self.conv2 = nn.Sequential(*conv_norm(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Linear(1280, 100))

    def forward(self, x):
        x = self.conv1(x)
        for stage in self.blocks:
            x = stage(x)
        return self.classifier(F.avg_pool2d(self.conv2(x), 2).flatten(1))


class MobileNetV1(nn.Module):
    def __init__(self):
        super().__init__()
        steps = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1),
                 (256, 512, 2), *5 * [(512, 512, 1)], (512, 1024, 2), (1024, 1024, 1)]
        self.model = nn.Sequential(nn.Sequential(*conv_norm(3, 32, 3, 2)), *(
            nn.Sequential(*conv_norm(a, a, 3, s, a), *conv_norm(a, b, 1)) for a, b, s in steps))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x):
        return self.fc(F.avg_pool2d(self.model(x), 7).flatten(1))


# ShuffleNets

def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleV1Block(Convs):
    def __init__(self, inputs, outputs, stride):
        middle, self_groups = outputs // 4, 1 if inputs == 24 else 3
        super().__init__((inputs, middle, 1, 1, self_groups), (middle, middle, 3, stride, middle),
                         (middle, outputs, 1, 1, 3))
        self.stride, self.groups = stride, self_groups

    def forward(self, x):
        out = shuffle(F.relu(self.normed(1, x)), self.groups)
        out = self.normed(3, F.relu(self.normed(2, out)))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1))


class ShuffleV1(Convs):
    def __init__(self):
        super().__init__((3, 24, 1))
        inputs = 24
        for stage, (width, count) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
            blocks = [ShuffleV1Block(inputs, width - inputs, 2)]
            blocks += [ShuffleV1Block(width, width, 1) for _ in range(count - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            inputs = width
        self.linear = nn.Linear(inputs, 100)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.normed(1, x)))))
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


class Split(Convs):
    def __init__(self, width):
        half = width // 2
        super().__init__((half, half, 1), (half, half, 3, 1, half), (half, half, 1))

    def forward(self, x):
        kept, out = x.chunk(2, 1)
        out = self.normed(2, F.relu(self.normed(1, out)))
        return shuffle(torch.cat([kept, F.relu(self.normed(3, out))], 1), 2)


class Down(Convs):
    def __init__(self, inputs, outputs):
        half = outputs // 2
        super().__init__((inputs, inputs, 3, 2, inputs), (inputs, half, 1), (inputs, half, 1),
                         (half, half, 3, 2, half), (half, half, 1))

    def forward(self, x):
        left = F.relu(self.normed(2, self.normed(1, x)))
        right = self.normed(4, F.relu(self.normed(3, x)))
        return shuffle(torch.cat([left, F.relu(self.normed(5, right))], 1), 2)


class ShuffleV2(Convs):
    def __init__(self):
        super().__init__((3, 24, 1), (464, 1024, 1))
        inputs = 24
        for stage, (width, count) in enumerate(((116, 3), (232, 7), (464, 3)), 1):
            blocks = [Down(inputs, width), *(Split(width) for _ in range(count))]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            inputs = width
        self.linear = nn.Linear(1024, 100)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.normed(1, x)))))
        return self.linear(F.avg_pool2d(F.relu(self.normed(2, x)), 4).flatten(1))


TORCHVISION = (64, 128, 256, 512)
TWINS = {
    "resnet20": lambda: small(20, 1), "resnet32": lambda: small(32, 1),
    "resnet56": lambda: small(56, 1), "resnet110": lambda: small(110, 1),
    "resnet8x4": lambda: small(8, 4), "resnet32x4": lambda: small(32, 4),
    "wrn_16_2": lambda: WideResNet(16, 2), "wrn_40_1": lambda: WideResNet(40, 1),
    "wrn_40_2": lambda: WideResNet(40, 2), "vgg8": lambda: Vgg(1), "vgg13": lambda: Vgg(2),
    "ResNet50": lambda: ResNet(TORCHVISION, (3, 4, 6, 3), 100, expansion=4, skip="shortcut",
                               last="linear"),
    "MobileNetV2": MobileNetV2, "ShuffleV1": ShuffleV1, "ShuffleV2": ShuffleV2,
    "imagenet-resnet18": lambda: ResNet(TORCHVISION, (2, 2, 2, 2), 1000, stem=7),
    "imagenet-resnet34": lambda: ResNet(TORCHVISION, (3, 4, 6, 3), 1000, stem=7),
    "imagenet-resnet50": lambda: ResNet(TORCHVISION, (3, 4, 6, 3), 1000, stem=7, expansion=4),
    "imagenet-mobilenetv1": MobileNetV1,
}


def set_random(network, images):
    """Statistics as the images have them, a third off; scales and biases of all sizes."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1
            norm.weight.uniform_(.5, 1.5)
            norm.bias.normal_(0, .3)
        network.train()(images)
        for norm in norms:
            norm.running_mean += .3 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(.7, 1.4)
            norm.running_var[0] = 1e-6  # the two epsilons are far apart there
            norm.weight[0] = .01
        for parameter in [*network.parameters(), *network.buffers()]:
            parameter.copy_(parameter.float())
    return network.eval()


def main():
    name, images, out, logits = sys.argv[1:]
    torch.manual_seed(1)
    torch.set_num_threads(1)
    mean, deviation = (torch.tensor(x, dtype=torch.float64).view(1, 3, 1, 1) for x in
                       (IMAGENET if name.startswith("imagenet") else CIFAR))
    images = (torch.from_numpy(np.load(images)).double() - mean) / deviation
    network = set_random(TWINS[name]().double(), images)
    torch.save({key: value.float() if value.is_floating_point() else value
                for key, value in network.state_dict().items()}, out)
    with torch.no_grad():
        np.save(logits, network(images).numpy())
    print(sum(parameter.numel() for parameter in network.parameters()))


if __name__ == "__main__":
    main()
