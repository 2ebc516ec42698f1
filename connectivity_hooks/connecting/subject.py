"""Everything that the measurements of a path depend on."""

from __future__ import annotations

import hashlib
import pathlib
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from connectivity_hooks.checkpoints import read
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.errors import InputError
from connectivity_hooks.held_values import tensor_digest, values_digest
from connectivity_hooks.registry import registry
from connectivity_hooks.sources import file_digest, sources_of
from connectivity_hooks.tasks.references import loaded
from connectivity_hooks.tasks.task import Task

_SAMPLES = 4096  # of a batch: large enough that hashing is what takes the time


def subject(
    ends: Sequence[str], builder: Builder, aligner: Aligner | None, task: Task, correction: Correction | None, data: str
) -> dict[str, object]:
    """Return everything that the measurement of a path at some t depends on, as JSON-ready values.

    Args:
        ends: Digests of both checkpoints.
        builder: Makes the path.
        aligner: Aligns its end, if any.
        task: Model, data and loss.
        correction: Corrects the weights at each t, if any.
        data: Digest of the data, see `data_digest`.
    """
    return {
        "ends": list(ends),
        "builder": method_of(builder),
        "aligner": method_of(aligner),
        "task": task.describe(),
        "code": code_of(task),
        "correction": method_of(correction),
        "data": data,
    }


def method_of(method: Method | None) -> list[object] | None:
    """Return what a method does: its name, its options with the content of files they name, and its code.

    What the code of one that no plugin offers reads beside its options counts too, see `values_digest`.
    """
    if method is None:
        return None
    files = {name: digest for name, value in method.used_options().items() if (digest := _content(value))}
    offers = registry()
    offered = (offers.builders, offers.aligners, offers.corrections)
    known = any(entries.get(method.name) and entries[method.name].cls is type(method) for entries in offered)
    held = None if known else values_digest(method)
    return [method.name, method.used_options(), files, sources_of([type(method)]), held]


def data_digest(task: Task) -> str:
    """Return a digest of every split's inputs and targets, to tell data that changed under one name.

    Names, types, shapes and bytes of tensors count, and arguments that are no tensors.
    """
    digest = hashlib.sha256()
    for split in task.splits():
        digest.update(f"{split.name} {len(split)}\0".encode())
        for batch in split.batches(_SAMPLES):
            for word in _words(batch):
                digest.update(word + b"\0")
    return digest.hexdigest()


def code_of(task: Task) -> dict[str, object]:
    """Return digests of the code that model, data, loss and augmentation are made by, see `sources_of`.

    Code of a user's own is also told by the plain values that it holds, the model by those of the module it makes.
    """
    classes = dict.fromkeys(type(module) for module in task.structure().modules())
    terms, augment = task.loss.terms, [task.augment] if task.augment else []
    return {
        "model": sources_of(_known(loaded(task.model_name), task.factory, *classes)),
        "data": sources_of(_known(loaded(task.data_name))),
        "loss": sources_of(_known(loaded(task.loss.name), terms)),
        "augment": sources_of(_known(loaded(task.augment_name), *augment)),
        "values": values_digest(task.factory, terms, task.loss.errors, *augment),
        "module": task.made(),
        "facts": dict(task.facts()),
    }


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return the sha256 of the tensors' types, shapes and bytes, one after the other."""
    return hashlib.sha256("".join(map(tensor_digest, tensors)).encode()).hexdigest()


def _known(*things: object) -> list[object]:
    return [thing for thing in things if thing is not None]


def _words(value: Any) -> Iterator[bytes]:
    """Yield a batch as bytes: its tensors by their names, in the order of the names, and whatever else is in it."""
    if isinstance(value, Tensor):
        yield tensor_digest(value).encode()
    elif isinstance(value, Mapping):
        yield f"{{{len(value)}".encode()
        for key in sorted(value, key=str):
            yield repr(key).encode(errors="backslashreplace")
            yield from _words(value[key])
    elif isinstance(value, (tuple, list)):
        yield f"({len(value)}".encode()
        for each in value:
            yield from _words(each)
    else:
        yield _plain(value)


def _plain(value: Any) -> bytes:
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return repr(value).encode(errors="backslashreplace")
    try:
        return pickle.dumps(value)
    except Exception:  # whatever a stranger's class raises
        return values_digest(value).encode()


def _content(value: object) -> str | None:
    """Return a digest of the file or checkpoint that an option names; None where it names none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        file = pathlib.Path(value)
        if not file.exists():
            return None
        try:
            return read(file).sha256  # of a folder or an index too, with the files it names
        except InputError:
            return file_digest(file) if file.is_file() else None
    except (OSError, ValueError, InputError):  # a text that is no path
        return None
