"""Names beside points of a picture, each on a plate of its own that covers no other point and no other plate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

PLATE = {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
_SIZE = 9.0  # points of the letters
_WIDE, _HIGH = 0.6, 1.5  # of a letter and of a line with its plate, in letters' sizes
_NEAR = 7.0  # points between a point and its plate
_CROWDED = 40.0  # points between two points whose plates could be taken for each other's
_ROWS = 5


class Name(NamedTuple):
    """A name, the point it is of in data, and whether it goes below it first."""

    text: str
    at: tuple[float, ...]
    below: bool = False


class _Box(NamedTuple):
    left: float
    low: float
    right: float
    high: float

    def meets(self, other: _Box) -> bool:
        return self.left < other.right and other.left < self.right and self.low < other.high and other.low < self.high

    def is_inside(self, other: _Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.low <= self.low and self.high <= other.high


def write_names(axes: Axes, names: Sequence[Name]) -> None:
    """Write names beside their points; one that is not next to its point is joined to it by a line.

    The layout of the figure has to be settled, since what has room is reckoned in points of the page.
    """
    scale = 72.0 / axes.figure.dpi
    page = _Box(*(value * scale for value in axes.bbox.extents))
    places = [tuple(value * scale for value in axes.transData.transform(name.at[:2])) for name in names]
    taken = [_Box(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for name, (x, y) in zip(names, places, strict=True):
        width = _WIDE * _SIZE * len(name.text)
        nearest = min(
            (other for other in places if other != (x, y)), key=lambda at: math.dist(at, (x, y)), default=None
        )
        away = nearest is not None and nearest[0] > x  # from what a plate would else be taken for
        crowded = nearest is not None and math.dist(nearest, (x, y)) < _CROWDED
        ways = list(_ways(name.below, away))
        free = [way for way in ways if not any(_box(x, y, width, *way).meets(other) for other in taken)]
        row, to_left = next((way for way in free if _box(x, y, width, *way).is_inside(page)), (free or ways)[0])
        taken.append(_box(x, y, width, row, to_left))
        shift = (-_NEAR if to_left else _NEAR, _height(row))
        joined = {"arrowstyle": "-", "lw": 0.7, "color": "black", "shrinkA": 0, "shrinkB": 3}
        note = axes.annotate(
            name.text, (name.at[0], name.at[1]), xytext=shift, textcoords="offset points",
            ha="right" if to_left else "left", va="bottom", fontsize=_SIZE, bbox=PLATE, zorder=5, annotation_clip=True,
            arrowprops=joined if crowded or row not in (0, -1) else None,
        )  # fmt: skip
        note.set_in_layout(False)


def _ways(below: bool, to_left: bool) -> Iterator[tuple[int, bool]]:
    """Yield rows above and below a point, nearest first, to the side that is meant and then to the other."""
    for side in (to_left, not to_left):
        for step in range(_ROWS):
            for row in (-1 - step, step) if below else (step, -1 - step):
                yield row, side


def _height(row: int) -> float:
    return 4.0 + row * _HIGH * _SIZE * 1.15


def _box(x: float, y: float, width: float, row: int, to_left: bool) -> _Box:
    left = x - _NEAR - width if to_left else x + _NEAR
    low = y + _height(row)
    return _Box(left, low, left + width, low + _HIGH * _SIZE)
