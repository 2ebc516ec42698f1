import pytest
import torch
from torch import nn

from connectivity_hooks.tasks.split import CachedSplit
from connectivity_hooks.tasks.task import Task


def make_net():
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )


class Setting:
    """A task on random data and the weights of networks whose batch norms have seen some of it."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(150, 8, generator=generator)
        self.y = torch.randint(0, 3, (150,), generator=generator)
        train = CachedSplit("train", self.x[:110], self.y[:110])
        test = CachedSplit("test", self.x[110:], self.y[110:])
        self.task = Task(make_net, train, test, batch_size=32)

    def weights(self, seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = make_net()
            for _ in range(3):
                net(self.x[:50])
        return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.fixture
def setting():
    return Setting()
