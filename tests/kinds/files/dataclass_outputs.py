"""A model that returns a dataclass with a loss that is None, logits and hidden states."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset


@dataclasses.dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: Tensor | None = None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return Output(self.head(hidden), (x, hidden))


def make():
    return Net()


def data(seed=0):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(seed))
    y = x[:, :3].argmax(1)
    return TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])
