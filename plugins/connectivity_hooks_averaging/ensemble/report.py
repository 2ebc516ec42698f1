"""What is written of an ensemble: words, a table, plain data, a picture and a page."""

from __future__ import annotations

import json
import pathlib
from dataclasses import asdict
from typing import Any

from connectivity_hooks.checkpoints import atomic_text, make_folder
from connectivity_hooks.json_values import finite
from connectivity_hooks.reports import as_svg, environment, in_blocks, page
from connectivity_hooks_averaging.ensemble.calibration import BINS
from connectivity_hooks_averaging.ensemble.result import Ensemble, Scored

FORMAT = "connectivity_hooks.ensemble/1"


def content_of(found: Ensemble) -> dict[str, Any]:
    """Return what ensemble.json holds; what is not a finite number is None and named in the notes."""
    lost: list[str] = []
    ends = None if found.end_points is None else [asdict(end) for end in found.end_points]
    content = {
        "format": FORMAT,
        "verdict": verdict_of(found),
        "path": {"builder": found.builder, "checkpoints": ends, "t": list(found.ts), "correction": found.correction},
        "split": found.split,
        "averaged": "probabilities" if found.has_classes else "outputs",
        "held_out": None if found.held_out is None else {"samples": found.held_out, "seed": found.seed},
        "bins": {"count": BINS, "width": "equal"} if found.has_classes else None,
        "rows": {row.name: asdict(row) for row in found.rows},
        "ensembles": {name: list(names) for name, names in found.groups.items()},
        "task": found.task.describe(),
        "notes": list(found.notes),
        "environment": environment(),
    }
    ready: dict[str, Any] = finite(content, lost)
    ready["notes"] += [f"{place} is not a finite number" for place in lost]
    return ready


def verdict_of(found: Ensemble) -> str:
    """Say in a sentence what the ensemble of the points is beside the better end."""
    whole, ends = found.whole, (found["A"], found["B"])
    if not found.has_classes:
        best = min(end.plain["loss"] for end in ends)
        return (
            f"The mean prediction of {len(found.ts)} points has a loss of {whole.plain['loss']:.4g} on {found.split}; "
            f"the better end has {best:.4g}."
        )
    accuracy, likelihood = (max(end.plain[key] for end in ends) for key in ("accuracy", "log_likelihood"))
    return (
        f"The ensemble of {len(found.ts)} points is right in {_percent(whole.plain['accuracy'])} of {found.split}, "
        f"with a log-likelihood of {whole.plain['log_likelihood']:.4f}; the better end in {_percent(accuracy)}, with "
        f"{likelihood:.4f}."
    )


def table_of(found: Ensemble, width: int | None = None) -> str:
    """Return a line for each row that is no point between the ends.

    Args:
        found: What came of it.
        width: Columns of the terminal; None where lines may have any length.
    """
    return in_blocks(*_cells(found, found.shown), 1, width)


def _cells(found: Ensemble, rows: list[Scored]) -> tuple[list[str], list[list[str]]]:
    if not found.has_classes:
        head = [found.split, "loss", "variance"]
        return head, [
            [row.name, f"{row.plain['loss']:.4g}", _figure(row.diversity, "variance", "{:.4g}")] for row in rows
        ]
    head = [found.split, "accuracy", "log-likelihood", "ECE", "T", "log-lik. at T", "ECE at T", "disagreement", "KL"]
    return head, [
        [
            row.name,
            _percent(row.plain["accuracy"]),
            f"{row.plain['log_likelihood']:.4f}",
            _percent(row.plain["ece"]),
            "–" if row.temperature is None else f"{row.temperature:.3g}",
            _figure(row.tempered, "log_likelihood", "{:.4f}"),
            _percent((row.tempered or {}).get("ece")),
            _percent((row.diversity or {}).get("disagreement")),
            _figure(row.diversity, "kl", "{:.4g}"),
        ]
        for row in rows
    ]


def write(found: Ensemble, folder: pathlib.Path) -> None:
    """Write ensemble.svg, ensemble.html and, last, ensemble.json."""
    from connectivity_hooks_averaging.ensemble.picture import figure_of

    make_folder(folder)
    content = content_of(found)
    picture = as_svg(figure_of(found))
    head, rows = _cells(found, found.shown)
    _, points = _cells(found, [row for row in found.rows if row.t is not None])
    shown = {"head": head, "rows": rows, "points": points, "has_classes": found.has_classes}
    text = page("ensemble.html.j2", picture, package="connectivity_hooks_averaging", report=content, **shown)
    atomic_text(folder / "ensemble.svg", picture)
    atomic_text(folder / "ensemble.html", text)
    atomic_text(folder / "ensemble.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _figure(of: Any, key: str, form: str) -> str:
    value = None if of is None else of.get(key)
    return "–" if value is None else form.format(value)
