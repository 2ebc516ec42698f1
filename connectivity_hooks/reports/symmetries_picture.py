"""A picture of the spaces of a model: a bar for each, as long as it has neurons, in the colour of its group."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from connectivity_hooks.reports.plots import STYLE
from connectivity_hooks.reports.symmetries import SymmetriesReport, label_of
from connectivity_hooks.reports.tables import printable
from connectivity_hooks.structure.symmetries.groups import (
    GL,
    MONOMIAL,
    NOTHING,
    O1,
    SCALED,
    SIGNED,
    Group,
    O,
    S,
    name_of,
)

# Okabe and Ito's palette, told apart under every common colour-blindness; every bar says its group in words too.
COLOURS: dict[Group, str] = {
    GL: "#d55e00",
    O: "#cc79a7",
    O1: "#0072b2",
    MONOMIAL: "#e69f00",
    SCALED: "#f0e442",
    SIGNED: "#009e73",
    S: "#56b4e9",
    NOTHING: "#bbbbbb",
}
WORDS: dict[Group, str] = {
    GL: "GL: any invertible matrix",
    O: "O: rotations",
    O1: "O₁: rotations around the vector of ones",
    MONOMIAL: "Mon: permutations with factors",
    SCALED: "Mon₊: permutations with positive factors",
    SIGNED: "S±: permutations with signs",
    S: "S: permutations",
    NOTHING: "they stay",
}

_ROW = 0.24  # inches a row: text of 8 points, and as much air again
_LONGEST = 44  # characters of a name, with which it is a third of the picture


def symmetries_figure(report: SymmetriesReport) -> Figure:
    """Draw one row for each space that was derived to move, then one for each that stays."""
    shapes = report.derived.shapes
    rows = [
        (label_of(s, shapes), s.width, s.copies, each.used, _words(each.used, each.measured)) for s, each in report.rows
    ]
    rows += [(space.name, space.width, 1, NOTHING, _cause(pins)) for space, pins in report.pinned]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.9 + _ROW * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for number, row in enumerate(rows):
            _draw(axes, number, *row)
        _finish(axes, [row[0] for row in rows], max((row[1] * row[2] for row in rows), default=1))
        axes.set_title(_title(report), loc="left", fontsize=10)
        used = [group for group in COLOURS if any(row[3] == group for row in rows)]
        patches = [Patch(color=COLOURS[group], label=WORDS[group]) for group in used]
        figure.legend(handles=patches, loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, number: int, name: str, width: int, copies: int, group: Group, words: str) -> None:
    """Draw a bar, in as many pieces as there are copies, and what is known of it beside."""
    # Its own colour around one bar: two heads beside a thousand outputs would not be seen else.
    edges: dict[str, Any] = {"edgecolor": COLOURS[group] if copies == 1 else "white", "linewidth": 0.6}
    for copy in range(copies):
        axes.barh(number, width, left=copy * width, height=0.72, color=COLOURS[group], **edges)
    neurons = f"{width}" if copies == 1 else f"{copies} × {width}"
    axes.annotate(
        printable(f"{neurons}  {words}"), (width * copies, number), xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=7.5,
    )  # fmt: skip


def _finish(axes: Axes, names: list[str], longest: int) -> None:
    axes.set_yticks(range(len(names)), [_shortened(name) for name in names], fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.45 * longest)  # room for the words beside the longest bar
    axes.set_xlabel("neurons")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _title(report: SymmetriesReport) -> str:
    coverage = f"{100 * report.coverage:.1f} % of the weights may move"
    return printable(f"{report.model}: {coverage}, deviation {report.measured.deviation:.0e}")


def _words(used: Group, measured: Group) -> str:
    return name_of(used) if used == measured else f"{name_of(used)} (measured {name_of(measured)})"


def _cause(pins: tuple[str, ...]) -> str:
    return _shortened(pins[0]) + (f" and {len(pins) - 1} more" if len(pins) > 1 else "")


def _shortened(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 + 1 :]}"
