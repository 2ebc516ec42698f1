"""The two options that every command has, about which plugins are loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def plugin_options(function: F) -> F:
    """Declare ``--no-plugins`` and ``--block``; `entry` acts on them before the command line is parsed."""
    block = click.option("--block", multiple=True, metavar="PLUGIN", expose_value=False, help="Leave a plugin out.")
    none = click.option("--no-plugins", is_flag=True, expose_value=False, help="Load no plugin, ours included.")
    return block(none(function))
