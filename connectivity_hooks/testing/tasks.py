"""Small tasks with everything that goes wrong in them: batch norm, dropout, an integer buffer, tied weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.tasks.split import CachedSplit
from connectivity_hooks.tasks.task import Task

SAMPLES = 97
CLASSES = 3


class Network(nn.Module):
    """A chain of three layers with batch norm and dropout; ``encode`` and ``decode`` share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.norm, self.act = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()
        self.drop, self.decode = nn.Dropout(0.5), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight
        self.act2, self.head = nn.ReLU(), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 3) for inputs (N, 6)."""
        hidden = self.drop(self.act(self.norm(self.encode(x))))
        logits: Tensor = self.head(self.act2(self.decode(hidden)))
        return logits


class Hidden(nn.Module):
    """A chain of three layers with two hidden spaces of unequal widths, whose neurons may be exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.act, self.drop = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)
        self.second, self.act2, self.head = nn.Linear(8, 7, bias=False), nn.ReLU(), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 3) for inputs (N, 6)."""
        hidden = self.drop(self.act(self.norm(self.first(x))))
        logits: Tensor = self.head(self.act2(self.second(hidden)))
        return logits


def make_task(seed: int = 0, network: Callable[[], nn.Module] = Network) -> Task:
    """Return a task of 97 samples in batches of 32, so that the last batch has one sample."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, 6, generator=generator)
    targets = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    split = CachedSplit("train", inputs, targets)
    return Task(network, split, CachedSplit("test", inputs.flip(0), targets.flip(0)), batch_size=32)


def make_weights(task: Task, seed: int) -> Weights:
    """Return the weights of a network of the task whose batch norms have seen some of the data."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = task.factory().train()
        for inputs, _ in task.train.head(64).batches(32):
            for _ in range(seed + 1):
                task.forward(model, inputs)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
