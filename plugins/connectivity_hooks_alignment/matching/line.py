"""The straight line from one checkpoint to another that is moved, differentiable in what moves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks.structure import Elements, Symmetries, Symmetry, folded, inner_first, moved
from connectivity_hooks_alignment.matching.coordinates import is_exchanged
from connectivity_hooks_alignment.matching.moves import Move
from connectivity_hooks_alignment.matching.places import Place


class Line:
    """Folded weights (1 − λ)·A + λ·g(B).

    Folding is linear, and takes both ends to the same γ and β, so that the network has the same function here as on the
    line between the checkpoints themselves (but for γ of A next to zero, see `unfolded`). Both ends are folded once.

    Args:
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        start: What is done to `b` before anything is learned.
        device: Where the line is.
        dtype: Its floating type.
    """

    def __init__(
        self,
        symmetries: Symmetries,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        start: Elements,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        first, second = (folded(symmetries, _double(symmetries, weights)) for weights in (a, b))
        second = moved(symmetries, second, start)
        self._symmetries = symmetries
        self._a, self._b = (
            {name: _placed(each, device, dtype) for name, each in end.items()} for end in (first, second)
        )
        self._places = {each.space: _places(each, device) for each in inner_first(symmetries)}

    def products(self, space: int) -> Tensor:
        """Return Σ A·Bᵀ (K, n, n) of the rows of one space's neurons, of both ends as they are at the start."""
        found: Tensor | None = None
        for place, _ in self._places[space]:
            name = place.member.weight
            one = place.rows(self._a[name]) @ place.rows(self._b[name]).mT
            found = one if found is None else found + one
        assert found is not None, "a symmetry has members"
        return found

    def weights(self, moves: Mapping[int, Move], share: float) -> Weights:
        """Return the weights at λ = `share`, by the names of the module; differentiable in the moves."""
        second = dict(self._b)
        for space, places in self._places.items():
            if space in moves:
                for place, does in places:
                    weight = second[place.member.weight]
                    second[place.member.weight] = place.replaced(weight, does(moves[space], place.rows(weight)))
        line = {
            name: torch.lerp(tensor, second[name], share) if tensor.is_floating_point() else tensor
            for name, tensor in self._a.items()
        }
        return self._symmetries.completed(line)


Does: TypeAlias = Callable[[Move, Tensor], Tensor]


def _places(symmetry: Symmetry, device: torch.device) -> list[tuple[Place, Does]]:
    """Return where a space's neurons are and what a move does there, as `apply` does with elements."""
    zero = {scale.shift for scale in symmetry.scales if scale.biases}  # folded into biases
    found: list[tuple[Place, Does]] = []
    for member in symmetry.members:
        if not is_exchanged(symmetry) and ("scales" in member.roles or member.weight in zero):
            continue
        place = Place(replace(member, positions=member.positions.to(device)))
        if is_exchanged(symmetry) and not member.takes_factors:
            found.append((place, lambda move, rows: move.on_bystanders(rows)))
        elif member.roles == {"reads"}:
            found.append((place, lambda move, rows: move.on_readers(rows)))
        else:
            found.append((place, lambda move, rows: move.on_writers(rows)))
    return found


def _double(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.double() if name in symmetries.shapes else tensor for name, tensor in weights.items()}


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
