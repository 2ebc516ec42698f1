"""Weighted means and their intervals, against plain float64 sums and against how often intervals hold the truth."""

import math

import numpy as np
import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.intervals import half_width
from connectivity_hooks.evaluation.measurement import SampleScores, summarise
from connectivity_hooks.evaluation.weighted_means import COUNT, WEIGHT, moments
from connectivity_hooks.tasks import Terms

N = 37


def drawn(seed=0, low=0):
    generator = np.random.default_rng(seed)
    weights = generator.integers(low, 9, N).astype(float)
    return generator.normal(2, 1, (3, N)) * weights, weights


def of(sums, weights):
    found = moments(torch.tensor(sums), torch.tensor(weights))
    return found[: len(sums)].tolist(), found[len(sums) : -2].tolist(), float(found[WEIGHT]), float(found[COUNT])


@pytest.mark.parametrize("low", [0, 1])
def test_means_and_variances_agree_with_plain_sums(low):
    sums, weights = drawn(low=low)
    means, variances, weight, count = of(sums, weights)
    assert weight == weights.sum()
    assert count == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-14)
    for row, mean, variance in zip(sums, means, variances, strict=True):
        ratio = math.fsum(row) / math.fsum(weights)
        assert mean == pytest.approx(ratio, rel=1e-14)
        squares = math.fsum(
            (s - ratio * w) ** 2 / (1 - w / weights.sum()) for s, w in zip(row, weights, strict=True) if w
        )
        assert variance / count == pytest.approx(squares / weights.sum() ** 2, rel=1e-13)


