"""report.svg and report.html, one file that opens offline, without scripts: made from a saved report's plain data."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.reports.plots import as_svg, figure_of, inline
from connectivity_hooks.untrusted import guarded

if TYPE_CHECKING:
    from connectivity_hooks.reports.report import Saved

WORDS = {
    "proven": "proven",
    "connected": "connected as far as measured",
    "barrier": "not connected by this path",
}


def write_pages(saved: Saved, folder: pathlib.Path) -> None:
    """Write report.svg, where a path was measured, and report.html; each in one step.

    Raises:
        InputError: The report does not hold what the page shows; nothing is written then.
    """
    with guarded(folder, "the folder of a finished report", "run connect with --out again"):
        picture = draw(saved)
        text = render_html(saved, picture)
    if picture:
        atomic_text(folder / "report.svg", picture)
    atomic_text(folder / "report.html", text)


def draw(saved: Saved) -> str:
    """Return the picture, loss and error along all paths, as an SVG file's text; empty where no path was measured."""
    bounds = {name: builder.get("bound") or {} for name, builder in saved.content["builders"].items()}
    return as_svg(figure_of(saved.rows, bounds)) if saved.rows else ""


def render_html(saved: Saved, picture: str) -> str:
    """Return the page: the answer in words, the picture, the tables."""
    return page("report.html.j2", picture, report=saved.content, words=WORDS, splits=_splits(saved))


def page(template: str, picture: str, **content: Any) -> str:
    """Return a page made of one of the templates beside this file, everything escaped.

    Args:
        template: Its name.
        picture: Text of an SVG file or nothing. matplotlib drew it from data and escaped the text in it: it is the one
            thing not escaped again.
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
    return environment.get_template(template).render(picture=Markup(inline(picture) if picture else ""), **content)


def _splits(saved: Saved) -> list[str]:
    return list(dict.fromkeys(row.split for row in saved.rows))


def _figure(value: Any) -> str:
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: Any) -> str:
    return _scaled(value, 100, ".2f", " %")


def _points(value: Any) -> str:
    return _scaled(value, 100, ".2f", "")


def _seconds(value: Any) -> str:
    return _scaled(value, 1, ".1f", " s")


def _scaled(value: Any, scale: int, form: str, unit: str) -> str:
    # What is no number stays as it is: a text times 100 would be a hundred texts.
    return f"{scale * value:{form}}{unit}" if isinstance(value, (int, float)) else _figure(value)
