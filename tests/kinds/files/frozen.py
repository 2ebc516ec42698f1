"""A frozen backbone: two trainings differ in the head alone."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU()).requires_grad_(False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.backbone(x))

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self


def make():
    return Net()


def data(seed=0):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(seed))
    y = x[:, :3].argmax(1)
    return TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])
