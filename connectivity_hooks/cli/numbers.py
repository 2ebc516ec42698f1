"""Numbers on the command line: whole ones no larger than PyTorch takes, others finite."""

from __future__ import annotations

import math
from typing import Any

import click
from click.types import FloatParamType, IntParamType

from connectivity_hooks.contracts.options import LARGEST


class Count(click.IntRange):
    """A whole number from `min` on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a larger one than `LARGEST` is wrong usage."""
        return _bounded(super().convert(value, param, ctx), self, param, ctx)


class Seed(IntParamType):
    """Any whole number, a negative one too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a larger one than `LARGEST` is wrong usage."""
        return _bounded(super().convert(value, param, ctx), self, param, ctx)


class Number(FloatParamType):
    """Any number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; NaN and infinities are wrong usage."""
        return _finite(super().convert(value, param, ctx), self, param, ctx)


class Amount(click.FloatRange):
    """A number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; NaN and infinities are wrong usage."""
        return _finite(super().convert(value, param, ctx), self, param, ctx)


def _bounded(number: Any, kind: IntParamType, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if abs(number) > LARGEST:
        kind.fail(f"{str(number)[:30]} … is too large, at most {LARGEST}.", param, ctx)
    return number


def _finite(number: Any, kind: FloatParamType, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if not math.isfinite(number):
        kind.fail(f"{number} is not a finite number.", param, ctx)
    return number
