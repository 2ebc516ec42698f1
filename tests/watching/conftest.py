"""What the tests of watching share."""

import pytest
import torch
from watched_training import data, network

from connectivity_hooks.tasks import CachedSplit, Task


@pytest.fixture
def pair():
    """Return probe inputs and targets."""
    return data()


@pytest.fixture
def net():
    """Return the network, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network()


@pytest.fixture
def task(pair):
    """Return a task on the probe data."""
    return Task(network, CachedSplit("train", *pair), model_name="net.py:make")
