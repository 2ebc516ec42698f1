"""Several ways to connect one pair, side by side: what each reaches, what is proven of it, and what it costs."""

from __future__ import annotations

import itertools
import pathlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connectivity_hooks.cost import FLOOR, Cost, memory_in_words
from connectivity_hooks.evaluation.perplexity import in_words
from connectivity_hooks.evaluation.units import error_in
from connectivity_hooks.memory import in_words as bytes_in_words
from connectivity_hooks.reports.rows import write_csv
from connectivity_hooks.reports.tables import printable

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation

FILE = "builders.csv"
# Seconds: less than the least says nothing of a builder; from the next on tenths do not, either.
_LEAST, _EXACT, _MINUTE, _HOUR = 0.01, 9.95, 60, 3600
_GAP = "  "
_ENDS = "worse end"
_CAVEAT = f"memory: of the process, as the system sees it; below {bytes_in_words(FLOOR)} nothing can be told"
_NARROWEST = 30  # columns: a reason is not broken into single words where a terminal has fewer


@dataclass(frozen=True)
class Column:
    """A column of the table; those that stand side by side and share a `group` have one heading over them."""

    group: str
    title: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """Characters of the widest cell or title."""
        return max(map(len, (self.title, *self.cells)))


def comparison_table(
    evaluations: Mapping[str, Evaluation],
    refused: Mapping[str, str],
    kept: str | None = None,
    width: int | None = None,
) -> str:
    """Return a row for each way, below it those that refused; in blocks where a line would be wider than `width`.

    Args:
        evaluations: What was measured, by name.
        refused: Why the others gave no path, by name.
        kept: The one that was chosen, which has a mark.
        width: Columns of the terminal; None where lines may have any length.
    """
    names = [_ENDS, *(f"{printable(name)}{' *' if name == kept else ''}" for name in evaluations)]
    columns = _columns(list(evaluations.values()))
    lines = "\n\n".join("\n".join(block) for block in _blocks(names, columns, width)).split("\n")
    for name, reason in refused.items():
        text = printable(f"{name}{_GAP}refused: {reason}")
        lines += wrapped(text, width)
    if kept is not None:
        lines += ["", "* kept"]
    if any(
        found.build and found.build.device == "cpu" and found.build.memory is not None for found in evaluations.values()
    ):
        lines += wrapped(_CAVEAT, width)
    return "\n".join(lines)


def wrapped(text: str, width: int | None) -> list[str]:
    """Return the lines of a text in a terminal of `width` columns; one where lines may have any length."""
    return textwrap.wrap(text, max(width or len(text), _NARROWEST), subsequent_indent=_GAP * 2) or [text]


def write_comparison(
    file: pathlib.Path, evaluations: Mapping[str, Evaluation], refused: Mapping[str, str], kept: str | None
) -> None:
    """Write builders.csv: the same figures, exact, a row for each way; of one that refused, its reason alone."""
    splits = list(next(iter(evaluations.values())).barriers)
    measured = ("loss_max", "error_max", "barrier_entezari", "barrier_frankle", "error_barrier")
    perplexed = any(found.perplexity for found in evaluations.values())
    names = (*measured, "bound", *(("perplexity_max",) if perplexed else ()))
    columns = ["builder", "kept", "verdict", *(f"{split}.{name}" for split in splits for name in names)]
    costs = ["length", "build_seconds", "alignment_seconds", "evaluation_seconds", "peak_memory", "peak_memory_of"]
    rows: list[list[object]] = []
    for name, found in evaluations.items():
        row: list[object] = [name, "yes" if name == kept else "", found.conclusion.verdict]
        for split in splits:
            row += [getattr(found.barriers[split], figure) for figure in measured] + [found.bound[split]]
            row += [found.perplexity[split].max] if found.perplexity else []
        build, alignment = found.build, found.alignment
        row += [found.length, build and build.seconds, alignment and alignment.seconds, found.seconds]
        rows.append([*row, build and build.memory, build and build.device, ""])
    blank = [""] * (len(columns) + len(costs) - 1)
    rows += [[name, *blank, reason] for name, reason in refused.items()]
    write_csv(file, [*columns, *costs, "refused"], rows)


def cost_line(evaluation: Evaluation) -> str:
    """Return in a line how long one path is and what it cost."""
    parts = [f"length {evaluation.length:.4g}"]
    if evaluation.alignment is not None:
        parts.append(f"aligned in {seconds_in_words(evaluation.alignment.seconds)}")
    if evaluation.build is not None:
        memory = evaluation.build.memory
        taken = memory_in_words(memory, evaluation.build.device)
        taking = "" if memory is None else f", taking {taken} {_of(evaluation.build.device)}"
        parts.append(f"built in {seconds_in_words(evaluation.build.seconds)}{taking}")
    return "; ".join([*parts, f"evaluated in {seconds_in_words(evaluation.seconds)}"])


