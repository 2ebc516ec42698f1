"""How far a change of weights spreads through a network, whatever the inputs.

A change of some rows of a layer's weights changes the neurons of these rows, except where it only concerns neurons they
read that are silent (0 for every input) all along the segment; from there it spreads along weights that are nonzero
somewhere on the segment. If it reaches no output, the function is constant along the segment.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.structure import Program, Step
from connectivity_hooks.verification.silence import silent_entries

# Only of these is row i of a weight known to concern entry i of the value, and no other.
_ROW_BY_ROW = ("affine", "norm")
_CHANNELWISE = ("norm", "activation", "pool", "identity", "add", "product")


def changed_outputs(program: Program, before: Weights, after: Weights) -> tuple[bool, list[str]]:
    """Say whether outputs can change between two points, and name the tensors whose change gets there first.

    Args:
        program: What the network computes.
        before: Weights at one end of the segment.
        after: Weights at the other end.

    Returns:
        Whether the last value depends on a changed weight, and the names of the changed tensors that reach it.
    """
    origins: dict[str, dict[str, Tensor]] = {name: {} for name in program.shapes}
    silent = silent_entries(program, before, after)
    for step in program.steps:
        origins[step.name] = _through(step, origins, silent, before, after)
    reached = origins[program.steps[-1].name]
    return bool(reached), sorted(reached)


def _through(
    step: Step,
    origins: Mapping[str, Mapping[str, Tensor]],
    silent: Mapping[str, Tensor],
    before: Weights,
    after: Weights,
) -> dict[str, Tensor]:
    """Return for each changed tensor a mask of the entries of this value's first axis it may have changed."""
    entries = step.shape[0] if step.shape else 1
    masks: dict[str, Tensor] = {}
    for role, name in step.weights.items():
        unread = silent[step.inputs[0]] if step.kind == "affine" and role == "weight" else None
        rows = _changed_rows(before[name], after[name], unread)
        if bool(rows.any()):
            own = step.kind in _ROW_BY_ROW and len(rows) == entries
            _merge(masks, name, rows if own else torch.ones(entries, dtype=torch.bool))
    for value in step.inputs:
        for name, mask in origins[value].items():
            spread = _spread(step, mask, entries, before, after)
            if bool(spread.any()):
                _merge(masks, name, spread)
    return masks


def _changed_rows(before: Tensor, after: Tensor, unread: Tensor | None) -> Tensor:
    """Return the rows that differ, in a column that reads anything."""
    changed = (before != after).cpu()
    if changed.ndim == 0:
        return changed[None]
    if unread is not None and changed.ndim > 1 and changed.shape[1] == len(unread):
        changed = changed[:, ~unread]
    return changed.reshape(len(changed), -1).any(1)


def _merge(masks: dict[str, Tensor], name: str, mask: Tensor) -> None:
    masks[name] = masks[name] | mask if name in masks else mask


def _spread(step: Step, mask: Tensor, entries: int, before: Weights, after: Weights) -> Tensor:
    """Return the entries of a step's value that changed entries of its input can reach."""
    everything = torch.full((entries,), bool(mask.any()))
    if step.kind == "affine":
        name = step.weights["weight"]
        reads = ((before[name] != 0) | (after[name] != 0)).cpu()
        return _mixed(step, reads, mask) if len(reads) == entries else everything
    if step.kind == "flatten":
        return mask.repeat_interleave(entries // len(mask)) if entries % len(mask) == 0 else everything
    if step.kind in _CHANNELWISE and len(mask) == entries:
        return mask
    return everything


def _mixed(step: Step, reads: Tensor, mask: Tensor) -> Tensor:
    """Return the rows that read a changed entry; a convolution's groups read their own part of the input."""
    reads = reads.reshape(*reads.shape[:2], -1).any(2)
    rows, width = reads.shape
    groups = len(mask) // width
    if groups * width != len(mask) or rows % groups:
        return torch.full((rows,), bool(mask.any()))
    parts = zip(reads.chunk(groups), mask.chunk(groups), strict=True)
    return torch.cat([(part & own).any(1) for part, own in parts])


def output_weights(program: Program) -> frozenset[str]:
    """Return the names of the weights in which the outputs are affine when all others are fixed.

    They belong to the last affine step, if everything after it is linear and nothing else uses them.
    """
    affine = [index for index, step in enumerate(program.steps) if step.kind == "affine"]
    if not affine:
        return frozenset()
    last = affine[-1]
    for before, step in zip(program.steps[last:], program.steps[last + 1 :], strict=False):
        linear = step.kind in ("flatten", "identity") or (step.kind == "pool" and step.linear)
        if not linear or step.inputs != (before.name,):
            return frozenset()
    names = set(program.steps[last].weights.values())
    return frozenset(names - {name for step in program.steps[:last] for name in step.weights.values()})
