"""Networks the benchmarks train, named on the command line as ``benchmarks/networks.py:mlp?depth=3&width=245``."""

import itertools

from torch import nn


def mlp(depth=3, width=245, inputs=784, classes=10):
    """Return a fully connected network of `depth` hidden layers of `width` neurons with ReLU.

    Weights are drawn as by He et al. (2015), without which 20 layers do not train.
    """
    sizes = [inputs, *[width] * depth]
    layers = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(width, classes))
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def vgg(channels="32-64-128-128", hidden=128, norm=False, inputs=3, size=32, classes=10):
    """Return 3×3 convolutions, each with ReLU and max pooling (and batch norm before, with `norm`), and two layers."""
    sizes = [inputs, *map(int, channels.split("-"))]
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=not norm)]
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    positions = (size >> (len(sizes) - 1)) ** 2
    head = [nn.Flatten(), nn.Linear(sizes[-1] * positions, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers, *head)


class Block(nn.Module):
    """A residual block of two layers with an identity skip, on vectors."""

    def __init__(self, stream, inner):
        super().__init__()
        self.up, self.down = nn.Linear(stream, inner), nn.Linear(inner, stream)

    def forward(self, x):
        """Return the stream (N, stream) after the block."""
        return (x + self.down(self.up(x).relu())).relu()


def residual(blocks=2, stream=160, inner=160, inputs=784, classes=10):
    """Return a residual network of `blocks` blocks on vectors, without norm."""
    stem = [nn.Flatten(), nn.Linear(inputs, stream), nn.ReLU()]
    return nn.Sequential(*stem, *(Block(stream, inner) for _ in range(blocks)), nn.Linear(stream, classes))


class BasicBlock(nn.Module):
    """A residual block of two 3×3 convolutions with batch norm; the skip is projected where shapes differ."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.skip = nn.Identity()
        if before != after or stride > 1:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        """Return the feature maps after the block."""
        inner = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (inner + self.skip(x)).relu()


def resnet(channels="24-48-96", blocks=2, classes=10):
    """Return a small ResNet with batch norm: a stem of stride 2, and stages of `blocks` basic blocks."""
    sizes = list(map(int, channels.split("-")))
    layers = [nn.Conv2d(3, sizes[0], 3, 2, 1, bias=False), nn.BatchNorm2d(sizes[0]), nn.ReLU()]
    for stage, (before, after) in enumerate(zip([sizes[0], *sizes], sizes, strict=False)):
        for block in range(blocks):
            first = block == 0
            layers.append(BasicBlock(before if first else after, after, 2 if first and stage else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], classes))


def timm_resnet18(width=24, classes=10):
    """Return timm's resnet18 with its own stem of 64 channels and stride 4, and `width` channels in its first stage."""
    from timm.models.resnet import BasicBlock as Basic
    from timm.models.resnet import ResNet

    channels = [width, 2 * width, 4 * width, 8 * width]
    return ResNet(Basic, [2, 2, 2, 2], channels=channels, num_classes=classes)
