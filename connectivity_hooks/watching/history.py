"""A history: a row for every verdict, as a line of history.jsonl and of history.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import InputError
from connectivity_hooks.json_values import finite
from connectivity_hooks.reports.rows import cell
from connectivity_hooks.untrusted import guarded, open_regular, parse_json
from connectivity_hooks.watching.schedule import Clock

JSONL = "history.jsonl"
CSV = "history.csv"

# A row takes some hundred bytes, its details some more: a longer line is none of ours, and is not taken into memory.
_LONGEST_LINE = 1_000_000


@dataclass(frozen=True)
class Row:
    """One verdict and when it was found.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs ended.
        elapsed: Seconds since the training began.
        spent: Seconds of these that watching took.
        weights: Whose they were: ``model`` or ``ema``.
        condition: Name of the condition.
        layer: Name of the layer, or of the average; None for the whole network.
        status: ``holds``, ``fails`` or ``invalid``.
        measured: The measured figure.
        threshold: What it is compared with.
        unit: Unit of both.
        reason: As of the verdict.
        details: Further figures; in history.jsonl only.
    """

    step: int
    epoch: int
    elapsed: float
    spent: float
    weights: str
    condition: str
    layer: str | None
    status: str
    measured: float | None
    threshold: float | None
    unit: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


COLUMNS = tuple(column.name for column in dataclasses.fields(Row) if column.name != "details")

_NUMBER = (int, float)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "step": (int,),
    "epoch": (int,),
    "elapsed": _NUMBER,
    "spent": _NUMBER,
    "weights": (str,),
    "condition": (str,),
    "layer": (str, type(None)),
    "status": (str,),
    "measured": (int, float, type(None)),
    "threshold": (int, float, type(None)),
    "unit": (str,),
    "reason": (str,),
    "details": (dict,),
}


def row_of(verdict: Verdict, clock: Clock, weights: str) -> Row:
    """Return the row of a verdict found at `clock`."""
    when = (clock.step, clock.epoch, round(clock.elapsed, 3), round(clock.spent, 3), weights)
    return Row(
        *when,
        verdict.condition,
        verdict.layer,
        verdict.status,
        verdict.measured,
        verdict.threshold,
        verdict.unit,
        verdict.reason,
        {name: finite(value) for name, value in verdict.details.items()},
    )


@dataclass(frozen=True)
class Lines:
    """What a history.jsonl holds.

    Attributes:
        rows: The lines that are rows, in order.
        ends: Where each ends in the file, in bytes, after a first 0: the file cut there holds that many rows.
        damaged: How many lines are no rows; one that a crash cut short, at the end, is not counted.
        damage: What is wrong with them, in words.
    """

    rows: list[Row]
    ends: list[int]
    damaged: int
    damage: str


def read_lines(file: pathlib.Path) -> Lines:
    """Read a history line by line; what is no row is counted and passed over. No file is an empty history.

    Raises:
        InputError: It is a symbolic link, no regular file, or cannot be read.
    """
    found = Lines([], [0], 0, "")
    if not os.path.lexists(file):
        return found
    if file.is_symlink():
        raise InputError(f"{file}: is a symbolic link and is not followed; choose another out=")
    damaged, first, end = 0, "", 0
    with open_regular(file) as stream:
        for number, line in enumerate(_lines(stream), 1):
            end += len(line)
            try:
                with guarded(f"line {number}", "a row of a history"):
                    found.rows.append(_row(line))
                found.ends.append(end)
            except InputError as error:
                damaged, first = damaged + 1, first or str(error)
    return dataclasses.replace(found, damaged=damaged, damage=f"{damaged} damaged lines; {first}" if damaged else "")


def read_history(folder: str | os.PathLike[str]) -> list[Row]:
    """Return the rows of a folder's history.jsonl; none where there is no such file.

    A last line that a crash cut short is left out.

    Raises:
        InputError: A line is not a row, or the file is a symbolic link or cannot be read.
    """
    file = pathlib.Path(folder) / JSONL
    found = read_lines(file)
    if found.damaged:
        raise InputError(f"{file}: holds a line that is no row of a history: {found.damage}; take it out")
    return found.rows


def rows_until(found: Lines, step: int | None) -> list[Row]:
    """Return the rows before the first one of a later step."""
    if step is None:
        return found.rows
    return list(itertools.takewhile(lambda row: row.step <= step, found.rows))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that end; one that a crash cut short has no end. Of a line too long there are several parts."""
    while line := stream.readline(_LONGEST_LINE):
        if line.endswith(b"\n") or len(line) == _LONGEST_LINE:
            yield line


def _row(line: bytes) -> Row:
    """Return the row that a line holds; raise whatever reading it raises."""
    fields = parse_json(line.decode("utf-8"))
    row = Row(**fields)
    for name, kinds in _KINDS.items():
        value = getattr(row, name)
        if type(value) not in kinds:
            raise ValueError(f"{name}: expected {' or '.join(kind.__name__ for kind in kinds)}, found {value!r:.40}")
        if type(value) in _NUMBER and not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number, found {value}")
    json_line(row)  # what cannot be written again, such as NaN among the details, is damage too
    return row


def json_line(row: Row) -> str:
    """Return a row as its line of history.jsonl."""
    return json.dumps(dataclasses.asdict(row), allow_nan=False) + "\n"


def csv_lines(rows: Iterable[Row]) -> str:
    """Return rows as lines of history.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue()
