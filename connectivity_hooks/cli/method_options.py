"""Flags ``--<method>.<option>`` for every option of every installed method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from connectivity_hooks.connecting.methods import make
from connectivity_hooks.contracts.correction import NONE
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import OptionField, option_fields
from connectivity_hooks.errors import UsageError
from connectivity_hooks.progress import Progress
from connectivity_hooks.registry import Registry, registry

_SEPARATOR = "__option__"


class MethodCommand(click.Command):
    """A command that takes the options of the installed methods of some kinds.

    Set `kinds` to names of `Registry` attributes, e.g. ``("builders", "conditions")``; ``builders.bezier`` is one
    method alone. Help tells only those that `shown` is true of.
    """

    kinds: tuple[str, ...] = ()
    shown: Callable[[type[Method]], bool] = staticmethod(lambda _: True)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and those of the methods."""
        own = super().get_params(ctx)
        return [*own, *(flag for kind in self.kinds for flag in _flags(registry(), kind, self.shown))]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then a section for each method that has any."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
            if record is not None:  # arguments are explained by the command's own text
                sections.setdefault(_section(parameter), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def method_command(*kinds: str, shown: Callable[[Any], bool] | None = None) -> type[MethodCommand]:
    """Return a command class with the options of methods of `kinds`.

    Args:
        kinds: See `MethodCommand`.
        shown: Says of a method's class whether help tells its options; None: of all. Those of others are read too, so
            that the method itself can be refused in its own words.
    """
    return type("MethodCommand", (MethodCommand,), {"kinds": kinds} | ({"shown": staticmethod(shown)} if shown else {}))


def make_method(
    kind: type[Method], given: Mapping[str, Any], *, seed: int, progress: Progress, budget: str | None = None
) -> Any:
    """Make a method from the flags given on the command line.

    Args:
        kind: Its class.
        given: The flags.
        seed: Of every random choice.
        progress: Shows long work.
        budget: How long it trains, where it has such an option and that is not given.
    """
    prefix = _spoken(kind.name) + _SEPARATOR
    values = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    values = {name: value for name, value in values.items() if value is not None}
    return make(kind, values, seed=seed, progress=progress, budget=budget)


def refuse_stray_options(given: Mapping[str, Any], chosen: Sequence[str]) -> None:
    """Refuse options of methods that were not chosen: they would do nothing."""
    used = {_spoken(name) for name in chosen}
    for key, value in given.items():
        spoken, separator, field = key.partition(_SEPARATOR)
        if separator and value is not None and spoken not in used:
            method = spoken.replace("_", "-")
            instead = f"chosen: {', '.join(chosen)}" if chosen else f"choose {method}, or leave it out"
            raise UsageError(f"--{method}.{field} is given, but {method} is not used; {instead}")


def single(*names: str | None) -> list[str]:
    """Return the names given to flags that take one method or none."""
    return [name for name in names if name is not None and name != NONE]


def _flags(methods: Registry, kind: str, shown: Callable[[type[Method]], bool]) -> list[click.Option]:
    kind, _, only = kind.partition(".")
    entries = [entry for entry in getattr(methods, kind).values() if only in ("", entry.name)]
    return [
        _flag(entry.name, field, hidden=not shown(entry.cls))
        for entry in entries
        for field in option_fields(entry.cls.Options)
    ]


def _flag(method: str, field: OptionField, *, hidden: bool) -> click.Option:
    spelt = field.name.replace("_", "-")
    default = "none" if field.default is None else str(field.default)
    return click.Option(
        [f"{_spoken(method)}{_SEPARATOR}{field.name}", f"--{method}.{spelt}"],
        help=f"{field.help}  [{field.allowed()}; default: {default}]",
        metavar=field.kind.__name__.upper(),
        callback=_reader(method, field),
        hidden=hidden,
    )


def _reader(method: str, field: OptionField) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Validate at parsing time, so that a wrong value ends the program before any file is opened."""

    def read(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None:
            field.parse(value, parameter.opts[0])
        return value

    return read


def _spoken(method: str) -> str:
    """Return a method's name as part of a Python identifier, which click asks for."""
    return method.replace("-", "_")


def _section(parameter: click.Parameter) -> str:
    method, separator, _ = (parameter.name or "").partition(_SEPARATOR)
    return f"Options of {method.replace('_', '-')}" if separator else "Options"
