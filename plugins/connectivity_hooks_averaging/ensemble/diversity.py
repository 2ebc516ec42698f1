"""Predictions of several networks averaged, and how unlike each other they are; held are sums, no list of them."""

from __future__ import annotations

import torch
from torch import Tensor


class Pool:
    """The mean of the probabilities of k networks for M predictions, and what their differences add up to.

    Kept are ln Σ p, Σ ln p, (M, C), Σ_c p ln p, (M,), and the class that each chose; so k networks take what two do.
    """

    def __init__(self) -> None:
        self._count = 0
        self._chosen: list[Tensor] = []
        self._total = self._logs = self._inner = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """Take the log-probabilities (M, C) of one more network."""
        inner = (rows.exp() * rows).sum(1)
        if self._count:
            self._total = torch.logaddexp(self._total, rows)
            self._logs = self._logs + rows
            self._inner = self._inner + inner
        else:
            self._total, self._logs, self._inner = rows, rows, inner
        self._chosen.append(rows.argmax(1))
        self._count += 1

    def pooled(self) -> Tensor:
        """Return ln of the mean probabilities (M, C)."""
        return self._total - torch.tensor(float(self._count), dtype=torch.float64).log().to(self._total)

    def diversity(self) -> Tensor:
        """Return (2,): sums over the predictions of the disagreement and of the mean KL divergence between two of k.

        Disagreement is the share of pairs that choose other classes. Σ_{i≠j} KL(p_i‖p_j) is, with one pass over the
        networks, k Σ_i Σ_c p_i ln p_i - Σ_c (Σ_i p_i)(Σ_j ln p_j).
        """
        k = self._count
        votes = torch.zeros_like(self._total)
        one = votes.new_ones(len(votes), 1)
        for chosen in self._chosen:
            votes.scatter_add_(1, chosen[:, None], one)
        pairs = k * (k - 1)
        alike = (votes * (votes - 1)).sum(1) / pairs
        apart = (k * self._inner - (self._total.exp() * self._logs).sum(1)) / pairs
        return torch.stack([(1 - alike).sum(), apart.clamp_min(0).sum()]).cpu()

    @staticmethod
    def figures(sums: Tensor, count: float) -> dict[str, float]:
        """Return the means of what `diversity` summed up."""
        disagreement, divergence = (sums / count).tolist()
        return {"disagreement": disagreement, "kl": divergence}


class MeanPool:
    """The mean of the outputs of k networks, and their variance about it: mse of the mean is the mean mse less that."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """Take the outputs (M, 1) of one more network."""
        self._count += 1
        if self._count == 1:
            self._mean, self._squares = rows, torch.zeros_like(rows)
            return
        gap = rows - self._mean  # Welford's sums
        self._mean = self._mean + gap / self._count
        self._squares = self._squares + gap * (rows - self._mean)

    def pooled(self) -> Tensor:
        """Return the mean outputs (M, 1)."""
        return self._mean

    def diversity(self) -> Tensor:
        """Return (1,): the sum of the variances."""
        return (self._squares / self._count).sum()[None].cpu()

    @staticmethod
    def figures(sums: Tensor, count: float) -> dict[str, float]:
        """Return the mean of what `diversity` summed up."""
        return {"variance": float(sums[0]) / count}
