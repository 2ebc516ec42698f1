"""The symmetries that aligners may use: tried once, smaller where they do not hold or checkpoints do not allow them."""

import pytest
import torch
from matched_networks import Headless, mlp, network, random_end, task_on, vit
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import Group, read_symmetries
from connectivity_hooks.structure.symmetries.groups import SCALED
from connectivity_hooks_alignment import network as tried
from connectivity_hooks_alignment.network import network_of, prepared


def gelu():
    return mlp(nn.GELU, 8, 7)


def test_symmetries_are_tried_once_for_each_task():
    task = task_on(gelu, (6,), torch.float32)
    assert prepared(task) is prepared(task)


def test_a_group_that_does_not_hold_is_not_used(monkeypatch):
    def too_large(program):
        found = read_symmetries(program)
        for symmetry in found.symmetries:
            object.__setattr__(symmetry, "group", SCALED)  # factors do not pass a GELU
        return found

    monkeypatch.setattr(tried, "read_symmetries", too_large)
    task = task_on(lambda: gelu(), (6,))
    ends = [task.model().state_dict() for _ in range(2)]
    found = network_of(task, *ends)
    assert all(symmetry.group == Group.PERMUTE for symmetry in found.symmetries.symmetries)
    assert found.deviation < 1e-9
    assert len(found.record()["demoted"]) == len(found.symmetries.symmetries) == 2
    assert all("Mon₊ was derived, S holds" in words for words in found.demoted)


def test_a_scale_of_zero_beside_a_shift_leaves_permutations_and_is_said():
    task = task_on(Headless, (6,))
    a = task.model().state_dict()
    b = {name: w.clone() for name, w in a.items()}
    b["norm.weight"][2], b["norm.bias"][2] = 0, 1
    allowed, demoted = network_of(task, a, a), network_of(task, a, b)
    assert [each.title for each in allowed.symmetries.symmetries] == ["O₁"]
    assert [each.title for each in demoted.symmetries.symmetries] == ["S"]
    assert demoted.demoted == ("first.weight: permutations instead of O₁, since γ is zero where β is not",)


def test_a_model_that_does_not_run_in_float64_is_named():
    class Single(nn.Module):
        """Takes no type but float32."""

        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            if x.dtype != torch.float32:
                raise RuntimeError("kernels are there for float32 alone")
            return self.head(torch.relu(self.first(x)))

    with pytest.raises(InputError, match="float64"):
        prepared(task_on(Single, (6,), torch.float32))


def test_coverage_is_recorded():
    model, _, symmetries = network("vit")
    a = random_end(model, symmetries, 1)
    assert network_of(task_on(vit, (1, 8, 8)), a, a).record()["coverage"] > 0.9