@pytest.mark.parametrize("weight", [1.0, 3.0, 784.0, 0.1])
def test_equal_weights_give_means_and_variances_over_samples(weight):
    values = torch.randn(4, 1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = moments(values * weight, torch.full((1000,), weight, dtype=torch.float64))
    exact = {"rtol": 1e-15 if weight == 1 else 1e-12, "atol": 0}
    torch.testing.assert_close(found[:4], values.mean(1), **exact)
    torch.testing.assert_close(found[4:8], values.var(1), rtol=1e-14, atol=0)
    assert found[COUNT] == 1000
    assert weight != 1 or torch.equal(found[:4], values.mean(1))


def test_the_jackknife_finds_nearly_the_same():
    sums, weights = drawn(low=1)
    _, variances, _, count = of(sums, weights)
    for row, variance in zip(sums, variances, strict=True):
        without = (row.sum() - row) / (weights.sum() - weights)
        jackknife = (N - 1) / N * ((without - without.mean()) ** 2).sum()
        assert variance / count == pytest.approx(jackknife, rel=0.1)


def test_the_bootstrap_over_samples_finds_nearly_the_same():
    sums, weights = drawn(low=1)
    _, variances, _, count = of(sums, weights)
    chosen = np.random.default_rng(1).integers(0, N, (4000, N))
    means = sums[:, chosen].sum(2) / weights[chosen].sum(1)
    for spread, variance in zip(means.std(1), variances, strict=True):
        assert math.sqrt(variance / count) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("lengths", ["even", "uneven", "mostly empty"])
def test_nineteen_of_twenty_intervals_hold_the_truth(lengths):
    """Sequences of unequal length whose tokens share much of what is random; tokens taken singly claim too much."""
    generator = np.random.default_rng(3)
    count, runs = 60, 1500
    drawn = {
        "even": generator.integers(1, 21, (runs, count)),
        "uneven": np.minimum(np.ceil(generator.lognormal(1, 1.2, (runs, count))), 200),
        "mostly empty": generator.integers(1, 21, (runs, count)) * (generator.random((runs, count)) < 0.3),
    }
    weights = drawn[lengths].astype(float)
    own = generator.normal(0, 1, (runs, count)) + generator.normal(0, 1, (runs, count)) / np.sqrt(weights.clip(1))
    sums = weights * (5 + own)
    held, naive = 0, 0
    for row, weight in zip(sums, weights, strict=True):
        (mean,), (variance,), total, effective = of(row[None], weight)
        held += abs(mean - 5) <= half_width(mean, variance, round(effective))
        naive += abs(mean - 5) <= 1.96 * math.sqrt(2 / total)
    assert 0.93 <= held / runs <= 0.98
    assert naive / runs < 0.8


def test_of_one_sample_that_holds_the_weight_nothing_is_known():
    for weights in ([3.0, 0.0, 0.0], [3000.0, 1.0, 1.0]):
        (mean,), (variance,), _, count = of([[2 * weights[0], 0.0, 0.0]], weights)
        assert mean == pytest.approx(2, rel=1e-3)
        assert half_width(mean, variance, round(count)) == math.inf


def scores(losses, weights, errors=None):
    weights = torch.tensor(weights)
    return SampleScores(Terms(torch.tensor(losses), weights), None if errors is None else Terms(errors, weights))


def test_every_figure_is_paired_by_sample():
    generator = np.random.default_rng(5)
    weights = generator.integers(1, 9, N).astype(float)
    here, a, b = (generator.normal(2, 1, N) * weights for _ in range(3))
    wrong = [torch.tensor(generator.binomial(weights.astype(int), p), dtype=torch.float32) for p in (0.3, 0.1, 0.2)]
    ends = scores(a, weights, wrong[1]), scores(b, weights, wrong[2])
    found = summarise(0.25, "train", scores(here, weights, wrong[0]), ends, "forward")
    worse = a if a.sum() > b.sum() else b
    expected = {
        "loss": here,
        "excess": here - (0.75 * a + 0.25 * b),
        "rise": here - (a + b) / 2,
        "climb": here - worse,
        "error": wrong[0].double().numpy(),
        "error_climb": (wrong[0] - wrong[2]).double().numpy(),
        "error_rise": (wrong[0] - (wrong[1] + wrong[2]) / 2).double().numpy(),
    }
    count = weights.sum() ** 2 / (weights**2).sum()
    for name, sums in expected.items():
        mean = sums.sum() / weights.sum()
        assert getattr(found, name) == pytest.approx(mean, rel=1e-12)
        squares = ((sums - mean * weights) ** 2 / (1 - weights / weights.sum())).sum() / weights.sum() ** 2
        shares = [abs(s) / w for s, w in zip(sums, weights, strict=True) if s]
        squared = (1 + len(shares) * max(shares, default=0) ** 2) / (len(shares) + 1)
        step = math.sqrt(squared) if "error" in name else 0.0
        half = half_width(mean, squares * count, round(count), step)
        assert getattr(found, f"{name}_interval") == pytest.approx(half, rel=1e-12)


def test_weights_that_change_along_the_path_are_refused():
    end, other = scores([1.0, 2.0], [1.0, 1.0]), scores([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InputError, match="test: loss own: its weights change with the outputs"):
        summarise(0.5, "test", other, (end, end), "forward", "own")


def test_a_split_that_weighs_nothing_is_refused():
    nothing = scores([0.0, 0.0], [0.0, 0.0])
    with pytest.raises(InputError, match="train: loss own: no target counts"):
        summarise(0.5, "train", nothing, (nothing, nothing), "forward", "own")


def of_errors(wrong, each):
    """Return the measurement of errors (N,) of samples that hold `each` predictions, with ends that have none."""
    weights = torch.full((len(wrong),), float(each))
    ends = Terms(torch.zeros(len(wrong)), weights)
    losses = Terms(torch.zeros(len(wrong)), torch.ones(len(wrong)))
    scores = SampleScores(losses, Terms(torch.tensor(wrong, dtype=torch.float32), weights))
    return summarise(0.5, "train", scores, (SampleScores(losses, ends),) * 2, "forward")


DRAWS = {
    "whole sequences": (lambda g, n, t: (g.random(n) < 0.01) * t, 0.01, 50, 20),
    "whole sequences of many": (lambda g, n, t: (g.random(n) < 0.01) * t, 0.01, 140, 20),
    "whole long sequences": (lambda g, n, t: (g.random(n) < 0.032) * t, 0.032, 30, 50),
    "half sequences": (lambda g, n, t: (g.random(n) < 0.02) * g.binomial(t, 0.5, n), 0.01, 50, 20),
    "single tokens": (lambda g, n, t: g.binomial(t, 0.01, n), 0.01, 50, 20),
}


@pytest.mark.parametrize("name", DRAWS)
def test_intervals_of_errors_hold_the_truth_where_tokens_are_wrong_together(name):
    draw, truth, count, tokens = DRAWS[name]
    generator = np.random.default_rng(0)
    points = [of_errors(draw(generator, count, tokens), tokens) for _ in range(400)]
    for value, half in (("error", "error_interval"), ("error_climb", "error_climb_interval")):
        held = [abs(getattr(point, value) - truth) <= getattr(point, half) for point in points]
        assert np.mean(held) >= 0.93


def test_two_long_sequences_without_an_error_say_little():
    assert of_errors(np.zeros(2), 500).error_interval > 0.5
    assert of_errors(np.zeros(2), 500).error_interval == of_errors(np.zeros(2), 1).error_interval


def test_tokens_that_are_wrong_alone_in_many_sequences_make_narrow_intervals():
    generator = np.random.default_rng(1)
    assert of_errors(generator.binomial(500, 0.1, 100), 500).error_interval < 0.01


@pytest.mark.parametrize("wrong", [0, 3])
def test_errors_of_one_prediction_each_are_thought_in_as_ever(wrong):
    values = np.r_[np.ones(wrong), np.zeros(40 - wrong)]
    assert of_errors(values, 1).error_interval == half_width(values.mean(), values.var(ddof=1), 40, 1.0)
