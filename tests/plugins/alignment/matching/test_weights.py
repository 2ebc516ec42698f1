"""Coordinate descent: deterministic, convergent, never farther, and within three copies of the model."""

import copy

import pytest
import torch
from live_memory import LiveMemory
from matched_networks import moved_copy, network, random_end
from torch import nn

from connectivity_hooks.structure import Element, moved, read_program, read_symmetries, transformed
from connectivity_hooks_alignment.matching.by_weights.ends import squared_distance, working
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights


def ends(name, *seeds):
    model, _, symmetries = network(name)
    return symmetries, *(random_end(model, symmetries, seed) for seed in seeds)


@pytest.mark.parametrize("name", ["relu", "tanh", "grouped", "residual with batch norm", "vit"])
def test_the_distance_told_is_that_of_the_folded_weights_and_falls(name):
    symmetries, a, b = ends(name, 1, 2)
    found = match_weights(symmetries, a, b)
    first, second = working(symmetries, a), working(symmetries, b)
    assert found.before == pytest.approx(squared_distance(first, second) ** 0.5)
    assert found.after == pytest.approx(squared_distance(first, moved(symmetries, second, found.elements)) ** 0.5)
    assert found.after < found.before


def test_more_starts_come_nearer_and_say_which_was_kept():
    symmetries, a, b = ends("relu", 1, 2)
    one, many = match_weights(symmetries, a, b), match_weights(symmetries, a, b, restarts=8)
    assert many.after < one.after
    assert many.kept in range(1, 9)


def test_one_seed_gives_one_result_and_the_ends_stay():
    symmetries, a, b = ends("vit", 1, 2)
    kept = copy.deepcopy((a, b))
    one, other = (match_weights(symmetries, a, b, seed=3, restarts=1) for _ in range(2))
    assert (one.after, one.sweeps, one.kept) == (other.after, other.sweeps, other.kept)
    for space, element in one.elements.items():
        assert torch.equal(element.dense(), other.elements[space].dense())
    assert all(torch.equal(end[name], before[name]) for end, before in zip((a, b), kept, strict=True) for name in end)


def test_too_few_sweeps_are_told():
    symmetries, a, b = ends("vit", 1, 2)
    found = match_weights(symmetries, a, b, sweeps=1)
    assert not found.converged
    assert found.sweeps == 1


@pytest.mark.parametrize("name", ["relu", "vit"])
def test_a_copy_that_was_trained_on_stays_where_it_is(name):
    symmetries, a = ends(name, 1)
    generator = torch.Generator().manual_seed(0)
    b = {key: w + 0.01 * torch.randn(w.shape, generator=generator) if w.dim() > 1 else w for key, w in a.items()}
    found = match_weights(symmetries, a, b)
    assert found.after <= found.before
    for element in found.elements.values():
        if element.order is not None:
            assert torch.equal(element.order, torch.arange(element.order.shape[1]).expand(element.order.shape))


def test_equal_checkpoints_are_left_as_they_are():
    symmetries, a = ends("relu", 1)
    found = match_weights(symmetries, a, a)
    assert found.after == found.before == 0
    assert found.kept is None
    assert not found.elements


def test_the_sweeps_may_start_from_what_was_found_otherwise():
    symmetries, a = ends("vit", 1)
    b = moved_copy(symmetries, a, 2)
    start = match_weights(symmetries, a, b).elements
    found = match_weights(symmetries, a, b, start=start)
    assert found.after <= found.before < 1e-6
    after = moved(symmetries, working(symmetries, b), found.elements)
    assert squared_distance(working(symmetries, a), after) < 1e-10


def test_a_start_far_off_is_left_for_a_nearer_place():
    symmetries, a = ends("gelu", 1)
    start = {s.space: Element(order=torch.arange(s.width).roll(1)[None]) for s in symmetries.symmetries}
    found = match_weights(symmetries, a, a, start=start)
    assert found.before > 1
    assert found.after < found.before


def test_memory_stays_within_three_copies_of_the_model():
    model = nn.Sequential(nn.Linear(64, 192), nn.ReLU(), *[nn.Linear(192, 192), nn.ReLU()] * 1, nn.Linear(192, 10))
    blocks = [layer for _ in range(12) for layer in (nn.Linear(192, 192), nn.ReLU())]
    model = nn.Sequential(nn.Linear(64, 192), nn.ReLU(), *blocks, nn.Linear(192, 10)).eval()
    symmetries = read_symmetries(read_program(model, torch.randn(2, 64)))
    a = {name: w.detach().clone() for name, w in model.state_dict().items()}
    b = {name: torch.randn(w.shape, generator=torch.Generator().manual_seed(1)) / 14 for name, w in a.items()}
    size = sum(w.nbytes for w in a.values())
    with LiveMemory() as memory:
        found = match_weights(symmetries, a, b, sweeps=2)
    neurons = 8 * 192**2
    # Elements are factors and orders; products of one space, their sum and what an assignment reads are matrices of it.
    assert memory.peak <= 3 * size + 6 * neurons
    with LiveMemory() as memory:
        transformed(symmetries, b, found.elements, like=a)
    assert memory.peak <= 3 * size
