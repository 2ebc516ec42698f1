"""Sides: which neurons a sub-network lives in."""

import itertools

import pytest
import torch
from certified_parts import NETWORKS, read

from connectivity_hooks_theorem.certified.network.network import Space
from connectivity_hooks_theorem.certified.network.sides import Sides, all_but, random_orders

SPACES = (Space("the input", 4, pins=("the input",)), Space("a", 7), Space("b", 6), Space("c", 3, pins=("the input",)))


def test_the_first_of_an_order_are_on_side_0_the_last_on_side_1_and_the_middle_on_none():
    orders = [torch.arange(4), torch.tensor([6, 2, 4, 0, 1, 3, 5]), torch.tensor([5, 4, 3, 2, 1, 0]), torch.arange(3)]
    sides = Sides.of(SPACES, orders)
    found = [[side.tolist() for side in both] for both in sides.by_space]
    assert found == [
        [[0, 1, 2, 3], [0, 1, 2, 3]],
        [[2, 4, 6], [1, 3, 5]],
        [[3, 4, 5], [0, 1, 2]],
        [[0, 1, 2], [0, 1, 2]],
    ]


def test_sub_networks_alternate_and_the_ends_begin_on_opposite_sides():
    sides = Sides.of(SPACES, [torch.arange(space.width) for space in SPACES])
    lives = [[sides.side(1, subnetwork, end).tolist() for subnetwork in range(4)] for end in (0, 1)]
    first, last = [0, 1, 2], [4, 5, 6]
    assert lives == [[first, last, first, last], [last, first, last, first]]


@pytest.mark.parametrize("case", NETWORKS)
def test_no_sub_network_meets_the_next_nor_the_other_ends_first(case):
    _, _, network = read(case)
    sides = Sides.of(network.spaces, random_orders(network.spaces, 3))
    pairs = [((cut, end), (cut + 1, end)) for cut, end in itertools.product(range(4), (0, 1))] + [((1, 0), (1, 1))]
    for one, other in pairs:
        mine, theirs = sides.neurons(*one), sides.neurons(*other)
        for number, space in enumerate(network.spaces):
            shared = set(mine[number].tolist()) & set(theirs[number].tolist())
            assert shared == (set(range(space.width)) if space.whole else set())
            assert space.whole or len(mine[number]) == len(theirs[number]) == space.width // 2


def test_random_orders_are_permutations_that_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    found, again, other = (random_orders(SPACES, seed) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    assert all(order.sort().values.equal(torch.arange(len(order))) for order in found)
    assert all(one.equal(two) for one, two in zip(found, again, strict=True))
    assert not all(one.equal(two) for one, two in zip(found, other, strict=True))


def test_all_but_is_the_complement():
    assert all_but(6, torch.tensor([4, 1])).tolist() == [0, 2, 3, 5]
    assert all_but(3, torch.tensor([], dtype=torch.long)).tolist() == [0, 1, 2]
