"""A picture of a figure for every two of several checkpoints."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from connectivity_hooks.checkpoints.atomic import atomic_write
from connectivity_hooks.reports.plots import STYLE

Matrix = Sequence[Sequence[float | None]]
"""A figure for every two; None, or not finite, where there is none. The diagonal is not shown."""

_NAMED = 24  # more checkpoints than this have no room for a number in each field
_CELL = 0.45  # inches


def matrix_figure(names: Sequence[str], panels: Mapping[str, Matrix], what: str) -> Figure:
    """Draw one panel for each matrix, all on one scale of colours that every eye tells apart.

    Args:
        names: Of the checkpoints.
        panels: Title to matrix.
        what: What the figures are, for the scale.
    """
    finite = [value for matrix in panels.values() for row in matrix for value in row if _known(value)]
    largest = max((value for value in finite if value is not None), default=0.0) or 1.0
    side = max(2.6, _CELL * len(names) + 1.4)
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.bottom": False, "axes.spines.left": False}):
        figure = Figure(figsize=(side * len(panels) + 0.9, side), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for each, (title, matrix) in zip(axes, panels.items(), strict=True):
            image = _draw(each, names, matrix, largest)
            each.set_title(title, fontsize=11)
        figure.colorbar(image, ax=list(axes), label=what, shrink=0.8)
    return figure


def save_matrix(file: pathlib.Path, names: Sequence[str], panels: Mapping[str, Matrix], what: str) -> None:
    """Write the picture as SVG, in one step."""
    figure = matrix_figure(names, panels, what)
    with mpl.rc_context(STYLE), atomic_write(file) as stream:
        figure.savefig(stream, format="svg", metadata={"Date": None})


def _draw(axes: Axes, names: Sequence[str], matrix: Matrix, largest: float):  # type: ignore[no-untyped-def]  # noqa: ANN202
    rows = [
        [math.nan if value is None or not _known(value) or i == j else value for j, value in enumerate(row)]
        for i, row in enumerate(matrix)
    ]
    image = axes.imshow(rows, cmap="cividis_r", vmin=0.0, vmax=largest)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0)
    for i, row in enumerate(rows) if len(names) <= _NAMED else ():
        for j, value in enumerate(row):
            if not math.isnan(value):
                colour = "white" if value > 0.6 * largest else "black"
                axes.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    return image


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
