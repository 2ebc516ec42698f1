"""Pictures of loss and error along paths."""

from __future__ import annotations

import io
import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from connectivity_hooks.evaluation.climb import ERROR_THRESHOLD
from connectivity_hooks.evaluation.units import TOKEN, error_in
from connectivity_hooks.paths.second_end import second_end_in_words
from connectivity_hooks.reports.perplexity_axis import name_perplexities
from connectivity_hooks.reports.rows import Row, rows_of
from connectivity_hooks.reports.tables import printable

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation

# Okabe and Ito's palette, told apart under every common colour-blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# With another mark each, curves are told apart in grey too; of more than there are colours, every other is broken.
MARKS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (6, 2)))
STRIP = {"constant": "#b9d7c5", "convex": "#f2d28b", "measured": "#dddddd"}
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names may hold dollar signs
    "svg.fonttype": "none",
    "svg.hashsalt": "connectivity_hooks",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.facecolor": "white",
}

_DECADES = 100  # a loss that spans more is drawn on a logarithmic axis
_COMPARED = 10  # of several paths: where one is high, the others would be one line at the bottom
_IN_PANEL = 4  # entries of a legend that a panel has room for
_MARKED = 60  # more points than this are a line without marks
_TICKS = 6  # along a logarithmic axis: more would touch
_LEAST_TICKS = 3  # of round figures; where there are fewer, finer ones are taken
_FLAT = 1e-3  # a loss that changes by a smaller share is drawn as the flat line that it is
_SMALL = 8  # points: the letters of what is written below
_LETTERS = 16  # an inch, of such letters
_LINE = 0.16  # inches, of such letters
_KEY = 10  # letters that a legend's key and the gaps beside it take
_LONGEST = 32  # characters of a name in a legend, which then leaves the curves alone


def curves_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Return a figure of loss, and error where there is one, along the paths of one or several builders."""
    named = {evaluation.path.builder or "path": evaluation for evaluation in evaluations}
    bounds = {name: evaluation.bound for name, evaluation in named.items()}
    ends = {name: evaluation.path.alignment for name, evaluation in named.items()}
    words = {name: None if alignment is None else second_end_in_words(alignment) for name, alignment in ends.items()}
    return figure_of(rows_of(named), bounds, notes_on_ends(words), evaluations[0].unit)


def notes_on_ends(words: Mapping[str, str | None]) -> list[str]:
    """Return what is to be said of second ends, each once; of which curves, where it is not true of all.

    Args:
        words: For each curve what was done to its second end; None where nothing was.
    """
    notes = []
    for note in dict.fromkeys(words.values()):
        names = [_label(name) for name, said in words.items() if said == note]
        if note is not None:
            notes.append(note if len(names) == len(words) else f"{', '.join(names)}: {note}")
    return notes


def figure_of(
    rows: Sequence[Row],
    bounds: Mapping[str, Mapping[str, float | None]],
    notes: Sequence[str] = (),
    unit: str | None = None,
) -> Figure:
    """Draw rows of evaluation.csv: a column of panels for each split, a colour for each builder; notes below.

    Args:
        rows: The measurements.
        bounds: Of each builder what is proven of each split, if anything is.
        notes: Sentences.
        unit: What counts once, see `Evaluation.unit`; beside the loss of tokens stands their perplexity.
    """
    splits = list(dict.fromkeys(row.split for row in rows))
    builders = list(dict.fromkeys(row.builder for row in rows))
    has_error = any(row.error is not None for row in rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(splits) + 0.6, 6.4 if has_error else 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(2 if has_error else 1, len(splits), squeeze=False, sharex=True)
        for column, split in enumerate(splits):
            chosen = [row for row in rows if row.split == split]
            _draw_losses(grid[0][column], chosen, builders)
            grid[0][column].set_title(split)
            if has_error:
                _draw_errors(grid[1][column], chosen, builders)
            grid[-1][column].set_xlabel("t  (0: checkpoint A, 1: B)")
        losses = [[row.loss for row in rows if row.split == split and math.isfinite(row.loss)] for split in splits]
        spans = _DECADES if len(builders) == 1 else _COMPARED
        logarithmic = any(_spans(some, spans) for some in losses) and all(any(x > 0 for x in some) for some in losses)
        loss = "loss" if unit is None else f"loss in nats a {unit}"
        grid[0][0].set_ylabel(f"{loss} (log)" if logarithmic else loss)
        for axes, split, some in zip(grid[0], splits, losses, strict=True):
            _draw_bounds(axes, builders, {b: bounds.get(b, {}).get(split) for b in builders}, logarithmic)
            _scale_losses(axes, some, logarithmic)
        if has_error:
            grid[1][0].set_ylabel(f"{error_in(unit)} in %")
        if unit == TOKEN:
            for axes in grid[0]:
                name_perplexities(axes)
            grid[0][-1].child_axes[-1].set_ylabel("perplexity")
        _name_curves(figure, grid[0])
        _write_below(figure, notes)
    return figure


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG file of its own, the same for the same data."""
    text, metadata = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name may hold what the font here has not; the page's reader has another font.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        FigureCanvasSVG(figure).print_svg(text, metadata=metadata)
    return text.getvalue()


