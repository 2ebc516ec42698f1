"""Cross-entropy of many regressions on one set of labels, accurate for losses far below float32's epsilon."""

from __future__ import annotations

import torch
from torch import Tensor

_TRIALS = 12
"""Lengths tried: Newton's method needs few of them, and twelve halvings of a bracket leave 1/4096 of it."""

_DECREASE = 1e-4
"""Share of the first slope that a step must gain: the usual constant c₁ of Wolfe's conditions."""

_CURVATURE = 0.3
"""Share of the first slope that may be left: below the usual 0.9, since a trial costs no product with the features."""


class Likelihood:
    """The loss of logits (N, D, C) for labels (N,), draw by draw.

    Args:
        labels: (N,) int64.
        classes: C.
        draws: D.
    """

    def __init__(self, labels: Tensor, classes: int, draws: int) -> None:
        self._own = torch.nn.functional.one_hot(labels, classes).bool()[:, None, :]
        self._index = labels[:, None, None].expand(-1, draws, 1)

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses (D,) in float64 and residuals, softmax - one-hot, (N, D, C)."""
        top, others, shifted = self._parts(logits)
        total = others + torch.exp(-top)
        residuals = shifted / total[..., None]
        residuals.scatter_(2, self._index, (-others / total)[..., None])
        return self._losses(top, others).mean(0, dtype=torch.float64), residuals

    def line_search(self, logits: Tensor, along: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
        """Return for each draw a step along a direction's logits that meets the Wolfe conditions; 0 if none is found.

        The loss is convex along the line: Newton's method on its derivative, kept inside a bracket.

        Args:
            logits: (N, D, C) at a = 0.
            along: (N, D, C) change for a = 1.
            slope: (D,) derivative of the ridge term at a = 0.
            bend: (D,) half its second derivative.
        """
        start, first, _ = self._along(logits, along, torch.zeros_like(slope), slope, bend)
        low, high = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
        length, best = torch.ones_like(slope), torch.zeros_like(slope)
        open_ = first < 0
        for _ in range(_TRIALS):
            value, derivative, second = self._along(logits, along, length, slope, bend)
            lower = value <= start + _DECREASE * length * first
            best = torch.where(open_ & lower, length, best)
            open_ = open_ & ~(lower & (derivative.abs() <= _CURVATURE * first.abs()))
            if not bool(open_.any()):
                break
            rising = (derivative > 0) | ~lower
            high = torch.where(open_ & rising, torch.minimum(high, length), high)
            low = torch.where(open_ & ~rising, torch.maximum(low, length), low)
            length = torch.where(open_, _inside(length - derivative / second, low, high), length)
        return best

    def errors_and_margin(self, logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return errors (D,) and smallest geometric margin (D,) for weights (D, C, n) on standardised features."""
        gaps = logits.gather(2, self._index) - logits
        rivals = gaps.masked_fill(self._own, torch.inf)
        distances = torch.cdist(weights.double(), weights.double()).clamp_min(1e-300)
        own = distances[:, self._index[:, 0, 0]].permute(1, 0, 2)
        margin = (rivals.double() / own).amin((0, 2))
        return (rivals.amin(2) <= 0).sum(0), margin

    def _parts(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return max(0, largest rival gap), the rivals' exponentials in sum, and each, all relative to that maximum."""
        gaps = logits - logits.gather(2, self._index)
        top = gaps.amax(2).clamp_min(0)
        shifted = torch.exp(gaps - top[..., None]).masked_fill_(self._own, 0)
        return top, shifted.sum(2), shifted

    def _losses(self, top: Tensor, others: Tensor) -> Tensor:
        # log1p keeps losses of 1e-9 that a softmax in float32 would round to zero.
        return torch.where(top > 0, top + torch.log(others + torch.exp(-top)), torch.log1p(others))

    def _along(
        self, logits: Tensor, along: Tensor, length: Tensor, slope: Tensor, bend: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return value, derivative and second derivative of the objective at `length`, each (D,)."""
        top, others, shifted = self._parts(torch.addcmul(logits, along, length.to(logits)[None, :, None]))
        total = others + torch.exp(-top)
        relative = along - along.gather(2, self._index)
        chances = shifted / total[..., None]
        mean = (chances * relative).sum(2)
        spread = (chances * relative.square()).sum(2) - mean.square()
        value = self._losses(top, others).mean(0, dtype=torch.float64) + length * slope + length.square() * bend
        derivative = mean.mean(0, dtype=torch.float64) + slope + 2 * length * bend
        return value, derivative, spread.mean(0, dtype=torch.float64).clamp_min(1e-300) + 2 * bend


def _inside(guess: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the guess where it lies well inside the bracket, else a point that does.

    An open bracket grows four times at a go, ten times at most; a guess next to the upper end is moved a little inside,
    so that the bracket shrinks.
    """
    bounded = torch.isfinite(high)
    middle = torch.where(bounded, (low + high) / 2, 4 * low.clamp_min(0.25))
    ceiling = torch.where(bounded, low + 0.95 * (high - low), 10 * low.clamp_min(1.0))
    good = torch.isfinite(guess) & (guess > low) & (guess < torch.where(bounded, high, torch.inf))
    return torch.where(good, torch.minimum(guess, ceiling), middle)