def seconds_in_words(seconds: float) -> str:
    """Return a time for a person, e.g. ``0.12 s``, ``34 s``, ``5 m 02 s``; next to nothing as ``< 0.01 s``."""
    if seconds < _LEAST:
        return f"< {_LEAST} s"
    if seconds < _EXACT:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def _of(device: str) -> str:
    return "of the device's memory at the peak" if device != "cpu" else "of memory at the peak"


def _columns(evaluations: Sequence[Evaluation]) -> list[Column]:
    return [*_figures(evaluations), *_costs(evaluations)]


def _figures(evaluations: Sequence[Evaluation]) -> list[Column]:
    columns, some = [], evaluations[0].barriers
    for split, ends in some.items():
        cells = [_number(max(ends.loss_ends)), *(_number(found.barriers[split].loss_max) for found in evaluations)]
        columns.append(Column("largest loss", split, cells))
    for split, ends in some.items():
        if any(found.perplexity for found in evaluations):
            losses = [max(ends.loss_ends), *(found.barriers[split].loss_max for found in evaluations)]
            cells = [in_words(loss) for loss in losses]
            columns.append(Column("largest perplexity", split, cells))
    for split, ends in some.items():
        if any(found.barriers[split].error_max is not None for found in evaluations):
            worse = None if ends.error_ends is None else max(ends.error_ends)
            cells = [_percent(worse), *(_percent(found.barriers[split].error_max) for found in evaluations)]
            columns.append(Column(f"largest {error_in(evaluations[0].unit)}", split, cells))
    for split in some:
        cells = ["", *(_number(found.barriers[split].barrier_entezari) for found in evaluations)]
        columns.append(Column("barrier", split, cells))
    for split in some:
        if any(found.calibrated for found in evaluations):
            tempered = [found.calibrated.barriers[split] if found.calibrated else None for found in evaluations]
            cells = ["", *(_number(None if of is None else of.barrier_entezari) for of in tempered)]
            columns.append(Column("calibrated barrier", split, cells))
    return columns


def _costs(evaluations: Sequence[Evaluation]) -> list[Column]:
    split = next(iter(evaluations[0].barriers))
    columns = [
        Column("proven", split, ["", *(_number(found.bound[split]) for found in evaluations)]),
        Column("", "length", ["", *(_number(found.length) for found in evaluations)]),
    ]
    if any(found.alignment is not None for found in evaluations):
        columns.append(Column("", "aligned in", ["", *(_seconds(found.alignment) for found in evaluations)]))
    columns.append(Column("", "built in", ["", *(_seconds(found.build) for found in evaluations)]))
    columns.append(Column("", "memory", ["", *(_memory(found.build) for found in evaluations)]))
    return columns


def _blocks(names: Sequence[str], columns: Sequence[Column], width: int | None) -> Iterator[list[str]]:
    """Yield the lines of tables, each of as many groups of columns as fit into the width, one at least."""
    groups = [list(group) for _, group in itertools.groupby(columns, key=lambda column: column.group or column.title)]
    block, shown = list[str](), list[list[Column]]()
    for group in groups:
        longer = _block(names, [*shown, group])
        if shown and width is not None and max(map(len, longer)) > width:
            yield block
            shown, longer = [], _block(names, [group])
        block, shown = longer, [*shown, group]
    yield block


def _block(names: Sequence[str], groups: Sequence[Sequence[Column]]) -> list[str]:
    """Return the lines of a table: headings, a rule, and a row for each name of which something is there."""
    first = max(map(len, ("builder", *names)))
    heads, titles, rule = [" " * first], ["builder".ljust(first)], ["─" * first]
    rows = [[name.ljust(first)] for name in names]
    for group in groups:
        widths = [column.width for column in group]
        inner = sum(widths) + len(_GAP) * (len(group) - 1)
        widths[-1] += max(0, len(group[0].group) - inner)  # a heading may be wider than what stands below it
        heads.append(group[0].group.ljust(max(inner, len(group[0].group))))
        titles += [column.title.rjust(width) for column, width in zip(group, widths, strict=True)]
        rule += ["─" * width for width in widths]
        for number, row in enumerate(rows):
            row += [column.cells[number].rjust(width) for column, width in zip(group, widths, strict=True)]
    there = [row for row in rows if any(map(str.strip, row[1:]))]
    lines = [_GAP.join(cells).rstrip() for cells in (heads, titles, rule, *there)]
    return lines if lines[0] else lines[1:]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _seconds(cost: Cost | None) -> str:
    return "–" if cost is None else seconds_in_words(cost.seconds)


def _memory(cost: Cost | None) -> str:
    return "–" if cost is None else memory_in_words(cost.memory, cost.device)
