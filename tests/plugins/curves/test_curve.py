"""What is trained at t is what the path gives at t."""

import pytest
import torch
from curve_modules import VECTORS, end_of, task_of

from connectivity_hooks.paths import Path
from connectivity_hooks_curves.training.curve import Curve, between, coefficients, straight
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.points import Points
from connectivity_hooks_curves.training.untrained import Untrained

TS = (0.0, 0.13, 0.25, 0.5, 0.77, 1.0)


@pytest.mark.parametrize("basis", ["bezier", "polyline"])
@pytest.mark.parametrize("kind", sorted(VECTORS))
def test_the_module_has_the_weights_of_the_path(kind, basis):
    task = task_of(kind)
    a, b = end_of(task, 1), end_of(task, 2)
    flat = FlatModule(task.model())
    flat.load(a)
    points, untrained = Points(flat, a, b, basis, 3), Untrained(flat, a, b)
    for point in points._trained:
        point.add_(torch.randn_like(point))
    path = Path.from_points(points.weights(), basis=basis)
    for t in TS:
        points.write(t)
        untrained.write(t)
        flat.attach()
        there = path(t)
        for name, tensor in flat.model.state_dict().items():
            if tensor.is_floating_point():
                tolerance = 1e-6 if kind == "mixed" else 1e-12
                torch.testing.assert_close(tensor, there[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("basis", ["bezier", "polyline"])
def test_shares_add_up_to_one_and_are_nowhere_negative(basis):
    for count in (3, 4, 8):
        for t in TS:
            shares = coefficients(basis, count, t)
            assert min(shares) >= 0
            assert sum(shares) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("basis", ["bezier", "polyline"])
def test_what_all_points_agree_on_stays_bit_for_bit(basis):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(99, generator=generator)
    out = torch.empty(99)
    for t in TS:
        Curve([a] * 4, basis).write(t, out)
        assert torch.equal(out, a)


def test_corners_of_a_polychain_are_reached_exactly():
    points = [torch.full((3,), float(value)) for value in (1, 7, -2)]
    out = torch.empty(3)
    Curve(points, "polyline").write(0.5, out)
    assert torch.equal(out, points[1])


def test_the_straight_line_keeps_infinities_that_both_ends_have():
    inf = float("inf")
    a, b = torch.tensor([1.0, -inf, inf]), torch.tensor([3.0, -inf, inf])
    assert [point.tolist() for point in straight(a, b, 1)] == [[1, -inf, inf], [2, -inf, inf], [3, -inf, inf]]
    assert between(a, b, 0.25).tolist() == [1.5, -inf, inf]
