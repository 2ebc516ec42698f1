"""The plugin's command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectivity_hooks.contracts import Command

if TYPE_CHECKING:
    import click


class AlignCommand(Command):
    """Bring checkpoints into the frame of the first: equal functions, near to each other in weights."""

    name = "align"

    def command(self) -> click.Command:
        """Return the command."""
        from connectivity_hooks_alignment.commands.align import command

        return command
