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
        from connectivity_hooks_averaging.soups.average import average

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


class PlaneCommand(Command):
    """Draw the loss on the plane through three checkpoints, and what of a path lies on it."""

    name = "plane"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_averaging.commands.plane import command

        return command

    def function(self) -> Callable[..., Any]:
        """Return `ch.plane`."""
        from connectivity_hooks_averaging.planes.functions import plane

        return plane


class SliceCommand(Command):
    """Draw the loss around one checkpoint along random directions, filters normalised."""

    name = "slice"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_averaging.commands.slice import command

        return command

    def function(self) -> Callable[..., Any]:
        """Return `ch.slice`."""
        from connectivity_hooks_averaging.planes.functions import slice_around

        return slice_around
