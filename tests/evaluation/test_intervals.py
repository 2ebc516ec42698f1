"""Intervals against scipy, and against how often they hold what they promise."""

import math

import pytest
import scipy.stats
import torch

from connectivity_hooks.evaluation.intervals import half_width, student_95, widening


@pytest.mark.parametrize("degrees", [*range(1, 10), 30, 100, 10_000])
def test_students_quantile(degrees):
    assert student_95(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-3)


def test_the_widening_is_bonferronis():
    for count in (1, 2, 33, 1000):
        assert widening(count) * 1.959963984540054 == pytest.approx(scipy.stats.norm.isf(0.025 / count), rel=1e-9)


def test_of_one_sample_nothing_is_known():
    assert half_width(0.3, 0.0, 1) == half_width(0.3, 0.0, 1, step=1.0) == math.inf
    assert half_width(math.inf, math.nan, 9) == math.inf


def test_errors_that_never_change_leave_room_for_those_that_may():
    assert half_width(0.0, 0.0, 40) == 0
    assert half_width(0.0, 0.0, 40, step=1.0) == pytest.approx(2.8 / 42, rel=0.05)
    assert half_width(0.0, 0.0, 40, step=0.01) == pytest.approx(0.028 / 42, rel=0.05)


@pytest.mark.parametrize(("count", "better", "worse"), [(40, 0.02, 0.05), (100, 0.0, 0.02), (400, 0.0, 0.01)])
def test_nineteen_of_twenty_intervals_of_paired_errors_hold_the_truth(count, better, worse):
    """Where few samples change, 1.96·s/√N often holds nothing but 0; with two more samples it does what it says."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(4000, count, generator=generator)
    changes = (drawn < worse).double() - (drawn > 1 - better).double()
    means, variances = changes.mean(1).tolist(), changes.var(1).tolist()
    truth = worse - better

    def held(step):
        pairs = zip(means, variances, strict=True)
        return sum(abs(mean - truth) <= half_width(mean, var, count, step) for mean, var in pairs) / len(means)

    assert held(1.0) >= 0.94
    assert held(0.0) < 0.92
