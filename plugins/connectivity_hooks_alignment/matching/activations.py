"""Matching by what neurons do: both networks run on the same samples, and the neurons that do alike are paired.

`recorded` makes the one pass, and `match_activations` solves for every space from what was seen. Both networks run with
γ and β folded into the maps that read them, where the space may be rotated: then the values are those that rotations
act on, such as a stream normalised by each norm before γ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import (
    Element,
    Group,
    Program,
    Symmetries,
    Symmetry,
    apply,
    folded,
    task_program,
)
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.moments import Moments
from connectivity_hooks_alignment.matching.passing import portion_of, portions, side_by_side
from connectivity_hooks_alignment.matching.readings import Reading, readings_of
from connectivity_hooks_alignment.matching.units import Unit, solved, units_of

Measure: TypeAlias = Literal["correlation", "covariance"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

SAMPLES = 4000
"""Run by default. A covariance of n neurons is off by about √(n/rows): eight rows for each neuron of a layer of 512
where a sample is one row, and many more where it has tokens or pixels."""

_ROTATIONS = Group.TURN | Group.TURN_BESIDE_ONES


@dataclass(frozen=True, eq=False)
class Recorded:
    """What one pass over the data saw, see `shortages` for whether it was enough.

    Attributes:
        moments: Of each value that was looked at.
        samples: How many samples were run.
    """

    moments: Mapping[Reading, Moments]
    samples: int

    def of(self, symmetry: Symmetry) -> list[Moments]:
        """Return what was seen of the neurons of a symmetry."""
        return [moments for reading, moments in self.moments.items() if reading.symmetry is symmetry]


@torch.no_grad()
def recorded(
    task: Task,
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    samples: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Recorded:
    """Run both networks on the same training samples, side by side, and add up how their neurons change together.

    Time: two forward passes, and for each value looked at n² products of each row in float64. Memory: both networks,
    of their values on 32 samples those that are still read, and n² numbers in float64 for each value looked at; rows
    are not kept.

    Args:
        task: Model, data, device and type.
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        samples: How many are drawn, without replacement.
        seed: Of the draw.
        progress: Shows how far it is.

    Raises:
        InputError: There are no two samples of one shape, or a value of one of the networks is not finite.
    """
    part = task.train.sample(min(samples, len(task.train)), seed)
    program = _program(task, portion_of(len(part)))
    weights = [_running(symmetries, each, task) for each in (a, b)]
    readings = readings_of(program, symmetries)
    moments = {reading: Moments(reading.pairs) for reading in readings}
    wanted = {name: [one for one in readings if one.value == name] for name in {one.value for one in readings}}
    seen = 0
    for inputs in progress.track(portions(part, program), "matching activations", len(part) // program.batch):
        seen += program.batch
        for name, values in side_by_side(program, weights, inputs, wanted):
            for reading in wanted[name]:
                moments[reading].add(*(reading.held.rows(value) for value in values))
    if not seen:
        raise InputError(f"{task.train.name}: expected two or more samples of one shape to match by, found {len(part)}")
    for reading, found in moments.items():
        _require_finite(reading, found)
    return Recorded(moments, seen)


def _program(task: Task, size: int) -> Program:
    """Return the program for portions of a size; the one for two samples where it has other steps."""
    small, large = task_program(task), task_program(task, samples=size)
    names = [[step.name for step in program.steps] for program in (small, large)]
    return large if names[0] == names[1] else small


def _running(symmetries: Symmetries, weights: Mapping[str, Tensor], task: Task) -> dict[str, Tensor]:
    """Return folded weights to run with, computed in float64."""
    precise = _folded(symmetries, weights)
    return {
        name: tensor.to(task.device, task.dtype if tensor.is_floating_point() else None)
        for name, tensor in precise.items()
    }


def _folded(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {name: weights[name] for name in symmetries.shapes}
    return folded(symmetries, {name: x.double() if x.is_floating_point() else x for name, x in own.items()})


def _require_finite(reading: Reading, seen: Moments) -> None:
    for which, finite in zip(("first", "second"), seen.is_finite(), strict=True):
        if not finite:
            raise InputError(
                f"the {which} checkpoint gives values that are not finite where {reading.symmetry.name} is read; its "
                f"neurons cannot be matched by what they do"
            )


def shortages(symmetries: Symmetries, seen: Recorded) -> list[str]:
    """Return in words which spaces were seen on too few rows, or on none, with how many samples are needed.

    A covariance of n neurons from fewer than n + 1 rows is blind in some direction: chance decides there.
    """
    found = []
    for symmetry in symmetries.symmetries:
        rows = max((moments.rows for moments in seen.of(symmetry)), default=0)
        if not rows and not symmetries.inside(symmetry.space):
            found.append(f"{symmetry.name}: no value shows what its neurons do; they are matched by weights")
        elif 0 < rows <= symmetry.width:
            needed = -(-(symmetry.width + 1) * seen.samples // rows)
            found.append(
                f"{symmetry.name}: {rows} rows of {symmetry.width} neurons tell too little of how they change "
                f"together; {needed} samples are needed at least"
            )
    return found


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
    weights count as much as a value, since values alone do not say what a head's output is for. What no value shows is
    matched by weights in the end.

    Args:
        symmetries: The network's.
        seen: By `recorded`, of the same weights.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        measure: Whether each neuron that is permuted counts alike, or by its variance. Where neurons are rotated, they
            have no variances of their own that would stay.
    """
    precise = [_folded(symmetries, each) for each in (a, b)]
    found: dict[int, Element] = {}
    for unit in sorted(units_of(symmetries), key=lambda each: _turn(each, seen)):
        settled = unit.spaces | found.keys()

        def products(symmetry: Symmetry, pairs: bool) -> Tensor:
            gains = _products(symmetry, pairs, seen, measure)
            if pairs or _turn(unit, seen) == _LAST:  # noqa: B023 - called in this round of the loop
                gains += _of_weights(symmetries, symmetry, pairs, settled, *precise)  # noqa: B023
            return gains

        step = solved(unit, products)
        for symmetry in (*unit.inside, unit.own):
            step[symmetry.space] = _scaled(symmetry, step[symmetry.space], seen, *precise)
            apply(symmetry, precise[1], step[symmetry.space])
        found |= step
    return found


