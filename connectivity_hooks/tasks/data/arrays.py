"""Arrays in an ``.npz`` or ``.safetensors`` file: x_train, y_train and, both or neither, x_test, y_test.

Several inputs are ``x_train.NAME`` for arguments by name, or ``x_train.0``, ``x_train.1`` … for arguments in order. A
file of inputs alone is an autoencoder's.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from torch import Tensor

from connectivity_hooks.checkpoints import read
from connectivity_hooks.errors import InputError, near_matches
from connectivity_hooks.model.batches import Batch, read_batch
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.tasks.data.npz import read_npz
from connectivity_hooks.tasks.data.raw import RawData


def load(file: pathlib.Path) -> RawData:
    """Return the splits of a file; pickled (object) arrays are not read.

    Raises:
        InputError: The file is malformed, an array is missing, or they need more memory than there is.
    """
    arrays = read(file).weights if file.suffix == ".safetensors" else read_npz(file)
    has_test = bool(_entries(arrays, "x_test"))
    if ("y_test" in arrays and not has_test) or (has_test and "y_test" not in arrays and "y_train" in arrays):
        alone = "x_test" if has_test else "y_test"
        raise InputError(f"{file}: has {alone} alone; expected both x_test and y_test, or neither")
    return RawData(
        _split(file, arrays, "train"),
        _split(file, arrays, "test") if has_test else None,
        stored=True,
        its_own="y_train" not in arrays,
    )


def _split(file: pathlib.Path, arrays: Mapping[str, Tensor], split: str) -> Batch:
    x, y = f"x_{split}", f"y_{split}"
    entries = _entries(arrays, x)
    if not entries:
        raise InputError(f"{file}: has no array {x!r}; {near_matches(x, arrays)}")
    if f"{x}." in entries:
        raise InputError(f"{file}: {x + '.'!r} names no argument; expected {x} alone, {x}.NAME, or {x}.0, {x}.1 …")
    if x in entries and len(entries) > 1:
        raise InputError(
            f"{file}: has {' and '.join(sorted(entries)[:2])}; expected one array {x}, or each by its name"
        )
    if y not in arrays and any(not name.startswith("x_") for name in arrays):
        raise InputError(f"{file}: has no array {y!r}; {near_matches(y, arrays)}")
    _require_rows(file, {**entries, **({y: arrays[y]} if y in arrays else {})})
    inputs = _inputs({name.removeprefix(x).removeprefix("."): array for name, array in entries.items()})
    if y in arrays and isinstance(inputs, Tensor):
        return inputs, arrays[y]
    if y in arrays:
        return read_batch((inputs, arrays[y]), f"{file}: {split}")
    return read_batch(inputs if isinstance(inputs, (Tensor, dict)) else (inputs, None), f"{file}: {split}")


def _require_rows(file: pathlib.Path, arrays: Mapping[str, Tensor]) -> None:
    """Refuse arrays of unequal lengths, of none, and single numbers."""
    for name, array in arrays.items():
        if array.ndim == 0:
            raise InputError(f"{file}: {name} is a single number; expected an array of as many rows as samples")
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        x, y = next(iter(rows)), next(reversed(rows))
        listed = ", ".join(f"{name}: {count}" for name, count in rows.items())
        found = (
            f"{rows[x]} inputs and {rows[y]} targets" if len(rows) == 2 and y[0] == "y" else "unequal numbers of rows"
        )
        raise InputError(f"{file}: has {found} ({listed}); expected one row for each sample")
    if not all(rows.values()):
        raise InputError(f"{file}: has no samples, {' and '.join(rows)} have no rows")


def _entries(arrays: Mapping[str, Tensor], x: str) -> dict[str, Tensor]:
    return {name: array for name, array in arrays.items() if name == x or name.startswith(f"{x}.")}


def _inputs(entries: dict[str, Tensor]) -> Inputs:
    """Return one array alone, arguments in order where the names are 0, 1 …, and otherwise arguments by name."""
    if entries.keys() == {""}:
        return entries[""]
    in_order = [str(place) for place in range(len(entries))]
    return tuple(entries[place] for place in in_order) if entries.keys() == set(in_order) else entries
