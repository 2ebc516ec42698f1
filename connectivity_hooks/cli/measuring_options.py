"""The flags that say how a path is made and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from connectivity_hooks.cli.numbers import Count
from connectivity_hooks.evaluation.evaluate import Measuring
from connectivity_hooks.paths.basis import POLYLINE

F = TypeVar("F", bound=Callable[..., object])

_FLAGS = (
    click.option(
        "--points",
        type=Count(2, POLYLINE.most),
        default=25,
        show_default=True,
        metavar="N",
        help="Even grid of t where nothing is proven.",
    ),
    click.option(
        "--refine",
        type=Count(0),
        default=4,
        show_default=True,
        metavar="N",
        help="Rounds of two more t beside the worst.",
    ),
    click.option(
        "--batch-norm",
        type=click.Choice(["stored", "re-estimated"]),
        default="stored",
        show_default=True,
        help="Use the path's running statistics, or measure them anew at each t.",
    ),
)


def measuring_options(function: F) -> F:
    """Declare the flags of a measurement."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


def measuring(given: Mapping[str, Any]) -> Measuring:
    """Return the flags of a measurement among all that were given."""
    return Measuring(given["points"], given["refine"], given["batch_norm"])
