"""evaluation.csv: a row for every measurement."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_type_hints

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.records import typed
from connectivity_hooks.untrusted import read_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_FLAGGED = "'"  # what a text that a spreadsheet would run is written behind


@dataclass(frozen=True)
class Row(Measurement):
    """One measurement of one builder's path; see `COLUMNS` for evaluation.csv.

    Attributes:
        builder: Name of the builder.
        guarantee: What was relied on where it was made.
    """

    builder: str = ""
    guarantee: str = ""


COLUMNS = ("builder", *(field.name for field in fields(Measurement)), "guarantee")
_KINDS = get_type_hints(Row)


def rows_of(evaluations: Mapping[str, Evaluation]) -> list[Row]:
    """Return the rows of several evaluations, in order of builder, split and t."""
    return [
        Row(builder=name, guarantee=path.guarantee_at(point.t), **asdict(point))
        for name, evaluation in evaluations.items()
        for path in [evaluation.relied]
        for curve in evaluation.curves.values()
        for point in curve
    ]


def write_rows(file: pathlib.Path, rows: Sequence[Row]) -> None:
    """Write the rows of evaluation.csv in one step."""
    write_csv(file, COLUMNS, [[getattr(row, column) for column in COLUMNS] for row in rows])


def write_csv(file: pathlib.Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table in one step; text that a spreadsheet would run as a formula is quoted, numbers are exact."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(value) for value in row])
    atomic_text(file, text.getvalue())


def read_rows(file: pathlib.Path) -> list[Row]:
    """Read the rows back; to be called inside `guarded`.

    Raises:
        InputError: The file cannot be read.
        ValueError: A row has other columns, a t outside [0, 1], or something that is no number where one belongs.
    """
    text = read_text(file, "a table of measurements")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = next(lines, [])
    if columns != list(COLUMNS):
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    return [_row(dict(zip(columns, line, strict=True))) for line in lines]


def _row(record: Mapping[str, str]) -> Row:
    row: Row = typed(Row, {name: _value(text, _KINDS[name]) for name, text in record.items()})
    if not 0 <= row.t <= 1:
        raise ValueError(f"expected t in [0, 1], found {row.t}")
    return row


def _value(text: str, kind: Any) -> float | int | str | None:
    """Return a cell as what its column holds: a number, nothing, or text."""
    if int in get_args(kind):
        return None if text == "" else int(text)
    if kind is float or float in get_args(kind):
        return None if text == "" and kind is not float else float(text)
    return text.removeprefix(_FLAGGED)


def cell(value: object) -> object:
    """Return a value as written to a CSV file; text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return _FLAGGED + value
    return repr(value) if isinstance(value, float) else value
