"""``--json``: one JSON object on stdout, whatever the model's, the data's or the loss's own code prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from connectivity_hooks.cli.descriptors import stdout_kept

F = TypeVar("F", bound=Callable[..., object])


def json_option(function: F) -> F:
    """Declare ``--json``, the parameter `as_json`; it takes stdout before anything else of the command runs."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        callback=_keep_stdout,
        help="Print one JSON object on stdout and nothing else.",
    )(function)


def _keep_stdout(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    if value and not ctx.resilient_parsing:
        ctx.with_resource(stdout_kept())
    return value
