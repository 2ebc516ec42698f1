"""Every checkpoint of a set in the frame of the first: the same function, neurons in the first one's places."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from connectivity_hooks.checkpoints import make_folder, read, write_tensors
from connectivity_hooks.connecting import Connecting, PairWork, connected_pair, data_digest, load_pair
from connectivity_hooks.contracts import Aligner
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.set import CheckpointSet, Entry


@dataclass(frozen=True)
class Framed:
    """A set in one frame.

    Attributes:
        set: Its checkpoints, those that were aligned in files of their own.
        records: What was done to each, by name.
        works: What an interrupted run would find; to be finished once the output is safe.
    """

    set: CheckpointSet
    records: Mapping[str, Mapping[str, object]]
    works: tuple[PairWork, ...] = ()


def in_first_frame(
    given: CheckpointSet, task: Task, aligner: Aligner | None, folder: pathlib.Path, progress: Progress = SILENT
) -> Framed:
    """Align each checkpoint to the first and keep it in a file of `folder`; without an aligner all stay as they are.

    Memory: that of aligning one pair.

    Raises:
        InputError: The aligner cannot be used with these checkpoints.
        ConnectivityError: It changed the function of one.
    """
    if aligner is None:
        return Framed(given, {})
    how, data = Connecting(Line(progress=progress), aligner), data_digest(task)
    make_folder(folder)
    entries, records, works = [given.entries[0]], dict[str, Mapping[str, object]](), list[PairWork]()
    others = given.entries[1:]
    for entry in progress.track(others, f"aligning to {entries[0].name}", len(others)):
        pair = load_pair(read(entries[0].file), read(entry.file), task)
        work = PairWork(folder, entry.name, how.subject(pair, task, data), progress, passing=True)
        path, _ = connected_pair(pair, task, how, work)
        works.append(work)
        records[entry.name] = path.alignment or {}
        file = folder / f"{entry.name}.aligned.safetensors"
        write_tensors(file, path.end, {"format": "pt"})
        entries.append(_kept(entry, file))
    return Framed(replace(given, entries=tuple(entries)), records, tuple(works))


def _kept(entry: Entry, file: pathlib.Path) -> Entry:
    return replace(entry, file=file, sha256=read(file).sha256)
