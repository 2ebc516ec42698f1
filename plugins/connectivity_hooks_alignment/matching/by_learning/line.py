"""The straight line from one checkpoint to another that is moved, differentiable in what moves it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks.structure import Elements, Member, Symmetries, Symmetry, folded, inner_first, moved
from connectivity_hooks_alignment.matching.by_learning.coordinates import is_exchanged
from connectivity_hooks_alignment.matching.by_learning.moves import Move, Part
from connectivity_hooks_alignment.matching.by_learning.places import Place


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
        # PyTorch has no gradients with respect to the statistics of batch norm.
        self._statistics = {
            member.weight
            for each in symmetries.symmetries
            for member in each.members
            if member.roles & {"means", "variances"}
        }
        self._places = {each.space: _places(each, self._b) for each in inner_first(symmetries)}

    def products(self, space: int) -> Tensor:
        """Return Σ A·Bᵀ (K, n, n) of the rows of one space's neurons, of both ends as they are at the start."""
        found: Tensor | None = None
        for place in self._places[space]:
            name = place.member.weight
            one = place.rows(self._a[name]) @ place.rows(self._b[name]).mT
            found = one if found is None else found + one
        assert found is not None, "a symmetry has members"
        return found

    def at(self, moves: Mapping[int, Move], share: float) -> PointOnLine:
        """Return the weights at λ = `share` with B moved."""
        second = dict(self._b)
        for space, places in self._places.items():
            if space in moves:
                for place in places:
                    name = place.member.weight
                    second[name] = place.moved(second[name], moves[space])
        found = {name: each for name, each in second.items() if each.requires_grad and name not in self._statistics}
        with torch.no_grad():
            line = {
                name: torch.lerp(tensor, second[name], share) if tensor.is_floating_point() else tensor
                for name, tensor in self._a.items()
            }
        return PointOnLine(self._symmetries, line, found, share)


class PointOnLine:
    """Weights at one λ, whose gradients go on to B by hand: autograd need not see one more node for each weight.

    Args:
        symmetries: The network's.
        line: Weights at λ.
        second: Those of B that are moved, with their gradients' way to the moves.
        share: λ.

    Attributes:
        weights: Weights at λ by the names of the module, with gradients where B is moved.
    """

    def __init__(self, symmetries: Symmetries, line: Weights, second: Weights, share: float) -> None:
        self._second, self._share = second, share
        self._moved = {name: line[name].requires_grad_() for name in second}
        self.weights = symmetries.completed(line)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss of `weights` to those of whatever moves B."""
        loss.backward()
        found = {name: tensor.grad for name, tensor in self._moved.items() if tensor.grad is not None}
        if found:
            torch.autograd.backward(
                [self._second[name] for name in found], [self._share * gradient for gradient in found.values()]
            )


def _places(symmetry: Symmetry, weights: Weights) -> list[Place]:
    """Return where a space's neurons are and what moves do there, as `apply` does with elements."""
    zero = {scale.shift for scale in symmetry.scales if scale.biases}  # folded into biases
    found = []
    for member in symmetry.members:
        if not is_exchanged(symmetry) and ("scales" in member.roles or member.weight in zero):
            continue
        found.append(Place(member, _part(symmetry, member), weights[member.weight].shape[member.axis]))
    return found


def _part(symmetry: Symmetry, member: Member) -> Part:
    if is_exchanged(symmetry) and not member.takes_factors:
        return "beside"
    return "reads" if member.roles == {"reads"} else "writes"


def _double(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.double() if name in symmetries.shapes else tensor for name, tensor in weights.items()}


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
