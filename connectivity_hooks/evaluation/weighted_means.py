"""Weighted means over samples, with their sampling variance."""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT, COUNT = -2, -1
"""Where `moments` puts the weight of all samples and their effective number."""


def moments(sums: Tensor, weights: Tensor) -> Tensor:
    """Return means Σ sums / Σ weights of K figures over the same N samples, and what their intervals need.

    A sample is a cluster: tokens of one sequence are not drawn independently, sequences are. Linearised, the mean R
    errs by Σ (sum - R·weight) / Σ weights (Cochran 1977, Sampling Techniques, §6.4). A sample that holds the share h of
    all weight pulls R towards itself, so that its square is too small by the factor 1 - h; it is divided by that
    (MacKinnon and White 1985, Journal of Econometrics 29, HC2), which for equal weights is the familiar N/(N - 1). The
    effective number of samples is (Σ weights)² / Σ weights² (Kish 1965, Survey Sampling, §11.7): N for equal weights,
    and near 1 where one sample holds nearly all.

    Args:
        sums: (K, N), float64.
        weights: (N,), float64, ≥ 0.

    Returns:
        (2·K + 2,): K means; K variances times the effective number, which for equal weights are those of the samples
        with N - 1 below the line; the weight of all samples; their effective number. Not finite where no sample weighs
        anything, and variances where only one does.
    """
    scale = weights.max()  # of equal weights it leaves exact ones, and figures that are means over samples to the bit
    values, shares = sums / scale, weights / scale
    total = shares.sum()
    means = values.mean(1) / shares.mean()
    residuals = values - means[:, None] * shares
    count = total.square() / shares.square().sum()
    squares = (residuals.square() / (1 - shares / total)).sum(1) / total
    return torch.cat([means, squares * (count / total), torch.stack([weights.sum(), count])])
