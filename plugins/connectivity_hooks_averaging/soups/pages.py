"""The report of an average, as files: the verdict, the matrix of barriers as a picture, tables."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.checkpoints import atomic_text
from connectivity_hooks.reports import as_svg, matrix_figure, page, write_csv

PACKAGE = "connectivity_hooks_averaging"

COLUMNS = ("a", "b", "barrier")


def write_average(content: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Write barriers.csv, barriers.svg, report.html and, last, report.json; each in one step.

    Args:
        content: What `content_of` returns.
        folder: An output folder.
    """
    names = [each["name"] for each in content["checkpoints"]]
    pairs = list(itertools.combinations(range(len(names)), 2))
    write_csv(folder / "barriers.csv", COLUMNS, [(names[a], names[b], content["barriers"][a][b]) for a, b in pairs])
    order = by_membership(content)
    picture = matrix_picture([names[i] for i in order], [[content["barriers"][a][b] for b in order] for a in order])
    atomic_text(folder / "barriers.svg", picture)
    splits = list(content["task"]["samples"])
    text = page("average.html.j2", picture, package=PACKAGE, report=content, splits=splits, order=order)
    atomic_text(folder / "report.html", text)
    atomic_text(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def by_membership(content: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the checkpoints, those that are averaged first."""
    taken = [each["averaged"] for each in content["checkpoints"]]
    return sorted(range(len(taken)), key=lambda number: not taken[number])


def matrix_picture(names: list[str], barriers: list[list[float | None]]) -> str:
    """Return the matrix of barriers as the text of an SVG file."""
    return as_svg(matrix_figure(names, {"": barriers}, "barrier of the training loss"))
