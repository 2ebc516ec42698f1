"""The plugin's commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from connectivity_hooks.contracts import Command

if TYPE_CHECKING:
    import click


class AverageCommand(Command):
    """Average checkpoints that are connected, and say which are not."""

    name = "average"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_averaging.commands.average import command

        return command

    def function(self) -> Callable[..., Any]:
        """Return `ch.average`."""
        from connectivity_hooks_averaging.average import average

        return average


class GraphCommand(Command):
    """Say which of many checkpoints are connected, every two or along a tree."""

    name = "graph"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_averaging.commands.graph import command

        return command


class EnsembleCommand(Command):
    """Average the predictions of points along a path, and compare."""

    name = "ensemble"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_averaging.commands.ensemble import command

        return command

    def function(self) -> Callable[..., Any]:
        """Return `ch.ensemble`."""
        from connectivity_hooks_averaging.ensemble.ensemble import ensemble

        return ensemble
