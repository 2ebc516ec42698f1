"""1-d convolutions on time series (N, C, T) that are forecast: (N, C, 4)."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def make():
    return nn.Sequential(
        nn.Conv1d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv1d(8, 2, 9),
    )


def data(seed=0):
    series = torch.randn(40, 2, 16, generator=torch.Generator().manual_seed(seed)).cumsum(2)
    x, y = series[..., :12], series[..., 12:]
    return TensorDataset(x[:30], y[:30]), TensorDataset(x[30:], y[30:])
