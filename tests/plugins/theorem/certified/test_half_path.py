"""A half path: every segment evaluated, and what the last point still uses."""

import pytest
import torch
from certified_parts import NETWORKS, doubled, read
from small_networks import exact, trained

from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks_theorem.certified.half_path import MEETING, HalfPath, meeting
from connectivity_hooks_theorem.certified.network.blocks import narrow_blocks, neurons_read
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork


def subnetworks(network, weights, end):
    """Return a sub-network of every cut, good or not: another network's weights on the side it belongs to."""
    sides = Sides.of(network.spaces, random_orders(network.spaces, 0))
    found = []
    for cut in range(len(network.cuts) - 1, 0, -1):
        neurons = sides.neurons(cut, end)
        narrow = narrow_blocks(weights, Stretch(network, cut).layers, neurons, neurons)
        found.append(Subnetwork(cut, neurons, narrow, 0, 0.0, None))
    return found


def points(path, start):
    """Return all points of a half path, by its edits."""
    now, found = {name: tensor.clone() for name, tensor in start.items()}, [dict(start)]
    for edits in path.edits:
        now = {name: tensor.clone() for name, tensor in now.items()}
        for edit in edits:
            edit.put(now[edit.name], edit.values)
        found.append(now)
    return found


def walked(case, end=0, reverse=False, seed=1):
    task, _, network = read(case)
    start = trained(task, seed, steps=5)
    path = HalfPath(network, start, reverse=reverse)
    for each in subnetworks(network, trained(task, seed + 10, steps=5), end):
        path.step(each)
    return task, network, start, path


def between(before, after, share):
    return {
        name: before[name] + share * (after[name] - before[name]) if before[name].is_floating_point() else before[name]
        for name in before
    }


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("end", [0, 1])
def test_constant_segments_are_constant_and_convex_ones_convex(case, end):
    task, network, start, path = walked(case, end)
    found = [doubled(point) for point in points(path, start)]
    output = set(network.output.step.weights.values())
    assert len(path.guarantees) == len(found) - 1
    for guarantee, before, after in zip(path.guarantees, found, found[1:], strict=False):
        (first, low), (last, high) = (exact(task, point, task.train) for point in (before, after))
        moved = {name for name in before if not before[name].equal(after[name])}
        assert moved
        for share in (0.25, 0.6):
            outputs, loss = exact(task, between(before, after, share), task.train)
            if guarantee == "constant":
                torch.testing.assert_close(outputs, first, rtol=1e-9, atol=1e-9)
            else:
                assert moved <= output
                torch.testing.assert_close(outputs, (1 - share) * first + share * last, rtol=1e-9, atol=1e-9)
                assert loss <= (1 - share) * low + share * high + 1e-12
        assert guarantee != "constant" or torch.allclose(first, last, rtol=1e-9, atol=1e-9)
        assert guarantee == "constant" or not torch.allclose(first, last, rtol=1e-3, atol=1e-3)


def test_in_front_of_the_output_layer_nothing_has_to_be_written():
    _, _, _, path = walked("mlp")
    assert list(path.guarantees) == ["convex", "constant", "convex", "constant", "convex"]


@pytest.mark.parametrize("case", NETWORKS)
def test_a_path_that_arrives_has_the_same_points_backwards(case):
    _, _, start, path = walked(case)
    _, _, _, back = walked(case, reverse=True)
    forwards = points(path, start)
    now = {name: tensor.clone() for name, tensor in back.last.items()}
    assert all(now[name].equal(forwards[-1][name]) for name in now)
    for edits, point in zip(reversed(back.edits), reversed(forwards[:-1]), strict=True):
        for edit in edits:
            edit.put(now[edit.name], edit.values)
        assert all(now[name].equal(point[name]) for name in now)


@pytest.mark.parametrize("case", NETWORKS)
def test_the_last_point_uses_one_side_of_every_layer_behind_the_first_cut(case):
    _, network, _, path = walked(case)
    used = neurons_read(path.last, network)
    sides = Sides.of(network.spaces, random_orders(network.spaces, 0)).neurons(1, 0)
    for layer in Stretch(network, 0).hidden:
        mine = set(used[layer.step.name].nonzero().flatten().tolist())
        assert mine <= set(sides[layer.rows.space].tolist())


@pytest.mark.parametrize("case", NETWORKS)
def test_both_ends_meet_beside_each_other(case):
    task, network, _, left = walked(case, end=0, seed=1)
    _, _, _, right = walked(case, end=1, seed=2)
    met = meeting(network, left.last, right.last)
    found = [doubled(point) for point in (left.last, *met, right.last)]
    assert len(MEETING) == 3
    outputs = [exact(task, point, task.train)[0] for point in found]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(outputs[2], outputs[3], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(outputs[1], outputs[2], rtol=1e-3, atol=1e-3)
    output = set(network.output.step.weights.values())
    assert {name for name in found[1] if not found[1][name].equal(found[2][name])} <= output
    for share in (0.3, 0.7):
        for segment in (0, 2):
            same = exact(task, between(*found[segment : segment + 2], share), task.train)[0]
            torch.testing.assert_close(same, outputs[segment], rtol=1e-9, atol=1e-9)
        mixed = exact(task, between(found[1], found[2], share), task.train)[0]
        torch.testing.assert_close(mixed, (1 - share) * outputs[1] + share * outputs[2], rtol=1e-9, atol=1e-9)


def test_ends_that_use_the_same_neurons_do_not_meet():
    _, network, _, left = walked("mlp", end=0, seed=1)
    _, _, _, right = walked("mlp", end=0, seed=2)
    with pytest.raises(ConnectivityError, match=r"both ends use the same neurons of .*1\.weight"):
        meeting(network, left.last, right.last)


def test_arriving_takes_the_values_that_differ():
    _, _, start, path = walked("mlp")
    wanted = {name: tensor + 1 for name, tensor in path.last.items()}
    path.arrive(wanted)
    assert path.guarantees[-1] == "constant"
    assert all(points(path, start)[-1][name].equal(wanted[name]) for name in wanted)
