"""A path says where its segments meet, how long they are, and what is guaranteed at a t."""

import pytest
import torch

from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.paths.basis import BASES, basis_named


def points(count):
    return [{"w": torch.full((2,), float(i))} for i in range(count)]


def polyline():
    return Path.from_points(points(4), positions=[0, 0.25, 0.5, 1], guarantees=["constant", "measured", "convex"])


def test_every_point_of_a_polyline_is_a_knot():
    path = polyline()
    assert path.knots == (0, 0.25, 0.5, 1)
    assert [path.interval(segment) for segment in range(3)] == [(0, 0.25), (0.25, 0.5), (0.5, 1)]
    assert [float(weights["w"][0]) for weights in path.at_knots()] == [0, 1, 2, 3]


def test_a_curve_has_its_ends_for_knots_however_many_points_control_it():
    for count in (2, 3, 6):
        path = Path.from_points(points(count), basis="bezier")
        assert path.knots == (0.0, 1.0)
        assert path.interval(0) == (0.0, 1.0)
        assert path.segment(0.4) == (0, pytest.approx(0.4))
        assert [float(weights["w"][0]) for weights in path.at_knots()] == [0, count - 1]


@pytest.mark.parametrize("path", [polyline(), Path.from_points(points(4), basis="bezier")], ids=["polyline", "bezier"])
def test_the_weights_at_knots_are_those_of_the_path_there(path):
    for t, weights in zip(path.knots, path.at_knots(), strict=True):
        assert all(same(path(t)[name], tensor) for name, tensor in weights.items())


def test_the_guarantee_at_a_knot_is_that_of_the_segment_it_starts():
    path = polyline()
    found = [path.guarantee_at(t) for t in (0, 0.1, 0.25, 0.3, 0.5, 0.9, 1)]
    assert found == ["constant", "constant", "measured", "measured", "convex", "convex", "convex"]
    assert Path.from_points(points(3), basis="bezier").guarantee_at(1) == "measured"


@pytest.mark.parametrize("segment", [-1, 3])
def test_a_segment_that_is_not_there_is_refused(segment):
    with pytest.raises(IndexError, match=f"segment {segment} of a path of 3"):
        polyline().interval(segment)


def test_a_curve_promises_nothing():
    with pytest.raises(ValueError, match="a bezier curve has none, only measured"):
        Path.from_points(points(3), basis="bezier", guarantees=["constant"])


def test_bases_go_by_the_names_of_the_format():
    assert set(BASES) == {"polyline", "bezier"}
    assert [basis_named(name).straight for name in ("polyline", "bezier")] == [True, False]
    with pytest.raises(ValueError, match="expected polyline or bezier, found 'spline'"):
        basis_named("spline")
