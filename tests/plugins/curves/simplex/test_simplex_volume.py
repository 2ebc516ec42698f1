"""The volume of a simplex, and its growth, against the Cayley–Menger determinant of its squared distances."""

import math

import pytest
import torch

from connectivity_hooks_curves.simplex.volume import gram, growth, log_sum, log_volume


def cayley_menger(points):
    """Return log V in float64 from the distances alone, with its gradient where points have one."""
    squares = torch.stack([torch.stack([(a - b).square().sum() for b in points]) for a in points])
    count = len(points)
    bordered = torch.ones(count + 1, count + 1, dtype=torch.float64)
    bordered = torch.cat([torch.cat([torch.zeros(1, 1), torch.ones(1, count)], 1).double(),
                          torch.cat([torch.ones(count, 1).double(), squares], 1)])  # fmt: skip
    dimension = count - 1
    sign = (-1) ** (dimension + 1)
    square = sign * torch.linalg.det(bordered) / (2**dimension * math.factorial(dimension) ** 2)
    return square.log() / 2


def points_of(count, size, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_volume_is_that_of_cayley_and_menger(count, dtype):
    points = points_of(count, 50, dtype=dtype)
    expected = float(cayley_menger([point.double() for point in points]))
    assert log_volume(gram([points])) == pytest.approx(expected, rel=1e-10)


def test_a_right_angled_simplex_has_the_volume_everyone_knows():
    corner = [torch.zeros(5, dtype=torch.float64), *(3 * torch.eye(5, dtype=torch.float64)[:3])]
    assert log_volume(gram([corner])) == pytest.approx(math.log(3**3 / 6), rel=1e-12)


def test_coordinates_may_come_in_parts_of_several_types():
    points = points_of(4, 30, dtype=torch.float32)
    parts = [[p[:7] for p in points], [p[7:].double() for p in points]]
    assert log_volume(gram(parts)) == pytest.approx(log_volume(gram([points])), rel=1e-12)


def test_millions_of_coordinates_far_from_the_origin():
    generator = torch.Generator().manual_seed(0)
    size = 2_000_000  # of several chunks, the last of which is not whole
    base = torch.randn(size, generator=generator) + 100
    points = [base]
    for axis, length in enumerate((5.0, 0.25, 64.0)):
        point = base.clone()
        point[axis * 700_000] += length
        points.append(point)
    steps = [float(p.double()[i * 700_000] - base.double()[i * 700_000]) for i, p in enumerate(points[1:])]
    assert log_volume(gram([points])) == pytest.approx(math.log(math.prod(steps) / 6), rel=1e-12)


def test_a_short_edge_beside_long_ones_is_no_flat_simplex():
    points = [torch.zeros(3, dtype=torch.float64), *torch.diag(torch.tensor([1e8, 1.0, 1e-6], dtype=torch.float64))]
    assert log_volume(gram([points])) == pytest.approx(math.log(1e8 * 1e-6 / 6), rel=1e-10)


def test_flat_simplices_have_no_volume():
    a, b = points_of(2, 1000)
    assert log_volume(gram([[a, b, a]])) == -math.inf
    assert log_volume(gram([[a, b, (a + b) / 2]])) == -math.inf
    assert log_volume(gram([[a, a + 1e-3 * b, b]])) > -math.inf


def test_logarithms_are_added():
    assert log_sum([math.log(2), math.log(3)]) == pytest.approx(math.log(5), rel=1e-14)
    assert log_sum([-5000.0, -5000.0]) == pytest.approx(math.log(2) - 5000, rel=1e-14)
    assert log_sum([-math.inf, 1.5]) == 1.5
    assert log_sum([-math.inf, -math.inf]) == -math.inf


@pytest.mark.parametrize("modes", [1, 2, 3])
@pytest.mark.parametrize("connectors", [1, 2, 4])
def test_growth_is_the_gradient_of_the_volume_of_all_simplices(modes, connectors):
    points = points_of(connectors + modes, 20, seed=3)
    shared = range(connectors - 1)
    found = growth(gram([points]), [[*shared, connectors - 1 + mode] for mode in range(modes)])
    edges = torch.stack([point - points[0] for point in points[1:]])
    leaves = [point.clone().requires_grad_() for point in points]
    logarithms = [cayley_menger([*leaves[:connectors], leaves[connectors + mode]]) for mode in range(modes)]
    expected = torch.autograd.grad(torch.stack(logarithms).logsumexp(0), leaves)
    torch.testing.assert_close(found @ edges, torch.stack(expected), rtol=1e-8, atol=1e-12)
