"""Many checkpoints in one frame: no group that was not seen to hold, a sum that never falls, a record of each."""

import itertools

import pytest
import torch
from matched_networks import Headless, mlp, moved_copy, network, random_end, task_on
from torch import nn

from connectivity_hooks.progress import SILENT
from connectivity_hooks.structure import read_symmetries, transformed
from connectivity_hooks.structure.symmetries.groups import SCALED
from connectivity_hooks_alignment import network as tried
from connectivity_hooks_alignment.commands.frames import brought_together
from connectivity_hooks_alignment.matching.together import match_together


def drawn(task, count):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [task.factory().double().state_dict() for _ in range(count)]


def together(task, checkpoints):
    return brought_together(checkpoints, task, seed=0, progress=SILENT)


def test_a_group_that_does_not_hold_is_not_used_and_is_said(monkeypatch):
    def too_large(program):
        found = read_symmetries(program)
        for symmetry in found.symmetries:
            object.__setattr__(symmetry, "group", SCALED)  # factors do not pass a GELU
        return found

    monkeypatch.setattr(tried, "read_symmetries", too_large)
    task = task_on(lambda: mlp(nn.GELU, 8, 7), (6,))
    frames = together(task, drawn(task, 3))
    assert frames.records[0] is None
    for found in frames.records[1:]:
        assert found["deviation"] < 1e-9
        assert [("S holds" in words) for words in found["record"]["demoted"]] == [True, True]
        assert found["record"]["coverage"] > 0.9
        assert all("factors" not in words for words in found["record"]["spaces"].values())


def test_checkpoints_of_which_one_has_a_scale_of_zero_beside_a_shift_are_permuted_alone():
    task = task_on(Headless, (6,))
    checkpoints = drawn(task, 3)
    checkpoints[2]["norm.weight"][2], checkpoints[2]["norm.bias"][2] = 0, 1
    for found in together(task, checkpoints).records[1:]:
        assert found["record"]["demoted"] == [
            "first.weight: permutations instead of O₁, since γ is zero where β is not"
        ]
        assert all(words.startswith("S: ") for words in found["record"]["spaces"].values())


def test_what_was_moved_is_counted():
    task = task_on(lambda: mlp(nn.GELU, 8, 7), (6,))
    first, _ = drawn(task, 2)
    order = torch.tensor([1, 0, *range(2, 8)])
    moved = {**first, "0.weight": first["0.weight"][order], "0.bias": first["0.bias"][order]}
    moved["2.weight"] = first["2.weight"][:, order]
    frames = together(task, [first, moved, first])
    assert all(torch.equal(frames.weights[1][name], tensor) for name, tensor in first.items())
    assert frames.records[1]["record"]["moved"] == {"spaces": 1, "of": 2}
    assert frames.records[1]["record"]["spaces"]["0.weight"] == "S: 2 of 8 moved"
    assert frames.records[2]["record"]["moved"] == {"spaces": 0, "of": 2}


class Normed(nn.Sequential):
    """Signs pass batch norm and tanh; running variances have none."""

    def __init__(self):
        super().__init__(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 3))


@pytest.mark.parametrize("name", ["relu", "tanh", "vit", "running statistics"])
def test_the_sum_of_products_never_falls_between_unlike_checkpoints(name):
    if name == "running statistics":
        task = task_on(Normed, (6,))
        model, symmetries = task.model(), tried.prepared(task).symmetries
    else:
        model, _, symmetries = network(name)
    weights = [random_end(model, symmetries, seed) for seed in range(4)]
    if name == "running statistics":
        for number, each in enumerate(weights):
            each["1.running_var"] = torch.linspace(0, 50, 12, dtype=torch.float64).roll(3 * number)
    weights = [weights[0], *(moved_copy(symmetries, each, seed) for seed, each in enumerate(weights[1:]))]
    products = match_together(symmetries, weights).products
    assert len(products) > 1
    assert all(after >= before - 1e-12 * abs(before) for before, after in itertools.pairwise(products))
    assert products[-1] > products[0]


def test_heads_and_streams_come_back_from_random_elements():
    model, _, symmetries = network("vit")
    first = random_end(model, symmetries, 0)
    weights = [first, *(moved_copy(symmetries, first, seed) for seed in (1, 2))]
    found = match_together(symmetries, weights)
    for each, elements in zip(weights[1:], found.elements[1:], strict=True):
        near = transformed(symmetries, each, elements, like=first)
        assert max(float((near[name] - tensor).abs().max()) for name, tensor in first.items()) < 1e-4
