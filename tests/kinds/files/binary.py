"""One logit: (N, 1) outputs, (N,) labels of 0 and 1."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def make():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))


def data(seed=0):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(seed))
    y = (x.sum(1) > 0).long()
    return TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])
