"""Two checkpoints of one function are told from two functions also where a module computes in float32 itself."""

import pytest
import torch
from torch import nn

from connectivity_hooks.connecting.alignment import function_change
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.verification.ends import function_deviation


class Narrow(nn.Module):
    """A hidden layer whose values are divided by their length in float32, as RMS norms do."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 64), nn.Linear(64, 3)

    def forward(self, x):
        y = self.up(x).float()
        return self.down((y / y.square().mean(-1, keepdim=True).sqrt()).to(x.dtype))


def moved(weights, order):
    return {
        "up.weight": weights["up.weight"][order], "up.bias": weights["up.bias"][order],
        "down.weight": weights["down.weight"][:, order], "down.bias": weights["down.bias"],
    }  # fmt: skip


@pytest.mark.parametrize("measured", ["by the aligner's check", "by the verifier"])
def test_exchanged_neurons_are_the_same_function_to_rounding_in_float64(measured):
    torch.manual_seed(0)
    weights = dict(Narrow().state_dict())
    split = CachedSplit("train", torch.randn(16, 6), torch.arange(16) % 3)
    task = Task(Narrow, split)

    def deviation(other):
        if measured == "by the verifier":
            return function_deviation(task, weights, other, split)
        return function_change(weights, other, task).deviation

    copy = moved(weights, torch.randperm(64))
    assert deviation(copy) < 1e-13
    spoiled = {**copy, "down.bias": copy["down.bias"] + 1e-8 * torch.ones(3, dtype=torch.float64)}
    assert deviation(spoiled) > 1e-9
