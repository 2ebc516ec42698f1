"""Figures and verdicts as plain text tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.evaluation.climb import Climb
from connectivity_hooks.evaluation.perplexity import in_words
from connectivity_hooks.evaluation.phrases import Figure, has_interval, limits
from connectivity_hooks.evaluation.units import error_in

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NO_ERRORS = "errors are counted under the losses cross-entropy and bce only"


def figures_table(evaluations: Sequence[Evaluation], width: int | None = None) -> str:
    """Return a line for each builder and split: loss at the ends and at most, its climb above them, error likewise.

    Beside the loss of tokens stands their perplexity.

    Args:
        evaluations: One of each builder.
        width: Columns of the terminal; None where lines may have any length.
    """
    unit, tokens = evaluations[0].unit, any(evaluation.perplexity for evaluation in evaluations)
    head = ["builder", "split", "loss A", "loss B", "loss max", "rise", "95 % interval", "barrier"]
    tempered = any(evaluation.calibrated for evaluation in evaluations)
    head += ["calibrated barrier"] if tempered else []
    head += ["bound"]
    head += ["perplexity A", "perplexity B", "perplexity max"] if tokens else []
    head += [f"{error_in(unit)} max", "rise", "95 % interval"]
    lines = []
    for evaluation in evaluations:
        findings = evaluation.conclusion.findings
        for split, figures in evaluation.barriers.items():
            bound = evaluation.bound[split]
            lines.append(
                [
                    evaluation.path.builder or "path",
                    split,
                    *(f"{loss:.4g}" for loss in (*figures.loss_ends, figures.loss_max, figures.climb)),
                    _interval(findings[split].loss, "loss"),
                    f"{figures.barrier_entezari:.4g}",
                    *(_calibrated(evaluation, split) for _ in [0] if tempered),
                    "not proven" if bound is None else f"{bound:.4g}",
                    *(in_words(loss) for loss in (*figures.loss_ends, figures.loss_max) if tokens),
                    *(_percent(error) for error in (figures.error_max, figures.error_climb)),
                    _interval(findings[split].error, "error"),
                ]
            )
    counted = any(figures.error_max is not None for each in evaluations for figures in each.barriers.values())
    return in_blocks(head, lines, 2, width) + ("" if counted else f"\n{_NO_ERRORS}")


def _calibrated(evaluation: Evaluation, split: str) -> str:
    found = evaluation.calibrated
    return "–" if found is None else f"{found.barriers[split].barrier_entezari:.4g}"


def in_blocks(head: list[str], lines: list[list[str]], keys: int, width: int | None) -> str:
    """Return blocks no wider than `width`: each has the first columns and as many others as fit, one at least.

    Args:
        head: Names of the columns.
        lines: Their values.
        keys: How many columns say whose a line is.
        width: Columns of the terminal; None where lines may have any length.
    """
    blocks, start = list[str](), keys
    while start < len(head):
        end = len(head)
        while end > start + 1 and not _fits(_columns(head, lines, keys, start, end), width):
            end -= 1
        blocks.append(_columns(head, lines, keys, start, end))
        start = end
    return "\n\n".join(blocks)


def _columns(head: list[str], lines: list[list[str]], keys: int, start: int, end: int) -> str:
    return aligned([*head[:keys], *head[start:end]], [[*line[:keys], *line[start:end]] for line in lines])


def _fits(table: str, width: int | None) -> bool:
    return width is None or max(map(len, table.splitlines())) <= width


def _interval(climb: Climb | None, of: Figure) -> str:
    if climb is None or not has_interval(climb.height, climb.least, climb.most):
        return ""
    return " to ".join(limits(climb.least, climb.most, of)) + (" %" if of == "error" else "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each layer: verdict, measured figure, threshold, and the details or the reason."""
    lines = []
    for verdict in verdicts:
        details = ", ".join(f"{name} {short(value) or 'none'}" for name, value in verdict.details.items())
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


def printable(text: str) -> str:
    """Return a text on one line and without control characters, which neither a terminal nor a picture can show."""
    return _CONTROL.sub(" ", text)


def aligned(head: list[str], lines: list[list[str]]) -> str:
    """Return lines of cells as columns under a head; control characters are blanked."""
    table = [[printable(cell) for cell in line] for line in [head, *lines]]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([rows[0], "  ".join("─" * width for width in widths), *rows[1:]])


def short(value: float | int | str | None) -> str:
    """Return a figure in four digits, and nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
