"""Draws images/construction.svg: what neurons hold at each state of a certified path, for a chain and for two blocks.

    python docs/draw_construction.py

Every column is a value, its neurons cut in two sides (side 0 above); every panel is a state of the path. Pale: computed
by the end itself. Saturated: by a sub-network. White: nobody reads it. Dots: what the sub-network in charge reads.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

Column: TypeAlias = tuple[str, tuple[str, str]]
"""A value's name, and the colours of its side 0 and side 1."""
Reads: TypeAlias = set[tuple[int, int]]
"""Columns and sides."""

A, B, DEAD = "#9db4d0", "#d8b48f", "#ffffff"
SUB_A = ["#3b6ea5", "#1f8a70", "#6c4f9c", "#b8476b", "#8c7a1f"]
SUB_B = "#c5662b"


def panel(axes: Axes, title: str, columns: Sequence[Column], reads: Reads) -> None:
    """Draw one state, dots for what is read."""
    for x, (name, sides) in enumerate(columns):
        for side, colour in enumerate(sides):
            axes.add_patch(Rectangle((x, 1 - side), 0.62, 0.92, facecolor=colour, edgecolor="#555555", linewidth=0.6))
            if (x, side) in reads:
                axes.plot(x + 0.31, 1.46 - side, "o", color="white", markeredgecolor="#222222", markersize=4)
        axes.text(x + 0.31, -0.15, name, ha="center", va="top", fontsize=7.5)
    axes.set(xlim=(-0.15, len(columns) - 0.2), ylim=(-0.5, 2.1))
    axes.set_title(title, fontsize=8)
    axes.axis("off")


def states(names: Sequence[str], cuts: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, list[Column], Reads]]:
    """Yield (title, columns, what is read) from end A to where both ends meet.

    Args:
        names: The values in the order they are computed.
        cuts: For each cut the values alive there; its sub-network computes one side of all that come later.
    """
    yield "end A", [(name, (A, A)) for name in names], set()
    for cut in range(len(cuts) - 1, -1, -1):
        side, latest = (cut + 1) % 2, max(cuts[cut])
        columns = []
        for x, name in enumerate(names):
            holds = A if x <= latest else SUB_A[cut]
            halves = (holds, DEAD) if side == 0 else (DEAD, holds)
            columns.append((name, (A, A) if x < latest else halves))
        yield f"after A{cut + 1}, side {side}", columns, {(x, side) for x in cuts[cut]}
    met = [(name, (B, A) if x == 0 else (SUB_B, SUB_A[0])) for x, name in enumerate(names)]
    yield "A1 and B1 side by side", met, {(0, 0), (0, 1)}


def main() -> None:
    """Write the picture into ``images``."""
    chain = list(states(["F1", "F2", "F3"], [(0,), (1,), (2,)]))
    blocks = list(states(["x0", "h1", "x1", "h2", "x2"], [(0,), (0, 1), (2,), (2, 3), (4,)]))
    figure, rows = plt.subplots(2, max(len(chain), len(blocks)), figsize=(12.5, 3.4), layout="constrained")
    for axes, drawn in zip(rows, (chain, blocks), strict=True):
        for place in axes:
            place.axis("off")
        for place, state in zip(axes, drawn, strict=False):
            panel(place, *state)
    figure.savefig(pathlib.Path(__file__).parent / "images" / "construction.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
