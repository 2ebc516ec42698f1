"""Every checkpoint of a set in the frame of the first: the same function, neurons in the first one's places."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connectivity_hooks.checkpoints import make_folder, read, write_tensors
from connectivity_hooks.connecting import Connecting, PairWork, connected_pair, data_digest, load_pair
from connectivity_hooks.contracts import Aligner
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.set import CheckpointSet, Entry, read_entry, told_apart


@dataclass(frozen=True)
class Framed:
    """A set in one frame.

    Attributes:
        set: Its checkpoints, those that were aligned in files of their own; of those that are equal then the first.
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
        aligned, _ = read_entry(entry.name, file, task)
        entries.append(aligned)
    return Framed(_set_of(entries, given), records, tuple(works))


def _set_of(entries: Sequence[Entry], given: CheckpointSet) -> CheckpointSet:
    """Return the set of aligned checkpoints, of which some may have become equal."""
    found = told_apart(entries, given.notes)
    before = {name: found.equal.get(other, other) for name, other in given.equal.items()}
    numbers = tuple(found.given[number] for number in given.given)
    return replace(found, equal={**before, **found.equal}, given=numbers)
