"""Networks the benchmarks train, named on the command line as ``benchmarks/networks.py:mlp?depth=3&width=245``."""

import itertools

from torch import nn


def mlp(depth=3, width=245, inputs=784, classes=10):
    """Return a fully connected network of `depth` hidden layers of `width` neurons with ReLU."""
    sizes = [inputs, *[width] * depth]
    layers = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def vgg(channels="32-64-128-128", hidden=128, norm=False, classes=10):
    """Return 3×3 convolutions, each with ReLU and max pooling (and batch norm before, with `norm`), and two layers."""
    sizes = [3, *map(int, channels.split("-"))]
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=not norm)]
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    positions = (32 >> (len(sizes) - 1)) ** 2
    head = [nn.Flatten(), nn.Linear(sizes[-1] * positions, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers, *head)
