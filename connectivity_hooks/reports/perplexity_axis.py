"""Perplexities at the right edge of a panel of losses, at the heights of their logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from connectivity_hooks.evaluation.perplexity import LARGEST, perplexity, shown

_APART = 0.08  # of the panel's height: nearer ones would touch
_ENOUGH = 3
_DIGITS = (1, 3, 2, 5, 1.5, 7, 2.5, 4)  # the roundest first
_MOST = 7


def name_perplexities(axes: Axes) -> None:
    """Write perplexities beside a panel whose scale and limits are settled.

    They are round figures, few where the losses leave little room. Beyond a million the highest says only that.
    """
    low, high = axes.get_ylim()
    place = math.log if axes.get_yscale() == "log" else float
    ticks = _ticks(low, high, lambda nats: (place(nats) - place(low)) / (place(high) - place(low)))
    places, words = [math.log(tick) for tick in ticks], [f"{tick:.6g}" for tick in ticks]
    if perplexity(high) > LARGEST:
        places, words = [*places, high], [*words, shown(math.inf)]
    beside = axes.secondary_yaxis("right")
    beside.yaxis.set_major_locator(FixedLocator(places))
    beside.yaxis.set_minor_locator(NullLocator())
    beside.yaxis.set_major_formatter(FixedFormatter(words))
    beside.spines["right"].set_visible(True)


def _ticks(low: float, high: float, height: Callable[[float], float]) -> list[float]:
    """Return round perplexities between two losses, as many as there is room for, the roundest first.

    Args:
        low: The lower limit of the losses.
        high: The upper limit.
        height: Maps a loss between both to [0, 1].
    """
    least, most = perplexity(low), min(perplexity(high), LARGEST)
    powers = range(0 if least < 1 else math.floor(math.log10(least)), math.floor(math.log10(max(most, 1))) + 1)
    tiers = [[digit * 10.0**power for power in powers] for digit in _DIGITS]
    tiers.append([float(tick) for tick in MaxNLocator(_ENOUGH + 1).tick_values(least, most)])
    found: list[float] = []
    top = [] if perplexity(high) <= LARGEST else [high]
    for tier in tiers:
        if tier is tiers[-1] and len(found) >= _ENOUGH:
            break
        for tick in tier:
            inside = max(least, 1.0) < tick <= most and low < math.log(tick) <= high and math.log(tick) > 0
            if inside and len(found) < _MOST and _is_free(math.log(tick), [*map(math.log, found), *top], height):
                found.append(tick)
    return sorted(found)


def _is_free(nats: float, taken: Sequence[float], height: Callable[[float], float]) -> bool:
    return all(abs(height(nats) - height(other)) >= _APART for other in taken)
