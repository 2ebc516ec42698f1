"""history.jsonl and history.csv: a row for every verdict, appended so that a crash loses and repeats nothing."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import io
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import InputError
from connectivity_hooks.reports.rows import cell
from connectivity_hooks.watching.schedule import Clock

JSONL = "history.jsonl"
CSV = "history.csv"


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
        layer: Name of the layer; None for the whole network.
        status: ``holds``, ``fails`` or ``invalid``.
        measured: The measured figure.
        threshold: What it is compared with.
        unit: Unit of both.
        reason: Why nothing could be measured, else empty.
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
        {name: _finite(value) for name, value in verdict.details.items()},
    )


class HistoryFile:
    """The two files in a folder; history.jsonl is the truth, history.csv is made of it.

    Nothing is opened before the first row. Rows of an earlier run that is not resumed are kept under another name.

    Args:
        folder: Made with its parents when missing.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._stream: BinaryIO | None = None
        self._resumed_at: int | None = None

    def resume(self, step: int) -> list[Row]:
        """Go on from `step`, and return the rows until then; later ones are dropped, they will be found again."""
        self._resumed_at = step
        return self._kept()

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows; they are on the disk when this returns.

        Raises:
            InputError: The folder cannot be written to, or another run is writing to it.
        """
        new = list(rows)
        if self._stream is None:
            self._stream = self._opened()
        _append(self._stream, "".join(_json_line(row) for row in new))
        with (self.folder / CSV).open("ab") as table:
            _append(table, _csv_lines(new))

    def close(self) -> None:
        """Let go of the files."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _opened(self) -> BinaryIO:
        """Lock the folder's history, then bring both files to what is kept of it: whole rows, none too late."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / JSONL).open("ab")
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written to: {error.strerror}; choose another out=") from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise InputError(f"{self.folder}: another run is writing its history there; choose another out=") from None
        kept = self._kept()
        if self._resumed_at is None and kept:
            stream.close()
            self._set_aside()
            return self._opened()
        stream.truncate(0)
        _append(stream, "".join(_json_line(row) for row in kept))
        atomic_text(self.folder / CSV, ",".join(COLUMNS) + "\n" + _csv_lines(kept))
        return stream

    def _kept(self) -> list[Row]:
        rows = read_history(self.folder)
        return rows if self._resumed_at is None else [row for row in rows if row.step <= self._resumed_at]

    def _set_aside(self) -> None:
        for number in itertools.count(1):
            names = {name: name.replace("history", f"history.before-{number}") for name in (JSONL, CSV)}
            if not any((self.folder / aside).exists() for aside in names.values()):
                break
        for name, aside in names.items():
            if (self.folder / name).exists():
                (self.folder / name).rename(self.folder / aside)


def read_history(folder: str | os.PathLike[str]) -> list[Row]:
    """Return the rows of a folder's history.jsonl; none where there is no such file.

    A last line that a crash cut short is left out.

    Raises:
        InputError: A line is not a row.
    """
    file = pathlib.Path(folder) / JSONL
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    try:
        return [Row(**json.loads(line)) for line in text.splitlines()[: text.count("\n")]]
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: holds a line that is no row of a history ({error}); choose another out=") from None


def _append(stream: BinaryIO, text: str) -> None:
    stream.write(text.encode("utf-8"))
    stream.flush()
    os.fsync(stream.fileno())


def _json_line(row: Row) -> str:
    return json.dumps(dataclasses.asdict(row), allow_nan=False) + "\n"


def _csv_lines(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue()


def _finite(value: float | int | str | None) -> float | int | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
