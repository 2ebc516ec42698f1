"""An ``.npz`` file read with suspicion: what it declares is compared with the file and the memory before it is read."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from connectivity_hooks.memory import require_memory
from connectivity_hooks.untrusted import guarded, open_regular

WANTED = ("x_train", "y_train", "x_test", "y_test")
"""Names of arrays, and what stands before the dot in those of several inputs, such as ``x_train.mask``."""

_EXPECTED, _REMEDY = "an .npz file of plain arrays", "write it with numpy.savez"
_SUFFIX = ".npy"


class _Declared(NamedTuple):
    """What the header of a member says: its size in memory once it is a tensor, and in the archive."""

    tensor: int
    member: int


def read_npz(file: pathlib.Path) -> Mapping[str, Tensor]:
    """Return the arrays of a data set (see `WANTED`); where there is none of them, all names and no values.

    Raises:
        InputError: The file is no such archive, an array is not of numbers or not whole, or they do not fit in memory.
    """
    with open_regular(file) as stream, guarded(file, _EXPECTED, _REMEDY), zipfile.ZipFile(stream) as archive:
        members = {name.removesuffix(_SUFFIX): name for name in archive.namelist() if name.endswith(_SUFFIX)}
        chosen = {name: member for name, member in members.items() if name.partition(".")[0] in WANTED}
        sizes = {name: _declared(archive, name, member) for name, member in chosen.items()}
        total = sum(size.tensor for size in sizes.values())
        require_memory(total, file, "give fewer samples, or FILE.py:callable with a loader")
        arrays = {name: _array(archive, member) for name, member in chosen.items()}
        return {name: torch.empty(0) for name in members if not chosen} | {
            name: _tensor(array) for name, array in arrays.items()
        }


def _declared(archive: zipfile.ZipFile, name: str, member: str) -> _Declared:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
        if dtype.kind not in "uifb" or dtype.itemsize > 8:
            raise ValueError(f"{name} has type {dtype}; expected numbers")
        count = 1
        for length in shape:
            count *= length
        declared = _Declared(count * _tensor_itemsize(dtype), stream.tell() + count * dtype.itemsize)
    if min(shape, default=0) < 0 or declared.member != archive.getinfo(member).file_size:
        raise ValueError(f"{name} has shape {shape} and not as many bytes")
    return declared


def _array(archive: zipfile.ZipFile, member: str) -> npt.NDArray[Any]:
    with archive.open(member) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _tensor_itemsize(dtype: np.dtype[Any]) -> int:
    if _widened(dtype):
        return 8
    return 1 + 4 if dtype == np.uint8 else dtype.itemsize  # bytes are scaled to [0, 1], in float32


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    if _widened(array.dtype):
        array = array.astype(np.int64)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native).reshape(native.shape))


def _widened(dtype: np.dtype[Any]) -> bool:
    """Say whether PyTorch knows no such type, or next to nothing to do with it: unsigned numbers wider than a byte."""
    return dtype.kind == "u" and dtype.itemsize > 1
