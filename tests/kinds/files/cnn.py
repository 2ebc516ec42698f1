"""A plain convolutional network with batch norm."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def make():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 1, 8, 8, generator=generator), torch.randint(3, (40,), generator=generator)
    return TensorDataset(x[:30], y[:30]), TensorDataset(x[30:], y[30:])
