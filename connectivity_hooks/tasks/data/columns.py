"""Columns of a table of Arrow's as tensors: numbers, lists of numbers, and encoded images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.tasks.data.folder import decoded, stacked

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """Sequences of unequal lengths, one after the other.

    Attributes:
        values: All of them (sum of lengths,).
        lengths: Of each (N,).
    """

    values: Numbers
    lengths: Numbers

    def cut(self, most: int) -> Ragged:
        """Return the sequences without what follows their first `most` values."""
        starts = np.cumsum(self.lengths) - self.lengths
        place = np.arange(len(self.values)) - np.repeat(starts, self.lengths)
        return Ragged(self.values[place < most], np.minimum(self.lengths, most))

    def padded(self, length: int, fill: float, what: str) -> Tensor:
        """Return (N, length), filled up behind each sequence."""
        require_memory(len(self.lengths) * length * 24, what, "say ?length=N, to cut what is longer")
        found = np.full((len(self.lengths), length), fill, dtype=self.values.dtype)
        found[self.inside(length)] = self.values
        return torch.from_numpy(found)

    def inside(self, length: int) -> npt.NDArray[np.bool_]:
        """Return (N, length), True where a sequence is."""
        inside: npt.NDArray[np.bool_] = np.arange(length) < self.lengths[:, None]
        return inside


class NoTensor(ValueError):
    """A column is nothing that a model can be run on; its words are the reason."""


def is_text(column: Any) -> bool:
    """Say whether a column holds texts."""
    return str(column.type) in ("string", "large_string", "string_view")


def is_image(column: Any, feature: object) -> bool:
    """Say whether a column holds encoded images; without a description of it, whether it may."""
    names = [field.name for field in column.type] if str(column.type).startswith("struct<") else []
    kind = feature.get("_type") if isinstance(feature, Mapping) else None
    return kind in (None, "Image") and {"bytes", "path"} == set(names)


def numbers(column: Any) -> Tensor | Ragged:
    """Return a column of numbers (N,), of lists of one shape (N, …), or of lists of unequal lengths.

    Raises:
        NoTensor: It is none of these.
    """
    array = _whole(column)
    shape: list[int] = []
    rows = len(array)
    ragged: Numbers | None = None
    while (lengths := _lengths(array)) is not None:
        if ragged is not None:
            raise NoTensor("lists of unequal lengths that hold lists")
        if len(set(lengths.tolist())) == 1:
            shape.append(int(lengths[0]))
        elif shape:
            raise NoTensor("lists of lists of unequal lengths")
        else:
            ragged = lengths
        array = _whole(array.flatten())
    values = _values(array)
    if ragged is not None:
        return Ragged(values, ragged)
    if len(values) != rows * math.prod(shape):
        raise NoTensor("lists that are not whole")
    return torch.from_numpy(values.reshape(rows, *shape).copy())


def images(column: Any, what: str, size: int | None) -> Tensor:
    """Return uint8 images (N, C, H, W) of a column of encoded ones.

    Raises:
        InputError: One is damaged, or lies elsewhere; or their sizes differ.
    """
    found: list[npt.NDArray[np.uint8]] = []
    for number, entry in enumerate(_whole(column)):
        content = entry["bytes"].as_py() if entry.is_valid else None
        where = f"{what}, sample {number + 1}"
        if not content:
            raise InputError(f"{where}: its image is not in the folder; expected its bytes")
        found.append(decoded(content, where, size))
        if found[-1].shape[:2] != found[0].shape[:2]:
            sizes = sorted({found[0].shape[:2], found[-1].shape[:2]})
            raise InputError(f"{what}: images differ in size, e.g. {sizes}; give --image-size N")
        if number == 0:
            require_memory(len(column) * found[0].size * 15, what, "give a smaller --image-size, or ?train=N")
    return stacked(found)


def texts(column: Any) -> list[str]:
    """Return a column of texts; one that is missing is empty."""
    return [text or "" for text in column.to_pylist()]


def _whole(array: Any) -> Any:
    """Return an array in one piece and of a type of Arrow's own, or raise `NoTensor` where values are missing."""
    if hasattr(array, "combine_chunks"):
        array = array.combine_chunks()
    if hasattr(array, "num_chunks"):  # what combines to more than one piece is larger than its offsets can say
        array = array.chunk(0) if array.num_chunks == 1 else array
    array = getattr(array, "storage", array)
    if array.null_count:
        raise NoTensor(f"{array.null_count} of its values are missing")
    return array


def _lengths(array: Any) -> Numbers | None:
    """Return the lengths of lists; None where an array holds none."""
    if not str(array.type).startswith(("list<", "large_list<", "fixed_size_list<")):
        return None
    if len(array) == 0:
        raise NoTensor("empty lists")
    if str(array.type).startswith("fixed_size_list<"):
        return np.full(len(array), array.type.list_size)
    lengths: Numbers = np.diff(np.asarray(array.offsets))
    return lengths


def _values(array: Any) -> Numbers:
    try:
        values: Numbers = array.to_numpy(zero_copy_only=False)
    except (NotImplementedError, ValueError) as error:
        raise NoTensor(str(error)) from None
    if values.dtype.kind not in "biuf":
        raise NoTensor(f"values of type {array.type}")
    whole = values.dtype.kind in "iu" and values.dtype != np.uint8
    return values.astype(np.int64, copy=False) if whole else values
