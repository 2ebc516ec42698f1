"""Options that take one value, given twice: refused for every command, since the last would win without a word."""

from __future__ import annotations

import collections
import weakref
from typing import Any

import click

from connectivity_hooks.errors import UsageError

_HELD: weakref.WeakSet[click.Command] = weakref.WeakSet()
"""Commands that refuse already; one that is asked for again is not wrapped again."""


def options_once(command: click.Command) -> click.Command:
    """Return the command, which now refuses an option that is given twice and is not meant to be repeated.

    The command itself is changed, so that commands of plugins, of whatever class, are held to it too. Flags that mean
    the same each time they are given may be repeated.
    """
    if command in _HELD:
        return command
    _HELD.add(command)
    make = command.make_parser

    def once(ctx: click.Context) -> Any:
        parser = make(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            opts, rest, order = parse(args)
            _refuse_repeated(order)
            return opts, rest, order

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    command.make_parser = once  # type: ignore[method-assign]
    return command


def _refuse_repeated(given: list[click.Parameter]) -> None:
    for parameter, times in collections.Counter(map(id, given)).items():
        option = next(each for each in given if id(each) == parameter)
        if times > 1 and isinstance(option, click.Option) and _holds_one(option):
            raise UsageError(f"{option.opts[0]} is given {times} times; give it once")


def _holds_one(option: click.Option) -> bool:
    same_each_time = option.is_flag and not option.secondary_opts
    return not option.multiple and not option.count and not same_each_time
