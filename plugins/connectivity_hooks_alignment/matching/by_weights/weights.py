"""Matching by weights alone: coordinate descent over the spaces (Ainsworth et al. 2023, algorithm 1, for every group).

Both checkpoints are folded and brought into the balanced gauge (`gauge`). Each step then solves for one space exactly,
with all others as they are, so that the distance never grows. At last the second is brought into the first one's own
gauge, and its factors and mixtures are chosen there (`factors`, `mixtures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Generator, Tensor

from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Element, Elements, Symmetries, apply, combined
from connectivity_hooks_alignment.matching.by_weights.descent import descended
from connectivity_hooks_alignment.matching.by_weights.ends import squared_distance, working
from connectivity_hooks_alignment.matching.by_weights.factors import refined
from connectivity_hooks_alignment.matching.by_weights.gauge import balanced, inverse
from connectivity_hooks_alignment.matching.by_weights.mixtures import polished
from connectivity_hooks_alignment.matching.units import units_of


@dataclass(frozen=True, eq=False)
class Matched:
    """What was found.

    Attributes:
        elements: What is done to each space; what was given to begin with where nothing nearer was found.
        before: Distance of the folded weights that move, as it was to begin with.
        after: The same distance after.
        sweeps: How often all spaces were gone over, in the start that was kept.
        converged: Whether nothing moved any more.
        kept: Which start was kept, from 0; None where nothing nearer was found.
    """

    elements: dict[int, Element]
    before: float
    after: float
    sweeps: int
    converged: bool
    kept: int | None


def match_weights(
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    sweeps: int = 100,
    restarts: int = 0,
    polish: int = 20,
    seed: int = 0,
    progress: Progress = SILENT,
    start: Elements | None = None,
) -> Matched:
    """Return the elements that bring `b` nearest to `a` in weight space.

    A start goes from the fixed inputs and outputs inwards and reads only weights whose other axes are settled; sweeps
    over the spaces in random order follow, until nothing moves. Where the checkpoint as it is lies nearer than what
    the first pass finds, as after fine-tuning, the sweeps start there.

    Products are computed where the weights are, from working copies in float32 (float64 for weights that are): those
    for rotations in float64, those for assignments only added up in it. Assignments and decompositions are the CPU's.
    Memory, beyond what is given: three working copies of the weights that move, and for the widest space a few
    matrices of its neurons in float64.

    Args:
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second, on the same device.
        sweeps: At most so many.
        restarts: Further starts, in other orders; the nearest is kept.
        polish: Steps of L-BFGS for each head whose neurons may be mixed.
        seed: Of the orders.
        progress: Shows how far it is.
        start: What is done to `b` to begin with, such as what was found from activations; the sweeps start there.
    """
    begun = dict(start or {})

    def second() -> dict[str, Tensor]:
        return _applied(symmetries, working(symmetries, b), begun)

    own, as_it_is = working(symmetries, a), second()
    before = squared_distance(own, as_it_is) ** 0.5
    gauges = balanced(symmetries, own), balanced(symmetries, as_it_is)
    del as_it_is
    balanced_a = _applied(symmetries, dict(own), gauges[0])
    best = Matched(begun, before, before, sweeps=0, converged=True, kept=None)
    for number in range(restarts + 1):
        label = f"matching weights{f', start {number + 1} of {restarts + 1}' if restarts else ''}"
        found = descended(
            symmetries,
            balanced_a,
            lambda: _applied(symmetries, second(), gauges[1]),
            sweeps=progress.track(range(sweeps), label, sweeps),
            generator=Generator().manual_seed(seed + number),
            first=None if start is not None else "anchored" if number == 0 else "drawn",
        )
        elements = combined(symmetries, gauges[1], found.elements)
        elements = combined(symmetries, elements, {space: inverse(one) for space, one in gauges[0].items()})
        moved = _applied(symmetries, second(), elements)
        elements = refined(symmetries, own, moved, combined(symmetries, begun, elements))
        elements = polished(symmetries, own, moved, elements, polish)
        after = squared_distance(own, moved) ** 0.5
        del moved  # the next start makes its own
        if after < best.after:
            best = Matched(elements, before, after, found.sweeps, found.converged, number)
    return best


def _applied(symmetries: Symmetries, weights: dict[str, Tensor], elements: Elements) -> dict[str, Tensor]:
    for unit in units_of(symmetries):
        for symmetry in unit.symmetries:
            if symmetry.space in elements:
                apply(symmetry, weights, elements[symmetry.space])
    return weights
