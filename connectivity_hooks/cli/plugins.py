"""``connectivity-hooks plugins``: every method that is installed, and where it comes from."""

from __future__ import annotations

from typing import Any

import click

from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.terminal import plain, print_json
from connectivity_hooks.contracts.condition import Condition
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import option_fields
from connectivity_hooks.registry import Registry, registry
from connectivity_hooks.registry.offers import CONTRACTS
from connectivity_hooks.registry.registry import Entry

KINDS = tuple(f"{kind}s" for kind in CONTRACTS)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@json_option
@plugin_options
def command(as_json: bool) -> None:
    """List every condition, builder, aligner, correction, model adapter, reporter, command and operation of plugins."""
    known = registry()
    if as_json:
        print_json(
            {
                "methods": [_described(kind, entry) for kind, entry in _entries(known)],
                "broken": _broken(known),
            }
        )
        return
    for kind in KINDS:
        entries = getattr(known, kind)
        if entries:
            click.secho(kind.capitalize(), bold=True)
        for entry in entries.values():
            _show(_described(kind, entry))
    if not (known.plugins or known.broken):
        click.echo("no plugins")
    if known.shut_out:
        click.echo(plain(known.shut_out))
    for broken in _broken(known):
        click.secho(f"set aside: {plain(broken['plugin'])}: {plain(broken['reason'])}", fg="red")


def _entries(known: Registry) -> list[tuple[str, Entry[Any]]]:
    return [(kind, entry) for kind in KINDS for entry in getattr(known, kind).values()]


def _described(kind: str, entry: Entry[Any]) -> dict[str, Any]:
    method = entry.cls if issubclass(entry.cls, Method) else None
    summary = method.summary() if method else (entry.cls.__doc__ or "").strip().partition("\n")[0]
    options = [
        {
            "flag": f"--{entry.name}.{field.name.replace('_', '-')}",
            "allowed": field.allowed(),
            "default": field.default,
            "help": field.help,
        }
        for field in (option_fields(method.Options) if method else ())
    ]
    return {
        "kind": kind.removesuffix("s"),
        "name": entry.name,
        "summary": summary,
        "watched": issubclass(entry.cls, Condition) and entry.cls.watched,
        "plugin": entry.origin.plugin,
        "distribution": entry.origin.distribution,
        "version": entry.origin.version,
        "module": entry.origin.module,
        "options": options,
    }


def _show(method: dict[str, Any]) -> None:
    click.echo(plain(f"  {method['name']}: {method['summary']}"))
    origin = f"{method['plugin']} plugin, {method['distribution']} {method['version']}"
    click.secho(plain(f"      from the {origin} ({method['module']})"), dim=True)
    if method["watched"]:
        click.secho("      asked by watch where no condition is named", dim=True)
    for option in method["options"]:
        default = "none" if option["default"] is None else option["default"]
        click.echo(plain(f"      {option['flag']}  {option['help']} [{option['allowed']}; default: {default}]"))


def _broken(known: Registry) -> list[dict[str, str]]:
    return [{"plugin": str(broken.origin), "reason": broken.reason} for broken in known.broken]