_LAST = 2


def _turn(unit: Unit, seen: Recorded) -> int:
    """Return when a unit is solved for: heads after all else, and what no value shows at the end, by weights alone."""
    if unit.inside:
        return 1
    return 0 if seen.of(unit.own) else _LAST


def _products(symmetry: Symmetry, pairs: bool, seen: Recorded, measure: Measure) -> Tensor:
    """Return what is gained by putting a neuron in the place of another: (K, n, n), or of all pairs of copies."""
    copies, width = symmetry.copies, symmetry.width
    shape = (copies, copies, width, width) if pairs else (copies, width, width)
    total = torch.zeros(shape, dtype=torch.float64)
    rotated, all_moments = bool(symmetry.group & _ROTATIONS), seen.of(symmetry)
    most = max((moments.rows for moments in all_moments), default=1)
    for moments in all_moments:
        if rotated or measure == "covariance":
            # A rotation takes the mean along. Inside heads no mean is compared: that of keys does not matter.
            found = _shares(moments, pairs, centred=not rotated or symmetry.outer is not None)
        else:
            found = _correlations(moments, pairs)
        total += found.cpu() * (moments.rows / most)
    return total


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


def _of_weights(
    symmetries: Symmetries,
    symmetry: Symmetry,
    pairs: bool,
    settled: Collection[int],
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
) -> Tensor:
    """Return the products of the weights of a space whose other axes are settled, as shares of their sizes."""
    total = torch.zeros((), dtype=torch.float64)
    moving = {each.space for each in symmetries.symmetries}
    for member in symmetry.members:
        layouts = symmetries.spaces.weights[member.weight]
        beside = {leaf.space for layout in layouts for leaf in layout.leaves()} & moving
        if len(layouts) > 1 and beside <= set(settled):
            x, y = (member.matrices(each[member.weight]).cpu() for each in (a, b))
            sizes = [each.flatten(1).norm(dim=1) for each in (x, y)]
            size = sizes[0][:, None] * sizes[1] if pairs else sizes[0] * sizes[1]
            total = total + torch.einsum("xnm,ypm->xynp" if pairs else "xnm,xpm->xnp", x, y) * _inverse(size)
    return total


def _inverse(sizes: Tensor) -> Tensor:
    """Return 1 / sizes (…, 1, 1); 0 where they are 0."""
    return torch.where(sizes > 0, 1 / sizes, 0)[..., None, None]


def _scaled(
    symmetry: Symmetry, element: Element, seen: Recorded, a: Mapping[str, Tensor], b: dict[str, Tensor]
) -> Element:
    """Return a permutation with the factors that make standard deviations equal, if that brings the weights nearer."""
    if Group.SCALE not in symmetry.group or symmetry.group & _ROTATIONS or element.order is None:
        return element
    x, y = sum((moments.variances().cpu() for moments in seen.of(symmetry)), torch.zeros(2, *element.order.shape))
    ratios = (x / torch.take_along_dim(y, element.order, 1)).sqrt()
    ratios = torch.where(ratios.isfinite() & (ratios > 0), ratios, 1.0)
    scaled = Element(order=element.order, factors=ratios if element.factors is None else element.factors * ratios)
    return min((element, scaled), key=lambda each: _distance(symmetry, each, a, b))


def _distance(symmetry: Symmetry, element: Element, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    moved = dict(b)
    apply(symmetry, moved, element)
    names = {member.weight for member in symmetry.members}
    return sum(float((a[name] - moved[name]).square().sum()) for name in names)
