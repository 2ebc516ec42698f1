"""Matching by what neurons do: of two networks run on the same samples, the neurons that do alike are paired.

`recording` makes the one pass, and `match_activations` solves for every space from what was seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Group, Symmetries, Symmetry, apply, combined
from connectivity_hooks_alignment.matching.by_activations.moments import Moments
from connectivity_hooks_alignment.matching.by_activations.recording import Recorded, folded_precisely
from connectivity_hooks_alignment.matching.nearest import gain, nearest
from connectivity_hooks_alignment.matching.units import Unit, solved, units_of

Measure: TypeAlias = Literal["correlation", "covariance"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

_ROTATIONS = Group.TURN | Group.TURN_BESIDE_ONES


@torch.no_grad()
def match_activations(
    symmetries: Symmetries,
    seen: Recorded,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    measure: Measure = "correlation",
) -> dict[int, Element]:
    """Return the elements that bring the neurons of `b` beside those of `a` that do alike.

    Each row of a value counts alike, whatever its size. What is inside heads is solved after all else: there the
    weights count as much as a value, since values alone do not say what a head's output is for. Neurons in groups, such
    as those of a grouped convolution, are paired where their groups were. What no value shows is matched by weights.

    Args:
        symmetries: The network's.
        seen: By `recorded`, of the same weights.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        measure: Whether each neuron that is permuted counts alike, or by its variance. Where neurons are rotated, they
            have no variances of their own that would stay.
    """
    precise = [folded_precisely(symmetries, each) for each in (a, b)]
    matching = _Matching(symmetries, seen, measure, *precise)
    for unit in sorted(units_of(symmetries), key=matching.turn):
        matching.solve(unit)
    return matching.found


_LAST = 3


class _Matching:
    """The second checkpoint as it is moved, and what was done to it."""

    def __init__(
        self, symmetries: Symmetries, seen: Recorded, measure: Measure, a: dict[str, Tensor], b: dict[str, Tensor]
    ) -> None:
        self._symmetries, self._seen, self._measure, self._a, self._b = symmetries, seen, measure, a, b
        self.found: dict[int, Element] = {}

    def turn(self, unit: Unit) -> int:
        """Return when a unit is solved for: heads after most, then what is in groups, at last what no value shows."""
        if unit.inside:
            return 1
        if self._seen.in_groups(unit.own):
            return 2
        return 0 if self._seen.of(unit.own) or self._seen.as_groups(unit.own) else _LAST

    def solve(self, unit: Unit) -> None:
        """Solve for one unit, and move the second checkpoint."""
        step = solved(unit, partial(self._products, unit))
        for symmetry in unit.symmetries:
            step[symmetry.space] = _scaled(symmetry, step[symmetry.space], self._seen, self._a, self._b)
            apply(symmetry, self._b, step[symmetry.space])
        self.found |= step
        for symmetry in unit.inside:
            if not self._seen.of(symmetry):  # as queries that share a key: their weights are in order only now
                self._solve_by_weights(unit, symmetry)

    def _solve_by_weights(self, unit: Unit, symmetry: Symmetry) -> None:
        element = nearest(symmetry.group, self._of_weights(symmetry, False, unit.spaces | self.found.keys()))
        apply(symmetry, self._b, element)
        self.found = combined(self._symmetries, self.found, {symmetry.space: element})

    def _products(self, unit: Unit, symmetry: Symmetry, pairs: bool) -> Tensor:
        """Return what is gained by putting a neuron in the place of another: (K, n, n), or of all pairs of copies."""
        copies, width = symmetry.copies, symmetry.width
        shape = (copies, copies, width, width) if pairs else (copies, width, width)
        gains = self._of_values(symmetry, pairs)
        most = max((rows for rows, _ in gains), default=1)
        total = sum((each * (rows / most) for rows, each in gains), torch.zeros(shape, dtype=torch.float64))
        if pairs or self.turn(unit) == _LAST:
            total = total + self._of_weights(symmetry, pairs, unit.spaces | self.found.keys())
        return total

    def _of_values(self, symmetry: Symmetry, pairs: bool) -> list[tuple[int, Tensor]]:
        """Return the gains by each value, with its rows."""
        seen, measure = self._seen, self._measure
        gains = [(moments.rows, _gains(symmetry, moments, pairs, measure)) for moments in seen.of(symmetry)]
        for space, moments in seen.in_groups(symmetry):
            order = self.found[space].order if space in self.found else None
            if order is not None:
                both = _gains(symmetry, moments, True, measure)[torch.arange(order.shape[1]), order[0]]
                gains.append((moments.rows, both.mean(0, keepdim=True)))
        for inner, moments in [] if pairs else seen.as_groups(symmetry):
            gains.append((moments.rows, gain(inner.group, _gains(inner, moments, True, measure))[None]))
        return gains

    def _of_weights(self, symmetry: Symmetry, pairs: bool, settled: Collection[int]) -> Tensor:
        """Return the products of the weights of a space whose other axes are settled, as shares of their sizes."""
        copies, width = symmetry.copies, symmetry.width
        shape = (copies, copies, width, width) if pairs else (copies, width, width)
        total = torch.zeros(shape, dtype=torch.float64)
        moving = {each.space for each in self._symmetries.symmetries}
        for member in symmetry.members:
            layouts = self._symmetries.spaces.weights[member.weight]
            beside = {leaf.space for layout in layouts for leaf in layout.leaves()} & moving
            if len(layouts) > 1 and beside <= set(settled):
                x, y = (member.matrices(each[member.weight]).cpu() for each in (self._a, self._b))
                sizes = [each.flatten(1).norm(dim=1) for each in (x, y)]
                size = sizes[0][:, None] * sizes[1] if pairs else sizes[0] * sizes[1]
                products = torch.einsum("xnm,ypm->xynp" if pairs else "xnm,xpm->xnp", x, y)
                total = total + products * _inverse(size)
        return total


def _gains(symmetry: Symmetry, moments: Moments, pairs: bool, measure: Measure) -> Tensor:
    rotated = bool(symmetry.group & _ROTATIONS)
    if measure == "correlation" and not rotated:
        return _correlations(moments, pairs).cpu()
    # A rotation takes the mean along. Inside heads no mean is compared: that of keys does not matter.
    return _shares(moments, pairs, centred=not rotated or symmetry.outer is not None).cpu()


def _correlations(moments: Moments, pairs: bool) -> Tensor:
    """Return correlations; 0 with a neuron that never changes."""
    spreads = moments.variances().sqrt()
    x, y = torch.where(spreads > 0, 1 / spreads, 0)
    scale: Tensor = x[:, None, :, None] * y[None, :, None, :] if pairs else x[..., None] * y[:, None]
    return moments.covariances() * scale


def _shares(moments: Moments, pairs: bool, centred: bool) -> Tensor:
    """Return covariances, or products, as shares of what both copies have in all."""
    x, y = (moments.variances() if centred else moments.squares()).sum(-1).sqrt()
    products = moments.covariances() if centred else moments.products()
    return products * _inverse(x[:, None] * y if pairs else x * y)


def _inverse(sizes: Tensor) -> Tensor:
    """Return 1 / sizes (…, 1, 1); 0 where they are 0."""
    return torch.where(sizes > 0, 1 / sizes, 0)[..., None, None]


def _scaled(
    symmetry: Symmetry, element: Element, seen: Recorded, a: Mapping[str, Tensor], b: dict[str, Tensor]
) -> Element:
    """Return a permutation with the factors that make standard deviations equal, if that brings the weights nearer."""
    moments = seen.of(symmetry)
    if Group.SCALE not in symmetry.group or symmetry.copies > 1 or element.order is None or not moments:
        return element
    x, y = sum((each.variances().cpu() for each in moments), torch.zeros(2, *element.order.shape))
    ratios = (x / torch.take_along_dim(y, element.order, 1)).sqrt()
    ratios = torch.where(ratios.isfinite() & (ratios > 0), ratios, 1.0)
    scaled = Element(order=element.order, factors=ratios if element.factors is None else element.factors * ratios)
    return min((element, scaled), key=lambda each: _distance(symmetry, each, a, b))


def _distance(symmetry: Symmetry, element: Element, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    moved = dict(b)
    apply(symmetry, moved, element)
    names = {member.weight for member in symmetry.members}
    return sum(float((a[name] - moved[name]).square().sum()) for name in names)
