"""The commands: ``simplex`` trains a volume, ``simplex-sample`` draws checkpoints from it, ``simplex-route`` a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectivity_hooks.contracts import Command

if TYPE_CHECKING:
    import click


class SimplexCommand(Command):
    """Train a volume of low loss through two checkpoints or more, and measure it."""

    name = "simplex"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_curves.simplex.commands.simplex import command

        return command


class SampleCommand(Command):
    """Write checkpoints drawn from a simplex file, or the one at given weights."""

    name = "simplex-sample"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_curves.simplex.commands.sample import command

        return command


class RouteCommand(Command):
    """Write a path between two vertices of a simplex file that stays inside its volume."""

    name = "simplex-route"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_curves.simplex.commands.route import command

        return command
