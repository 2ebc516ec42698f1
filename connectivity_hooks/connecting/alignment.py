"""Alignment with its self-check: f(π(θ_B)) = f(θ_B), in float64, every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from connectivity_hooks.contracts.aligner import Aligner, Alignment
from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.model.inputs import placed
from connectivity_hooks.model.precision import in_double
from connectivity_hooks.model.weights import Weights, assign, weights_of
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.structure.untouched import untouched
from connectivity_hooks.tasks.task import Task

# By how much an alignment may change an output, relative to the largest, in float64: it reorders the sums of every
# layer, and 2000 products are then off by 4e-13; layers that amplify may lose three digits more. Another function, such
# as one whose weights went through float32, differs by 6e-8 at least.
TOLERANCE = 1e-9
# Rotations and factors are rounded once, when their weights are stored. How much that may change outputs depends on the
# network, so it is measured, by moving every weight of the copy by half a unit in its last place, up or down at random;
# a copy may deviate ten times as much, and never by more than this, whatever its weights are.
LARGEST = 1e-4
TIMES_ROUNDING = 10
SAMPLES = 64


def aligned(aligner: Aligner, a: Weights, b: Weights, task: Task) -> tuple[Weights, dict[str, object]]:
    """Return π(θ_B) and what was done, for the path file.

    Raises:
        InputError: It fails; the outputs on the first training samples change by more than 1e-9, relative, in float64,
            and by more than rounding its weights explains; or what the aligner returned is no alignment of this
            checkpoint.
    """
    with guarded_call(f"aligner {aligner.name}"):
        alignment = aligner.align(a, b, task)
    fault = _fault(alignment, b)
    if fault:
        raise InputError(f"aligner {aligner.name}: align() returned {fault}")
    change = function_change(b, alignment.weights, task)
    if not change.is_rounding:
        raise InputError(
            f"aligner {aligner.name}: it changes the function of the second checkpoint: outputs deviate by "
            f"{change.deviation:.2g}, relative, in float64 (at most {change.allowed:.2g} allowed)"
        )
    record: dict[str, object] = {"aligner": aligner.name, "options": aligner.used_options()}
    measured = {"deviation": change.deviation, "allowed": change.allowed}
    return alignment.weights, record | measured | {"record": dict(alignment.record)}


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


@dataclass(frozen=True)
class FunctionChange:
    """How far the outputs of two sets of weights differ.

    Attributes:
        deviation: Largest difference of an output on the first training samples, relative to the largest output, in
            float64.
        allowed: Largest deviation that rounding explains, see `TOLERANCE` and `LARGEST`.
    """

    deviation: float
    allowed: float

    @property
    def is_rounding(self) -> bool:
        """Whether both are the same function but for rounding."""
        return self.deviation <= self.allowed


@torch.no_grad()
def function_change(before: Weights, after: Weights, task: Task) -> FunctionChange:
    """Compare the functions of two sets of weights in float64, on the first training samples.

    Two passes; a third one where the functions are not equal to 1e-9, to see what rounding alone would do.
    """
    precise = replace(task, dtype=torch.float64)
    model = precise.model()
    inputs, _ = next(iter(task.train.head(min(SAMPLES, len(task.train))).batches(SAMPLES)))
    inputs = placed(inputs, dtype=torch.float64)

    def outputs(weights: Weights) -> Tensor:
        assign(weights_of(model), weights)
        with untouched(model), in_double():  # tables that a module makes of its weights; casts to float32
            return precise.forward(model, inputs)

    expected, found = outputs(before), outputs(after)
    if not bool(expected.isfinite().all()):
        raise InputError("the second checkpoint's outputs on the first training samples are not finite in float64")
    size = expected.abs().max().clamp_min(1e-300)
    deviation = float((found - expected).abs().max() / size)
    if deviation <= TOLERANCE:
        return FunctionChange(deviation, TOLERANCE)
    rounding = float((outputs(_rounded_otherwise(after)) - found).abs().max() / size)
    return FunctionChange(deviation, min(max(TOLERANCE, TIMES_ROUNDING * rounding), LARGEST))


def _rounded_otherwise(weights: Weights) -> Weights:
    """Return weights in float64, each moved by half a unit in the last place of its stored type, up or down."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            half = torch.finfo(tensor.dtype).eps / 2
            signs = 1 - 2 * torch.randint(2, tensor.shape, generator=generator).to(tensor.device)
            found[name] = tensor.double() * (1 + half * signs)
        else:
            found[name] = tensor
    return found
