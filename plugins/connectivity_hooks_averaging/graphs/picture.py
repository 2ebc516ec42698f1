"""The picture of a graph: a ring for each component, edges coloured by their barriers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from connectivity_hooks.reports import STYLE

_NAMED = 24  # more checkpoints than this have numbers
_GAP = 1.1  # between the rings of components, in distances of neighbours
_COLOURS = "cividis_r"

Place = tuple[float, float]


def graph_figure(content: Mapping[str, Any]) -> Figure:
    """Draw the checkpoints of each component on a ring, and every edge in the colour of its barrier.

    Edges above the threshold are broken, and lie below those that connect.

    Args:
        content: report.json of a graph.
    """
    places = _places(content["components"])
    edges = [edge for edge in content["edges"] if edge["barrier"] is not None]
    edges.sort(key=lambda edge: -edge["barrier"])
    largest = max((edge["barrier"] for edge in edges), default=0.0) or 1.0
    width = max(x for x, _ in places.values()) - min(x for x, _ in places.values())
    height = max(y for _, y in places.values()) - min(y for _, y in places.values())
    size = (min(14.0, 2.6 + 0.9 * width), min(12.0, 1.6 + 0.9 * height))
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.bottom": False, "axes.spines.left": False}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        scale = ScalarMappable(Normalize(0.0, largest), _COLOURS)
        for connected in (False, True):
            _draw_edges(axes, [edge for edge in edges if edge["connected"] == connected], places, scale, connected)
        _draw_nodes(axes, places, [each["name"] for each in content["checkpoints"]])
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.12)
        figure.colorbar(scale, ax=axes, label="barrier of the training loss", shrink=0.8)
    return figure


def _places(components: Sequence[Sequence[str]]) -> dict[str, Place]:
    """Return where each checkpoint is: rings side by side, in rows that make the whole about square."""
    radii = [0.0 if len(group) == 1 else 0.5 / math.sin(math.pi / len(group)) for group in components]
    widest = max(sum((2 * radius + _GAP) ** 2 for radius in radii) ** 0.5 * 1.4, 2 * max(radii) + _GAP)
    places, left, top, tallest = dict[str, Place](), 0.0, 0.0, 0.0
    for group, radius in zip(components, radii, strict=True):
        side = 2 * radius + _GAP
        if left and left + side > widest:
            left, top, tallest = 0.0, top - tallest, 0.0
        tallest = max(tallest, side)
        for number, name in enumerate(group):
            angle = math.pi / 2 - 2 * math.pi * number / len(group)
            x, y = left + side / 2 + radius * math.cos(angle), top - side / 2 + radius * math.sin(angle)
            places[name] = (x, y)
        left += side
    return places


def _draw_edges(
    axes: Axes, edges: Sequence[Mapping[str, Any]], places: Mapping[str, Place], scale: ScalarMappable, connected: bool
) -> None:
    lines = [(places[edge["a"]], places[edge["b"]]) for edge in edges]
    style: dict[str, Any] = {"linewidths": 2.4} if connected else {"linewidths": 0.9, "linestyles": (0, (4, 3))}
    colours = scale.to_rgba(np.array([edge["barrier"] for edge in edges]))
    axes.add_collection(LineCollection(lines, colors=colours, zorder=2 if connected else 1, **style))


def _draw_nodes(axes: Axes, places: Mapping[str, Place], names: Sequence[str]) -> None:
    axes.scatter([x for x, _ in places.values()], [y for _, y in places.values()], s=60, color="#1d2429", zorder=3)
    middle = sum(y for _, y in places.values()) / len(places)
    for number, name in enumerate(names, start=1):
        x, y = places[name]
        above = y >= middle
        axes.annotate(
            name if len(names) <= _NAMED else str(number),
            (x, y),
            xytext=(0, 7 if above else -7),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            zorder=4,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )
