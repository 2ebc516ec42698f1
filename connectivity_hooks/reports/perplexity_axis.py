"""Perplexities at the right edge of a panel of losses, at the heights of their logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from connectivity_hooks.evaluation.perplexity import LARGEST, perplexity

_APART = 0.08  # of the panel's height: nearer ones would touch
_ENOUGH = 3
_MOST = 7


def name_perplexities(axes: Axes) -> None:
    """Write perplexities beside a panel whose scale and limits are settled.

    They are round figures up to a million, above which none is told, and few where the losses leave little room.
    """
    low, high = axes.get_ylim()
    place = math.log if axes.get_yscale() == "log" else float
    ticks = _ticks(low, high, lambda nats: (place(nats) - place(low)) / (place(high) - place(low)))
    beside = axes.secondary_yaxis("right")
    beside.yaxis.set_major_locator(FixedLocator([math.log(tick) for tick in ticks]))
    beside.yaxis.set_minor_locator(NullLocator())
    beside.yaxis.set_major_formatter(FixedFormatter([f"{tick:.6g}" for tick in ticks]))
    beside.spines["right"].set_visible(False)


def _ticks(low: float, high: float, height: Callable[[float], float]) -> list[float]:
    """Return round perplexities between two losses, as many as there is room for, the roundest first.

    Args:
        low: The lower limit of the losses.
        high: The upper limit.
        height: Maps a loss between both to [0, 1].
    """
    least, most = perplexity(low), min(perplexity(high), LARGEST)
    powers = range(0 if least < 1 else math.floor(math.log10(least)), math.floor(math.log10(max(most, 1))) + 1)
    tiers = [[digit * 10.0**power for power in powers] for digit in (1, 3, 2, 5)]
    tiers.append([float(tick) for tick in MaxNLocator(_ENOUGH + 1).tick_values(least, most)])
    found: list[float] = []
    for tier in tiers:
        if tier is tiers[-1] and len(found) >= _ENOUGH:
            break
        for tick in tier:
            inside = max(least, 1.0) < tick <= most and low < math.log(tick) <= high and math.log(tick) > 0
            if inside and len(found) < _MOST and _is_free(tick, found, height):
                found.append(tick)
    return sorted(found)


def _is_free(tick: float, found: Sequence[float], height: Callable[[float], float]) -> bool:
    return all(abs(height(math.log(tick)) - height(math.log(other))) >= _APART for other in found)
