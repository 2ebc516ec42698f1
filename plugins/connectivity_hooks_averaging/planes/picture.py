"""Pictures of landscapes: filled contours with the checkpoints on them, or curves along one direction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from connectivity_hooks.reports import STYLE
from connectivity_hooks_averaging.planes.landscape import CORNER, PATH, Landscape, Marked
from connectivity_hooks_averaging.planes.levels import levels_of
from connectivity_hooks_averaging.planes.plates import Name, write_names
from connectivity_hooks_averaging.scores import Score

_SIDE = 4.6  # inches of a panel
_NARROWEST = 3.0
_DENSE = 40_000  # places: more are drawn as pixels inside the SVG
_LOGARITHMIC = 30  # times: a loss that spans more is drawn on a logarithmic axis
_COLOURS = ("#0072b2", "#d55e00")


def figure_of(found: Landscape) -> Figure:
    """Return the picture: loss of the first split, and error, or else loss, of the last."""
    with mpl.rc_context({**STYLE, "axes.grid": len(found.grid.axes) == 1}):
        return _plane_figure(found) if len(found.grid.axes) == 2 else _line_figure(found)


def _plane_figure(found: Landscape) -> Figure:
    panels = [(found.splits[0], "loss"), (found.splits[-1], "error" if found.has_errors else "loss")]
    panels = list(dict.fromkeys(panels))
    xs, ys = found.grid.axes
    ratio = (ys[-1] - ys[0]) / (xs[-1] - xs[0])
    width, height = (_SIDE, max(_NARROWEST, _SIDE * ratio)) if ratio < 1 else (max(_NARROWEST, _SIDE / ratio), _SIDE)
    figure = Figure(figsize=((width + 1.2) * len(panels), height + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (split, what) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _contours(figure, axes, found, split, what)
        axes.set_xlabel(found.labels[0])
        axes.set_ylabel(found.labels[1])
        axes.set_aspect("equal")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
        _mark(axes, found.points)
    figure.draw_without_rendering()  # where names have room is known then
    for axes in figure.axes[: len(panels)]:
        write_names(axes, _names(found.points))
    return figure


def _contours(figure: Figure, axes: Axes, found: Landscape, split: str, what: str) -> None:
    values = np.array([_value(scores[split], what) for scores in found.scores], dtype=float)
    scale = 100.0 if what == "error" else 1.0
    drawn = [_value(each.scores[split], what) for each in found.points if each.kind == CORNER]
    finite = [*values[np.isfinite(values)], *(value for value in drawn if math.isfinite(value))]
    axes.set_title(f"{split} {what}", fontsize=11)
    axes.add_patch(
        mpl.patches.Rectangle((0, 0), 1, 1, transform=axes.transAxes, fc="white", ec="#999999", hatch="xx", lw=0)
    )
    if not finite:
        axes.text(
            0.5, 0.5, "not finite anywhere", transform=axes.transAxes, ha="center", bbox={"fc": "white", "ec": "none"}
        )
        return
    low = min(finite)
    excess = scale * (values - low)
    guessing = found.guessing[split]
    worst = None if guessing is None else getattr(guessing, what)
    levels = levels_of(excess.tolist(), None if worst is None else scale * worst)
    logs = np.log10(levels)
    shown = np.log10(np.clip(excess, levels[0] / 10, levels[-1] * 10))
    xs, ys = (np.array(axis) for axis in found.grid.axes)
    field = np.ma.masked_invalid(shown.reshape(len(ys), len(xs)))
    if (field.count() >= 3 and not np.ma.is_masked(field)) or _has_cells(field):
        image: Any = axes.contourf(xs, ys, field, levels=logs, cmap="cividis", extend="both")
        if len(values) > _DENSE:
            image.set_rasterized(True)
        axes.contour(xs, ys, field, levels=logs, colors="white", linestyles="solid", linewidths=0.5, alpha=0.6)
    else:
        image = axes.pcolormesh(xs, ys, field, cmap="cividis", vmin=logs[0], vmax=logs[-1])
    if np.ma.is_masked(field):
        axes.set_title(f"{split} {what} (crossed: not finite)", fontsize=11)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extendfrac=0.06, ticks=logs)
    unit = " points" if what == "error" else ""
    bar.ax.set_yticklabels([f"+{level:.10g}{unit}" for level in levels])
    lowest = f"{scale * low:.4g}{' %' if what == 'error' else ''}"
    bar.set_label(f"above the lowest, {lowest}")
    bar.ax.minorticks_off()


def _has_cells(field: np.ma.MaskedArray) -> bool:
    """Say whether four neighbours that are known make a cell somewhere; contours need one."""
    known = ~np.ma.getmaskarray(field)
    return bool((known[1:, 1:] & known[:-1, 1:] & known[1:, :-1] & known[:-1, :-1]).any())


def _mark(axes: Axes, points: Sequence[Marked]) -> None:
    for name in dict.fromkeys(each.name for each in points if each.kind == PATH):
        path = [each for each in points if each.kind == PATH and each.name == name]
        xs, ys = zip(*(each.at for each in path), strict=True)
        axes.plot(xs, ys, color="black", lw=3.2, solid_capstyle="round", zorder=3)
        axes.plot(xs, ys, color="white", lw=1.6, solid_capstyle="round", zorder=3)
    for each in points:
        if each.kind == PATH:
            continue
        corner = each.kind == CORNER
        axes.plot(
            *each.at, marker="o" if corner else "D", ms=7 if corner else 6, mfc="white", mec="black", mew=1.4, zorder=4
        )


def _names(points: Sequence[Marked]) -> list[Name]:
    """Return what is written beside which point: checkpoints first, then paths."""
    single = [each for each in points if each.kind != PATH]
    names = [
        Name(_printable(each.name if each.kind == CORNER else f"{each.name} ({each.distance:.2g} off)"), each.at)
        for each in single
    ]
    for name in dict.fromkeys(each.name for each in points if each.kind == PATH):
        path = [each for each in points if each.kind == PATH and each.name == name]
        far = max(path, key=lambda each: each.distance)
        off = f" (up to {far.distance:.2g} off)" if far.distance > 1e-4 * _extent(points) else ""
        names.append(Name(_printable(f"{name}{off}"), path[len(path) // 4].at, below=True))
    return names


def _extent(points: Sequence[Marked]) -> float:
    corners = [each.at for each in points if each.kind == CORNER]
    return max((math.dist(a, b) for a in corners for b in corners), default=0.0)


def _line_figure(found: Landscape) -> Figure:
    kinds = ["loss", "error"] if found.has_errors else ["loss"]
    figure = Figure(figsize=(5.2 * len(kinds), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    (xs,) = found.grid.axes
    for axes, what in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        seen = list[float]()
        for split, colour, dash in zip(found.splits, _COLOURS, ("-", (0, (6, 2))), strict=False):
            scale = 100.0 if what == "error" else 1.0
            ys = [scale * _value(scores[split], what) for scores in found.scores]
            finite = [value if math.isfinite(value) else math.nan for value in ys]
            axes.plot(xs, finite, color=colour, ls=dash, marker="o", ms=3, label=split)
            seen += [value for value in ys if math.isfinite(value)]
            _cross(axes, xs, ys)
        _scale(axes, seen, what)
        axes.set_xlabel(found.labels[0])
        axes.set_ylabel("error, %" if what == "error" else "loss")
        axes.legend(frameon=False)
    return figure


def _cross(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Mark along the upper edge where a value is not finite."""
    lost = [x for x, y in zip(xs, ys, strict=True) if not math.isfinite(y)]
    if lost:
        axes.plot(
            lost, [1.0] * len(lost), "kx", ms=5, transform=axes.get_xaxis_transform(), clip_on=False, label="not finite"
        )


def _scale(axes: Axes, seen: Sequence[float], what: str) -> None:
    if what == "loss" and seen and min(seen) > 0 and max(seen) > _LOGARITHMIC * min(seen):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _value(score: Score, what: str) -> float:
    """Return a figure; outputs of which the loss is not finite are no predictions, and have no errors either."""
    value = getattr(score, what)
    return math.nan if value is None or not math.isfinite(score.loss) else float(value)


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
