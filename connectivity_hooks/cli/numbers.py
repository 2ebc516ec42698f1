"""Whole numbers on the command line, none larger than PyTorch can take as a count, a size or a seed."""

from __future__ import annotations

from typing import Any

import click
from click.types import IntParamType

from connectivity_hooks.contracts.options import LARGEST


class Count(click.IntRange):
    """A number from `min` on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a larger one than `LARGEST` is wrong usage."""
        return _bounded(super().convert(value, param, ctx), self, param, ctx)


class Seed(IntParamType):
    """Any number, a negative one too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a larger one than `LARGEST` is wrong usage."""
        return _bounded(super().convert(value, param, ctx), self, param, ctx)


def _bounded(number: Any, kind: IntParamType, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if abs(number) > LARGEST:
        kind.fail(f"{str(number)[:30]} … is too large, at most {LARGEST}.", param, ctx)
    return number
