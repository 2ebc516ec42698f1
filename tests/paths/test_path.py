import itertools
import math

import pytest
import torch

from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Edit, Path


def weights(seed, rows=6, cols=4):
    generator = torch.Generator().manual_seed(seed)
    return {
        "fc.weight": torch.randn(rows, cols, generator=generator),
        "fc.bias": torch.randn(rows, generator=generator),
        "norm.num_batches_tracked": torch.tensor(seed),
    }


def test_path_returns_its_points_bit_for_bit():
    a, b, c = (weights(seed) for seed in (1, 2, 3))
    a["fc.bias"][0], c["fc.bias"][0] = -0.0, 0.0
    path = Path.from_points([a, b, c], positions=[0, 0.3, 1])
    for t, point in ((0, a), (0.3, b), (1, c)):
        assert all(same(path(t)[name], tensor) for name, tensor in point.items())


@pytest.mark.parametrize("t", [0.0, 0.1, 0.3, 0.65, 0.999, 1.0])
def test_polyline_agrees_with_float64_interpolation(t):
    points = [weights(seed) for seed in (1, 2, 3)]
    path = Path.from_points(points, positions=[0, 0.3, 1])
    left, right, share = (0, 1, t / 0.3) if t < 0.3 else (1, 2, (t - 0.3) / 0.7)
    expected = (1 - share) * points[left]["fc.weight"].double() + share * points[right]["fc.weight"].double()
    torch.testing.assert_close(path(t)["fc.weight"].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
def test_bezier_agrees_with_de_casteljau(t):
    points = [weights(seed) for seed in (1, 2, 3, 4)]
    path = Path.from_points(points, basis="bezier")
    levels = [point["fc.weight"].double() for point in points]
    while len(levels) > 1:
        levels = [(1 - t) * left + t * right for left, right in itertools.pairwise(levels)]
    torch.testing.assert_close(path(t)["fc.weight"].double(), levels[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("basis", ["polyline", "bezier"])
def test_integers_are_never_interpolated(basis):
    path = Path.from_points([weights(0), weights(10)], basis=basis)
    assert path(0.5)["norm.num_batches_tracked"] == 0
    assert path(1)["norm.num_batches_tracked"] == 10


def test_a_block_that_changes_is_all_that_is_held():
    a, b = weights(1), weights(1)
    b["fc.weight"][1:3, [0, 2]] += 1
    path = Path.from_points([a, b])
    (edit,) = path.edits[0]
    assert (edit.rows.tolist(), edit.cols.tolist(), edit.values.shape) == ([1, 2], [0, 2], (2, 2))
    middle = path(0.5)["fc.weight"]
    assert torch.equal(middle[[0, 3, 4, 5]], a["fc.weight"][[0, 3, 4, 5]])
    torch.testing.assert_close(middle[1:3, [0, 2]], a["fc.weight"][1:3, [0, 2]] + 0.5)


def test_overlapping_blocks_are_assigned_in_order():
    a = {"w": torch.zeros(3, 3)}
    first = Edit("w", torch.ones(2, 3), torch.tensor([0, 1]))
    second = Edit("w", torch.full((3, 2), 2.0), None, torch.tensor([0, 1]))
    path = Path(a, ((first, second),))
    assert path(1)["w"].tolist() == [[2, 2, 1], [2, 2, 1], [2, 2, 0]]
    assert path(0.5)["w"].tolist() == [[1, 1, 0.5], [1, 1, 0.5], [1, 1, 0]]


def test_points_are_not_changed_by_walking_on():
    a, b, c = (weights(1) for _ in range(3))
    b["fc.weight"][0, 0], c["fc.weight"][0, 0] = 5, 6
    points = list(Path.from_points([a, b, c]).points())
    assert [float(point["fc.weight"][0, 0]) for point in points[1:]] == [5, 6]
    assert torch.equal(points[0]["fc.weight"], a["fc.weight"])


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan])
def test_t_outside_the_path_is_refused(t):
    with pytest.raises(ValueError, match="expected in"):
        Path.from_points([weights(1), weights(2)])(t)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"positions": [0, 0.5]}, "rise from 0 to 1"),
        ({"positions": [0, 0.5, 1]}, "3 positions"),
        ({"guarantees": ["constant", "convex"]}, "one for each of 1"),
        ({"guarantees": ["proven"]}, "constant, convex or measured"),
        ({"basis": "spline"}, "polyline or bezier"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Path.from_points([weights(1), weights(2)], **arguments)
