"""Figures and verdicts as plain text tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectivity_hooks.contracts.condition import Verdict

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def figures_table(evaluations: Sequence[Evaluation]) -> str:
    """Return a line for each builder and split: ends, maximum, barriers, bound, error."""
    head = [
        "builder",
        "split",
        "loss A",
        "loss B",
        "loss max",
        "barrier",
        "± 95 %",
        "at t",
        "bound",
        "error max",
    ]
    lines = []
    for evaluation in evaluations:
        for split, figures in evaluation.barriers.items():
            bound = evaluation.bound[split]
            lines.append(
                [
                    evaluation.path.builder or "path",
                    split,
                    *(f"{loss:.4g}" for loss in (*figures.loss_ends, figures.loss_max, figures.barrier_entezari)),
                    f"{figures.barrier_interval:.2g}",
                    f"{figures.worst_t:.3f}",
                    "not proven" if bound is None else f"{bound:.4g}",
                    "" if figures.error_max is None else f"{100 * figures.error_max:.2f} %",
                ]
            )
    return aligned(head, lines)


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each layer: verdict, measured figure, threshold, and the details or the reason."""
    lines = []
    for verdict in verdicts:
        details = ", ".join(f"{name} {short(value)}" for name, value in verdict.details.items())
        layer = "whole network" if verdict.layer is None else verdict.layer
        measured = "" if verdict.measured is None else f"{short(verdict.measured)} {verdict.unit}"
        lines.append(
            [
                verdict.condition,
                layer,
                verdict.status,
                measured,
                short(verdict.threshold),
                verdict.reason or details,
            ]
        )
    return aligned(["condition", "layer", "verdict", "measured", "threshold", "details"], lines)


def aligned(head: list[str], lines: list[list[str]]) -> str:
    """Return lines of cells as columns under a head; control characters are blanked."""
    table = [[_CONTROL.sub(" ", cell) for cell in line] for line in [head, *lines]]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([rows[0], "  ".join("─" * width for width in widths), *rows[1:]])


def short(value: float | int | str | None) -> str:
    """Return a figure in four digits, and nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
