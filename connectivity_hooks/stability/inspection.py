"""Looking at every copy before anything is computed: are they there, whole, and different?"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.checkpoints import Checkpoint, fit, read
from connectivity_hooks.connecting.subject import tensors_digest
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.stability.layout import START, START_KEY, STEP_KEY, copies_in, steps_in
from connectivity_hooks.tasks.task import Task


@dataclass(frozen=True)
class Twin:
    """Two copies of one k, by name and file."""

    step: int
    names: tuple[str, str]
    files: tuple[pathlib.Path, pathlib.Path]

    def __str__(self) -> str:
        return f"k = {self.step}: {self.names[0]} and {self.names[1]}"


@dataclass(frozen=True)
class _Seen:
    name: str
    start: str | None
    weights: str


def find(folder: str | os.PathLike[str], k: Sequence[int] | None = None) -> dict[int, dict[str, pathlib.Path]]:
    """Return {k: {name of a copy: its checkpoint}} in order of k; of all that the folder has, or of the `k` given.

    Raises:
        InputError: There is no folder of any k, or a k has fewer than two copies.
        UsageError: A `k` has no folder.
    """
    root = pathlib.Path(folder)
    places = steps_in(root)
    unknown = sorted(set(k or ()) - places.keys())
    if unknown:
        raise UsageError(f"{root}: has no k = {unknown[0]}; there are {', '.join(map(str, places))}")
    found = {step: copies_in(place) for step, place in places.items() if k is None or step in k}
    for step, copies in found.items():
        if len(copies) < 2:
            names = f"one copy, {next(iter(copies))}" if copies else "no copy"
            raise InputError(
                f"{places[step]}: holds {names}; a barrier lies between two: train the rest, or choose other k"
            )
    return found


def twins(found: dict[int, dict[str, pathlib.Path]]) -> list[Twin]:
    """Return every pair of copies of one k."""
    return [
        Twin(step, (a, b), (copies[a], copies[b]))
        for step, copies in found.items()
        for a, b in itertools.combinations(copies, 2)
    ]


def inspect(found: dict[int, dict[str, pathlib.Path]], task: Task) -> None:
    """Read every copy once, one at a time in memory, before anything is computed.

    Raises:
        InputError: A copy is unreadable, holds NaN or Inf, does not fit the model, grew from another state than the
            other copies of its k, or is equal to one of them.
    """
    model = task.structure()
    for step, copies in found.items():
        seen: list[_Seen] = []
        for name, file in copies.items():
            checkpoint = read(file)
            fitted = fit(checkpoint, model, finite=True)
            _check_step(checkpoint, step)
            one = _Seen(name, checkpoint.metadata.get(START_KEY), tensors_digest(fitted.weights.values()))
            for other in seen:
                _compare(file.parent, other, one)
            seen.append(one)
        _check_start(next(iter(copies.values())).parent, seen)


def _check_step(checkpoint: Checkpoint, step: int) -> None:
    written = checkpoint.metadata.get(STEP_KEY, str(step))
    if written != str(step):
        raise InputError(
            f"{checkpoint.file}: is a copy from step {written[:20]}, not {step}; put it into the folder of its step"
        )


def _compare(place: pathlib.Path, a: _Seen, b: _Seen) -> None:
    if a.weights == b.weights:
        raise InputError(
            f"{place}: {a.name} and {b.name} are equal bit for bit: the order of their data did not differ, or nothing "
            "was trained after this step; let each copy's generator shuffle the data"
        )
    if a.start and b.start and a.start != b.start:
        raise InputError(f"{place}: {a.name} and {b.name} grew from different states; train one of them again")


def _check_start(place: pathlib.Path, seen: Sequence[_Seen]) -> None:
    """Compare with the state that lies there, if it does: the analysis needs the copies alone."""
    if (place / START).exists() and seen[0].start not in (None, read(place / START).sha256):
        raise InputError(f"{place / START}: is not the state that the copies beside it grew from; train them again")
