"""Predictions of classes: their log-probabilities, how right and how sure they are, and how far both are apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.tasks import IGNORED, Loss

BINS = 15
"""Equal-width bins of the confidence, those of Guo et al. 2017."""


def log_probabilities(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (M, C) of everything that counts, in float64, and what is right.

    M counts tokens or pixels where a sample has several labels; what is ignored is left out. Under ``bce`` every output
    is a prediction of its own, of two classes.

    Args:
        loss: ``cross-entropy`` or ``bce``, settled on how targets are read.
        outputs: (N, …).
        targets: (N, …).

    Returns:
        The log-probabilities, and labels (M,) or probabilities (M, C).
    """
    loss.check(outputs, targets)
    assert loss.fit is not None
    found, wanted = loss.fit(outputs.double(), targets)
    if loss.name == "bce":
        logits = torch.stack([torch.zeros_like(found), found], -1).reshape(-1, 2)
        right = wanted.double()
        return F.log_softmax(logits, 1), torch.stack([1 - right, right], -1).reshape(-1, 2)
    rows = F.log_softmax(found, 1).movedim(1, -1).reshape(-1, found.shape[1])
    if wanted.is_floating_point():
        return rows, wanted.double().movedim(1, -1).reshape(-1, wanted.shape[1])
    labels = wanted.reshape(-1)
    return rows[labels != IGNORED], labels[labels != IGNORED]


@dataclass
class Tally:
    """Sums over predictions: how many, how many right, their log-likelihood, and the bins of the confidence.

    Attributes:
        temperature: What log-probabilities are divided by before they are counted; None counts nothing.
        sums: Predictions, right ones, log-likelihood in nats.
        bins: (15, 3): predictions, the sum of their confidence, right ones; bin m is ((m-1)/15, m/15].
    """

    temperature: float | None = 1.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    bins: Tensor = field(default_factory=lambda: torch.zeros(BINS, 3, dtype=torch.float64))

    def add(self, rows: Tensor, wanted: Tensor) -> None:
        """Count predictions.

        Args:
            rows: Log-probabilities (M, C).
            wanted: Labels (M,) or probabilities (M, C), of which the largest is what is right.
        """
        if self.temperature is None:
            return
        tempered = rows if self.temperature == 1 else F.log_softmax(rows / self.temperature, 1)
        surest, chosen = tempered.max(1)
        label = wanted.argmax(1) if wanted.is_floating_point() else wanted
        right = (chosen == label).double()
        each = (tempered * wanted).sum(1) if wanted.is_floating_point() else tempered.gather(1, wanted[:, None])[:, 0]
        self.sums += torch.stack([right.new_tensor(len(rows)), right.sum(), each.sum()]).cpu()
        sure = surest.exp().clamp_max(1.0)  # rounding
        where = ((sure * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        values = torch.stack([torch.ones_like(sure), sure, right], 1)
        self.bins += torch.zeros(BINS, 3, dtype=torch.float64, device=sure.device).index_add(0, where, values).cpu()

    def figures(self) -> dict[str, Any]:
        """Return accuracy, log-likelihood a prediction, ECE = Σ_m n_m/n |right_m - sure_m|, and the bins."""
        if self.temperature is None:
            return {"accuracy": None, "log_likelihood": None, "ece": None, "bins": []}
        count, right, likelihood = self.sums.tolist()
        gaps = (self.bins[:, 2] - self.bins[:, 1]).abs().sum()
        return {
            "accuracy": right / count,
            "log_likelihood": likelihood / count,
            "ece": float(gaps) / count,
            "bins": [
                {"count": round(n), "confidence": sure / n if n else None, "accuracy": hits / n if n else None}
                for n, sure, hits in self.bins.tolist()
            ],
        }
