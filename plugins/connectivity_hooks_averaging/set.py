"""A set of checkpoints: each read once, fitted to one model, named, and told from the others by its digest."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import fit, read, require_outlines
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task


@dataclass(frozen=True)
class Entry:
    """One checkpoint of a set.

    Attributes:
        name: Its file's stem, with more where stems are the same.
        file: Where its tensors are read.
        sha256: Digest of the file's bytes.
        values: Digest of its weights as the model has them; the same values in a wider type have the same.
        dtype: The widest of its floating types.
    """

    name: str
    file: pathlib.Path
    sha256: str
    values: str
    dtype: torch.dtype


@dataclass(frozen=True)
class CheckpointSet:
    """Checkpoints that fit one model, no two of them equal.

    Attributes:
        entries: The checkpoints, in the order given; of equal ones the first.
        equal: Name of each that was left out to the name of the one with the same weights.
        given: For each that was given, in order, its number in `entries`.
        notes: What was done to fit them.
    """

    entries: tuple[Entry, ...]
    equal: dict[str, str]
    given: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the entries."""
        return [entry.name for entry in self.entries]

    @property
    def dtype(self) -> torch.dtype:
        """Type that holds what each of them holds, float32 at least."""
        wide = torch.float32
        for entry in self.entries:
            wide = torch.promote_types(wide, entry.dtype)
        return wide


def read_set(files: Sequence[str | os.PathLike[str]], task: Task, progress: Progress = SILENT) -> CheckpointSet:
    """Read each checkpoint once and forget its tensors: memory is that of one model.

    Raises:
        InputError: Some do not fit the model (all of them are named, with the whole difference), hold NaN or Inf, or
            cannot be read.
    """
    require_outlines([read(file) for file in files], task.structure())
    found, notes = list[Entry](), list[str]()
    for name, file in progress.track(list(zip(distinct_names(files), files, strict=True)), "reading", len(files)):
        entry, more = read_entry(name, file, task)
        found.append(entry)
        notes += more
    return told_apart(found, tuple(dict.fromkeys(notes)))


def told_apart(entries: Sequence[Entry], notes: tuple[str, ...] = ()) -> CheckpointSet:
    """Return checkpoints as a set, of those with equal values the first."""
    kept, equal, given, known = list[Entry](), dict[str, str](), list[int](), dict[str, int]()
    for entry in entries:
        number = known.setdefault(entry.values, len(kept))
        given.append(number)
        if number < len(kept):
            equal[entry.name] = kept[number].name
        else:
            kept.append(entry)
    return CheckpointSet(tuple(kept), equal, tuple(given), notes)


def weights_of_entry(entry: Entry, task: Task, dtype: torch.dtype) -> Weights:
    """Read the weights of an entry again, floating ones in `dtype`.

    Raises:
        InputError: The file has changed since the set was read.
    """
    checkpoint = read(entry.file)
    fitted = fit(checkpoint, task.structure(), finite=True)
    if checkpoint.sha256 != entry.sha256:
        raise changed(entry)
    return {name: each.to(dtype) if each.is_floating_point() else each for name, each in fitted.weights.items()}


def changed(entry: Entry) -> InputError:
    """Return the refusal of a file that is not what it was when the set was read."""
    return InputError(f"{entry.file}: changed while it was worked on; run again when its training is done")


def distinct_names(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the stem of each file, with its folder's name or a number where stems are the same."""
    paths = [pathlib.Path(file) for file in files]
    stems = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    longer = [f"{path.resolve().parent.name}-{stem}" for path, stem in zip(paths, stems, strict=True)]
    for names in (stems, longer):
        if len(set(names)) == len(files):
            return names
    return [f"{number}-{stem}" for number, stem in enumerate(stems, start=1)]


def read_entry(name: str, file: str | os.PathLike[str], task: Task) -> tuple[Entry, tuple[str, ...]]:
    """Read a checkpoint and forget its tensors; return also what was done to fit it.

    Raises:
        InputError: It does not fit the model, holds NaN or Inf, or cannot be read.
    """
    checkpoint = read(file)
    fitted = fit(checkpoint, task.structure(), finite=True)
    kinds = [tensor.dtype for tensor in fitted.weights.values() if tensor.is_floating_point()]
    dtype = kinds[0] if kinds else torch.float32
    for kind in kinds:
        dtype = torch.promote_types(dtype, kind)
    return Entry(name, checkpoint.file, checkpoint.sha256, _digest(fitted.weights), dtype), fitted.notes


def _digest(weights: Weights) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.is_floating_point():
            tensor = tensor.double()  # which holds whatever a narrower type holds
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    view: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return view