def inline(svg: str) -> str:
    """Return an SVG file's text to put into a page, no wider than it was drawn.

    It has no prolog, no metadata, and no address of anything outside.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    return re.sub(r'(<svg[^>]*?)\swidth="([^"]*)"', r'\1 style="max-width: \2"', svg, count=1)


def _name_curves(figure: Figure, panels: Sequence[Axes]) -> None:
    """Write one legend for all panels into the last where it has room, and else above; what is in any of them is in it.

    It holds no figure: each panel has its own.
    """
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    handles, labels = list(named.values()), list(named)
    if len(labels) <= _IN_PANEL:
        panels[-1].legend(handles, labels, frameon=False, loc="best", fontsize=9)
        return
    columns = max(1, int(figure.get_figwidth() * _LETTERS / (max(map(len, labels)) + _KEY)))
    figure.set_figheight(figure.get_figheight() + _LINE * 1.4 * math.ceil(len(labels) / columns))
    figure.legend(handles, labels, frameon=False, loc="outside upper left", ncols=min(columns, len(labels)), fontsize=9)


def _write_below(figure: Figure, notes: Sequence[str]) -> None:
    """Write sentences below the panels, in lines as wide as these."""
    columns = int(_LETTERS * figure.get_figwidth())
    lines = [line for note in notes for line in textwrap.wrap(printable(note), columns)]
    if lines:
        figure.set_figheight(figure.get_figheight() + _LINE * len(lines))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=_SMALL, color="#444444")


def _draw_losses(axes: Axes, rows: Sequence[Row], builders: Sequence[str]) -> None:
    for index, builder in enumerate(builders):
        curve = _curve(rows, builder)
        colour = COLOURS[index % len(COLOURS)]
        _draw(axes, curve, [(row.loss, row.loss_interval) for row in curve], index, _label(builder))
        axes.plot([0, 1], [curve[0].loss, curve[-1].loss], color="#777777", linestyle=":", linewidth=1, zorder=1)
        lost = [row.t for row in curve if not math.isfinite(row.loss)]
        if lost:
            top: Mapping[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linestyle": ""}
            axes.plot(lost, [1.0] * len(lost), "x", color=colour, label="not a finite number", **top)
    if len(builders) == 1:
        _draw_guarantees(axes, _curve(rows, builders[0]))


def _draw_errors(axes: Axes, rows: Sequence[Row], builders: Sequence[str]) -> None:
    for index, builder in enumerate(builders):
        curve = [row for row in _curve(rows, builder) if row.error is not None]
        errors = [(100 * (row.error or 0.0), 100 * (row.error_interval or 0.0)) for row in curve]
        _draw(axes, curve, errors, index, limits=(0.0, 100.0))
    # At least the points that count as a rise are seen, so that nothing does not look like much.
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 1.25 * 100 * ERROR_THRESHOLD))


def _draw(
    axes: Axes,
    curve: Sequence[Row],
    figures: Sequence[tuple[float, float]],
    index: int,
    label: str | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Draw (value, half-width) over t as a line and a band, which is left out where it is not finite."""
    ts, colour = [row.t for row in curve], COLOURS[index % len(COLOURS)]
    marks: dict[str, Any] = {"marker": MARKS[index % len(MARKS)], "markersize": 3} if len(curve) <= _MARKED else {}
    line = LINES[index // len(COLOURS) % len(LINES)]
    values = [value for value, _ in figures]
    axes.plot(ts, values, color=colour, linestyle=line, linewidth=1.6, label=label, **marks)
    halves = [half if math.isfinite(half) else math.nan for _, half in figures]
    low, high = (
        [min(max(value + sign * half, limits[0]), limits[1]) for (value, _), half in zip(figures, halves, strict=True)]
        for sign in (-1, 1)
    )
    axes.fill_between(ts, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_bounds(axes: Axes, builders: Sequence[str], bounds: Mapping[str, float | None], logarithmic: bool) -> None:
    """Draw what is proven of this panel's losses, with its figure at the line."""
    for index, builder in enumerate(builders):
        bound, colour = bounds.get(builder), COLOURS[index % len(COLOURS)]
        if bound is None or not math.isfinite(bound) or (logarithmic and bound <= 0):
            continue
        axes.axhline(bound, color=colour, linestyle="--", linewidth=1.2, label=f"{_label(builder)}: proven bound")
        at, place = (0.99, bound), axes.get_yaxis_transform()
        near: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        axes.annotate(f"proven bound {bound:.3g}", at, xycoords=place, color=colour, fontsize=_SMALL, **near)


def _spans(losses: Sequence[float], times: float) -> bool:
    positive = [loss for loss in losses if loss > 0]
    return bool(positive) and max(positive) > times * min(positive)


def _scale_losses(axes: Axes, losses: Sequence[float], logarithmic: bool) -> None:
    """Scale a panel as all of its row are, and no finer than the figures deserve."""
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    if losses and max(losses) - min(losses) <= _FLAT * max(map(abs, losses)):
        middle, size = max(losses), max(abs(max(losses)), 1e-12)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, middle - 0.05 * size), max(high, middle + 0.05 * size))
    if logarithmic:
        axes.set_yticks(_ticks(*axes.get_ylim()))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Return what is written at a logarithmic axis: round figures, few enough to be read and at least two."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // _TICKS)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * 10.0**power for power in range(first, last + 1, every) for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= _LEAST_TICKS:
            return inside
    return [float(tick) for tick in MaxNLocator(_TICKS).tick_values(low, high) if low <= tick <= high]


def _label(builder: str) -> str:
    """Return a builder's name for a legend: one line without control characters, its middle left out if it is long."""
    name = printable(builder)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 :]}"


def _draw_guarantees(axes: Axes, curve: Sequence[Row]) -> None:
    """Draw a strip below the losses that tells what is known of each stretch."""
    spans: list[tuple[str, float, float]] = []
    for left, right in itertools.pairwise(curve):
        if spans and spans[-1][0] == left.guarantee:
            spans[-1] = (left.guarantee, spans[-1][1], right.t)
        else:
            spans.append((left.guarantee, left.t, right.t))
    shown: set[str] = set()
    for guarantee, start, end in spans:
        label = None if guarantee in shown else f"{guarantee} segments"
        shown.add(guarantee)
        axes.axvspan(start, end, ymin=0, ymax=0.025, color=STRIP.get(guarantee, "#dddddd"), linewidth=0, label=label)


def _curve(rows: Sequence[Row], builder: str) -> list[Row]:
    return sorted((row for row in rows if row.builder == builder), key=lambda row: row.t)
