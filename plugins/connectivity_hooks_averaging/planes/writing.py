"""A landscape as files: pictures, tables, JSON, and a page that opens offline."""

from __future__ import annotations

import io
import json
import pathlib

import matplotlib as mpl

from connectivity_hooks.checkpoints import atomic_text, atomic_write
from connectivity_hooks.reports import STYLE, as_svg, page, write_csv
from connectivity_hooks_averaging.planes.content import GRID_COLUMNS, POINT_COLUMNS, content_of, grid_rows, point_rows
from connectivity_hooks_averaging.planes.landscape import Landscape
from connectivity_hooks_averaging.planes.picture import figure_of

_DOTS = 200  # an inch, of the PNG


def save(found: Landscape, folder: pathlib.Path) -> None:
    """Write ``KIND.svg``, ``.png``, ``.csv``, ``.json`` and ``.html``, and ``KIND-points.csv``.

    Args:
        found: The landscape.
        folder: An existing folder.
    """
    figure, content = figure_of(found), content_of(found)
    with mpl.rc_context(STYLE):
        picture = as_svg(figure)
        pixels = io.BytesIO()
        figure.savefig(pixels, format="png", dpi=_DOTS, metadata={"Software": None})
    atomic_text(folder / f"{found.kind}.svg", picture)
    with atomic_write(folder / f"{found.kind}.png") as stream:
        stream.write(pixels.getvalue())
    axes = ("x", "y")[: len(found.grid.axes)]
    write_csv(folder / f"{found.kind}.csv", (*axes, *GRID_COLUMNS), grid_rows(found))
    write_csv(folder / f"{found.kind}-points.csv", POINT_COLUMNS, point_rows(found))
    atomic_text(
        folder / f"{found.kind}.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    atomic_text(
        folder / f"{found.kind}.html",
        page("landscape.html.j2", picture, package="connectivity_hooks_averaging", report=content),
    )
