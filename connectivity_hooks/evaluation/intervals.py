"""95 % confidence intervals of means over samples, honest where samples are few or nothing changed in any of them."""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL_95 = NormalDist().inv_cdf(0.975)

# Student's quantiles for 1 to 5 degrees of freedom, where the expansion below is not yet good to a thousandth.
_FEW = (12.7062047, 4.3026527, 3.1824463, 2.7764451, 2.5705818)


def half_width(mean: float, variance: float, count: int, step: float = 0.0) -> float:
    """Return the half-width of the 95 % interval of a mean, t·s/√N with Student's t.

    Where samples weigh differently, N is their effective number and the variance that of as many equal ones
    (`weighted_means`).

    Of a single sample nothing is known: infinite. For errors, whose variance is 0 where none of N samples changed, two
    more samples are thought in, one a step better and one a step worse (Bonett and Price 2012, Journal of Educational
    and Behavioral Statistics 37, for paired proportions): 0 of N then reads 0 ± 2.8/(N + 2), not 0 ± 0.

    Args:
        mean: Mean of the values.
        variance: Their variance, with N - 1 below the line.
        count: N.
        step: How much of a sample has to be reckoned to change at once, 1 where it is one prediction; 0 for losses,
            which have no such step.
    """
    if count < 2:
        return math.inf
    if step > 0:
        squares = variance * (count - 1) + count * mean**2 + 2 * step**2
        count += 2
        mean *= (count - 2) / count
        variance = squares / count - mean**2
    half = student_95(count - 1) * math.sqrt(max(variance, 0.0) / count)
    return math.inf if math.isnan(half) else half


def student_95(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t, to a thousandth (Cornish and Fisher's expansion in 1/degrees)."""
    if degrees <= len(_FEW):
        return _FEW[degrees - 1]
    z, d = NORMAL_95, degrees
    first = (z**3 + z) / (4 * d)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * d**3)
    return z + first + second + third


def widening(count: int) -> float:
    """Return by how much an interval grows that is to hold for the largest of `count` figures (Bonferroni)."""
    return NormalDist().inv_cdf(1 - 0.025 / max(count, 1)) / NORMAL_95
