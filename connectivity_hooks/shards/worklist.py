"""The list of the work: what is to be built and measured, and which shard does which part; the same in every shard.

Building cannot be divided over t, so a way that takes long to build is one item: one shard builds it and measures all
of it. A way that costs nothing to build (the straight line) is divided over t where there are shards to spare. So no
shard ever waits for another one, or needs a file of it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.checkpoints.atomic import atomic_text, make_folder
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths.basis import POLYLINE
from connectivity_hooks.paths.path import EndPoint
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.records import Table, typed
from connectivity_hooks.shards.difference import difference
from connectivity_hooks.shards.shard import Shard
from connectivity_hooks.untrusted import guarded, parse_json, read_json
from connectivity_hooks.version import __version__

FORMAT = "connectivity_hooks.shards/1"
FOLDER = "shards"
FILE = "work.json"


@dataclass(frozen=True)
class Item:
    """One part of a way, done by one shard into one result file: part `part` of `parts`, counted from 1."""

    way: str
    part: int
    parts: int
    shard: int


@dataclass(frozen=True)
class Way:
    """One path from one checkpoint to another: what it is, and who does it.

    Attributes:
        ends: The two checkpoints.
        subject: Everything that the path and its measurements depend on, see `connecting.subject`.
        parts: Into how many items it is divided.
        first: The shard that does the first of them; the following shards do the others.
    """

    ends: tuple[EndPoint, EndPoint]
    subject: Table
    parts: int
    first: int


@dataclass(frozen=True)
class RecordedTask:
    """The flags of a task as they were typed, by which it can be made again."""

    model: str
    data: str
    loss: str
    loss_is_convex: bool | None
    normalize: str | None
    image_size: int | None
    batch_size: int
    augment: str | None
    layout: str
    output: str | None
    device: str
    dtype: str


@dataclass(frozen=True)
class RecordedMeasuring:
    """How every path is measured: see `evaluation.Measuring`, whose correction is here by its name."""

    points: int
    refine: int
    correction: str
    correction_options: Table


@dataclass(frozen=True)
class WorkList:
    """A work and its division.

    Attributes:
        command: The command whose work it is, which says what becomes of the results.
        shards: How many shards there are.
        ways: The paths by name.
        task: Model, data and loss.
        measuring: How they are measured.
        seed: Seed of every random choice.
        notes: What was done to fit the checkpoints.
    """

    command: str
    shards: int
    ways: Mapping[str, Way]
    task: RecordedTask
    measuring: RecordedMeasuring
    seed: int
    notes: tuple[str, ...] = ()

    def items(self) -> list[Item]:
        """Return every item, in order."""
        return [
            Item(name, part, way.parts, way.first + part - 1)
            for name, way in self.ways.items()
            for part in range(1, way.parts + 1)
        ]

    def of(self, shard: Shard) -> list[Item]:
        """Return the items of one shard."""
        return [item for item in self.items() if item.shard == shard.number]

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in its file."""
        content = {"format": FORMAT, "version": __version__, **dataclasses.asdict(self)}
        ready: dict[str, Any] = parse_json(json.dumps(content))  # as it is read again: tables and lists
        return ready


def divided(count: int, quick: Sequence[bool], points: int) -> list[tuple[int, int]]:
    """Return for each way its (parts, first shard), as `Way` has them.

    With at least as many ways as shards each way is one item, dealt out in strides. With fewer, each that is not quick
    to build has a shard of its own, and the shards that are left, at most one for each t, divide the quick ones.

    Args:
        count: Number of shards.
        quick: For each way whether building it costs nothing.
        points: Of the even grid of t.
    """
    if len(quick) >= count:
        return [(1, index % count + 1) for index in range(len(quick))]
    slow = sum(not each for each in quick)
    own = iter(range(1, slow + 1))
    return [(min(count - slow, points), slow + 1) if each else (1, next(own)) for each in quick]


def folder_of(out: pathlib.Path) -> pathlib.Path:
    """Return where the files of shards lie in an output folder."""
    return out / FOLDER


def keep_list(work: WorkList, out: pathlib.Path) -> None:
    """Write the list into an output folder, or see that the one that is there says the same.

    Raises:
        InputError: It is of another work, or cannot be written.
    """
    make_folder(folder_of(out))
    file = folder_of(out) / FILE
    if file.exists():
        require_same(file, load(file), work, "choose another --out, or remove the folder")
    elif is_main_process():  # two shards that begin at once write the same
        atomic_text(file, json.dumps(work.as_json(), indent=1) + "\n")


def load(file: pathlib.Path) -> WorkList:
    """Read a list of work.

    Raises:
        InputError: It is none, or of another version.
    """
    what, remedy = "a list of work in shards", "remove its folder and run the shards again"
    content = read_json(file, what, remedy)
    with guarded(file, what, remedy):
        table = dict(typed(Table, content) if isinstance(content, dict) else {})
        if table.pop("format", None) != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        version = table.pop("version", None)
        if version != __version__:
            raise ValueError(f"it is of version {version!r}, and this is {__version__}"[:200])
        work: WorkList = typed(WorkList, table)
        _check(work)
        return work


def require_same(file: pathlib.Path, found: WorkList, expected: WorkList, remedy: str) -> None:
    """Refuse a list that is not that of this work; the message names the first difference."""
    other = difference(found.as_json(), expected.as_json())
    if other:
        raise InputError(f"{file}: is of another work: {other}; {remedy}")


def _check(work: WorkList) -> None:
    how = work.measuring
    if not 2 <= how.points <= POLYLINE.most or how.refine < 0 or work.task.batch_size < 1:
        raise ValueError("its numbers of points, rounds or samples cannot be")
    for name, way in work.ways.items():
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a path")
        if not 1 <= way.parts <= how.points or not 1 <= way.first <= work.shards - way.parts + 1:
            raise ValueError(f"{name}: it is not divided among shards from 1 to {work.shards}"[:200])
    if not work.ways:
        raise ValueError("it lists nothing")
