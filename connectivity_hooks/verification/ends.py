"""Whether a path's ends are the two checkpoints: bit for bit, or, where one was aligned, as functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints import Checkpoint, fit
from connectivity_hooks.errors import InputError
from connectivity_hooks.model.precision import in_double
from connectivity_hooks.model.weights import Weights, assign, same, weights_of
from connectivity_hooks.paths.path import Path
from connectivity_hooks.structure.untouched import untouched
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.findings import NOT_COMPARED, Finding
from connectivity_hooks.verification.outputs import outputs_of
from connectivity_hooks.verification.rounding import PRECISE, relative_deviation

EQUAL = 1e-9
"""By how much the outputs of an aligned end may differ, relative, in float64.

An alignment reorders the sums of every layer. One sum of 2000 products is then off by 4e-13 at most (`rounding`), and
outputs whose terms cancel, or that later layers amplify, may lose three digits more. What is another function differs
by far more: weights that were moved by one unit in the last place of float32 change outputs by 6e-8.

Rotations and factors compute weights, which are then rounded to the type they are stored in. What that may change is
measured on the end itself, see `stored_otherwise`; `TIMES` as much is allowed, and never more than `LARGEST`.
"""

TIMES = 10
LARGEST = 1e-4


@dataclass(frozen=True)
class EndsFound:
    """What a comparison of both ends found, and the comparison in words."""

    findings: tuple[Finding, ...]
    words: str


def compare_ends(
    path: Path, checkpoints: Sequence[Checkpoint], task: Task, model: nn.Module, samples: Split
) -> EndsFound:
    """Compare the ends of a path with the checkpoints it is said to connect.

    The first end is the first checkpoint bit for bit, and so is the second, unless the path says it was aligned: then
    it must be the same function, which is compared on `samples` in float64. What the path says of the alignment itself
    is not believed.

    Args:
        path: The path.
        checkpoints: Both checkpoints in the order of the path, or none.
        task: Model and data.
        model: The task's model; only its names and shapes are looked at.
        samples: Samples the functions are compared on.

    Raises:
        InputError: A number of checkpoints other than none or two, or one that does not fit the model.
    """
    if not checkpoints:
        return EndsFound((), NOT_COMPARED)
    if len(checkpoints) != 2:
        raise InputError(f"expected the two checkpoints of the path, found {len(checkpoints)}")
    findings = list(_digests(path, checkpoints))
    expected = [fit(checkpoint, model).weights for checkpoint in checkpoints]
    findings += _different("A", expected[0], path.start)
    words = "the checkpoints bit for bit"
    last = path.end
    if path.alignment is None:
        findings += _different("B", expected[1], last)
    else:
        deviation = function_deviation(task, expected[1], last, samples)
        allowed = EQUAL
        if deviation > EQUAL:
            rounding = function_deviation(task, last, stored_otherwise(last), samples)
            allowed = min(max(EQUAL, TIMES * rounding), LARGEST)
        words = (
            "A is the checkpoint bit for bit; B was aligned, and on "
            f"{len(samples)} samples is the same function up to {deviation:.1e}, relative, in float64"
            + ("" if allowed == EQUAL else f" (rounding its weights explains up to {allowed:.1e})")
        )
        if not deviation <= allowed:
            reason = (
                f"outputs differ from the checkpoint's by {deviation:.1e}, relative, in float64; rounding explains "
                f"{allowed:.1e} at most"
            )
            findings.append(Finding("end", "end B (aligned)", reason))
    return EndsFound(tuple(findings), "not those of the checkpoints" if findings else words)


@torch.no_grad()
def function_deviation(task: Task, a: Weights, b: Weights, samples: Split) -> float:
    """Return the largest difference of an output under two sets of weights in float64, see `relative_deviation`.

    Args:
        task: Makes the model, and says how many samples a pass takes.
        a: Weights of the function that is expected.
        b: Weights of the one that is found.
        samples: N samples.
    """
    precise = replace(task, dtype=torch.float64)
    model = precise.model()
    expected, found = (_under(model, weights, samples, precise) for weights in (a, b))
    return relative_deviation(found, expected)


def stored_otherwise(weights: Weights) -> Weights:
    """Return weights in float64 that lie halfway to the next number of their type, above or below, at random.

    These are the farthest values that would have been rounded to the same weights.
    """
    generator = torch.Generator().manual_seed(0)
    found = dict(weights)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            away = torch.where(torch.rand(tensor.shape, generator=generator) < 0.5, -torch.inf, torch.inf)
            fine = tensor if tensor.dtype in PRECISE else tensor.float()
            found[name] = (fine.double() + torch.nextafter(fine, away.to(fine)).double()) / 2
    return found


def _under(model: nn.Module, weights: Weights, samples: Split, task: Task) -> Tensor:
    assign(weights_of(model), weights)
    with untouched(model), in_double():  # tables that a module makes of its weights; casts to float32
        return outputs_of(model, task, samples)


def _digests(path: Path, checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    for index, (name, checkpoint) in enumerate(zip("AB", checkpoints, strict=True)):
        recorded = path.end_points[index].sha256 if path.end_points else None
        if recorded != checkpoint.sha256:
            reason = f"digest {checkpoint.sha256[:12]}… expected, found {str(recorded)[:12]}…"
            yield Finding("end", f"end {name}", reason)


def _different(end: str, expected: Weights, found: Weights) -> Iterator[Finding]:
    for name, tensor in expected.items():
        wide = torch.promote_types(tensor.dtype, found[name].dtype)  # a coarser type would hide what it rounds away
        if not same(tensor.to(wide), found[name].to(wide)):
            yield Finding("end", f"end {end}, {name}", "differs from the checkpoint")
