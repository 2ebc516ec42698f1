"""Sets of points (N, P, 3): a shared network of each point, and the largest over all."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, points):
        return self.head(self.each(points).amax(1))


def make():
    return PointNet()


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (40,), generator=generator)
    x = torch.randn(40, 7, 3, generator=generator) * (y + 1)[:, None, None]
    return TensorDataset(x[:30], y[:30]), TensorDataset(x[30:], y[30:])
