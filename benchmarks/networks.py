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
