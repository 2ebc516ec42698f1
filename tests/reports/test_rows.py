"""evaluation.csv: exact, in the order of its columns, and read back with nothing but what belongs there."""

import csv
import dataclasses
import math

import pytest

from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.reports.rows import COLUMNS, Row, read_rows, write_rows

HALF = {f"{name}{end}": 0.1 for name in ("loss", "excess", "rise", "climb") for end in ("", "_interval")}
NONE = dict.fromkeys(f"{name}{end}" for name in ("error", "error_rise", "error_climb") for end in ("", "_interval"))


def row(**change):
    fields = {"t": 1 / 3, "split": "train", "source": "forward", **HALF, **NONE}
    return Row(**{**fields, "builder": "linear", "guarantee": "measured", **change})


def test_a_row_is_a_measurement_between_its_builder_and_its_guarantee():
    names = [field.name for field in dataclasses.fields(Measurement)]
    assert ("builder", *names, "guarantee") == COLUMNS
    assert isinstance(row(), Measurement)


def test_rows_are_read_back_exactly(tmp_path):
    rows = [
        row(),
        row(t=0.0, loss=math.inf, error=0.25, bend=0.0, source="outputs", guarantee="convex"),
        row(t=1.0, builder="=1+1", split="test", loss=math.nextafter(0.1, 1)),
    ]
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    with open(tmp_path / "rows.csv", newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("t", "1.5", r"expected t in \[0, 1\]"),
        ("t", "nan", r"expected t in \[0, 1\]"),
        ("loss", "", "float"),
        ("loss", "high", "float"),
        ("error", "x", "float"),
        ("source", "guessed", "source: expected forward or outputs or constant"),
        ("split", None, "zip"),
    ],
)
def test_what_does_not_belong_in_a_column_is_refused(tmp_path, column, value, words):
    write_rows(tmp_path / "rows.csv", [row()])
    with open(tmp_path / "rows.csv", newline="") as file:
        head, line = list(csv.reader(file))
    index = head.index(column)
    line = line[:index] if value is None else [*line[:index], value, *line[index + 1 :]]
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, line])
    with pytest.raises(ValueError, match=words):
        read_rows(tmp_path / "rows.csv")
