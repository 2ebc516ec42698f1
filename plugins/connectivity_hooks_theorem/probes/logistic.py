"""Multinomial logistic regression on random subsets of features, all draws at once.

Minimises mean_i log(1 + Σ_{j≠y_i} exp(z_ij - z_iy_i)) + ridge·‖W‖² with z = W x + b on standardised features, by L-BFGS
over the full batch. Logits are linear in the weights, so a line search costs no matrix product: an iteration is one
product forward (the direction's logits) and one backward (the gradient), for all draws together; subsets are zeros in
the weights, never copies of the features. The inverse second moment of the features is the metric of the first step and
of L-BFGS's initial matrix: up to a factor it bounds the Hessian (Böhning 1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks_theorem.probes.descent import Direction
from connectivity_hooks_theorem.probes.least_squares import CHUNK
from connectivity_hooks_theorem.probes.softmax import Likelihood

TOLERANCE = 1e-5
"""Relative gain promised by a step below which a fit is done: five digits of the loss."""

ITERATIONS = 300
"""Iterations of a fit at most: a guard where the optimum lies at infinity and no target ends the fit."""

_WIDEST_METRIC = 2048
"""Widest features whose second moment is factored: n³/3 operations in float64, a second of a core, and 32 MB."""

_METRIC_RIDGE = 1e-4
"""Of a standardised feature's variance, so that dependent features leave the second moment invertible in float32."""

_DEAD = 1e-6
"""Spread of a feature relative to its mean below which it is rounding of float32, and left out."""


@dataclass(frozen=True)
class LogisticFit:
    """D separate regressions on raw features: logits = x[subset] @ weightᵀ + bias.

    Attributes:
        weight: (D, C, k), in the order of the subset.
        bias: (D, C).
        loss: (D,) mean cross-entropy without the ridge, float64.
        errors: (D,) samples predicted wrongly, int64; a tie counts as wrong.
        margin: (D,) smallest distance of a sample to a decision boundary, min_{i, j≠y} (z_iy - z_ij)/‖w_y - w_j‖ with w
            on standardised features; negative when a sample lies on the wrong side.
        iterations: Iterations made.
    """

    weight: Tensor
    bias: Tensor
    loss: Tensor
    errors: Tensor
    margin: Tensor
    iterations: int


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    subsets: Tensor,
    *,
    classes: int | None = None,
    ridge: float = 0.0,
    loss_target: float = 0.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = ITERATIONS,
    intercept: bool = True,
    start: tuple[Tensor, Tensor | None] | None = None,
    overwrite: bool = False,
) -> LogisticFit:
    """Fit one regression for each subset of features.

    Time: 4·N·n·D·C floating-point operations an iteration; memory: the standardised features, a copy unless
    `overwrite`, and about 10·N·D·C floats.

    Args:
        features: (N, n), finite.
        labels: (N,) int64 in [0, C).
        subsets: (D, k) columns of the features, none twice in a row.
        classes: C; None takes the largest label.
        ridge: Weight of ‖W‖² on standardised features.
        loss_target: A draw is done when its loss is at most this.
        tolerance: A draw is done when the next step promises to lower its loss by no more than this fraction.
        max_iterations: Iterations at most.
        intercept: Whether the regressions have a bias; without one features are scaled, not centred.
        start: Weights (D, C, k) and biases (D, C) or None to begin with, as in `LogisticFit`; None begins at zero.
        overwrite: Standardise the features in place.
    """
    count = int(labels.max()) + 1 if classes is None else classes
    standard = _Standard(features, subsets, intercept, overwrite)
    likelihood = Likelihood(labels, count, len(subsets))
    x = standard.begin(count, start)
    logits = standard.logits(x)
    direction = Direction(standard.metric(ridge))
    losses, gradient = _objective(likelihood, logits, standard, x, ridge)
    iterations = 0
    while iterations < max_iterations:
        step = direction(gradient)
        promised = -(gradient * step).sum((1, 2)) / 2
        active = (losses > loss_target) & (promised > tolerance * losses)
        if not bool(active.any()):
            break
        step *= active[:, None, None]
        along = standard.logits(step)
        length = likelihood.line_search(logits, along, *_ridge_line(x, step, ridge)).to(x)
        moved = step * length[:, None, None]
        x, logits = x + moved, logits.addcmul_(along, length[None, :, None])
        losses, new = _objective(likelihood, logits, standard, x, ridge)
        direction.remember(moved, new - gradient, active & (length > 0))
        gradient = new
        iterations += 1
        if not bool((length > 0).any()):
            break
    return _finish(standard, likelihood, x, iterations)


