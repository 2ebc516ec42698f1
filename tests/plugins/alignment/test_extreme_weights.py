"""Weights at the edge: norms that are off, sizes that overflow, outputs that are no numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from connectivity_hooks.connecting import function_change
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.structure.symmetries.folding import with_floor
from connectivity_hooks.testing.tasks import make_task, make_weights
from connectivity_hooks_alignment.activation_matching import ActivationMatching
from connectivity_hooks_alignment.learned_matching import LearnedMatching
from connectivity_hooks_alignment.weight_matching import WeightMatching


class Normed(nn.Module):
    """A stream that a norm reads."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.out = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.norm(self.first(x)))


@pytest.fixture
def task():
    return make_task(network=Normed)


@pytest.mark.parametrize("aligner", [WeightMatching, ActivationMatching])
@pytest.mark.parametrize("off", [8, 5, 1])
def test_a_norm_of_the_first_that_is_off_leaves_the_second_the_same_function(task, aligner, off):
    a, b = make_weights(task, 1), make_weights(task, 2)
    a["norm.weight"] = a["norm.weight"].clone()
    a["norm.weight"][:off] = 0
    found = aligner(seed=0).align(a, b, task)
    assert function_change(b, found.weights, task).is_rounding


def test_a_floor_is_there_whatever_is_zero():
    assert with_floor(torch.zeros(4)).tolist() == pytest.approx([0.1] * 4)
    assert with_floor(torch.tensor([0.0, 0.0, 0.0, -2.0])).tolist() == pytest.approx([0.2, 0.2, 0.2, -2.0])


@pytest.mark.parametrize("size", [1e18, 1e25])
def test_products_that_overflow_are_no_traceback(size):
    task = make_task(network=lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    a, b = ({name: tensor * size for name, tensor in make_weights(task, seed).items()} for seed in (1, 2))
    found = WeightMatching(seed=0).align(a, b, task)
    assert all(bool(tensor.isfinite().all()) for tensor in found.weights.values())


def test_outputs_that_are_no_numbers_are_named(task):
    b = make_weights(task, 2)
    broken = {**b, "out.bias": torch.full_like(b["out.bias"], torch.inf)}
    with pytest.raises(InputError, match="not finite"):
        function_change(broken, broken, replace(task))


def test_rates_have_a_bound():
    with pytest.raises(UsageError, match="rate"):
        make_options(LearnedMatching.Options, {"rate": "1e39"}, "learned-matching")
