"""A small training with saved states and trained copies, on random data that a network can learn."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task

STEPS = 60


def network():
    return nn.Sequential(
        nn.Linear(10, 24),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(24, 24),
        nn.ReLU(),
        nn.Linear(24, 3),
    )


@dataclass
class Training:
    """The training as its owner wrote it: Adam, a schedule, dropout, batch norm."""

    task: Task

    def build(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.task.factory().train()
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        return model, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 50], 0.3)

    def train(self, parts, generator, steps, before=lambda step: None):
        model, optimizer, scheduler = parts
        x, y = self.task.train.inputs, self.task.train.targets()
        for step in steps:
            before(step)
            batch = torch.randint(len(x), (30,), generator=generator)
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            scheduler.step()

    def trunk(self, folder, ks):
        model, optimizer, scheduler = parts = self.build()

        def save(step):
            if step in ks:
                ch.save_start(folder, step, model, optimizer=optimizer, scheduler=scheduler)

        torch.manual_seed(0)
        self.train(parts, torch.Generator().manual_seed(0), range(max(ks) + 1), save)
        return parts

    def finish(self, copy):
        model, optimizer, scheduler = parts = self.build()
        copy.restore(model, optimizer=optimizer, scheduler=scheduler)
        self.train(parts, copy.generator, range(copy.step, STEPS))
        copy.save(model)
        return model


@pytest.fixture(scope="session")
def training():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(360, 10, generator=generator)
    y = (x @ torch.randn(10, 3, generator=generator) + 0.5 * torch.randn(360, 3, generator=generator)).argmax(1)
    train, test = CachedSplit("train", x[:240], y[:240]), CachedSplit("test", x[240:], y[240:])
    return Training(Task(network, train, test, batch_size=100))


@pytest.fixture(scope="session")
def finished(training, tmp_path_factory):
    """Return a folder with three copies at k = 0 and k = 40."""
    folder = tmp_path_factory.mktemp("runs")
    with torch.random.fork_rng():
        training.trunk(folder, (0, 40))
        for copy in ch.copies(folder, seeds=(1, 2, 3)):
            training.finish(copy)
    return folder


@pytest.fixture
def runs(finished, tmp_path):
    """Return a folder of one's own with the same copies."""
    import shutil

    return shutil.copytree(finished, tmp_path / "runs")
