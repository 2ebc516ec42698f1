"""What guessing scores: the best answer that is the same for every sample, as a scale for losses and errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.tasks.loss import IGNORED, Loss
from connectivity_hooks.tasks.split import Split


@dataclass(frozen=True)
class Guess:
    """Scores of the best constant answer to a split's targets, which reads no input.

    Attributes:
        loss: Its mean loss: of the classes' frequencies for cross-entropy and bce (their entropy), of the mean or the
            median of each output otherwise (for mse the variance of the targets).
        error: Fraction wrong when the most frequent class is always answered; None where the loss has no errors.
    """

    loss: float
    error: float | None

    @property
    def is_perfect(self) -> bool:
        """Whether all targets are the same, so that nothing can be better than a constant answer."""
        return self.loss <= 0 and not self.error


# Values of targets in float64 at once, 128 MiB; more are thinned out evenly, since a scale needs no more digits.
_MOST = 2**24


def guess(loss: Loss, split: Split) -> Guess | None:
    """Return what guessing scores on a split; None where no best answer is known: for a loss of the user's own."""
    targets = split.targets()
    found = _score(loss, targets if loss.reading is None else loss.reading.labels(targets))
    return found if found is not None and math.isfinite(found.loss) else None


def _score(loss: Loss, targets: Tensor) -> Guess | None:
    if loss.name == "cross-entropy" and not targets.is_floating_point():
        return _of_labels(targets)
    targets = targets[:: max(1, -(-targets.numel() // _MOST))]
    if loss.name == "cross-entropy":
        return _of_probabilities(targets.double())
    if loss.name == "bce":
        return _of_switches(targets.double())
    return _of_values(loss, targets.double()) if loss.name in ("mse", "l1", "huber") else None


def _of_labels(targets: Tensor) -> Guess | None:
    """Score class frequencies on labels (N, …), those that the loss ignores left out; None where none is left."""
    labels = targets.flatten().long()
    counts = torch.bincount(labels[labels != IGNORED]).double()
    if not len(counts):
        return None
    shares = counts / counts.sum()
    return Guess(float(torch.special.entr(shares).sum()), float(1 - shares.max()))


def _of_probabilities(targets: Tensor) -> Guess:
    """Score the mean probabilities on targets (N, C, …), brought to the sum 1 where they are weights of another sum."""
    classes = targets.movedim(1, -1).flatten(0, -2)
    counts = torch.bincount(classes.argmax(1), minlength=classes.shape[1])
    weights = classes.mean(0)
    total = weights.sum()
    loss = torch.special.entr(weights).sum() + torch.special.xlogy(total, total)  # Σ w·log(total / w)
    return Guess(float(loss), float(1 - counts.max() / len(classes)))


def _of_switches(targets: Tensor) -> Guess:
    """Score the frequency of each output's 1 on targets (N, …) in [0, 1]."""
    share, on = targets.mean(0), (targets > 0.5).double().mean(0)
    entropy = torch.special.entr(share) + torch.special.entr(1 - share)
    return Guess(float(entropy.mean()), float(torch.minimum(on, 1 - on).mean()))


def _of_values(loss: Loss, targets: Tensor) -> Guess:
    """Score the mean, or the median where that is better, of each output on targets (N, …)."""
    constants = (targets.mean(0), targets.median(0).values)
    return Guess(min(float(loss(constant.expand_as(targets), targets)) for constant in constants), None)
