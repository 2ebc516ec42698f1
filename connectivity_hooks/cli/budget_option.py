"""``--budget``: how long each method trains that does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import takes_budget

F = TypeVar("F", bound=Callable[..., object])


def budget_option(function: F) -> F:
    """Declare the flag."""
    return click.option(
        "--budget",
        callback=_read,
        metavar="BUDGET",
        help="How long each builder trains that does, and each aligner: 2000steps, 3epochs or 5m. "
        "--NAME.budget goes before it.",
    )(function)


def _read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no budget before any file is opened."""
    if value is not None:
        Budget.parse(value, parameter.opts[0])
    return value


def unused(budget: str | None, methods: Sequence[Method]) -> str:
    """Return in words that a budget was given and no method has one; nothing where it is used, or none was given."""
    if budget is None or any(takes_budget(method.Options) for method in methods):
        return ""
    names = ", ".join(dict.fromkeys(method.name for method in methods))
    return f"--budget {budget} changes nothing: {names} {'has' if len(methods) == 1 else 'have'} no budget"
