"""Coordinates under Adam: one step, the best of them so far, and all of it as tensors by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from connectivity_hooks.structure import Element
from connectivity_hooks_alignment.matching.by_learning.coordinates import Coordinates
from connectivity_hooks_alignment.matching.by_learning.moves import Move


class Variables:
    """What a descent moves: coordinates on the groups of all spaces.

    Args:
        coordinates: At least one.
        peak: Largest learning rate; it falls to zero as half a cosine.
    """

    def __init__(self, coordinates: Sequence[Coordinates], peak: float) -> None:
        self._coordinates, self._peak = tuple(coordinates), peak
        self._tensors = {
            f"{number}.{name}": tensor.requires_grad_()
            for number, each in enumerate(coordinates)
            for name, tensor in each.parameters.items()
        }
        self._best = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        self._adam = torch.optim.Adam([{"params": list(each.parameters.values())} for each in coordinates])

    def moves(self, step: int) -> dict[int, Move]:
        """Return what is done to each space at a step."""
        return {space: move for each in self._coordinates for space, move in each.moves(step).items()}

    def elements(self) -> dict[int, Element]:
        """Return the same as elements of the groups."""
        return {space: element for each in self._coordinates for space, element in each.elements().items()}

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self._adam.zero_grad()

    def descend(self, share: float) -> bool:
        """Make a step against the gradients; return False, and make none, where one of them is not finite.

        Args:
            share: How much of the budget is used, from 0 to 1.
        """
        gradients = [tensor.grad for tensor in self._tensors.values() if tensor.grad is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            return False
        for group, each in zip(self._adam.param_groups, self._coordinates, strict=True):
            group["lr"] = each.rate(self._peak) * (1 + math.cos(math.pi * share)) / 2
        self._adam.step()
        return True

    def keep_as_best(self) -> None:
        """Remember the coordinates as they are."""
        self._best = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    def put_best(self) -> None:
        """Take the coordinates that were remembered last; those of the start where none were."""
        self._put(self._best)

    def state(self) -> dict[str, Tensor]:
        """Return all that decides the next steps."""
        found = {f"best.{name}": tensor for name, tensor in self._best.items()}
        for name, tensor in self._tensors.items():
            found[f"now.{name}"] = tensor.detach()
            for kind, moment in self._adam.state[tensor].items():
                found[f"adam.{name}.{kind}"] = moment
        for number, each in enumerate(self._coordinates):
            found |= {f"kept.{number}.{name}": tensor for name, tensor in each.kept().items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave."""
        self._put(_under("now.", state))
        self._best = {name: tensor.to(self._best[name]) for name, tensor in _under("best.", state).items()}
        for name, tensor in self._tensors.items():
            moments = _under(f"adam.{name}.", state)
            # Adam counts its steps on the CPU; its moments lie where the tensors do.
            self._adam.state[tensor] = {k: m.clone() if k == "step" else m.to(tensor) for k, m in moments.items()}
        for number, each in enumerate(self._coordinates):
            each.restore(_under(f"kept.{number}.", state))

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(values[name])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
