"""The tables in a folder that ``save_to_disk`` of the library datasets wrote, and which of them are the splits.

They are read as Arrow's, and nothing of them is run, looked up or downloaded.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.model.batches import LABELS
from connectivity_hooks.tasks.data.caps import Cap
from connectivity_hooks.tasks.data.columns import NoTensor, numbers
from connectivity_hooks.tasks.data.spec import DataSpec
from connectivity_hooks.untrusted import guarded, open_regular, read_json

OPTIONS = ("train_split", "test_split", "target")
EXPECTED, REMEDY = "a folder of datasets", "save it again with save_to_disk"

_DICT, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_INSTALL = "pip install 'connectivity-hooks[datasets]'"
_TARGETS = (LABELS, "label", "label_ids")
_TESTS = ("test", "validation", "valid", "val", "dev")
_UNKNOWN = -1
"""The label of every sample of a test split whose labels are kept from the public, as GLUE's."""


class Table(NamedTuple):
    """One split.

    Attributes:
        name: Its name in the folder.
        columns: Arrow's table.
        features: What the library says of its columns, by name.
    """

    name: str
    columns: Any
    features: Mapping[str, Any]


def is_one(folder: pathlib.Path) -> bool:
    """Say whether ``save_to_disk`` wrote a folder."""
    return (folder / _DICT).is_file() or ((folder / _STATE).is_file() and (folder / _INFO).is_file())


def splits_of(spec: DataSpec, folder: pathlib.Path, say: Callable[[str], object]) -> tuple[Table, Table | None]:
    """Return the training table and, where there is one, the test table."""
    if not (folder / _DICT).is_file():
        for option in ("train_split", "test_split"):
            if option in spec.options:
                raise UsageError(f"--data {spec.typed}: {option} is given, and the folder has one split; leave it out")
        return _table(folder, "train"), None
    names = _names(folder / _DICT)
    train = _split_named(spec, "train_split", names)
    if train is None:
        train = "train" if "train" in names else names[0] if len(names) == 1 else None
    if train is None:
        raise InputError(f"{folder}: has no split 'train', but {', '.join(names)}; say ?train_split=NAME")
    chosen = _split_named(spec, "test_split", names)
    tests = [chosen] if chosen is not None else [name for name in _TESTS if name in names and name != train]
    found = None
    for name in tests:
        found = _table(folder / name, name)
        if chosen is not None or name == tests[-1] or not _is_unlabelled(spec, found):
            break
        say(f"{folder}: every label of split {name!r} is {_UNKNOWN}, so it is not measured on")
    return _table(folder / train, train), found


def _is_unlabelled(spec: DataSpec, table: Table) -> bool:
    target = target_of(spec, table.columns.column_names)
    if target is None or not len(table.columns):
        return False
    try:
        labels = numbers(table.columns[target])
    except NoTensor:
        return False
    return isinstance(labels, Tensor) and bool((labels == _UNKNOWN).all())


def _split_named(spec: DataSpec, option: str, names: Sequence[str]) -> str | None:
    name = spec.text(option)
    if name is not None and name not in names:
        raise UsageError(f"--data {spec.typed}: no split {name!r}; {near_matches(name, names)}")
    return name


def _names(file: pathlib.Path) -> list[str]:
    names = _entry(read_json(file, EXPECTED, REMEDY), "splits", file)
    for name in names:
        _require_plain(name, file)
    if not names:
        raise InputError(f"{file}: names no splits; {REMEDY}")
    return list(names)


def _require_plain(name: object, file: pathlib.Path) -> None:
    """Refuse a name that leads out of the folder."""
    if not isinstance(name, str) or name != pathlib.PurePath(name).name:
        raise InputError(f"{file}: {str(name)[:40]!r} is not the name of anything in this folder; {REMEDY}")


def _table(folder: pathlib.Path, name: str) -> Table:
    state = read_json(folder / _STATE, EXPECTED, REMEDY)
    files = _entry(state, "_data_files", folder / _STATE)
    tables = []
    for entry in files:
        file = entry.get("filename") if isinstance(entry, Mapping) else None
        _require_plain(file, folder / _STATE)
        tables.append(_read(folder / str(file)))
    if not tables:
        raise InputError(f"{folder}: has no samples; {REMEDY}")
    with guarded(folder, EXPECTED, REMEDY):
        columns = _arrow().concat_tables(tables)
    return Table(name, columns, _features(folder / _INFO))


def _entry(value: object, name: str, file: pathlib.Path) -> Iterable[Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, list):
        raise InputError(f"{file}: has no list {name!r}; {REMEDY}")
    return found


def _features(file: pathlib.Path) -> Mapping[str, Any]:
    info = read_json(file, EXPECTED, REMEDY)
    features = info.get("features") if isinstance(info, Mapping) else None
    return features if isinstance(features, Mapping) else {}


def _read(file: pathlib.Path) -> Any:
    """Return an Arrow table that is mapped rather than read, with what it declares compared with what is there."""
    open_regular(file).close()
    with guarded(file, "a table of Arrow's", REMEDY):
        arrow = _arrow()
        with arrow.memory_map(str(file)) as mapped, arrow.ipc.open_stream(mapped) as stream:
            table = stream.read_all()
        table.validate(full=True)
    return table


def target_of(spec: DataSpec, names: Sequence[str]) -> str | None:
    """Return the column of the targets; None where there is none."""
    named = spec.text("target")
    if named is not None and named not in names:
        raise UsageError(f"--data {spec.typed}: no column {named!r}; {near_matches(named, names)}")
    return named or next((name for name in _TARGETS if name in names), None)


def taken(table: Table, cap: Cap) -> Table:
    """Return the rows that are taken; the others are not read."""
    rows = cap.rows(len(table.columns))
    if not len(table.columns):
        raise InputError(f"{cap.where}: has no samples")
    return table if rows is None else table._replace(columns=table.columns.take(_arrow().array(rows.numpy())))


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise InputError(f"a folder of the library datasets needs it: {_INSTALL}") from None
    return pyarrow
