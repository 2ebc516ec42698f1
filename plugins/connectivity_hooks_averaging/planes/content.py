"""A landscape as plain data, and its tables."""

from __future__ import annotations

from typing import Any

from connectivity_hooks.json_values import finite
from connectivity_hooks.reports import environment, in_blocks
from connectivity_hooks_averaging.planes.landscape import Landscape, Marked
from connectivity_hooks_averaging.planes.words import sentences_of
from connectivity_hooks_averaging.scores import Scores

FORMAT = "connectivity_hooks.landscape/1"


def content_of(found: Landscape) -> dict[str, Any]:
    """Return what the JSON file holds, JSON-ready; None stands for what is not a finite number."""
    content = {
        "format": FORMAT,
        "kind": found.kind,
        "verdict": sentences_of(found),
        "axes": [
            {"label": label, "values": values} for label, values in zip(found.labels, found.grid.axes, strict=True)
        ],
        "lowest": {split: {"loss": loss, "at": at} for split in found.splits for loss, at in [found.lowest(split)]},
        "not_finite": {split: found.not_finite(split) for split in found.splits},
        "points": [_point(each) for each in found.points],
        "grid": {
            split: {
                "loss": [each[split].loss for each in found.scores],
                "error": [each[split].error for each in found.scores],
            }
            for split in found.splits
        },
        "correction": found.correction,
        "made_of": found.about,
        "task": found.task,
        "environment": environment(),
        "notes": list(found.notes),
    }
    ready: dict[str, Any] = finite(content)
    return ready


def table_of(found: Landscape, width: int | None = None) -> str:
    """Return a line for each checkpoint: where it is, how far off, loss and error.

    Args:
        found: What was measured.
        width: Columns of the terminal; None where lines may have any length.
    """
    head = ["point", "at", "off the plane"] if found.kind == "plane" else ["point", "at"]
    head += [f"{split} {what}" for split in found.splits for what in ("loss", "error")]
    lines = []
    for each in found.points:
        if each.kind == "path":
            continue
        at = f"({', '.join(f'{value:.4g}' for value in each.at)})"
        off = [f"{each.distance:.4g}"] if found.kind == "plane" else []
        lines.append([each.name, at, *off, *_figures(each.scores)])
    return in_blocks(head, lines, 1, width)


GRID_COLUMNS = ("split", "loss", "error")
POINT_COLUMNS = ("name", "kind", "t", "x", "y", "distance", "split", "loss", "error", "loss_beneath", "error_beneath")


def grid_rows(found: Landscape) -> list[list[object]]:
    """Return the rows of the grid: coordinates, split, loss and error."""
    return [
        [*at, split, score.loss, score.error]
        for at, scores in zip(found.grid.places(), found.scores, strict=True)
        for split, score in scores.items()
    ]


def point_rows(found: Landscape) -> list[list[object]]:
    """Return the rows of the points, see `POINT_COLUMNS`."""
    rows = list[list[object]]()
    for each in found.points:
        x, y = (*each.at, None)[:2]
        for split, own in each.scores.items():
            beneath = each.beneath[split]
            scores = [own.loss, own.error, beneath.loss, beneath.error]
            rows.append([each.name, each.kind, each.t, x, y, each.distance, split, *scores])
    return rows


def _point(point: Marked) -> dict[str, Any]:
    return {
        "name": point.name,
        "kind": point.kind,
        "t": point.t,
        "at": point.at,
        "distance": point.distance,
        "scores": _scores(point.scores),
        "beneath": _scores(point.beneath),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {split: {"loss": each.loss, "error": each.error} for split, each in scores.items()}


def _figures(scores: Scores) -> list[str]:
    return [
        text
        for each in scores.values()
        for text in (f"{each.loss:.4g}", "–" if each.error is None else f"{100 * each.error:.2f} %")
    ]
