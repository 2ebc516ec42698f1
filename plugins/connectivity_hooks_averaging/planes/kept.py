"""Places that are measured, one line each in one file, so that a run that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterable, Mapping

from connectivity_hooks.checked_lines import content_of, line_of, opened, write
from connectivity_hooks.errors import InputError
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import typed
from connectivity_hooks.tasks import Task
from connectivity_hooks.untrusted import guarded, read_text
from connectivity_hooks_averaging.scores import Score, Scores

FILE = "places.jsonl"
_NEVER_NEGATIVE = ("cross-entropy", "mse", "l1", "huber")
_UNSYNCED = 1.0  # seconds of measuring that a power cut may cost; a kill costs nothing that was written


@dataclasses.dataclass(frozen=True)
class _Figures:
    loss: float | None  # None: not finite
    error: float | None


@dataclasses.dataclass(frozen=True)
class _Line:
    key: str
    scores: Mapping[str, _Figures]


class Kept:
    """Appends the scores of places to a file; lines of other runs in it stay, and are found again by theirs.

    Each line has its checksum; one that a kill cut short, or that is damaged, is measured again, which is said. So is
    one whose figures are none that the task can have.

    Args:
        file: The file.
        subject: Everything that the scores of a place depend on, as JSON-ready values.
        task: Its splits and its loss are those that are measured.
        progress: Says what is damaged.

    Raises:
        InputError: It cannot be read or written.
    """

    def __init__(
        self, file: pathlib.Path, subject: Mapping[str, object], task: Task, progress: Progress = SILENT
    ) -> None:
        self._file, self._task, self._progress = file, task, progress
        self._subject = json.dumps(subject, sort_keys=True, default=str)
        self._known: dict[str, Scores] = {}
        if file.exists():
            self._read()
        self._handle = opened(file)
        self._synced = time.monotonic()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *error: object) -> None:
        os.fsync(self._handle)
        os.close(self._handle)

    def known(self, places: Iterable[str]) -> dict[str, Scores]:
        """Return the scores of those places that were measured."""
        found = {place: scores for place in places if (scores := self._known.get(self._key(place))) is not None}
        possible = {place: scores for place, scores in found.items() if _are_possible(scores, self._task)}
        if lost := len(found) - len(possible):
            self._progress.say(
                f"{self._file}: {lost} of its lines hold figures that cannot be; these are measured again"
            )
        return possible

    def add(self, place: str, scores: Scores) -> None:
        """Keep the scores of a place."""
        figures = {
            split: _Figures(each.loss if math.isfinite(each.loss) else None, each.error)
            for split, each in scores.items()
        }
        line = _Line(self._key(place), figures)
        self._known[line.key] = scores
        write(self._handle, line_of(dataclasses.asdict(line), in_order=True))  # of the splits
        if time.monotonic() - self._synced >= _UNSYNCED:
            os.fsync(self._handle)
            self._synced = time.monotonic()

    def _key(self, place: str) -> str:
        return hashlib.sha256(f"{self._subject} {place}".encode()).hexdigest()

    def _read(self) -> None:
        file, damaged = self._file, 0
        for text in read_text(file, "a list of measured places", "remove it").split("\n"):
            try:
                with guarded(file, "a list of measured places"):
                    line = _read_line(text) if text else None
            except InputError:
                damaged += 1
                continue
            if line is not None:
                self._known[line.key] = {
                    split: Score(math.inf if each.loss is None else each.loss, each.error)
                    for split, each in line.scores.items()
                }
        if damaged:
            self._progress.say(f"{file}: {damaged} of its lines cannot be read; what they held is measured again")


def _are_possible(scores: Scores, task: Task) -> bool:
    """Say whether scores may be those of a task: of its splits in order, with errors where its loss has some."""
    if list(scores) != [split.name for split in task.splits()]:
        return False
    least = 0.0 if task.loss.name in _NEVER_NEGATIVE else -math.inf
    return all(
        each.loss >= least
        and (each.error is None) == (task.loss.errors is None)
        and (each.error is None or 0 <= each.error <= 1)
        for each in scores.values()
    )


def _read_line(text: str) -> _Line:
    line: _Line = typed(_Line, content_of(text))
    for each in line.scores.values():
        if not all(figure is None or math.isfinite(figure) for figure in (each.loss, each.error)):
            raise ValueError("a figure is not a finite number")
    return line
