"""Factors of single neurons, against scipy's minimisation on a grid of starts."""

import numpy as np
import pytest
import torch
from matched_networks import network, random_end
from scipy.optimize import minimize_scalar

from connectivity_hooks.structure import moved
from connectivity_hooks_alignment.matching.by_weights.ends import squared_distance, working
from connectivity_hooks_alignment.matching.by_weights.factors import LARGEST, nearest_factors, refined


def value(d, written, writers, read, readers):
    return d**2 * writers - 2 * d * written + readers / d**2 - 2 * read / d


def of_log(u, *terms):
    return value(np.exp(u), *terms)


def drawn(count=200):
    generator = torch.Generator().manual_seed(0)
    a, b, r, s = (torch.randn(count, 3, generator=generator, dtype=torch.float64) for _ in range(4))
    return (a * b).sum(1), b.square().sum(1), (r * s).sum(1), s.square().sum(1)


def test_no_factor_is_nearer():
    sums = drawn()
    found = nearest_factors(*sums).numpy()
    for d, *terms in zip(found, *(each.numpy() for each in sums), strict=True):
        assert 1 / LARGEST <= d <= LARGEST
        starts = np.linspace(-4, 4, 9)
        tries = [minimize_scalar(of_log, bounds=(u - 1, u + 1), method="bounded", args=tuple(terms)) for u in starts]
        assert value(d, *terms) <= min(one.fun for one in tries) + 1e-7


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ((6.0, 2.0, 0.0, 0.0), 3.0),  # nothing reads it: a·b / |b|²
        ((0.0, 0.0, 6.0, 2.0), 1 / 3),  # nothing writes it
        ((-6.0, 2.0, 0.0, 0.0), 1.0),  # no positive factor is nearest
        ((0.0, 0.0, 0.0, 0.0), 1.0),
        ((4.0, 4.0, 9.0, 9.0), 1.0),  # equal already
    ],
)
def test_neurons_that_are_half_dead(sums, expected):
    assert float(nearest_factors(*(torch.tensor([each], dtype=torch.float64) for each in sums))) == pytest.approx(
        expected
    )


def test_elements_are_those_that_move_the_copy_and_the_distance_falls():
    model, _, symmetries = network("residual with batch norm")
    a, b = (working(symmetries, random_end(model, symmetries, seed)) for seed in (1, 2))
    now = dict(b)
    elements = refined(symmetries, a, now, {})
    again = moved(symmetries, b, elements)
    for name in now:
        torch.testing.assert_close(again[name], now[name])
    assert squared_distance(a, now) < squared_distance(a, b)
