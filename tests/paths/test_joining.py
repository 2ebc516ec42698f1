"""Two paths that end alike, as one from the first's start to the second's."""

from dataclasses import replace

import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.paths.joining import joined


def path_to(end, seed, count, guarantees=None, **how):
    generator = torch.Generator().manual_seed(seed)
    points = [{"w": torch.randn(4, 3, generator=generator)} for _ in range(count - 1)]
    return Path.from_points([*points, {"w": end}], guarantees=guarantees, **how)


def test_the_way_out_and_the_way_back_are_walked_with_their_guarantees():
    end = torch.ones(4, 3)
    left, right = path_to(end, 1, 3, ["constant", "convex"]), path_to(end, 2, 2, ["measured"])
    hub = EndPoint("hub", "1")
    left, right = (replace(each, end_points=(EndPoint(name, "0"), hub)) for each, name in ((left, "a"), (right, "b")))
    both = joined(left, right)
    assert both.knots == (0, 0.25, 0.5, 1)
    assert both.guarantees == ("constant", "convex", "measured")
    assert [end.file for end in both.end_points] == ["a", "b"]
    for t in (0.0, 0.1, 0.5, 1.0):
        assert same(both(t)["w"], left(2 * t)["w"] if t <= 0.5 else right(2 - 2 * t)["w"])
    torch.testing.assert_close(both(0.8)["w"], right(0.4)["w"])


@pytest.mark.parametrize("wide", [0, 1])
def test_paths_in_different_types_are_joined_in_the_wider_one(wide):
    end = torch.linspace(0, 1, 12).view(4, 3)
    paths = [path_to(end, 1, 3), path_to(end, 2, 2)]
    single = joined(*paths)
    points = [{"w": point["w"].double()} for point in paths[wide].points()]
    paths[wide] = Path.from_points(points)
    both = joined(*paths)
    for found, expected in zip(both.points(), single.points(), strict=True):
        assert found["w"].dtype == torch.float64
        assert torch.equal(found["w"], expected["w"].double())


def test_curves_and_paths_that_end_elsewhere_are_refused():
    end = torch.ones(4, 3)
    with pytest.raises(InputError, match="expected polylines"):
        joined(path_to(end, 1, 3, basis="bezier"), path_to(end, 2, 2))
    with pytest.raises(InputError, match="do not end at the same weights"):
        joined(path_to(end, 1, 3), path_to(end + 1e-6, 2, 2))
