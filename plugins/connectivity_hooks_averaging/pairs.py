"""The barrier of every pair of a set: one pair in memory at a time, and no pair measured twice."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from connectivity_hooks.checkpoints import Checkpoint, read
from connectivity_hooks.connecting import Connecting, Pair, PairWork, data_digest, load_pair, measured_pair, path_file
from connectivity_hooks.evaluation import SampleScores
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.finished import FinishedPairs, MeasuredPair
from connectivity_hooks_averaging.set import Entry, changed

Numbers = tuple[int, int]
"""A pair, by the numbers of its checkpoints in the set."""


@dataclass(frozen=True)
class Keeping:
    """Where pairs are kept.

    Attributes:
        folder: Of the pair in work, and of the paths.
        finished: The pairs that are done.
        paths: Keep every path.
    """

    folder: pathlib.Path
    finished: FinishedPairs
    paths: bool = False


def all_pairs(count: int) -> list[Numbers]:
    """Return every two of so many checkpoints."""
    return list(itertools.combinations(range(count), 2))


def pair_name(a: str, b: str) -> str:
    """Return what the files of a pair are called, of no two pairs the same.

    That is ``A-B``; where A or B has a hyphen itself ``A-B.N``, N the length of A: without it a-b with c would be
    called as a with b-c.
    """
    return f"{a}-{b}.{len(a)}" if "-" in a + b else f"{a}-{b}"


def require_names(names: Sequence[str]) -> None:
    """Refuse, before anything is measured or made, a pair of which the files would have too long a name.

    Raises:
        InputError: There is one.
    """
    for a, b in itertools.combinations(names, 2):
        path_file(pathlib.Path(), pair_name(a, b))


def measure_pairs(
    entries: Sequence[Entry],
    pairs: Iterable[Numbers],
    task: Task,
    how: Connecting,
    keeping: Keeping | None = None,
    progress: Progress = SILENT,
) -> Iterator[tuple[Numbers, MeasuredPair]]:
    """Yield each pair with its barriers, connected and measured as `how` says.

    Memory: what measuring one pair takes. The first checkpoint of a pair, and the
    scores of its samples, are kept for the next pair where it is the same.

    Args:
        entries: The checkpoints.
        pairs: Which pairs.
        task: Model, data and loss; barriers are measured on its splits.
        how: Builder, aligner and measuring.
        keeping: What is kept of finished pairs and of the one in work; None keeps nothing.
        progress: Shows the work on a pair.

    Raises:
        InputError: A file changed since the set was read, or what `measured_pair` raises.
    """
    subjects = _Subjects(task, how, needed=keeping is not None)
    splits = [split.name for split in task.splits()]
    first: tuple[int, Checkpoint] | None = None
    scores: dict[str, SampleScores] = {}
    for a, b in pairs:
        ends = entries[a], entries[b]
        found = keeping.finished.known(subjects.of(ends), splits) if keeping else None
        if found is not None:
            yield (a, b), replace(found, a=ends[0].name, b=ends[1].name, builder=how.builder.name)
            continue
        if first is None or first[0] != a:
            first, scores = None, {}  # let go of its tensors before others are read
            first = (a, read(ends[0].file))
        pair = _loaded(first[1], ends, task)
        yield (a, b), _measured(pair, ends, task, how, keeping, subjects, scores, progress)


def _measured(
    pair: Pair,
    ends: tuple[Entry, Entry],
    task: Task,
    how: Connecting,
    keeping: Keeping | None,
    subjects: _Subjects,
    scores: dict[str, SampleScores],
    progress: Progress,
) -> MeasuredPair:
    work = None
    if keeping:
        name = pair_name(ends[0].name, ends[1].name)
        work = PairWork(keeping.folder, name, subjects.of_path(ends), progress, passing=not keeping.paths)
    evaluation = measured_pair(pair, task, how, work, progress, start=scores)
    found = MeasuredPair(
        ends[0].name, ends[1].name, how.builder.name, evaluation.barriers, evaluation.length, task.train.name
    )
    if keeping and work:
        keeping.finished.add(subjects.of(ends), found)
        work.finish()
    return found


def _loaded(first: Checkpoint, ends: tuple[Entry, Entry], task: Task) -> Pair:
    pair = load_pair(first, read(ends[1].file), task)
    for entry, end in zip(ends, pair.end_points, strict=True):
        if entry.sha256 != end.sha256:
            raise changed(entry)
    return pair


class _Subjects:
    """What each pair's figures depend on: the same for all of them but for the ends."""

    def __init__(self, task: Task, how: Connecting, *, needed: bool) -> None:
        self._how = how
        self._shared = how.subject(_NO_PAIR, task, data_digest(task)) if needed else {}

    def of_path(self, ends: tuple[Entry, Entry]) -> dict[str, object]:
        return {**self._shared, "ends": [entry.sha256 for entry in ends]}

    def of(self, ends: tuple[Entry, Entry]) -> dict[str, object]:
        return {**self.of_path(ends), "measuring": self._how.measuring.describe()}


_NO_PAIR = Pair({}, {}, (), ())  # type: ignore[arg-type]


def known_pairs(
    entries: Sequence[Entry], pairs: Iterable[Numbers], task: Task, how: Connecting, keeping: Keeping
) -> dict[Numbers, MeasuredPair]:
    """Return those pairs that are done already."""
    splits = [split.name for split in task.splits()]
    subjects, found = _Subjects(task, how, needed=True), dict[Numbers, MeasuredPair]()
    for a, b in pairs:
        known = keeping.finished.known(subjects.of((entries[a], entries[b])), splits)
        if known is not None:
            found[a, b] = replace(known, a=entries[a].name, b=entries[b].name, builder=how.builder.name)
    return found
