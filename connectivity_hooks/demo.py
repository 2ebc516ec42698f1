"""The demo's network and its training: a plain loop such as anyone has, with the hooks on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from connectivity_hooks.features import Capture, capture
from connectivity_hooks.tasks.task import Task

EPOCHS = 30

AfterEpoch = Callable[[int, float, nn.Module, Capture], None]


def network(width: int = 128) -> nn.Sequential:
    """Return a fully connected network for 8×8 images: three hidden layers of `width` neurons with ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def train(task: Task, seed: int, after_epoch: AfterEpoch, epochs: int = EPOCHS) -> nn.Module:
    """Train one network from its own start and with its own order of the data; return it in evaluation mode.

    Args:
        task: Model, data and loss.
        seed: Seed of start and order.
        after_epoch: Told after every epoch: its number, the mean training loss, the model, and what the hooks captured
            in the last batch.
        epochs: Passes over the training split.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = task.factory().to(task.device)
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    with capture(model) as features:
        for epoch in range(1, epochs + 1):
            model.train()
            total = 0.0
            for _, inputs, targets in task.train.shuffled(64, shuffle):
                loss = task.loss(task.forward(model, inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(targets)
            after_epoch(epoch, total / len(task.train), model, features)
    return model.eval()
