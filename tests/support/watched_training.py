"""A small task and a training such as anyone has: SGD with momentum, dropout, batch norm."""

import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.contracts import Condition, Verdict

CLASSES = 3


def network():
    return nn.Sequential(
        nn.Linear(6, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, CLASSES),
    )


def data(rows=120, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator)
    return x, (x @ torch.randn(6, CLASSES, generator=generator)).argmax(1)


def steps(model, count, watch=None, *, device="cpu", targets=False):
    """Train `count` steps on random batches, with dropout and shuffling drawn from the global generator."""
    x, y = (each.to(device) for each in data())
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(count):
        rows = torch.randint(len(x), (16,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if watch is not None:
            watch.step(y[rows] if targets else None)


class Mean(Condition):
    """Whether the mean of each layer's features is positive."""

    name = "mean"

    def check(self, observation):
        """Yield a verdict for every layer."""
        for layer in observation.layers:
            try:
                value = float(observation.features(layer).mean())
            except KeyError:
                yield Verdict.invalid(self.name, layer, "the layer never fired")
                continue
            if value != value:
                yield Verdict.invalid(self.name, layer, "its features hold NaN or Inf")
            else:
                yield Verdict(self.name, layer, value > 0, value, 0.0, "mean", details={"rows": len(observation.split)})
