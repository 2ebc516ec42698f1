"""Weights written along a path in any order of t, compared with the formulas in float64; edits between points."""

import math

import pytest
import torch

from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.paths.edits import Edit, apply, edits_between
from connectivity_hooks.paths.walk import Walk

TS = (0.7, 0.0, 0.1, 1.0, 0.4, 0.25, 0.99, 0.5)


def points(count=4, seed=0):
    """Return points of which each changes a block of one tensor and the whole of another."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    found = [{"w": draw(6, 5), "b": draw(6), "steps": torch.tensor(3), "same": draw(2)}]
    for index in range(1, count):
        before = found[-1]
        moved = before["w"].clone()
        moved[index : index + 2, ::2] = draw(2, 3)
        found.append({**before, "w": moved, "b": draw(6), "steps": torch.tensor(3 + index)})
    return found


def polyline_at(points, positions, t):
    index = max(i for i, position in enumerate(positions) if position <= t)
    if index == len(points) - 1:
        return points[-1]
    share = (t - positions[index]) / (positions[index + 1] - positions[index])
    left, right = points[index], points[index + 1]
    return {n: left[n] + share * (right[n] - left[n]) if w.is_floating_point() else w for n, w in left.items()}


def bezier_at(points, t):
    degree = len(points) - 1
    shares = [math.comb(degree, i) * (1 - t) ** (degree - i) * t**i for i in range(degree + 1)]
    return {name: sum(share * point[name] for share, point in zip(shares, points, strict=True)) for name in points[0]}


def empty(weights):
    return {name: torch.empty_like(tensor) for name, tensor in weights.items()}


def test_a_walk_in_any_order_writes_the_polyline():
    given, positions = points(), (0.0, 0.25, 0.5, 1.0)
    walk, into = Walk(Path.from_points(given, positions=positions)), empty(given[0])
    for t in TS:
        walk.write(t, into)
        torch.testing.assert_close(into, polyline_at(given, positions, t), rtol=1e-14, atol=1e-14)
    for index, t in enumerate(positions):
        walk.write(t, into)
        assert all(same(tensor, given[index][name]) for name, tensor in into.items())


def test_a_walk_in_any_order_writes_the_curve():
    given = points()
    walk, into = Walk(Path.from_points(given, basis="bezier")), empty(given[0])
    for t in TS:
        walk.write(t, into)
        for name in ("w", "b", "same"):
            torch.testing.assert_close(into[name], bezier_at(given, t)[name], rtol=1e-13, atol=1e-13)
        assert into["steps"] == (6 if t == 1 else 3)


def test_a_walk_never_writes_to_the_path():
    given = points()
    path = Path.from_points(given)
    kept = [{name: tensor.clone() for name, tensor in point.items()} for point in path.points()]
    walk, into = Walk(path), empty(given[0])
    for t in TS:
        walk.write(t, into)
    for before, after in zip(kept, path.points(), strict=True):
        assert all(same(tensor, after[name]) for name, tensor in before.items())


def test_edits_are_blocks_where_these_are_smaller_and_turn_a_point_into_the_next():
    before, after = points(2)
    edits = {edit.name: edit for edit in edits_between(before, after)}
    assert edits.keys() == {"w", "b", "steps"}
    assert not edits["w"].whole
    assert edits["w"].values.shape == (2, 3)
    assert edits["b"].whole
    weights, owned = dict(before), set()
    for edit in edits.values():
        apply(edit, weights, owned)
    assert all(same(weights[name], tensor) for name, tensor in after.items())
    assert owned == {"w"}
    assert not same(weights["w"], before["w"])


def test_a_zero_that_changes_its_sign_is_a_change():
    (edit,) = edits_between({"w": torch.zeros(40)}, {"w": torch.tensor([-0.0] + [0.0] * 39)})
    assert edit.rows.tolist() == [0]
    assert math.copysign(1, edit.values.item()) == -1


@pytest.mark.parametrize("columns", [None, torch.tensor([0, 2])])
@pytest.mark.parametrize("rows", [None, torch.tensor([1, 3])])
def test_a_block_is_read_from_where_it_is_put(rows, columns):
    tensor = torch.zeros(4, 3, 2)
    shape = (4 if rows is None else 2, 3 if columns is None else 2, 2)
    edit = Edit("w", torch.rand(shape) + 1, rows, columns)
    edit.put(tensor, edit.values)
    assert torch.equal(edit.block(tensor), edit.values)
    assert int((tensor != 0).sum()) == edit.values.numel()
