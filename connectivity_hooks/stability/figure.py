"""The picture: barriers over k, of the loss and of the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from connectivity_hooks.evaluation.climb import ERROR_THRESHOLD
from connectivity_hooks.reports.plots import COLOURS, STYLE

_TICKS = 10
_POINTS = 100


def stability_figure(content: Mapping[str, Any]) -> Figure:
    """Draw what stability.json holds: a panel for the loss, and one for the error where there is one.

    A line through the means over the pairs with their 95 % intervals over the data, a band from the smallest pair to
    the largest, a colour for each split. k has a logarithmic axis that is linear below the smallest positive k.
    """
    measured: Mapping[str, Sequence[Mapping[str, Any]]] = content["instability"]
    first = next(iter(measured.values()))
    has_error = first[0]["error"] is not None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.8 if has_error else 5.6, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 if has_error else 1, squeeze=False)[0]
        _draw(axes[0], measured, "loss", 1)
        axes[0].set_ylabel("loss barrier")
        if has_error:
            _draw(axes[1], measured, "error", _POINTS)
            axes[1].set_ylabel("error barrier in points")
            limit = _POINTS * ERROR_THRESHOLD
            axes[1].axhline(limit, color="#777777", linestyle="--", linewidth=1, label=f"stable below {limit:g} points")
        for each in axes:
            _scale(each, [at["step"] for at in first])
        handles, labels = axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside upper center", ncols=len(labels))
    return figure


def _draw(axes: Axes, measured: Mapping[str, Sequence[Mapping[str, Any]]], what: str, scale: float) -> None:
    for colour, (split, every) in zip(COLOURS, measured.items(), strict=False):
        known = [(at["step"], at[what]) for at in every if at[what] is not None and at[what]["mean"] is not None]
        steps = [step for step, _ in known]
        mean, least, most, half = (
            [scale * (spread[name] or 0.0) for _, spread in known] for name in ("mean", "least", "most", "interval")
        )
        axes.fill_between(steps, least, most, color=colour, alpha=0.15, linewidth=0)
        axes.errorbar(
            steps, mean, half, color=colour, marker="o", markersize=4, linewidth=1.6, capsize=2.5, label=split
        )
    axes.axhline(0, color="#777777", linewidth=0.8, zorder=1)


def _scale(axes: Axes, steps: Sequence[int]) -> None:
    positive = [step for step in steps if step > 0]
    if positive:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        axes.set_xlim(left=min(steps) * 0.9 if min(steps) else -0.1 * min(positive), right=1.15 * max(steps))
    shown = steps[:: -(-len(steps) // _TICKS)]
    axes.xaxis.set_major_locator(FixedLocator(list(shown)))
    axes.xaxis.set_major_formatter(FixedFormatter([str(step) for step in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("k, the step at which copies part")
