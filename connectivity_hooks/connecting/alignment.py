"""Alignment with its self-check: f(π(θ_B)) = f(θ_B), in float64, every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from connectivity_hooks.contracts.aligner import Aligner, Alignment
from connectivity_hooks.errors import ConnectivityError, one_line
from connectivity_hooks.model.inputs import placed
from connectivity_hooks.model.weights import Weights, assign, weights_of
from connectivity_hooks.structure.untouched import untouched
from connectivity_hooks.tasks.task import Task

# By how much an alignment may change an output, relative to the largest, in float64: it reorders the sums of every
# layer, and 2000 products are then off by 4e-13; layers that amplify may lose three digits more. Another function, such
# as one whose weights went through float32, differs by 6e-8 at least.
TOLERANCE = 1e-9
SAMPLES = 64


def aligned(aligner: Aligner, a: Weights, b: Weights, task: Task) -> tuple[Weights, dict[str, object]]:
    """Return π(θ_B) and what was done, for the path file.

    Raises:
        ConnectivityError: The outputs on the first training samples change by more than 1e-9, relative, in float64; or
            what the aligner returned is no alignment of this checkpoint.
    """
    alignment = aligner.align(a, b, task)
    fault = _fault(alignment, b)
    if fault:
        raise ConnectivityError(f"aligner {aligner.name}: align() returned {fault}")
    deviation = function_change(b, alignment.weights, task)
    if not deviation <= TOLERANCE:
        raise ConnectivityError(
            f"aligner {aligner.name}: it changes the function of the second checkpoint: outputs deviate by "
            f"{deviation:.2g}, relative, in float64 (at most {TOLERANCE:g} allowed)"
        )
    record: dict[str, object] = {"aligner": aligner.name, "options": aligner.used_options()}
    return alignment.weights, record | {"deviation": deviation, "record": dict(alignment.record)}


def _fault(alignment: object, b: Weights) -> str:
    """Return in words what an aligner returned where that is no alignment of `b`; nothing where it is one."""
    if not isinstance(alignment, Alignment):
        return f"a {type(alignment).__name__}, expected a connectivity_hooks.contracts.Alignment"
    if not isinstance(alignment.weights, Mapping):
        return f"a {type(alignment.weights).__name__} as weights, expected tensors by name"
    for name in (*b, *alignment.weights):
        if name not in alignment.weights or name not in b:
            return f"weights {'without' if name in b else 'with'} {name}, expected the names of the second checkpoint"
        found, expected = alignment.weights[name], b[name]
        if not isinstance(found, Tensor):
            return f"a {type(found).__name__} as {name}, expected a tensor"
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            kinds = [f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}" for one in (found, expected)]
            return f"{name} as {kinds[0]}, expected {kinds[1]}"
    try:
        json.dumps(dict(alignment.record), allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"a record that is not of JSON-ready values: {one_line(error)}"
    return ""


@torch.no_grad()
def function_change(before: Weights, after: Weights, task: Task) -> float:
    """Return the largest change of an output on the first training samples, relative to the largest output."""
    precise = replace(task, dtype=torch.float64)
    model = precise.model()
    inputs, _ = next(iter(task.train.head(min(SAMPLES, len(task.train))).batches(SAMPLES)))
    outputs = []
    for weights in (before, after):
        assign(weights_of(model), weights)
        with untouched(model):  # tables that a module makes of its weights
            outputs.append(task.forward(model, placed(inputs, dtype=torch.float64)))
    change = (outputs[1] - outputs[0]).abs().max() / outputs[0].abs().max().clamp_min(1e-300)
    return float(change)
