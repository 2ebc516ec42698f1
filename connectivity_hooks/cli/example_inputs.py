"""What a model is run on where no data is given: random numbers, or tokens, of a shape that is typed or known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
import torch
from torch import Tensor, nn

from connectivity_hooks.contracts.options import LARGEST
from connectivity_hooks.errors import UsageError
from connectivity_hooks.model import Inputs, shapes_of
from connectivity_hooks.registry import registry

F = TypeVar("F", bound=Callable[..., object])

FLOATS = "float"
_SHAPE = re.compile(r"\d{1,7}(,\d{1,7}){0,7}", re.ASCII)
_TOKENS = re.compile(r"tokens:(\d{1,18})", re.ASCII)
_MOST = 10**8
"""Values of one sample: more than an image of 5000 × 5000 has is a slip of the hand."""


def input_options(function: F) -> F:
    """Declare what a model is run on where no data is given."""
    kind = click.option(
        "--input-type",
        metavar="TYPE",
        help="Without --data: float (the default) for random numbers, tokens:N for whole ones below N.",
    )
    shape = click.option(
        "--input-shape",
        metavar="SIZES",
        help="Without --data: shape of one sample, as 3,32,32 for an image or 16 for a sequence. May be left out for "
        "models of a library that says it.",
    )
    return shape(kind(function))


def example_inputs(model: nn.Module, name: str, shape: str | None, kind: str | None, samples: int) -> Inputs:
    """Return random inputs for a model.

    Args:
        model: The model.
        name: As named on the command line.
        shape: ``--input-shape``; None asks the library of the model.
        kind: ``--input-type``.
        samples: How many.

    Raises:
        UsageError: A flag cannot be read, or is needed and not given.
    """
    generator = torch.Generator().manual_seed(0)
    if shape is not None:
        return _drawn((samples, *_sizes(shape)), kind or FLOATS, generator)
    if kind is not None:
        raise UsageError(f"--input-type {kind}: say the shape of one sample too, as --input-shape 16")
    adapter = registry().adapter_of(model)
    with torch.random.fork_rng():
        found = None if adapter is None else adapter.inputs(model, samples)
    if found is None:
        raise UsageError(
            f"--model {name}: what it is run on is not known; say --input-shape 3,32,32 (the shape of one sample; for "
            "whole numbers --input-type tokens:97 too), or --data"
        )
    return found


def described(inputs: Any) -> str:
    """Return what a model is run on, in words."""
    return f"inputs {shapes_of(inputs)}"


def _sizes(shape: str) -> list[int]:
    if not _SHAPE.fullmatch(shape):
        raise UsageError(f"--input-shape {shape[:60]}: expected sizes with commas between them, as 3,32,32")
    sizes = [int(size) for size in shape.split(",")]
    values = torch.Size(sizes).numel()
    if not 0 < values <= _MOST:
        raise UsageError(f"--input-shape {shape}: one sample has {values} values, expected 1 to {_MOST}")
    return sizes


def _drawn(shape: tuple[int, ...], kind: str, generator: torch.Generator) -> Tensor:
    if kind == FLOATS:
        return torch.randn(shape, generator=generator)
    tokens = _TOKENS.fullmatch(kind)
    if tokens is None or not 0 < int(tokens[1]) <= LARGEST:
        raise UsageError(f"--input-type {kind[:60]}: expected float, or tokens:N with N above 0, as tokens:97")
    return torch.randint(int(tokens[1]), shape, generator=generator)
