"""Ranks of features from their covariance, gathered batch by batch in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


class Covariance:
    """The covariance of features that pass in batches (Chan, Golub and LeVeque 1983).

    Time N·n², memory n² in float64 for n neurons and N samples, however many batches.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.empty(0)
        self._scatter = torch.empty(0)

    def add(self, batch: Tensor) -> None:
        """Take in a batch (rows, n)."""
        if not len(batch):
            return
        wide = batch.double()
        mean = wide.mean(0)
        centred = wide - mean
        if self.count == 0:
            self._mean, self._scatter = mean, centred.T @ centred
        else:
            shift, total = mean - self._mean, self.count + len(batch)
            self._scatter += centred.T @ centred + shift.outer(shift) * (self.count * len(batch) / total)
            self._mean += shift * (len(batch) / total)
        self.count += len(batch)

    @property
    def matrix(self) -> Tensor:
        """The covariance (n, n), with divisor N."""
        return self._scatter / self.count

    def singular_values(self) -> Tensor:
        """Return the singular values of the centred features (N, n), falling, (n,)."""
        squares: Tensor = torch.linalg.eigvalsh(self._scatter)
        return squares.clamp_min(0).sqrt().flip(0)


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
    neurons, top = len(values), float(values[0]) if len(values) else 0.0
    constant = int((covariance.matrix.diagonal() == 0).sum())
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
