"""Coordinates on the groups of several spaces at once, in which a descent moves: zero is what it starts from.

Spaces of one group, width and number of copies share one tensor, so that a step makes one batched inverse for all
layers of a network instead of one for each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Group, Symmetries, Symmetry, beside_ones
from connectivity_hooks_alignment.matching.by_learning.moves import Exchanging, Mixing, Move
from connectivity_hooks_alignment.matching.nearest import assignment

REFERENCE_WIDTH = 64
"""Width at which rotations take the learning rate as it is: that of the transformers it was tuned on. A step of Adam
moves every entry alike, so that the angle it turns by grows as √n; beyond this width the rate falls as that."""

OF_PRODUCTS, OF_START = 0.3, 0.1
"""What scores begin with: so much of the products of the neurons' weights, the largest taken as one, and of the
permutation that is there: some tens of Adam's steps. Between a third and three times of both, the loss that a
transformer reached in 200 steps was the same within 3 %."""

STEEPEST = 100.0
"""Largest singular value of a matrix of GL, and one over the smallest: steeper ones cost float32 half its digits. Those
of transformers are below 8; one that is clipped is another element of the group, and keeps the function too."""

ASSIGNED_EVERY, ASSIGNED_WIDTH = 4, 512
"""The assignment is solved anew at every fourth step up to this width, beyond it more seldom, by its square: it grows
as n³, to 27 ms at width 1024 on one core. Solved at every step or every 16th, the figures are the same."""


class Coordinates(ABC):
    """Coordinates of m symmetries with one group, K copies and n neurons each.

    Args:
        symmetries: The symmetries.

    Attributes:
        symmetries: The same.
        parameters: What is trained, by name.
    """

    parameters: dict[str, Tensor]

    def __init__(self, symmetries: Sequence[Symmetry]) -> None:
        self.symmetries = tuple(symmetries)
        self.shape = (len(symmetries), symmetries[0].copies, symmetries[0].width)

    @abstractmethod
    def moves(self, step: int) -> dict[int, Move]:
        """Return what is done to each space at a step, differentiable in the parameters."""

    @abstractmethod
    def elements(self) -> dict[int, Element]:
        """Return the same as elements of the group, on the CPU and exact to float64."""

    def rate(self, peak: float) -> float:
        """Return the learning rate."""
        return peak

    def kept(self) -> dict[str, Tensor]:
        """Return what beside the parameters decides the next steps; nothing for most."""
        return {}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take what `kept` gave."""
        assert not kept, "nothing beside the parameters"


class Mixtures(Coordinates):
    """GL: g = I + M.

    Args:
        symmetries: The symmetries.
        like: Gives device and type.
    """

    def __init__(self, symmetries: Sequence[Symmetry], like: Tensor) -> None:
        super().__init__(symmetries)
        self.parameters = {"matrix": like.new_zeros(*self.shape, self.shape[-1])}

    def moves(self, step: int) -> dict[int, Move]:
        """Return g and its inverse, one for all spaces."""
        matrix = self._matrix(self.parameters["matrix"])
        dual = torch.linalg.inv_ex(matrix)[0].mT  # not finite where there is none, which ends the descent
        return {each.space: Mixing(matrix[i], dual[i]) for i, each in enumerate(self.symmetries)}

    def elements(self) -> dict[int, Element]:
        """Return g in float64, its singular values kept within `STEEPEST`."""
        left, sizes, right = torch.linalg.svd(self._matrix(self.parameters["matrix"].detach().cpu().double()))
        matrix = left @ (sizes.clamp(1 / STEEPEST, STEEPEST)[..., None] * right)
        return {each.space: Element(matrix=matrix[i]) for i, each in enumerate(self.symmetries)}

    def _matrix(self, parameter: Tensor) -> Tensor:
        return parameter + torch.eye(self.shape[-1], dtype=parameter.dtype, device=parameter.device)


class Rotations(Coordinates):
    """O: the Cayley transform g = (1 − S)⁻¹(1 + S) of S = (M − Mᵀ)/2; O₁: the same beside the vector of ones.

    Near the start it is the exponential of 2·S. It costs one inverse: with gradients a sixth of the exponential at
    width 63 on one core, a twentieth at 383.

    Args:
        symmetries: The symmetries.
        like: Gives device and type.
        around_ones: Whether the vector of ones stays where it is.
    """

    def __init__(self, symmetries: Sequence[Symmetry], like: Tensor, around_ones: bool) -> None:
        super().__init__(symmetries)
        width = self.shape[-1] - around_ones
        self.parameters = {"skew": like.new_zeros(*self.shape[:-1], width, width)}
        self._basis = beside_ones(self.shape[-1]) if around_ones else None
        self._basis_there = None if self._basis is None else self._basis.to(like)

    def moves(self, step: int) -> dict[int, Move]:
        """Return the rotations, one inverse for all spaces."""
        matrix = _rotation(self.parameters["skew"], self._basis_there)
        return {each.space: Mixing(matrix[i], matrix[i]) for i, each in enumerate(self.symmetries)}

    def elements(self) -> dict[int, Element]:
        """Return the rotations, computed anew in float64."""
        matrix = _rotation(self.parameters["skew"].detach().cpu().double(), self._basis)
        return {each.space: Element(matrix=matrix[i]) for i, each in enumerate(self.symmetries)}

    def rate(self, peak: float) -> float:
        """Return a rate that turns by as much at any width, see `REFERENCE_WIDTH`."""
        return peak * min(1.0, math.sqrt(REFERENCE_WIDTH / self.shape[-1]))


