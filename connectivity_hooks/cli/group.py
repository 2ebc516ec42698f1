"""``connectivity-hooks``: the commands by name, each imported when it is used."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from connectivity_hooks.cli.given_once import options_once
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.version import __version__

if TYPE_CHECKING:
    from connectivity_hooks.contracts.command import Command

COMMANDS = {
    "demo": "Train two small networks with the hooks on, connect them, write a report.",
    "connect": "Connect two checkpoints: a verdict, a path file, a barrier, a report.",
    "merge": "Put together what the shards of a job array left.",
    "symmetries": "What may be done to the neurons of a model: spaces, groups, coverage, what stays and why.",
    "check": "Check conditions on one checkpoint, layer by layer.",
    "stability": "The barrier between copies of a training, by the step at which they part.",
    "verify": "Check every claim of a path file again: guarantees, ends, bound.",
    "sample": "Write the weights at one point of a path as a checkpoint.",
    "convert": "Make a safetensors checkpoint of a pickle, without running its code.",
    "report": "Make the page and the picture of a folder again.",
    "plugins": "List every method that is installed, and where it comes from.",
}

_TOGETHER = {"connect"}
"""What several processes work on together; of every other command the first does all, and the others end."""


class _Lazy(click.Group):
    """A group that imports a command's module when the command is asked for, and lists them without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_of_plugins()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            module = importlib.import_module(f"connectivity_hooks.cli.{name}")
            command: click.Command = module.command
            return options_once(command)
        offered = _of_plugins().get(name)
        return options_once(_kept_from_exiting(offered().command(), name)) if offered else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        further = [(name, offered.summary()) for name, offered in _of_plugins().items()]
        if further:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(further)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from connectivity_hooks.errors import UsageError, near_matches

        if args[0] not in COMMANDS and not args[0].startswith("-") and args[0] not in _of_plugins():
            raise UsageError(f"unknown command {args[0]!r}; {near_matches(args[0], self.list_commands(ctx))}")
        if args[0] not in _TOGETHER and not _is_first():
            ctx.exit()
        return super().resolve_command(ctx, args)


def _kept_from_exiting(command: click.Command, name: str) -> click.Command:
    """Let a stranger's command return its status: one that ends the program would end it without a word."""
    run = command.callback
    if run is None:
        return command

    @functools.wraps(run)
    def kept(*arguments: Any, **named: Any) -> Any:
        from connectivity_hooks.strangers import no_exit

        with no_exit(f"command {name}"):
            return run(*arguments, **named)

    command.callback = kept
    return command


def _is_first() -> bool:
    team = sys.modules.get("connectivity_hooks.team")  # imported where this is one of several processes
    return team is None or bool(team.joined().is_first)


def _of_plugins() -> dict[str, type[Command]]:
    """Return the commands of plugins by name; ours come first where names are the same."""
    from connectivity_hooks.registry import registry

    return {name: entry.cls for name, entry in registry().commands.items() if name not in COMMANDS}


@click.group(
    cls=_Lazy,
    epilog="Every command has --help. Start with: connectivity-hooks demo --out demo",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
@plugin_options
def group() -> None:
    """Hooks on the training you have; afterwards, whether two checkpoints are connected."""
