"""Commands of the plugin: the hub, and the star of paths that lead to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectivity_hooks.contracts import Command

if TYPE_CHECKING:
    import click


class HubCommand(Command):
    """Train the narrow network that every solution of a task can be connected to."""

    name = "hub"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_theorem.commands.hub import command

        return command


class StarCommand(Command):
    """Connect checkpoints to one hub: a certified path between every two of them."""

    name = "star"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_theorem.commands.star import command

        return command
