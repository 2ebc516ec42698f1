"""Several labels of a sample, each on or off: (N, 5) logits, (N, 5) targets of 0 and 1."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def make():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5))


def data(seed=0):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(seed))
    y = (x[:, :5] + x[:, 1:] > 0).long()
    return TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])
