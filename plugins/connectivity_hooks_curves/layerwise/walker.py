"""Where a walk is: a point, the layers that have arrived, and the optimizer that trains the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks_curves.layerwise.layers import Move, layers_of, move
from connectivity_hooks_curves.training.adam import adam_of, adam_step, moments_of, restore_moments
from connectivity_hooks_curves.training.curve import wide, write_scaled
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.vectors import clip_to


class Walker:
    """A point that goes from one end to the other.

    Memory, in vectors of all parameters: the two ends, the point, its gradient, and two moments of Adam.

    Args:
        flat: The module that goes along.
        a: Weights where it begins.
        b: Weights where it goes.
        rounds: Moves of each layer.

    Attributes:
        layers: Names of the parameters of each layer.
    """

    def __init__(self, flat: FlatModule, a: Weights, b: Weights, rounds: int) -> None:
        self._flat, self._rounds = flat, rounds
        self._a, self._b, self._here = (
            [group.vector(end, wide(group.values.dtype)) for group in flat.groups] for end in (a, b, a)
        )
        self.layers = layers_of(name for name, _ in flat.model.named_parameters() if name in flat.names)
        self._from, self._to, self._now = (self._by_name(vectors) for vectors in (self._a, self._b, self._here))
        for vector in self._here:
            vector.grad = torch.zeros_like(vector)
        self._gradients = [vector.grad for vector in self._here if vector.grad is not None]
        self._slopes = self._by_name(self._gradients)
        self._adam = adam_of(self._here)
        self._arrived = list[str]()

    def _by_name(self, vectors: list[Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for group, vector in zip(self._flat.groups, vectors, strict=True):
            found |= group.views(vector)
        return found

    @property
    def is_there(self) -> bool:
        """Whether the ends are equal in all that is trained."""
        return all(torch.equal(a, b) for a, b in zip(self._a, self._b, strict=True))

    def make(self, due: Move) -> None:
        """Make one move of one layer."""
        for name in self.layers[due.layer]:
            move(self._now[name], self._from[name], self._to[name], due.nth, self._rounds)
        if due.nth == self._rounds:
            self._arrived += self.layers[due.layer]

    def write(self) -> None:
        """Write the point into the module."""
        for group, vector in zip(self._flat.groups, self._here, strict=True):
            group.values.copy_(vector)

    def train(self, lr: float, weight_decay: float, clip: float | None) -> Tensor:
        """Take a step by the gradients that the module has, with all layers that have not arrived.

        Returns:
            The norm of their gradient before it was clipped, weight decay included.
        """
        for group, vector in zip(self._flat.groups, self._gradients, strict=True):
            write_scaled(group.gradients(weight_decay), 1.0, list(group.views(vector).values()))
        for name in self._arrived:
            self._slopes[name].zero_()
        norm = clip_to(self._gradients, clip)
        adam_step(self._adam, lr)
        for name in self._arrived:  # what Adam remembers would carry them on
            self._now[name].copy_(self._to[name])
        return norm

    def is_finite(self) -> bool:
        """Say whether the point is finite; this waits for the device."""
        return all(bool(vector.isfinite().all()) for vector in self._here)

    def copy(self) -> list[Tensor]:
        """Return the point on the processor, in the types of the weights."""
        return [
            vector.to("cpu", group.values.dtype, copy=True)
            for group, vector in zip(self._flat.groups, self._here, strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """Return everything the next step depends on, by name."""
        return {f"here.{g}": vector for g, vector in enumerate(self._here)} | moments_of(self._adam, "adam")

    def restore(self, tensors: Mapping[str, Tensor], made: list[Move]) -> None:
        """Go on from a state, after some moves."""
        for g, vector in enumerate(self._here):
            vector.copy_(tensors[f"here.{g}"])
        self._arrived = [name for each in made if each.nth == self._rounds for name in self.layers[each.layer]]
        restore_moments(self._adam, tensors, "adam")