class Exchanges(Coordinates):
    """Permutations, with signs or positive factors where the group has them.

    Args:
        symmetries: The symmetries.
        products: C (K, n, n) of each: products of the rows of both checkpoints as they are at the start.
        like: Gives device and type.
    """

    def __init__(self, symmetries: Sequence[Symmetry], products: Sequence[Tensor], like: Tensor) -> None:
        super().__init__(symmetries)
        group = symmetries[0].group
        self._flips = Group.FLIP in group
        scores = torch.stack([_scores(each) for each in products]).to(like)
        self.parameters = {"scores": scores.contiguous()}
        if Group.SCALE in group:
            self.parameters["factors"] = like.new_zeros(self.shape)
        self._every = ASSIGNED_EVERY * max(1, self.shape[-1] // ASSIGNED_WIDTH) ** 2
        self._order = torch.arange(self.shape[-1], device=like.device).expand(self.shape).clone()

    def moves(self, step: int) -> dict[int, Move]:
        """Return the permutations that the scores ask for."""
        if step % self._every == 0:
            self._order = self._assigned().to(self._order.device)
        scores, order, signs = self.parameters["scores"], self._order, self._signs(self._order)
        factors = self.parameters["factors"].exp() if "factors" in self.parameters else None
        return {
            each.space: Exchanging(
                scores[i], order[i], None if signs is None else signs[i], None if factors is None else factors[i]
            )
            for i, each in enumerate(self.symmetries)
        }

    def elements(self) -> dict[int, Element]:
        """Return the permutations as they are now, with factors in float64."""
        order = self._assigned()
        signs = self._signs(order.to(self._order.device))
        factors = None if signs is None else signs.cpu().double()
        if "factors" in self.parameters:
            scale = self.parameters["factors"].detach().cpu().double().exp()
            factors = scale if factors is None else factors * scale
        return {
            each.space: Element(order=order[i], factors=None if factors is None else factors[i])
            for i, each in enumerate(self.symmetries)
        }

    def kept(self) -> dict[str, Tensor]:
        """Return the permutations in use, which wide spaces keep for several steps."""
        return {"order": self._order}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take the permutations in use."""
        self._order = kept["order"].to(self._order.device)

    def _assigned(self) -> Tensor:
        scores = self.parameters["scores"].detach()
        flat = (scores.abs() if self._flips else scores).flatten(0, 1)
        return assignment(flat).view(self.shape)

    def _signs(self, order: Tensor) -> Tensor | None:
        if not self._flips:
            return None
        chosen = torch.take_along_dim(self.parameters["scores"].detach(), order[..., None], -1)[..., 0]
        return torch.where(chosen < 0, -1.0, 1.0).to(chosen)


def _scores(products: Tensor) -> Tensor:
    largest = products.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(products.dtype).tiny)
    eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    return OF_PRODUCTS * products / largest + OF_START * eye


def _rotation(parameter: Tensor, basis: Tensor | None) -> Tensor:
    eye = torch.eye(parameter.shape[-1], dtype=parameter.dtype, device=parameter.device)
    turned: Tensor = 2 * torch.linalg.inv_ex(eye - (parameter - parameter.mT) / 2)[0] - eye
    return turned if basis is None else basis @ turned @ basis.mT + 1 / len(basis)


def coordinates_of(symmetries: Symmetries, products: Mapping[int, Tensor], like: Tensor) -> list[Coordinates]:
    """Return coordinates on the groups of all spaces but those that number copies of others, such as heads.

    Which heads belong together stays as at the start: what is inside them is trained for the pairs there are.

    Args:
        symmetries: The network's.
        products: C of every space of permutations, by number.
        like: Gives device and type.
    """
    bundles: dict[tuple[Group, int, int], list[Symmetry]] = {}
    for each in symmetries.symmetries:
        if each.width > 1 and not symmetries.inside(each.space):
            bundles.setdefault((each.group, each.copies, each.width), []).append(each)
    return [_coordinates(group, bundle, products, like) for (group, _, _), bundle in bundles.items()]


def is_exchanged(symmetry: Symmetry) -> bool:
    """Say whether a symmetry's neurons are exchanged, and not rotated."""
    return not symmetry.group & (Group.TURN | Group.TURN_BESIDE_ONES | Group.MIX)


def _coordinates(group: Group, bundle: Sequence[Symmetry], products: Mapping[int, Tensor], like: Tensor) -> Coordinates:
    if Group.MIX in group:
        return Mixtures(bundle, like)
    if Group.TURN in group or Group.TURN_BESIDE_ONES in group:
        return Rotations(bundle, like, around_ones=Group.TURN not in group)
    return Exchanges(bundle, [products[each.space] for each in bundle], like)
