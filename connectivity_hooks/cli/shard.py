"""``--shard I/N``: one share of a command's work, for job arrays."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from connectivity_hooks.cli.task_options import task_flags
from connectivity_hooks.cli.terminal import Display, plain, print_json
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair
from connectivity_hooks.connecting.subject import data_digest
from connectivity_hooks.contracts.builder import ALL, BEST
from connectivity_hooks.errors import ConnectivityError, UsageError
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.registry import registry
from connectivity_hooks.shards import (
    Item,
    RecordedMeasuring,
    RecordedTask,
    Shard,
    Way,
    WorkList,
    divided,
    do_shard,
    is_quick,
    keep_list,
)
from connectivity_hooks.tasks import Task
from connectivity_hooks.tasks.references import parse

F = TypeVar("F", bound=Callable[..., object])

COMMAND = "connect"

MAY_BE_CODE = ("model", "data", "loss", "augment")
"""Flags whose value a merge is given again where it is code: none is run because a file names it."""

_OF_THE_WHOLE = {
    "conditions": ("--condition", "`connectivity-hooks check` looks at each end"),
    "reporters": ("--reporter", "give it to `connectivity-hooks merge`"),
    "pairs": ("--pairs", "give it to the run without --shard"),
    "calibrate": ("--calibrate", "run connect without --shard, or `ch.evaluate` on the merged path"),
    "fail_above": ("--fail-above", "give it to `connectivity-hooks merge`"),
}
"""Flags about what only all shards together know, and where they belong."""


def shard_option(what: str) -> Callable[[F], F]:
    """Declare ``--shard``, a `Shard` or None; `what` says in the help how the work is divided."""
    return click.option("--shard", callback=_shard, metavar="I/N", help=f"Do share I of N, from 1: {what}")


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> Shard | None:
    return None if value is None else Shard.parse(value)


def require_shardable(given: Mapping[str, Any]) -> None:
    """Refuse, before any file is opened, what a shard alone cannot do; raise `UsageError`."""
    if given["shard"] is None:
        return
    if given["out"] is None:
        raise UsageError("--shard leaves its results in a folder: say --out DIR, the same for all shards")
    if chosen := {ALL, BEST} & set(given.get("builders", ())):
        raise UsageError(f"--builder {min(chosen)} looks at all paths together; with --shard name the builders")
    for name, (flag, instead) in _OF_THE_WHOLE.items():
        value = given.get(name)
        if value is not None and value is not False and value != ():
            raise UsageError(f"{flag} is about the whole, and --shard {given['shard']} does a part: {instead}")


def connect_shard(
    given: Mapping[str, Any], pair: Pair, task: Task, ways: Sequence[Connecting], display: Display
) -> None:
    """Do one shard of ``connect``, and say what was done."""
    shard, out = given["shard"], given["out"]
    hows = {how.builder.name: how for how in ways}
    work = _list_of(given, pair, task, hows)
    keep_list(work, out)
    items = do_shard(shard, work, out, task, lambda name: (pair, hows[name]), display)
    _show(shard, items, out, work, as_json=given["as_json"])


def _list_of(given: Mapping[str, Any], pair: Pair, task: Task, hows: Mapping[str, Connecting]) -> WorkList:
    data, quick = data_digest(task), [is_quick(how) for how in hows.values()]
    division = divided(given["shard"].count, quick, given["points"])
    ways = {
        name: Way(pair.end_points, how.subject(pair, task, data), parts, first)
        for (name, how), (parts, first) in zip(hows.items(), division, strict=True)
    }
    flags: dict[str, Any] = {**task_flags(given), "model": task.model_name}
    return WorkList(
        COMMAND, given["shard"].count, ways, RecordedTask(**flags), _measured(hows), given["seed"], pair.notes
    )


def _measured(hows: Mapping[str, Connecting]) -> RecordedMeasuring:
    measuring: Measuring = next(iter(hows.values())).measuring
    return RecordedMeasuring(**measuring.describe())  # type: ignore[arg-type]


def is_code(name: str, spec: str | None) -> bool:
    """Say whether a flag's value may lead to code that is imported: all with a colon but a model of a library."""
    if spec is None or ":" not in spec:
        return False
    try:
        return not (name == "model" and parse(spec).home in registry().adapters)
    except ConnectivityError:
        return True


def _show(shard: Shard, items: Sequence[Item], out: pathlib.Path, work: WorkList, *, as_json: bool) -> None:
    done = [{"way": item.way, "part": item.part, "parts": item.parts} for item in items]
    if as_json:
        print_json({"shard": str(shard), "items": done})
        return
    words = [item.way + (f" (part {item.part} of {item.parts})" if item.parts > 1 else "") for item in items]
    click.echo(plain(f"shard {shard}: {', '.join(words) or 'nothing is left for it'}; done"))
    flags = [(f"--{name}", getattr(work.task, name)) for name in MAY_BE_CODE if is_code(name, getattr(work.task, name))]
    again = [word for flag in flags for word in flag]
    merge = shlex.join(["connectivity-hooks", "merge", str(out), *again])
    click.echo(plain(f"When all shards are done: {merge}"))
