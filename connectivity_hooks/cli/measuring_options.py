"""The flags that say how a path is made and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from connectivity_hooks.cli.method_options import make_method
from connectivity_hooks.cli.numbers import Count, Number
from connectivity_hooks.contracts.correction import NONE, Correction
from connectivity_hooks.evaluation.calibrated import Calibrating
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.paths.basis import POLYLINE
from connectivity_hooks.progress import Progress
from connectivity_hooks.registry import registry

F = TypeVar("F", bound=Callable[..., object])


def correct_option() -> Callable[[F], F]:
    """Declare ``--correct``."""
    return click.option(
        "--correct",
        default=NONE,
        show_default=True,
        metavar="NAME",
        help="Correct the weights at each t by this method first; `plugins` lists them.",
    )


def calibrate_option(function: F) -> F:
    """Declare ``--calibrate``."""
    return click.option(
        "--calibrate",
        type=Number(),
        metavar="SHARE",
        help="Measure barriers a second time, with a temperature at each t that is fitted on so large a share of the "
        "training samples, 0.1 say: what is left is no matter of confidence. Twice the passes.",
    )(function)


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
    correct_option(),
)


def measuring_options(function: F) -> F:
    """Declare the flags of a measurement."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


def measuring(given: Mapping[str, Any], progress: Progress) -> Measuring:
    """Return how to measure, from the flags that were given."""
    share = given.get("calibrate")
    calibrating = None if share is None else Calibrating(share, given["seed"])
    return Measuring(given["points"], given["refine"], correction_of(given, progress), calibrating)


def correction_of(given: Mapping[str, Any], progress: Progress) -> Correction | None:
    """Make the correction that was named, with its options; None where none was.

    Raises:
        UsageError: There is none of that name.
    """
    if given["correct"] == NONE:
        return None
    kind = registry().correction(given["correct"])
    made: Correction = make_method(kind, given, seed=given["seed"], progress=progress)
    return made
