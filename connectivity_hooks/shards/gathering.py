"""Reading what the shards left, in one folder or in several: of one work, whole, and without contradiction."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from connectivity_hooks.connecting.state_file import canonical
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.journal import read_journal
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.paths.path import Path
from connectivity_hooks.shards.items import SUFFIX, is_merged, measurements_of, path_work, result_file, stem
from connectivity_hooks.shards.worklist import FILE, Item, Way, WorkList, folder_of, load, require_same

_AGAIN = "remove it and run its shard again"


@dataclass(frozen=True)
class Found:
    """What there is of one way."""

    path: Path
    measured: Mapping[float, list[Measurement]]


@dataclass(frozen=True)
class Gathered:
    """What there is of a work.

    Attributes:
        work: Its list.
        places: The folders that hold the files of shards.
        missing: The items that are not done.
    """

    work: WorkList
    places: Sequence[pathlib.Path]
    missing: Sequence[Item]

    def found(self, name: str) -> Found:
        """Read what there is of a way that is done.

        Raises:
            InputError: One of its files is damaged, of another work or path, or contradicts another one.
        """
        return _found(name, self.work.ways[name], self.places)

    def in_words(self) -> str:
        """Return which items are missing, and which shards to run again."""
        counts = {name: sum(item.way == name for item in self.missing) for name in self.work.ways}
        of_each = [f"{count} of {self.work.ways[name].parts} of {name}" for name, count in counts.items() if count]
        shards = _ranges(sorted({item.shard for item in self.missing}))
        return f"{len(self.missing)} of {len(self.work.items())} items are missing ({', '.join(of_each)}): run {shards}"


def gather(folders: Sequence[pathlib.Path]) -> Gathered:
    """See what the shards left in output folders.

    Raises:
        InputError: A folder holds nothing of theirs, or a damaged list of work, or they are of different works.
    """
    works = [(file, load(file)) for file in map(_list_file, folders)]
    first, work = works[0]
    for file, other in works[1:]:
        require_same(file, other, work, f"{first} is the first; leave one of them out")
    places = [folder_of(folder) for folder in folders]
    missing = [item for item in work.items() if not _done(item, work.ways[item.way], places)]
    return Gathered(work, places, missing)


def _list_file(folder: pathlib.Path) -> pathlib.Path:
    file = folder_of(folder) / FILE
    if not file.exists():
        raise InputError(f"{folder}: holds no work of shards; give the --out of `connect --shard`")
    return file


def _done(item: Item, way: Way, places: Sequence[pathlib.Path]) -> bool:
    """Say whether an item is done: its result is there, and where it is the first part, the path."""
    results = [place for place in places if result_file(place, item, way).exists()]
    paths = [place for place in places if path_work(place, item.way, way).file.exists()]
    return bool(results) and (item.part != 1 or bool(paths))


def _found(name: str, way: Way, places: Sequence[pathlib.Path]) -> Found:
    path = _only_path(name, way, [path_work(place, name, way).file for place in places])
    expected = canonical(measurements_of(way, path))
    measured: dict[float, list[Measurement]] = {}
    for file in _results(name, way, places):
        remedy = "remove it and merge again" if is_merged(file) else _AGAIN
        subject, groups = read_journal(file, remedy)
        if canonical(subject) != expected:
            raise InputError(f"{file}: was measured along another path than {name}'s, or of another work; {remedy}")
        for group in groups:
            if measured.setdefault(group[0].t, group) != group:
                raise InputError(f"{file}: contradicts another result at t = {group[0].t:.6g}; leave one of them out")
    return Found(path, measured)


def _only_path(name: str, way: Way, files: Sequence[pathlib.Path]) -> Path:
    """Return the path of a way; refuse one that is another's, or two that differ."""
    there = [file for file in files if file.exists()]
    paths = [Path.load(file) for file in there]
    for file, path in zip(there, paths, strict=True):
        if path.end_points != way.ends or path.builder != _builder_of(way):
            raise InputError(f"{file}: is not the path of {name} between these checkpoints; {_AGAIN}")
        if measurements_of(way, path) != measurements_of(way, paths[0]):
            raise InputError(f"{file}: is another path than {there[0]}; leave one of them out")
    return paths[0]


def _builder_of(way: Way) -> object:
    builder = way.subject.get("builder")
    return builder[0] if isinstance(builder, (list, tuple)) and builder else None


def _results(name: str, way: Way, places: Sequence[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Yield the results of all shards, and of merges before."""
    beginning = f"{stem(name, way)}."
    for place in places:
        for file in sorted(place.iterdir()):
            if file.name.startswith(beginning) and file.name.endswith(SUFFIX):
                yield file


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as an array's range is typed: ``--shard 1, 3-5``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    return f"shard{'s' if len(numbers) > 1 else ''} {','.join(words)} again"
