"""Writes the pages that come from the code: ``cli.md`` from the help texts, ``hooks.md`` from the hook specifications.

python docs/generate.py
"""

from __future__ import annotations

import importlib
import inspect
import pathlib

import click

from connectivity_hooks.cli.group import COMMANDS, group
from connectivity_hooks.contracts import hookspecs
from connectivity_hooks.contracts.options import option_fields
from connectivity_hooks.registry import registry

HERE = pathlib.Path(__file__).parent
WIDTH = 100  # of a help text, in characters: a page shows as many without a bar to scroll
OURS = "connectivity-hooks"


def cli_page() -> str:
    """Return the command line's help, a section a command."""
    sections = [_help("connectivity-hooks", group, None)]
    root = click.Context(group, info_name="connectivity-hooks")
    sections += [_help(f"connectivity-hooks {name}", command, root) for name, command in commands().items()]
    intro = "`connect` is `connectivity-hooks connect`. Made by `python docs/generate.py` from the help texts.\n"
    return "\n".join(["# Command line\n", intro, *sections])


def commands() -> dict[str, click.Command]:
    """Return every command of ours by name."""
    found = {name: importlib.import_module(f"connectivity_hooks.cli.{name}").command for name in COMMANDS}
    entries = registry().commands.items()
    return found | {name: entry.cls().command() for name, entry in entries if entry.origin.distribution == OURS}


def hooks_page() -> str:
    """Return every hook with its signature and documentation, and every method of ours."""
    lines = ["# Hooks and methods\n", "Made by `python docs/generate.py` from the code.\n", "## Hooks\n"]
    for name, function in vars(hookspecs).items():
        if inspect.isfunction(function) and hasattr(function, "connectivity_hooks_spec"):
            lines += [f"### `{name}{inspect.signature(function)}`\n", f"{inspect.getdoc(function)}\n"]
    known = registry()
    for kind in ("conditions", "builders", "aligners", "corrections", "reporters"):
        entries = [entry for entry in getattr(known, kind).values() if entry.origin.distribution == OURS]
        lines += [f"## {kind.capitalize()}\n"] if entries else []
        for entry in entries:
            lines += [
                f"### `{entry.name}`\n",
                f"{inspect.getdoc(entry.cls)}\n",
                *_options(entry.name, entry.cls),
            ]
    return "\n".join(lines)


def _options(name: str, method: type) -> list[str]:
    fields = option_fields(method.Options)
    if not fields:
        return []
    rows = ["| option | allowed | default | |", "|---|---|---|---|"]
    for field in fields:
        flag = f"--{name}.{field.name.replace('_', '-')}"
        allowed = field.allowed().replace("|", "or")
        rows.append(f"| `{flag}` | {allowed} | {'none' if field.default is None else field.default} | {field.help} |")
    return [*rows, ""]


def _help(title: str, command: click.Command, parent: click.Context | None) -> str:
    name = title.rpartition(" ")[2]
    names = ["-h", "--help"]
    context = click.Context(command, info_name=name, parent=parent, max_content_width=WIDTH, help_option_names=names)
    context.terminal_width = WIDTH
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


PAGES = {"cli.md": cli_page, "hooks.md": hooks_page}


if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
