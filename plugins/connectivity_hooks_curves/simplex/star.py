"""Simplices between the vectors of checkpoints and trained vectors, which all of them share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from connectivity_hooks_curves.training.curve import write_combination
from connectivity_hooks_curves.training.draws import Chance

APART = 0.1
"""How far connectors begin from the middle of the modes, in standard deviations of the modes: far enough for a volume,
and near enough to lose nothing by it."""


class Shares(NamedTuple):
    """A place in a star of simplices.

    Attributes:
        mode: Which mode's simplex it is.
        shares: Of that mode and of all connectors, ≥ 0, together 1.
    """

    mode: int
    shares: tuple[float, ...]

    @classmethod
    def drawn(cls, chance: Chance, modes: int, connectors: int) -> Shares:
        """Return the place of a step: a simplex of equal chances, and in it a uniform place, w ~ Dir(1).

        Not by their volumes: a small one would be hardly trained, and it is a mode that it leads to.
        """
        generator = random.Random(chance.seed)  # not torch's, whose numbers the module draws with the same seed
        return cls(int(chance.t * modes), uniform(generator, connectors + 1))

    def of_modes(self, count: int) -> list[float]:
        """Return what each mode has of a place where a connector is the mean of all modes."""
        rest = (1 - self.shares[0]) / count
        return [rest + (self.shares[0] if mode == self.mode else 0) for mode in range(count)]


def uniform(generator: random.Random, count: int) -> tuple[float, ...]:
    """Return shares of a uniform place in a simplex of so many vertices: exponential numbers over their sum."""
    drawn = [generator.expovariate(1.0) for _ in range(count)]
    return tuple(each / sum(drawn) for each in drawn)


class Star:
    """For each mode the simplex of it and of all connectors, see `training.points.Shape`.

    Args:
        modes: Vectors (P,) that stay.
        connectors: How many trained ones.
        seed: Of where they begin.
    """

    def __init__(self, modes: Sequence[Tensor], connectors: int, seed: int) -> None:
        self.modes, self._count, self._seed = list(modes), connectors, seed
        self._connectors = self.begun()

    @property
    def trained(self) -> list[Tensor]:
        """The connectors."""
        return self._connectors

    @property
    def gradients(self) -> list[Tensor]:
        """Those of the connectors, which have one while they are trained."""
        return [connector.grad for connector in self._connectors if connector.grad is not None]

    @property
    def points(self) -> list[Tensor]:
        """The connectors, the first of which all simplices share, and then the modes."""
        return [*self._connectors, *self.modes]

    @torch.no_grad()
    def begun(self) -> list[Tensor]:
        """Return the middle of the modes, and for each further connector a place at random around it, see `APART`."""
        middle = torch.stack(self.modes).mean(0)
        if self._count == 1:
            return [middle]
        deviation = torch.stack([(mode - middle).square() for mode in self.modes]).mean(0).sqrt()
        generator = torch.Generator().manual_seed(self._seed)
        noises = (torch.randn(len(middle), generator=generator).to(middle) for _ in range(self._count - 1))
        return [middle, *(middle + APART * noise * deviation for noise in noises)]

    def shares(self, place: Shares) -> Sequence[float]:
        """Return the share of each connector."""
        return place.shares[1:]

    def write(self, place: Shares, out: Tensor) -> None:
        """Write Σ_j w_j·θ_j into a vector (P,)."""
        write_combination(place.shares, [self.modes[place.mode], *self._connectors], out)
