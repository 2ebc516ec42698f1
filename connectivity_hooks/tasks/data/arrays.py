"""Arrays in an ``.npz`` or ``.safetensors`` file: x_train, y_train and, both or neither, x_test, y_test."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from torch import Tensor

from connectivity_hooks.checkpoints import read
from connectivity_hooks.errors import InputError, near_matches
from connectivity_hooks.tasks.data.npz import read_npz
from connectivity_hooks.tasks.data.raw import Arrays, RawData


def load(file: pathlib.Path) -> RawData:
    """Return the splits of a file; pickled (object) arrays are not read.

    Raises:
        InputError: The file is malformed, an array is missing, or they need more memory than there is.
    """
    arrays = read(file).weights if file.suffix == ".safetensors" else read_npz(file)
    tests = [name for name in ("x_test", "y_test") if name in arrays]
    if len(tests) == 1:
        raise InputError(f"{file}: has {tests[0]} alone; expected both x_test and y_test, or neither")
    return RawData(_split(file, arrays, "train"), _split(file, arrays, "test") if tests else None)


def _split(file: pathlib.Path, arrays: Mapping[str, Tensor], split: str) -> Arrays:
    names = (f"x_{split}", f"y_{split}")
    for name in names:
        if name not in arrays:
            raise InputError(f"{file}: has no array {name!r}; {near_matches(name, arrays)}")
        if arrays[name].ndim == 0:
            raise InputError(f"{file}: {name} is a single number; expected an array of as many rows as samples")
    return arrays[names[0]], arrays[names[1]]
