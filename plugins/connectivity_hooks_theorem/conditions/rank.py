"""Ranks of features from their covariance, gathered batch by batch in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


class Covariance:
    """The covariance of features that pass in batches (Chan, Golub and LeVeque 1983).

    As long as there are fewer samples N than neurons n, the samples themselves are held: they are fewer numbers than
    the matrix, and their N×N products with one another have the same singular values. Time N·n·min(N, n), memory
    n·min(N, n) in float64, however many batches.
    """

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[Tensor] = []
        self._mean = torch.empty(0)
        self._scatter: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        """Take in a batch (rows, n)."""
        if not len(batch):
            return
        self.count += len(batch)
        if self._scatter is not None:
            self._join(batch.double(), self.count - len(batch))
            return
        self._rows.append(batch.double())
        if self.count >= batch.shape[1]:
            rows = torch.cat(self._rows)
            self._mean = rows.mean(0)
            centred = rows - self._mean
            self._scatter, self._rows = centred.T @ centred, []

    def _join(self, batch: Tensor, before: int) -> None:
        assert self._scatter is not None
        mean = batch.mean(0)
        centred, shift, rows = batch - mean, mean - self._mean, len(batch)
        self._scatter += centred.T @ centred + shift.outer(shift) * (before * rows / (before + rows))
        self._mean = self._mean + shift * (rows / (before + rows))

    @property
    def neurons(self) -> int:
        """n; 0 before the first batch."""
        return self._rows[0].shape[1] if self._rows else len(self._mean)

    @property
    def variances(self) -> Tensor:
        """The variance of each neuron (n,), with divisor N."""
        return self._centred().square().mean(0) if self._scatter is None else self._scatter.diagonal() / self.count

    @property
    def matrix(self) -> Tensor:
        """The covariance (n, n), with divisor N."""
        centred = self._centred()
        return (centred.T @ centred if self._scatter is None else self._scatter) / self.count

    def singular_values(self) -> Tensor:
        """Return the singular values of the centred features (N, n), falling, (min(N, n),)."""
        centred = self._centred()
        squares: Tensor = torch.linalg.eigvalsh(centred @ centred.T if self._scatter is None else self._scatter)
        return squares.clamp_min(0).sqrt().flip(0)

    def _centred(self) -> Tensor:
        """Return the samples held (N, n), minus their mean; none once the matrix is there."""
        rows = torch.cat(self._rows) if self._rows else torch.empty(0, 0, dtype=torch.float64)
        return rows - rows.mean(0)


@dataclass(frozen=True)
class Ranks:
    """Ranks of centred features.

    Attributes:
        numerical: Singular values above the tolerance.
        effective: exp of the entropy of the singular values divided by their sum (Roy and Vetterli 2007).
        stable: Sum of the squared singular values divided by the largest square.
        neurons: n.
        constant: Neurons whose value never changes.
    """

    numerical: int
    effective: float
    stable: float
    neurons: int
    constant: int


def ranks(covariance: Covariance, resolution: float = torch.finfo(torch.float32).eps) -> Ranks:
    """Return the ranks of the features gathered.

    A singular value counts when it exceeds max(N, n)·resolution·σ_max, the rule of ``numpy.linalg.matrix_rank`` for
    features computed to that resolution, but no less than √n·1e-8·σ_max, below which the covariance knows nothing.
    """
    values = covariance.singular_values()
    neurons, top = covariance.neurons, float(values[0]) if len(values) else 0.0
    constant = int((covariance.variances == 0).sum())
    if top == 0:
        return Ranks(0, 0.0, 0.0, neurons, constant)
    relative = max(max(covariance.count, neurons) * resolution, math.sqrt(neurons) * 1e-8)
    shares = values / values.sum()
    entropy = -(shares * shares.clamp_min(1e-300).log()).sum()
    return Ranks(
        numerical=int((values > relative * top).sum()),
        effective=float(entropy.exp()),
        stable=float(values.square().sum() / top**2),
        neurons=neurons,
        constant=constant,
    )
