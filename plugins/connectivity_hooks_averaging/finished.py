"""Pairs that are finished, one line each in one file, so that a run that was killed measures none of them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

from connectivity_hooks.checked_lines import content_of, line_of, opened, write
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import Barriers
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import typed
from connectivity_hooks.untrusted import guarded, read_text

FILE = "pairs"
SUFFIX = ".jsonl"


@dataclasses.dataclass(frozen=True)
class MeasuredPair:
    """What was measured between two checkpoints.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        builder: What made the path.
        barriers: Of each split, in the order of the task.
        length: Of the path.
        training: Name of the training split, by which it is decided what is connected.
    """

    a: str
    b: str
    builder: str
    barriers: Mapping[str, Barriers]
    length: float
    training: str

    @property
    def barrier(self) -> float:
        """That of the training loss above the straight line between both ends' losses (Entezari et al. 2022)."""
        return self.barriers[self.training].barrier_entezari

    @property
    def losses(self) -> tuple[float, float]:
        """Training losses of both."""
        return self.barriers[self.training].loss_ends

    @property
    def problem(self) -> str | None:
        """What no measurement can have found; None where there is nothing of the kind."""
        if not self.length >= 0:
            return f"the length is {self.length}"
        faults = [f"{split}: {fault}" for split, each in self.barriers.items() if (fault := _impossible(each))]
        return faults[0] if faults else None


_ROUNDING = 1e-5
"""Share of the losses by which figures of one measurement may contradict each other: sums in another order."""


def _impossible(found: Barriers) -> str | None:
    """Say which figure contradicts another; those that an infinite loss is part of are not looked at."""
    if not all(0 <= t <= 1 for t in (found.worst_t, found.climb_t)):
        return "a t is not in [0, 1]"
    if found.error_max is not None and not found.error_max >= 0:
        return f"the error is {found.error_max}"
    low, high = sorted(found.loss_ends)
    losses = (found.loss_min, low, high, found.loss_max)
    if any(map(math.isnan, (*losses, found.barrier_entezari, found.climb))):
        return "a figure is not a number"
    if not all(map(math.isfinite, losses)):
        return None
    slack = _ROUNDING * (1 + max(map(abs, losses)))
    bounds = {
        "the smallest loss": (-math.inf, found.loss_min, low),
        "the largest loss": (high, found.loss_max, math.inf),
        "the barrier": (max(0.0, found.loss_max - high), found.barrier_entezari, found.loss_max - low),
        "the climb": (found.loss_max - high, found.climb, found.loss_max - high),
    }
    for name, (least, figure, most) in bounds.items():
        if not least - slack <= figure <= most + slack:
            return f"{name} is {figure:.4g}"
    return None


@dataclasses.dataclass(frozen=True)
class _Line:
    key: str
    pair: MeasuredPair


class FinishedPairs:
    """Appends pairs to ``pairs.jsonl``, or to a shard's own file beside it; all of them are read.

    Each line has its checksum; one that a kill cut short is measured again, one that is damaged too, which is said.

    Args:
        folder: Where the files are.
        shard: Of which this run is, as a part of the file's name; empty without shards.
        progress: Says what is damaged.

    Raises:
        InputError: A file cannot be read or written.
    """

    def __init__(self, folder: pathlib.Path, shard: str = "", progress: Progress = SILENT) -> None:
        self._known: dict[str, MeasuredPair] = {}
        for file in sorted([*folder.glob(f"{FILE}{SUFFIX}"), *folder.glob(f"{FILE}.*{SUFFIX}")]):
            self._read(file, progress)
        self._handle = opened(folder / f"{FILE}{shard and '.'}{shard}{SUFFIX}")

    def __enter__(self) -> FinishedPairs:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._handle)

    def known(self, subject: Mapping[str, object], splits: Sequence[str]) -> MeasuredPair | None:
        """Return what was measured of a subject; None if it was not, or is not of this task.

        Args:
            subject: What the measurement depends on.
            splits: Names of the task's splits, the training split first.
        """
        found = self._known.get(_key(subject))
        if found is None or found.training != splits[0] or set(found.barriers) != set(splits):
            return None
        return dataclasses.replace(found, barriers={split: found.barriers[split] for split in splits})

    def add(self, subject: Mapping[str, object], pair: MeasuredPair) -> None:
        """Keep what was measured; a kill after this loses nothing of it."""
        line = _Line(_key(subject), pair)
        self._known[line.key] = pair
        write(self._handle, line_of(dataclasses.asdict(line)))
        os.fsync(self._handle)

    def _read(self, file: pathlib.Path, progress: Progress) -> None:
        damaged = 0
        for text in read_text(file, "a list of measured pairs", "remove it").split("\n"):
            try:
                with guarded(file, "a list of measured pairs"):
                    line = _read_line(text) if text else None
            except InputError:
                damaged += 1
                continue
            if line is not None:
                self._known[line.key] = line.pair
        if damaged:
            progress.say(f"{file}: {damaged} of its lines cannot be used; what they held is measured again")


def _read_line(text: str) -> _Line:
    line: _Line = typed(_Line, content_of(text))
    if line.pair.training not in line.pair.barriers or line.pair.problem:
        raise ValueError(f"a line has figures that cannot be: {line.pair.problem or 'no training split'}")
    return line


def _key(subject: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(subject, sort_keys=True, default=str).encode()).hexdigest()
