"""What a watched training comes to: a table, and a picture of every measured figure over the steps."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from connectivity_hooks.checkpoints.atomic import atomic_text, atomic_write
from connectivity_hooks.reports.plots import COLOURS, STYLE
from connectivity_hooks.reports.tables import aligned, short
from connectivity_hooks.watching.averages import AVERAGE
from connectivity_hooks.watching.averages_in_words import averages_in_words
from connectivity_hooks.watching.history import Row
from connectivity_hooks.watching.schedule import Clock

_HEAD = ["condition", "layer", "checks", "first", "last", "threshold", "unit", "at the end", "since step"]
# Two decades: beside a figure this many times the threshold nothing near it is seen on a linear scale.
_DECADES = 100
# More lines of a legend are higher than a panel; the colours are then ordered by depth, and the table has the names.
_LINES_IN_A_LEGEND = 12
# Layers that share a reason and are named beside it: a model has dozens of one kind.
_NAMED = 3
# Inches: a page's text is as wide; a panel is high enough for three decades of ticks; the rest is title and step axis.
_WIDTH, _PANEL, _AROUND_PANELS = 7.2, 3.0, 0.6
# Pixels an inch of watch.png: sharp in a report at its full width.
_DPI = 160


def summary_table(rows: Sequence[Row], clock: Clock) -> str:
    """Return a line for each condition and layer, why some cannot be measured, and what watching cost."""
    lines = [_line(curve) for curve in curves(rows).values()]
    share = f" ({clock.spent / clock.elapsed:.2%})" if clock.elapsed > 0 else ""
    checks = len({row.step for row in rows})
    total = f"{checks} checks in {clock.step} steps; watching took {clock.spent:.2f} s of {clock.elapsed:.2f} s{share}"
    reasons = "".join(f"{line}\n" for line in (*_reasons(rows), *averages_in_words(rows)))
    return f"{aligned(_HEAD, lines)}\n{reasons}\n{total}" if lines else total


def write_summary(folder: pathlib.Path, rows: Sequence[Row], clock: Clock) -> None:
    """Write summary.txt, watch.svg and watch.png, each in one step."""
    atomic_text(folder / "summary.txt", summary_table(rows, clock) + "\n")
    figure = history_figure(rows)
    with mpl.rc_context(STYLE):
        for kind, metadata in (("svg", {"Date": None}), ("png", {})):
            with atomic_write(folder / f"watch.{kind}") as file:
                figure.savefig(file, format=kind, metadata=metadata, dpi=_DPI)


def curves(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each (condition, layer) in order of steps; the whole network goes by that name."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.condition, row.layer or "whole network"), []).append(row)
    return found


def history_figure(rows: Sequence[Row]) -> Figure:
    """Draw a panel for each condition: the measured figure of each layer over the steps, and the threshold."""
    conditions = list(dict.fromkeys(row.condition for row in rows))
    with mpl.rc_context(STYLE):
        height = _AROUND_PANELS + _PANEL * max(1, len(conditions))
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        if not conditions:
            figure.text(0.5, 0.5, "nothing was measured", ha="center")
            return figure
        grid = figure.subplots(len(conditions), 1, squeeze=False, sharex=True)[:, 0]
        for axes, condition in zip(grid, conditions, strict=True):
            _draw(axes, [row for row in rows if row.condition == condition])
            axes.set_title(condition, loc="left", fontsize=10)
        grid[-1].set_xlabel("optimizer step")
    return figure


def _line(curve: Sequence[Row]) -> list[str]:
    measured = [row.measured for row in curve if row.measured is not None]
    first, last = (measured[0], measured[-1]) if measured else (None, None)
    end = curve[-1]
    since = next(row.step for row in curve[_last_change(curve) :])
    layer = end.layer or "whole network"
    figures = [str(len(curve)), short(first), short(last), short(end.threshold), end.unit]
    return [end.condition, layer, *figures, end.status, str(since)]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Return a line for each reason of a last verdict: in the table it would make every line as wide."""
    found: dict[tuple[str, str], list[str]] = {}
    for (condition, layer), curve in curves(rows).items():
        if curve[-1].reason and condition != AVERAGE:  # sentences of their own
            found.setdefault((condition, curve[-1].reason), []).append(layer)
    return [f"{condition}: {_first(layers)}: {reason}" for (condition, reason), layers in found.items()]


def _first(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return ", ".join(layers[:_NAMED]) + more


def _last_change(curve: Sequence[Row]) -> int:
    changes = [index for index in range(1, len(curve)) if curve[index].status != curve[index - 1].status]
    return changes[-1] if changes else 0


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    layers = curves(rows)
    for index, ((_, layer), curve) in enumerate(layers.items()):
        style: dict[str, Any] = {"color": _colour(index, len(layers)), "linewidth": 1.6, "marker": "o", "markersize": 3}
        points = [(row.step, row.measured) for row in curve if row.measured is not None]
        axes.plot([step for step, _ in points], [value for _, value in points], label=layer, **style)
    for threshold in {row.threshold for row in rows if row.threshold is not None}:
        axes.axhline(threshold, color="#333333", linestyle="--", linewidth=1.1, label=f"threshold {threshold:g}")
    _mark_invalid(axes, rows)
    _scale(axes, rows)
    axes.set_ylabel(next((row.unit for row in rows if row.unit), ""))
    if len(layers) <= _LINES_IN_A_LEGEND:
        axes.legend(title="layer", frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _mark_invalid(axes: Axes, rows: Sequence[Row]) -> None:
    steps = sorted({row.step for row in rows if row.status == "invalid"})
    if steps:
        place: Mapping[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(steps, [0.0] * len(steps), "x", color="#d55e00", label="not measurable", **place)


def _scale(axes: Axes, rows: Sequence[Row]) -> None:
    """Take a logarithmic scale for figures that span decades, linear from 0 to the threshold or the smallest figure."""
    measured = [row.measured for row in rows if row.measured is not None]
    sizes = sorted(abs(value) for value in measured if value)
    thresholds = [abs(row.threshold) for row in rows if row.threshold]
    linear = max(thresholds, default=sizes[0] if sizes else 1.0)
    if sizes and sizes[-1] > _DECADES * linear:
        axes.set_yscale("symlog", linthresh=linear)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if min(measured) >= 0:
            axes.set_ylim(-0.3 * linear, 2 * sizes[-1])  # a curve along 0 is seen whole, and so is the highest point


def _colour(index: int, count: int) -> Any:
    """Return a colour: told apart by eye when layers are few, ordered by depth when they are many."""
    return COLOURS[index] if count <= len(COLOURS) else mpl.colormaps["viridis"](index / (count - 1))
