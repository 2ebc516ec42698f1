"""The picture of an ensemble: every row's figure, and how often predictions are right over how sure they are."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from connectivity_hooks.reports import STYLE
from connectivity_hooks_averaging.ensemble.result import Ensemble, Scored

# Colours that every eye tells apart (Okabe and Ito 2008); marks differ too.
_LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"))


def figure_of(found: Ensemble) -> Figure:
    """Draw errors (or losses) of all rows, and of classes the calibration of one end, of ensembles and of the mean."""
    rows = found.shown
    with mpl.rc_context(STYLE):
        width, height = (10.5, max(3.6, 0.34 * len(rows) + 1.3)) if found.has_classes else (6.5, 0.34 * len(rows) + 1.3)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2 if found.has_classes else 1, squeeze=False)[0]
        _draw_figures(panels[0], found, rows)
        if found.has_classes:
            _draw_calibration(panels[1], found)
    return figure


def _draw_figures(axes: Axes, found: Ensemble, rows: list[Scored]) -> None:
    values = [100 * (1 - row.plain["accuracy"]) if found.has_classes else row.plain["loss"] for row in rows]
    places = range(len(rows))
    colours = ["#D55E00" if row.name == found.whole.name else "#5c6870" for row in rows]
    axes.hlines(places, 0, values, color="#dfe4e7", linewidth=3)
    axes.scatter(values, places, color=colours, zorder=3)
    form = "{:.2f}" if found.has_classes else "{:.3g}"
    for place, value in zip(places, values, strict=True):
        axes.annotate(form.format(value), (value, place), (7, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{found.split} error in %" if found.has_classes else f"{found.split} loss")


def _draw_calibration(axes: Axes, found: Ensemble) -> None:
    axes.plot([0, 1], [0, 1], color="#9fabb2", linestyle=":", linewidth=1)
    names = dict.fromkeys(["A", "mean of weights", *found.groups])
    for (colour, mark), name in zip(_LINES, names, strict=False):
        bins = [each for each in found[name].plain["bins"] if each["count"]]
        x, y = ([each[key] for each in bins] for key in ("confidence", "accuracy"))
        label = f"{name}, ECE {100 * found[name].plain['ece']:.2f} %"
        axes.plot(x, y, color=colour, marker=mark, markersize=4, linewidth=1.2, label=label)
    axes.set_xlabel("confidence, mean of a bin")
    axes.set_ylabel("share of right ones")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, frameon=False)
