"""evaluation.csv: a row for every measurement."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.untrusted import read_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = ("t", *(f"{name}{end}" for name in ("loss", "excess", "rise", "climb") for end in ("", "_interval")))
_ERRORS = (*(f"{name}{end}" for name in ("error", "error_rise", "error_climb") for end in ("", "_interval")), "bend")


@dataclass(frozen=True)
class Row:
    """One measurement of one builder's path; the columns of evaluation.csv."""

    builder: str
    t: float
    split: str
    loss: float
    loss_interval: float
    error: float | None
    error_interval: float | None
    excess: float
    excess_interval: float
    rise: float
    rise_interval: float
    error_rise: float | None
    error_rise_interval: float | None
    climb: float
    climb_interval: float
    error_climb: float | None
    error_climb_interval: float | None
    source: str
    bend: float | None
    guarantee: str


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
    write_csv(file, [column.name for column in fields(Row)], [tuple(asdict(row).values()) for row in rows])


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
    if columns != [column.name for column in fields(Row)]:
        raise ValueError(f"expected the columns {', '.join(column.name for column in fields(Row))}")
    return [_row(dict(zip(columns, line, strict=True))) for line in lines]


def _row(record: Mapping[str, str]) -> Row:
    text = {name: record[name].removeprefix("'") for name in ("builder", "split", "source", "guarantee")}
    numbers = {name: float(record[name]) for name in _NUMBERS}
    errors = {name: float(record[name]) if record[name] else None for name in _ERRORS}
    if not 0 <= numbers["t"] <= 1:
        raise ValueError(f"expected t in [0, 1], found {numbers['t']}")
    return Row(**text, **numbers, **errors)  # type: ignore[arg-type]


def cell(value: object) -> object:
    """Return a value as written to a CSV file; text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return repr(value) if isinstance(value, float) else value