class _Standard:
    """Standardised features with a column of ones, and the products they enter."""

    def __init__(self, features: Tensor, subsets: Tensor, intercept: bool, overwrite: bool) -> None:
        self.intercept = intercept
        self.mean = _mean(features, 1) * intercept
        spread = features.var(0, correction=0).double().sqrt() if intercept else _mean(features, 2).sqrt()
        alive = spread > _DEAD * self.mean.abs().clamp_min(torch.finfo(features.dtype).tiny)
        self.scale = torch.where(alive, 1 / spread.clamp_min(1e-300), torch.zeros_like(spread))
        own = features if overwrite else features.clone()
        self.values = own.sub_(self.mean.to(own)).mul_(self.scale.to(own))
        self.subsets = subsets.to(features.device)
        self.mask = torch.zeros(len(subsets), features.shape[1], device=features.device)
        self.mask.scatter_(1, self.subsets, 1.0)

    def begin(self, classes: int, start: tuple[Tensor, Tensor | None] | None) -> Tensor:
        """Return standardised weights and biases (D, C, n+1): those of `start`, or zeros."""
        width = self.values.shape[1]
        x = torch.zeros(len(self.subsets), classes, width + 1, device=self.values.device)
        if start is None:
            return x
        weight, bias = start
        raw = torch.zeros(*x.shape[:2], width, dtype=torch.float64, device=x.device)
        raw.scatter_(2, self.subsets[:, None, :].expand(-1, classes, -1), weight.to(raw))
        x[..., :-1] = torch.where(self.scale > 0, raw / self.scale.clamp_min(1e-300), torch.zeros_like(raw))
        x[..., -1] = raw @ self.mean + (0 if bias is None else bias.to(raw))
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Return (N, D, C) for weights and biases (D, C, n+1)."""
        draws, classes, width = x.shape
        products = self.values @ x[..., :-1].reshape(draws * classes, width - 1).T
        return products.view(-1, draws, classes) + x[..., -1]

    def gradient(self, residuals: Tensor) -> Tensor:
        """Return the gradient (D, C, n+1) for residuals (N, D, C)."""
        samples, draws, classes = residuals.shape
        products = residuals.view(samples, draws * classes).T @ self.values
        weights = products.view(draws, classes, -1) * self.mask[:, None, :]
        biases = residuals.sum(0)[..., None] * self.intercept
        return torch.cat([weights, biases], dim=-1) / samples

    def metric(self, ridge: float) -> Tensor | None:
        """Return Cholesky factors (D, n+1, n+1) of the second moment of each subset, or None where it is too large."""
        width = self.values.shape[1]
        if width > _WIDEST_METRIC:
            return None
        moment = (self.values.T @ self.values).double() / len(self.values)
        eye = torch.eye(width, dtype=torch.float64, device=moment.device)
        mask = self.mask.double()
        moments = moment * mask[:, :, None] * mask[:, None, :] + eye * (1 - mask)[:, :, None]
        moments = 0.5 * moments + (_METRIC_RIDGE + 2 * ridge) * eye  # ½ bounds the Hessian of a softmax (Böhning)
        full = torch.eye(width + 1, dtype=torch.float64, device=moment.device).repeat(len(mask), 1, 1) * 0.5
        full[:, :-1, :-1] = moments
        factors: Tensor = torch.linalg.cholesky(full)
        return factors.float()


def _mean(features: Tensor, power: int) -> Tensor:
    """Return the mean of a power of each feature in float64, without a copy of all."""
    parts = (some.double().pow(power).sum(0) for some in features.split(CHUNK))
    return torch.stack(list(parts)).sum(0) / len(features)


def _objective(
    likelihood: Likelihood, logits: Tensor, standard: _Standard, x: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    losses, residuals = likelihood(logits)
    gradient = standard.gradient(residuals)
    gradient[..., :-1] += 2 * ridge * x[..., :-1]
    return losses, gradient


def _ridge_line(x: Tensor, step: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return first and half second derivative of ridge·‖W + a·dW‖² at a = 0, each (D,)."""
    weights, moved = x[..., :-1].double(), step[..., :-1].double()
    return 2 * ridge * (weights * moved).sum((1, 2)), ridge * moved.square().sum((1, 2))


def _finish(standard: _Standard, likelihood: Likelihood, x: Tensor, iterations: int) -> LogisticFit:
    logits = standard.logits(x)
    losses, _ = likelihood(logits)
    errors, margin = likelihood.errors_and_margin(logits, x[..., :-1])
    raw = x[..., :-1].double() * standard.scale
    bias = x[..., -1].double() - raw @ standard.mean
    subsets = standard.subsets[:, None, :].expand(-1, raw.shape[1], -1)
    return LogisticFit(raw.gather(2, subsets).float(), bias.float(), losses, errors, margin, iterations)
