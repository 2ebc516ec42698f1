"""Points of a path divided among processes: no process waits for another before it has measured its own."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.records import typed
from connectivity_hooks.team import Team
from connectivity_hooks.untrusted import guarded, parse_json

At: TypeAlias = tuple[float, list[Measurement]]
"""A t and what was measured there, one for each split."""

Measure: TypeAlias = Callable[[Sequence[float]], Iterator[At]]

_PAUSE = 0.02
"""Seconds between two looks for what other processes measured; a point is a pass over all data."""


def divided(
    ts: Sequence[float],
    known: Callable[[float], list[Measurement] | None],
    measure: Measure,
    team: Team,
) -> Iterator[At]:
    """Yield each t with its measurements, those of the first process's choice, as soon as they are there.

    Each process measures a run of neighbours, which share the outputs of a segment's ends, and publishes them. Nothing
    is summed and nobody meets: every process reads what the others published.

    Args:
        ts: Where.
        known: Returns what was measured at a t before; the first process is asked.
        measure: Yields the measurements at some t, in their order.
        team: The processes.
    """
    if team.count == 1:
        before = {t: found for t in ts if (found := known(t))}
        new = measure([t for t in ts if t not in before])
        yield from ((t, before[t]) if t in before else next(new) for t in ts)
        return
    key = team.key("points")
    if team.is_first:
        chosen = [(t, known(t)) for t in ts]
        team.publish(key, json.dumps([[t, found and _as_json(found)] for t, found in chosen]))
    wanted = _read(team.awaited(key))
    yield from ((t, found) for t, found in wanted if found is not None)
    yield from _measured([t for t, found in wanted if found is None], measure, key, team)


def _measured(ts: Sequence[float], measure: Measure, key: str, team: Team) -> Iterator[At]:
    """Yield what this process measures, and what the others do, as it comes."""
    own = range(len(ts) * team.rank // team.count, len(ts) * (team.rank + 1) // team.count)
    others = [index for index in range(len(ts)) if index not in own]
    for index, (t, found) in zip(own, measure([ts[index] for index in own]), strict=True):
        team.publish(f"{key}.{index}", json.dumps([[t, _as_json(found)]]))
        yield t, found
        yield from _arrived(others, key, team)
    while others:
        yield from _arrived(others, key, team)
        time.sleep(_PAUSE if others else 0)


def _arrived(others: list[int], key: str, team: Team) -> Iterator[At]:
    """Yield what other processes published meanwhile, and strike it off the list."""
    for index in others[:]:
        if team.is_there(f"{key}.{index}"):
            others.remove(index)
            for t, found in _read(team.awaited(f"{key}.{index}")):
                yield t, found or []


def _as_json(found: Sequence[Measurement]) -> list[dict[str, object]]:
    return [dataclasses.asdict(measurement) for measurement in found]


def _read(text: str) -> list[tuple[float, list[Measurement] | None]]:
    with guarded("what another process measured", "measurements", "run the same version in every process"):
        content = parse_json(text)
        return [(t, None if found is None else [typed(Measurement, one) for one in found]) for t, found in content]
