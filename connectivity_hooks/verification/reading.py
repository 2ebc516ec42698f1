"""Whether what was read of a model is what the model does, on the very batches and weights that are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from connectivity_hooks.errors import one_line
from connectivity_hooks.model.inputs import Inputs, rows_of, shapes_of
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.structure import Program
from connectivity_hooks.verification.rounding import outputs_tolerance, relative_deviation


def mixed(a: Weights, b: Weights, seed: int = 0) -> Weights:
    """Return weights somewhere between two points, entry by entry, and off them where they may be negative.

    At the points of a path a proof is about, what a reading missed may be silent by design; at these it is not.

    Args:
        a: Weights of one point.
        b: Weights of another.
        seed: Seed of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in a.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            found[name] = tensor
            continue
        one, other = tensor.double().cpu(), b[name].double().cpu()
        value = torch.lerp(one, other, torch.rand(one.shape, generator=generator, dtype=torch.float64))
        if bool((torch.minimum(one, other) < 0).any()):  # variances stay positive
            value += 0.1 * value.abs().mean() * torch.randn(one.shape, generator=generator, dtype=torch.float64)
        found[name] = value.to(tensor.device, tensor.dtype)
    return found


@torch.no_grad()
def reading_fault(
    program: Program, weights: Mapping[str, Tensor], batches: Iterable[tuple[Inputs, Tensor]]
) -> str | None:
    """Compare a program with the module it was read from; return the fault in words, or None.

    A proof by structure is about the program. It carries over to the module only where both agree: a module that reads
    weights under another name, keeps tables of them, goes other ways when it is exported or for another number of
    samples, differs from its program once other weights or other batches come.

    Args:
        program: What was read.
        weights: Weights that the module has now.
        batches: (inputs, outputs of the module) under these weights.
    """
    for inputs, outputs in batches:
        try:
            found = program.run(weights, inputs)
        except Exception as error:  # a step that takes no other number of samples, or no other length
            return f"the steps read from the model do not run on {_batch(inputs)}: {one_line(error)}"
        deviation, allowed = relative_deviation(found, outputs), outputs_tolerance(outputs.dtype)
        if not deviation <= allowed:
            return (
                f"the steps read from the model are not what it does: on {_batch(inputs)} "
                f"outputs deviate by {deviation:.1e}, rounding explains {allowed:.1e}"
            )
    return None


def _batch(inputs: Inputs) -> str:
    return f"a batch of {rows_of(inputs)} samples of shape {shapes_of(inputs)}"
