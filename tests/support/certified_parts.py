"""What the tests of the certified builder's parts look at: small networks, and plain float64 passes beside them."""

import torch
from small_networks import CLASSES, image_task, mlp, trained, vector_task
from torch import nn

from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders


class Residual(nn.Module):
    """A stem, a block with a skip and batch norm, a head after pooling."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.up, self.down = nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(5, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.down(torch.relu(self.up(x))))
        return self.head(x.mean((2, 3)))


def convolutional():
    """Convolutions, batch norm, a flattening of maps into neurons, and a hidden layer."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 2),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(24, 12),
        nn.ReLU(),
        nn.Linear(12, CLASSES),
    )


def grouped():
    """A convolution of four groups of three channels, which stay together."""
    return nn.Sequential(
        nn.Conv2d(2, 12, 3),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(12, 5, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(80, CLASSES),
    )


NETWORKS = {
    "mlp": (vector_task, lambda: mlp(12, 13, 14)),
    "convolutional": (image_task, convolutional),
    "grouped": (image_task, grouped),
    "residual": (image_task, Residual),
}


def read(case, steps=5):
    """Return a small task, weights trained a little, and the network they are read as.

    A case is one of `NETWORKS`, or what makes a task and a module.
    """
    make_task, factory = NETWORKS[case] if isinstance(case, str) else case
    task = make_task(factory)
    weights = trained(task, 1, steps=steps)
    return task, weights, read_task(weights, task)


def half(network, subnetwork=1, end=0, seed=0):
    """Return the neurons on one side of every space, drawn at random."""
    return Sides.of(network.spaces, random_orders(network.spaces, seed)).neurons(subnetwork, end)


def doubled(weights):
    """Return weights in float64."""
    return {name: w.double() if w.is_floating_point() else w for name, w in weights.items()}


def keeping(weights, network, neurons, readers):
    """Return weights under which some layers read no neurons but those given: the columns of the others are zero."""
    masked = {name: tensor.clone() for name, tensor in weights.items()}
    for layer in readers:
        if layer.cols is not None:
            weight = masked[layer.step.weights["weight"]]
            width, wide = network.spaces[layer.cols.space].width, weight.shape[1]
            spread = wide // width
            kept = torch.zeros(width, dtype=torch.bool)
            kept[neurons[layer.cols.space]] = True
            weight[:, ~kept.repeat_interleave(spread)] = 0
    return masked
