"""The connectors of a whole module, drawn to low loss and pushed apart by the volume."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks_curves.simplex.combination import combined, combined_weights
from connectivity_hooks_curves.simplex.star import Shares, Star
from connectivity_hooks_curves.simplex.volume import differences, gram, growth
from connectivity_hooks_curves.training.curve import wide
from connectivity_hooks_curves.training.draws import Chance
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.points import ControlPoints


class Connectors(ControlPoints):
    """Connectors that the simplices of several modes share, see `ControlPoints`.

    Args:
        flat: The module that is moved inside the simplices.
        modes: Weights of the checkpoints.
        connectors: How many points are trained.
        volume: λ of −λ·log V.
        seed: Of where they begin.
    """

    what = "the simplex"
    start = "the connectors are around the middle of the checkpoints, as they began"

    def __init__(self, flat: FlatModule, modes: Sequence[Weights], connectors: int, volume: float, seed: int) -> None:
        self._modes, self._volume = list(modes), volume
        self._stars = [
            Star([group.vector(mode, wide(group.values.dtype)) for mode in modes], connectors, seed + number)
            for number, group in enumerate(flat.groups)
        ]
        self._connectors = connectors
        shared = range(connectors - 1)  # edges from the first connector to the others, and then to the modes
        self._edges = [[*shared, connectors - 1 + mode] for mode in range(len(modes))]
        super().__init__(flat, self._stars)

    @property
    def equal(self) -> tuple[int, int] | None:
        """Two modes that are equal in all that is trained, by number; None where there are none."""
        for one, other in itertools.combinations(range(len(self._modes)), 2):
            if all(torch.equal(star.modes[one], star.modes[other]) for star in self._stars):
                return one, other
        return None

    def place(self, drawn: Chance) -> Shares:
        """Return a simplex and the shares of its vertices."""
        return Shares.drawn(drawn, len(self._modes), self._connectors)

    def where(self, place: Shares) -> str:
        """Return the shares in words."""
        mode, *others = place.shares
        rest = ", ".join(f"{share:.2f}" for share in others)
        return f"at {mode:.2f} of checkpoint {place.mode + 1} and {rest} of the connectors"

    @torch.no_grad()
    def pull(self) -> None:
        """Add −λ·∂ log V/∂θ for each connector θ, V the volume of all simplices together."""
        if self._volume == 0:
            return
        products = gram((star.points for star in self._stars), exact=False)
        factors = -self._volume * growth(products, self._edges)[: self._connectors]
        for star in self._stars:
            own = factors.to(star.points[0])
            for part, rows in differences(star.points, own.dtype):
                for gradient, each in zip(star.gradients, own, strict=True):
                    gradient[part].addmv_(rows.T, each)

    def weights(self) -> tuple[Weights, ...]:
        """Return all connectors as weights; what is not trained is the mean of the checkpoints'."""
        even = [1 / len(self._modes)] * len(self._modes)
        middle = combined_weights(self._modes, even)
        vectors = zip(*(star.trained for star in self._stars), strict=True)
        return tuple(self._flat.weights(connector, middle) for connector in vectors)


def untrained_at(ends: Sequence[Tensor], place: Shares) -> Tensor:
    """Return what is not trained at a place: of all modes in their shares, see `Connectors.weights`."""
    return combined(ends, place.of_modes(len(ends)))
