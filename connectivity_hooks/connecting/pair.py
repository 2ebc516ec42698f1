"""Two checkpoints read and fitted to one model."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import torch

from connectivity_hooks.checkpoints import Checkpoint, fit_pair, read
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.cost import Cost
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.path import EndPoint
from connectivity_hooks.tasks.task import Task

File: TypeAlias = str | os.PathLike[str]


class SecondEnd(NamedTuple):
    """The second checkpoint of a pair, once it is aligned.

    Attributes:
        weights: Equal to it as a function.
        record: What was done, for the path file.
        cost: Of the alignment.
    """

    weights: Weights
    record: dict[str, object]
    cost: Cost


@dataclass(frozen=True)
class Pair:
    """Two checkpoints that fit one model, their floating weights in one type of at least float32.

    Attributes:
        a: Weights of the first.
        b: Weights of the second.
        end_points: File names and digests.
        notes: What was done to fit them (prefixes stripped, tied names completed, types widened).
        aligned: What each aligner made of the second: once for all builders, since it may take long.
    """

    a: Weights
    b: Weights
    end_points: tuple[EndPoint, EndPoint]
    notes: tuple[str, ...]
    aligned: dict[Aligner, SecondEnd] = field(default_factory=dict, repr=False, compare=False)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the floating weights of both."""
        return _stored_type(self.a)


def load_pair(a: File | Checkpoint, b: File | Checkpoint, task: Task) -> Pair:
    """Read two checkpoints and fit them to the task's model, before any compute.

    Raises:
        InputError: A file is unreadable or hostile, holds NaN or Inf, or the two do not fit the model; the message
            gives the whole difference.
    """
    first, second = (end if isinstance(end, Checkpoint) else read(pathlib.Path(end)) for end in (a, b))
    fitted_a, fitted_b = fit_pair(first, second, task.structure(), finite=True)
    notes = (*fitted_a.notes, *fitted_b.notes)
    stored = [_stored_type(fitted.weights) for fitted in (fitted_a, fitted_b)]
    wide = torch.promote_types(torch.promote_types(stored[0], stored[1]), torch.float32)
    for checkpoint, dtype in zip((first, second), stored, strict=True):
        if dtype != wide:
            notes = (
                *notes,
                f"{checkpoint.label}: stored as {_name(dtype)}, the path is in {_name(wide)}",
            )
    ends = tuple(
        EndPoint(checkpoint.file.name, checkpoint.sha256, _name(dtype))
        for checkpoint, dtype in zip((first, second), stored, strict=True)
    )
    return Pair(_widened(fitted_a.weights, wide), _widened(fitted_b.weights, wide), (ends[0], ends[1]), notes)


def in_one_type(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs with the floating weights of all in one type, which holds what each of them holds.

    `load_pair` sees two checkpoints only: pairs of one run may come in float32 and float64.
    """
    wide = torch.float32
    for pair in pairs:
        wide = torch.promote_types(wide, pair.dtype)
    return [replace(pair, a=_widened(pair.a, wide), b=_widened(pair.b, wide), aligned={}) for pair in pairs]


def _stored_type(weights: Weights) -> torch.dtype:
    dtype: torch.dtype | None = None
    for tensor in weights.values():
        if tensor.is_floating_point():
            dtype = tensor.dtype if dtype is None else torch.promote_types(dtype, tensor.dtype)
    return dtype or torch.float32


def _widened(weights: Weights, dtype: torch.dtype) -> Weights:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
