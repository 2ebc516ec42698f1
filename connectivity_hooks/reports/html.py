"""report.svg and report.html, one file that opens offline, without scripts: made from a saved report's plain data."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.reports.plots import as_svg, as_svg_file, figure_of

if TYPE_CHECKING:
    from connectivity_hooks.reports.report import Saved

WORDS = {
    "proven": "proven",
    "connected": "connected as far as measured",
    "barrier": "not connected by this path",
}


def write_pages(saved: Saved, folder: pathlib.Path) -> None:
    """Write report.svg, where a path was measured, and report.html; each in one step."""
    if saved.rows:
        atomic_text(folder / "report.svg", as_svg_file(_curves(saved)))
    atomic_text(folder / "report.html", render_html(saved))


def render_html(saved: Saved) -> str:
    """Return the page: the answer in words, the picture, the tables."""
    picture = as_svg(_curves(saved)) if saved.rows else ""
    return page("report.html.j2", picture, report=saved.content, words=WORDS, splits=_splits(saved))


def page(template: str, picture: str, **content: Any) -> str:
    """Return a page made of one of the templates beside this file, everything escaped.

    Args:
        template: Its name.
        picture: SVG drawn from data by matplotlib, which escapes the text in it; the one thing not escaped again.
        **content: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("connectivity_hooks.reports"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "percent": _percent, "points": _points, "seconds": _seconds}
    return environment.get_template(template).render(picture=Markup(picture), **content)


def _curves(saved: Saved) -> Figure:
    bounds = {name: builder.get("bound") or {} for name, builder in saved.content["builders"].items()}
    return figure_of(saved.rows, bounds)


def _splits(saved: Saved) -> list[str]:
    return list(dict.fromkeys(row.split for row in saved.rows))


def _figure(value: Any) -> str:
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: Any) -> str:
    return "–" if value is None or isinstance(value, jinja2.Undefined) else f"{100 * value:.2f} %"


def _points(value: Any) -> str:
    return "–" if value is None or isinstance(value, jinja2.Undefined) else f"{100 * value:.2f}"


def _seconds(value: Any) -> str:
    return "–" if value is None or isinstance(value, jinja2.Undefined) else f"{value:.1f} s"
