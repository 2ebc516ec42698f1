"""Means and deviations of channels, against numpy in float64, and the maps that give channels others."""

import numpy as np
import pytest
import torch

from connectivity_hooks_corrections.moments import Moments, Statistics, matching


def values(count, channels=3):
    generator = torch.Generator().manual_seed(count)
    return 1e4 + torch.randn(count, channels, generator=generator)


@pytest.mark.parametrize("parts", [(100,), (1, 99), (0, 3, 97), (50, 50, 0), (1, 1)])
def test_parts_of_any_size_give_the_statistics_of_the_whole(parts):
    x, found, other = values(sum(parts)), Moments(), Moments()
    for number, part in enumerate(x.split(parts)):
        (found if number % 2 else other).add(part)
    found.add_all(other)
    found.add_all(Moments())
    wide = x.double().numpy()
    assert found.count == len(x)
    np.testing.assert_allclose(found.statistics().mean, wide.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.statistics().std, wide.std(0), rtol=1e-10)


def test_nothing_has_no_statistics():
    found = Moments()
    found.add(torch.zeros(0, 3))
    assert found.statistics() is None


def statistics(mean, std):
    return Statistics(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))


def test_maps_give_the_target_and_leave_alone_what_has_no_deviation_or_no_number():
    found = statistics([1.0, 2.0, -3.0, 1e30, 5.0], [2.0, 0.0, 1e-9, float("inf"), 4.0])
    target = statistics([0.5, 7.0, 1.0, 1.0, 2.0], [1.0, 3.0, 2.0, 1.0, 0.0])
    factor, shift = matching(found, target, torch.float32)
    assert factor.tolist() == [0.5, 1.0, 1.0, 0.0, 0.0]
    assert shift.tolist() == [0.0, 5.0, 4.0, 1.0, 2.0]
    factor, shift = matching(found, target, torch.float64)  # there 1e-9 is a deviation
    assert factor[2].item() == pytest.approx(2e9)
    factor, shift = matching(
        statistics([float("nan"), 1.0], [1.0, 1.0]), statistics([1.0, float("inf")], [2.0, 1.0]), torch.float32
    )
    assert (factor.tolist(), shift.tolist()) == ([1.0, 1.0], [0.0, 0.0])


@pytest.mark.parametrize(("dtype", "constant"), [(torch.bfloat16, 0.007), (torch.float16, 9e-4), (torch.float32, 1e-5)])
def test_what_rounding_explains_is_no_deviation(dtype, constant):
    for std, expected in ((constant, 1.0), (2 * constant, 1 / (2 * constant))):
        factor, _ = matching(statistics([1.0], [std]), statistics([0.0], [1.0]), dtype)
        assert factor.item() == pytest.approx(expected)
