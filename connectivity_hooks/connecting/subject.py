"""Everything that the measurements of a path depend on."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from operator import itemgetter

import torch
from torch import Tensor

from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.model.inputs import named_tensors
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.untrusted import open_regular

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
        "builder": [builder.name, builder.used_options()],
        "aligner": [aligner.name, aligner.used_options()] if aligner else None,
        "task": task.describe(),
        "code": code_of(task),
        "correction": [correction.name, correction.used_options()] if correction else None,
        "data": data,
    }


def data_digest(task: Task) -> str:
    """Return a digest of every split's inputs and targets, to tell data that changed under one name."""
    return tensors_digest(
        tensor
        for split in task.splits()
        for batch in split.batches(_SAMPLES)
        for _, tensor in sorted(named_tensors(batch), key=itemgetter(0))
    )


def code_of(task: Task) -> dict[str, str]:
    """Return digests of the files that the model, the data and the loss are made by, where they are files."""
    files = {spec.partition("?")[0].rpartition(":")[0] for spec in (task.model_name, task.data_name, task.loss.name)}
    found = (pathlib.Path(file) for file in sorted(files) if file.endswith(".py"))
    return {file.name: _digest_of(file) for file in found if file.is_file()}


def _digest_of(file: pathlib.Path) -> str:
    with open_regular(file) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return the sha256 of the tensors' bytes, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
