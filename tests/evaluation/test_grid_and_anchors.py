"""Which t are measured, and where their outputs come from, on polylines and on curves."""

import pytest
import torch

from connectivity_hooks.evaluation import grid
from connectivity_hooks.evaluation.anchors import Anchored, Anchors
from connectivity_hooks.paths import Path


def points(count):
    return [{"w": torch.full((2,), float(i))} for i in range(count)]


@pytest.fixture
def path():
    kinds = ["constant", "convex", "measured", "constant"]
    return Path.from_points(points(5), positions=[0, 0.2, 0.4, 0.8, 1], guarantees=kinds)


def test_the_grid_has_every_knot_and_looks_inside_where_the_loss_may_move(path):
    found = list(grid.even(path, 11))
    assert found == pytest.approx([0, 0.2, 0.4, 0.25, 0.3, 0.35, 0.8, 0.5, 0.6, 0.7, 1])


def test_a_short_measured_segment_is_looked_into_all_the_same():
    path = Path.from_points(points(3), positions=[0, 0.001, 1])
    assert grid.interior(path, 0, 25) == pytest.approx([0.00025, 0.0005, 0.00075])


def test_a_curve_is_one_segment_whose_control_points_are_no_knots():
    curve = Path.from_points(points(4), basis="bezier")
    assert list(grid.even(curve, 5)) == [0.0, 1.0, 0.25, 0.5, 0.75]
    anchors = Anchors(curve)
    assert [anchors(t) for t in (0.0, 1 / 3, 1.0)] == [Anchored("forward", (t,)) for t in (0.0, 1 / 3, 1.0)]


def test_refinement_stays_in_measured_segments(path):
    losses = {0.0: 1.0, 0.2: 1.0, 0.4: 2.0, 0.8: 1.5, 1.0: 1.5}
    assert grid.around_worst(path, losses) == pytest.approx([0.6])
    assert grid.around_worst(Path.from_points(points(2)), {0.0: 1.0, 1.0: 2.0}) == [0.5]
    assert grid.around_worst(Path.from_points(points(2)), {0.0: 1.0, 0.001: 2.0, 1.0: 0.0}) == [0.5005]


def test_outputs_of_guaranteed_segments_come_from_their_knots(path):
    anchors = Anchors(path)
    assert anchors(0.1) == Anchored("constant", (0.0,), kept=True)
    assert anchors(0.2) == Anchored("constant", (0.0,), kept=True)
    inside = anchors(0.25)
    assert (inside.source, inside.anchors, inside.kept) == ("outputs", (0.0, 0.4), True)
    assert inside.share == pytest.approx(0.25)
    assert anchors(0.4) == Anchored("forward", (0.4,), kept=True)
    assert anchors(0.6) == Anchored("forward", (0.6,))
    assert anchors(0.9) == Anchored("constant", (0.8,))
    assert anchors(1.0) == Anchored("constant", (0.8,))
