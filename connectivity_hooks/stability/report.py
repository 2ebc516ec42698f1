"""The analysis as a table, as plain data, and as files."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from connectivity_hooks.checkpoints.atomic import atomic_text, make_folder
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.json_values import finite
from connectivity_hooks.reports.html import page, shown_from
from connectivity_hooks.reports.plots import as_svg
from connectivity_hooks.reports.report import environment
from connectivity_hooks.reports.rows import write_csv
from connectivity_hooks.reports.tables import aligned
from connectivity_hooks.stability.barrier_of_pairs import Instability, Spread
from connectivity_hooks.stability.figure import stability_figure
from connectivity_hooks.untrusted import read_json

if TYPE_CHECKING:
    from connectivity_hooks.stability.result import Stability

FORMAT = "connectivity_hooks.stability/1"
FILE = "stability.json"

_EXPECTED, _REMEDY = "a finished report", "run connectivity-hooks stability with --out again"

_HEAD = ["k", "pairs", "split", *["loss", "barrier", "± 95 %", "of pairs"], *["error", "barrier", "± 95 %", "of pairs"]]


def stability_table(found: Stability) -> str:
    """Return a line for each k and split: loss and its barrier, error in percent and its barrier in points."""
    measured = found.instability
    return aligned(
        _HEAD,
        [
            _line(split, at)
            for each in zip(*measured.values(), strict=True)
            for split, at in zip(measured, each, strict=True)
        ],
    )


def content_of(found: Stability) -> dict[str, Any]:
    """Return what stability.json holds."""
    lost: list[str] = []
    content = {
        "format": FORMAT,
        "conclusion": asdict(found.conclusion),
        "instability": {split: [asdict(at) for at in measured] for split, measured in found.instability.items()},
        "pairs": [
            {"step": one.step, "a": one.a, "b": one.b, "length": one.length}
            | {split: asdict(figures) for split, figures in one.barriers.items()}
            for one in found.connections
        ],
        "task": dict(found.task),
        "path": dict(found.path),
        "seconds": found.seconds,
        "notes": list(found.notes),
        "environment": environment(),
    }
    ready: dict[str, Any] = finite(content, lost)
    ready["notes"] += [f"{place} is not a finite number" for place in lost]
    return ready


def write_report(found: Stability, folder: pathlib.Path) -> None:
    """Write stability.csv, curves.csv, stability.svg, stability.html and, last, stability.json; each in one step."""
    content = content_of(found)
    make_folder(folder)
    _write_barriers(found, folder / "stability.csv")
    _write_curves(found, folder / "curves.csv")
    write_pages(content, folder)
    atomic_text(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_pages(content: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Write stability.svg and stability.html of what stability.json holds.

    Raises:
        InputError: It does not hold what the page shows; nothing is written then.
    """
    with shown_from(folder / FILE, _REMEDY):
        picture = as_svg(stability_figure(content))
        text = page("stability.html.j2", picture, report=content)
    atomic_text(folder / "stability.svg", picture)
    atomic_text(folder / "stability.html", text)


def read_content(folder: pathlib.Path) -> dict[str, Any]:
    """Read stability.json of a folder; raise `InputError` when it is not whole."""
    content = read_json(folder / FILE, _EXPECTED, _REMEDY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{folder / FILE}: is not of format {FORMAT}; {_REMEDY}")
    return content


def _write_barriers(found: Stability, file: pathlib.Path) -> None:
    """Write a row for every pair and split."""
    names = [field.name for field in fields(Barriers) if field.name not in ("loss_ends", "error_ends")]
    rows = [
        [one.step, one.a, one.b, split, *figures.loss_ends, *(figures.error_ends or (None, None))]
        + [getattr(figures, name) for name in names]
        + [one.length]
        for one in found.connections
        for split, figures in one.barriers.items()
    ]
    write_csv(file, ["k", "a", "b", "split", "loss_a", "loss_b", "error_a", "error_b", *names, "length"], rows)


def _write_curves(found: Stability, file: pathlib.Path) -> None:
    """Write a row for every pair, split and t."""
    rows = [
        [one.step, one.a, one.b, *asdict(point).values()]
        for one in found.connections
        for curve in one.curves.values()
        for point in curve
    ]
    write_csv(file, ["k", "a", "b", *(field.name for field in fields(Measurement))], rows)


def _line(split: str, at: Instability) -> list[str]:
    loss = [f"{at.loss_ends:.4g}", f"{at.loss.mean:.4g}", f"{at.loss.interval:.2g}", _range(at.loss, 1, ".3g", at)]
    if at.error is None or at.error_ends is None:
        return [str(at.step), str(at.pairs), split, *loss, "", "", "", ""]
    error = [f"{100 * at.error_ends:.2f} %", f"{100 * at.error.mean:.2f}", f"{100 * at.error.interval:.2f}"]
    return [str(at.step), str(at.pairs), split, *loss, *error, _range(at.error, 100, ".2f", at)]


def _range(spread: Spread, scale: float, form: str, at: Instability) -> str:
    return "" if at.pairs == 1 else f"{scale * spread.least:{form}} … {scale * spread.most:{form}}"
