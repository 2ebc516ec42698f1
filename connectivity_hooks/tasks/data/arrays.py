"""Arrays in an ``.npz`` or ``.safetensors`` file: x_train, y_train and, both or neither, x_test, y_test."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from connectivity_hooks.checkpoints import read
from connectivity_hooks.errors import InputError, near_matches
from connectivity_hooks.tasks.data.raw import Arrays, RawData


def load(file: pathlib.Path) -> RawData:
    """Return the splits of a file; pickled (object) arrays are not read.

    Raises:
        InputError: The file is malformed, or an array is missing.
    """
    arrays = read(file).weights if file.suffix == ".safetensors" else _read_npz(file)
    tests = [name for name in ("x_test", "y_test") if name in arrays]
    if len(tests) == 1:
        raise InputError(f"{file}: has {tests[0]} alone; expected both x_test and y_test, or neither")
    return RawData(_split(file, arrays, "train"), _split(file, arrays, "test") if tests else None)


def _read_npz(file: pathlib.Path) -> Mapping[str, Tensor]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            wanted = [name for name in archive.files if name in ("x_train", "y_train", "x_test", "y_test")]
            arrays = {name: archive[name] for name in wanted or archive.files}
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; give --data FILE.npz") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{file}: is not an .npz file of plain arrays ({reason}); write it with numpy.savez") from None
    return {name: _tensor(file, name, array) for name, array in arrays.items()}


def _tensor(file: pathlib.Path, name: str, array: npt.NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "uifb" or array.dtype.itemsize > 8:
        raise InputError(f"{file}: {name} has type {array.dtype}; expected numbers")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native))


def _split(file: pathlib.Path, arrays: Mapping[str, Tensor], split: str) -> Arrays:
    for name in (f"x_{split}", f"y_{split}"):
        if name not in arrays:
            raise InputError(f"{file}: has no array {name!r}; {near_matches(name, arrays)}")
    return arrays[f"x_{split}"], arrays[f"y_{split}"]
