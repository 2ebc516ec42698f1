"""Whether the guarantees of a path's segments are true, by structure: for every input, not only for those tried."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.path import CONSTANT, MEASURED, Guarantee, Path
from connectivity_hooks.structure import Program
from connectivity_hooks.verification.findings import Finding
from connectivity_hooks.verification.reach import changed_outputs, output_weights

LARGEST = 1e6
"""A weight that moves on a constant segment is no larger: 0 times infinity is not 0, and silent neurons whose weights
are huge may overflow for some samples, inside the segment alone. Weights of networks lie far below."""


def untrue(path: Path, program: Program) -> Iterator[tuple[int, Finding]]:
    """Yield each guaranteed segment of a polyline whose guarantee the structure refutes, with what is wrong.

    Time: a comparison of the tensors that changed for each segment. Memory: two points' weights.

    Args:
        path: The path.
        program: What the network computes.
    """
    for segment, (before, after) in enumerate(itertools.pairwise(path.points())):
        if path.guarantees[segment] != MEASURED:
            for finding in segment_faults(segment, path.guarantees[segment], before, after, program):
                yield segment, finding


def segment_faults(
    segment: int, guarantee: Guarantee, before: Weights, after: Weights, program: Program
) -> Iterator[Finding]:
    """Yield what is wrong with the guarantee of one segment.

    Args:
        segment: Its index, for the message.
        guarantee: ``constant``: no changed weight may reach an output. ``convex``: only the output layer may move, so
            that the outputs move on straight lines (docs/theorem.md).
        before: Weights at one end of the segment.
        after: Weights at the other end.
        program: What the network computes.
    """
    where = f"segment {segment} ({guarantee})"
    if guarantee == CONSTANT:
        changes, names = changed_outputs(program, before, after)
        if changes:
            yield Finding("constant", where, f"a change of {', '.join(names)} can reach the outputs")
        for name in sorted(_moved(program, before, after)):
            largest = max(float(before[name].abs().max()), float(after[name].abs().max()))
            if not largest <= LARGEST:
                yield Finding("constant", where, f"{name} holds {largest:.1e}, so that silent neurons may overflow")
        return
    others = sorted(_moved(program, before, after) - output_weights(program))
    if others:
        yield Finding("convex", where, f"moves {', '.join(others)}, expected the output layer alone")


def _moved(program: Program, before: Weights, after: Weights) -> set[str]:
    used = {name for step in program.steps for name in step.weights.values()}
    return {
        name
        for name in used & before.keys()
        if before[name] is not after[name] and not bool((before[name] == after[name]).all())
    }
