"""Which neurons are silent along a whole segment: 0 for every input, so that nothing that reads them matters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.structure import Program, Step


def silent_entries(program: Program, before: Weights, after: Weights) -> dict[str, Tensor]:
    """Return for each value a mask of the entries of its first axis that are 0 all along a segment.

    Args:
        program: What the network computes.
        before: Weights at one end of the segment.
        after: Weights at the other end.
    """
    silent = {name: torch.zeros(shape[0] if shape else 1, dtype=torch.bool) for name, shape in program.shapes.items()}
    for step in program.steps:
        entries = step.shape[0] if step.shape else 1
        mask = _silent(step, silent, before, after)
        silent[step.name] = mask if len(mask) == entries else torch.zeros(entries, dtype=torch.bool)
    return silent


def _silent(step: Step, silent: Mapping[str, Tensor], before: Weights, after: Weights) -> Tensor:
    nothing = torch.zeros(0, dtype=torch.bool)
    if not step.inputs:
        return nothing
    mask = silent[step.inputs[0]]
    if step.kind == "affine":
        return _without_input(step, mask, before, after)
    if step.kind == "activation":
        return mask if float(step.apply([torch.zeros(1, 1)], {})) == 0 else nothing
    if step.kind == "flatten":
        return mask.repeat_interleave((step.shape[0] if step.shape else 1) // len(mask))
    if step.kind in ("add", "product"):
        other = silent[step.inputs[1]]
        if len(mask) != len(other):
            return nothing
        return mask & other if step.kind == "add" else mask | other
    return mask if step.kind in ("pool", "identity") else nothing


def _without_input(step: Step, mask: Tensor, before: Weights, after: Weights) -> Tensor:
    """Return the rows of an affine step without bias whose every weight is 0, or reads a silent entry."""
    weight = step.weights["weight"]
    used = ((before[weight] != 0) | (after[weight] != 0)).cpu()
    if used.shape[1] != len(mask):
        return torch.zeros(0, dtype=torch.bool)
    silent = ~used[:, ~mask].reshape(len(used), -1).any(1)
    if "bias" in step.weights:
        bias = step.weights["bias"]
        silent &= ((before[bias] == 0) & (after[bias] == 0)).cpu()
    return silent
