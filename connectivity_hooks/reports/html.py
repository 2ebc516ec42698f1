"""report.svg and report.html, one file that opens offline, without scripts: made from a saved report's plain data."""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.cost import memory_in_words
from connectivity_hooks.errors import ConnectivityError, InputError
from connectivity_hooks.evaluation.perplexity import in_words
from connectivity_hooks.evaluation.perplexity import limits as of_perplexity
from connectivity_hooks.evaluation.phrases import Figure, has_interval, limits
from connectivity_hooks.evaluation.units import TOKEN, error_in, of_batches, samples_in, unit_in
from connectivity_hooks.reports.comparison import seconds_in_words
from connectivity_hooks.reports.order import ordered_saved
from connectivity_hooks.reports.plots import as_svg, figure_of, inline, notes_on_ends

if TYPE_CHECKING:
    from connectivity_hooks.reports.report import Saved

_OURS = "connectivity_hooks.reports"

WORDS = {
    "proven": "proven",
    "connected": "connected as far as measured",
    "undecided": "too few samples or points to tell",
    "barrier": "not connected by this path",
}


def write_pages(saved: Saved, folder: pathlib.Path) -> None:
    """Write report.svg, where a path was measured, and report.html; each in one step.

    Raises:
        InputError: The report does not hold what the page shows; nothing is written then.
    """
    with shown_from(folder / "report.json", "run connect with --out again"):
        picture = draw(saved)
        text = render_html(saved, picture)
    if picture:
        atomic_text(folder / "report.svg", picture)
    atomic_text(folder / "report.html", text)


@contextlib.contextmanager
def shown_from(file: pathlib.Path, remedy: str) -> Iterator[None]:
    """Say what goes wrong while a page is made in our words: those of the libraries that make it name nothing known."""
    try:
        yield
    except (MemoryError, ConnectivityError):
        raise
    except Exception as error:
        raise InputError(f"{file}: does not hold what a finished report does; {remedy}") from error


def draw(saved: Saved) -> str:
    """Return the picture, loss and error along all paths, as an SVG file's text; empty where no path was measured."""
    bounds = {name: builder.get("bound") or {} for name, builder in saved.content["builders"].items()}
    ends = {name: (of.get("alignment") or {}).get("in_words") for name, of in saved.content["builders"].items()}
    unit = unit_in(saved.content.get("task") or {})
    return as_svg(figure_of(saved.rows, bounds, notes_on_ends(ends), unit)) if saved.rows else ""


def render_html(saved: Saved, picture: str) -> str:
    """Return the page: the answer in words, the picture, the tables."""
    errors = any(row.error is not None for row in saved.rows)
    splits = list(dict.fromkeys(row.split for row in saved.rows))
    kept = (saved.content.get("kept") or {}).get("builder")
    builders = ordered_saved(saved.content["builders"], splits[0] if splits else None, kept)
    unit = unit_in(saved.content.get("task") or {})
    facts: dict[str, Any] = {"report": saved.content, "builders": builders, "words": WORDS, "splits": splits}
    named: dict[str, Any] = {
        "has_errors": errors,
        "unit": unit,
        "has_perplexity": unit == TOKEN,
        "error_name": error_in(unit),
        "samples": samples_in(unit, batches=of_batches(saved.content.get("task") or {})),
    }
    return page("report.html.j2", picture, **facts, **named)


def page(template: str, picture: str, *, package: str = _OURS, **content: Any) -> str:
    """Return a page made of a template, everything escaped.

    Args:
        template: Its name.
        package: In whose folder ``templates`` it is; it may extend ``page.html.j2``, and include what is beside it.
        picture: Text of an SVG file or nothing. matplotlib drew it from data and escaped the text in it: it is the one
            thing not escaped again.
        **content: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each) for each in dict.fromkeys((package, _OURS))]),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment.get_template(template).render(picture=Markup(inline(picture) if picture else ""), **content)


def _unbroken(text: str) -> str:
    """Return a sentence whose figures keep their units and intervals when the line breaks."""
    return re.sub(
        r" ± |(?<=\d) (?:%|points)|t = ", lambda found: found.group().replace(" ", "\N{NO-BREAK SPACE}"), text
    )


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, "") else str(value)


def _figure(value: Any) -> str:
    """Return a figure in four digits, and anything else, a text that someone put in its place, as it is."""
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shown(form: str, scale: int = 1) -> Callable[[Any], str]:
    """Return a filter that shows a number; a dash for what is not known or, not being finite, not in report.json."""

    def show(value: Any) -> str:
        # What is no number stays as it is: a text times 100 would be a hundred texts.
        return form.format(scale * value) if isinstance(value, (int, float)) else _figure(value)

    return show


def _half(form: str, scale: int = 1) -> Callable[[Any], str]:
    """Return a filter for the half-width of an interval, to stand behind its figure; nothing where there is none."""
    show = _shown(form, scale)
    return lambda value: "" if value is None or isinstance(value, jinja2.Undefined) else f" ± {show(value)}"


def _rise(of: Figure) -> Callable[[Any], str]:
    """Return a filter for the interval of a rise, to stand behind it; nothing where there is none."""

    def show(climb: Any) -> str:
        found = [climb.get(name) for name in ("height", "least", "most")] if isinstance(climb, Mapping) else []
        numbers = [value for value in found if isinstance(value, (int, float))]
        if len(numbers) < 3 or not has_interval(*numbers):
            return ""
        return f" ({' to '.join(limits(numbers[1], numbers[2], of))})"

    return show


def _worse(ends: Any) -> Any:
    """Return the larger of two ends' figures; nothing where they have none."""
    numbers = [end for end in ends or () if isinstance(end, (int, float))]
    return max(numbers, default=None)


def _duration(value: Any) -> str:
    return seconds_in_words(value) if isinstance(value, (int, float)) else _figure(value)


def _bytes(value: Any, device: Any) -> str:
    return memory_in_words(value, device) if isinstance(value, int) and isinstance(device, str) else _figure(value)


def _of_loss(value: Any) -> str:
    """Return the perplexity of a mean loss in nats."""
    return in_words(value) if isinstance(value, (int, float)) else _figure(value)


def _limits_of_perplexity(found: Any) -> str:
    """Return the interval of the largest perplexity, to stand behind it; nothing of one sequence."""
    found = found.get("max_interval") if isinstance(found, Mapping) else None
    interval = of_perplexity(*found) if found else ""
    return f" ({interval})" if interval else ""


_FILTERS: dict[str, Callable[..., Any]] = {
    "bytes": _bytes,
    "duration": _duration,
    "fact": _fact,
    "figure": _figure,
    "half": _half("{:.2g}"),
    "half_points": _half("{:.2f}", 100),
    "percent": _shown("{:.2f} %", 100),
    "perplexity": _of_loss,
    "perplexity_limits": _limits_of_perplexity,
    "points": _shown("{:.2f}", 100),
    "position": _shown("{:.3f}"),
    "rise": _rise("loss"),
    "rise_points": _rise("error"),
    "unbroken": _unbroken,
    "worse": _worse,
}
