"""Draws images/alignment.svg: two neurons exchanged, and a stream rotated, with the weights that take part.

python docs/draw_alignment.py
"""

from __future__ import annotations

import math
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73")


def layer(axes: Axes, order: tuple[int, ...], title: str) -> None:
    """Draw three hidden neurons in an order, with the edges that go in and out."""
    for place, neuron in enumerate(order):
        for x, count in ((-1, 2), (1, 2)):
            for other in range(count):
                axes.plot([0, x], [-place, -0.5 - other], color=COLOURS[neuron], linewidth=1.4, alpha=0.8, zorder=1)
        axes.plot(0, -place, "o", markersize=17, color=COLOURS[neuron], zorder=2)
        axes.text(0, -place, str(neuron + 1), color="white", ha="center", va="center", fontsize=10, zorder=3)
    for x in (-1, 1):
        axes.plot([x, x], [-0.5, -1.5], "o", markersize=12, color="#777777", zorder=2)
    axes.set(xlim=(-1.3, 1.3), ylim=(-2.6, 0.9))
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def stream(axes: Axes, angle: float, title: str) -> None:
    """Draw a stream of two directions as axes turned by an angle, and the features that are written to it."""
    turn = [(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]
    for (x, y), name in zip(turn, "12", strict=True):
        axes.annotate("", xy=(x, y), xytext=(-x, -y), arrowprops={"arrowstyle": "->", "color": "#777777"})
        axes.text(1.25 * x, 1.2 * y, f"neuron {name}", ha="center", va="center", fontsize=8, color="#555555")
    for colour, (x, y) in zip(COLOURS, ((0.8, 0.3), (-0.2, 0.75), (-0.6, -0.5)), strict=True):
        axes.annotate("", xy=(x, y), xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2})
    axes.set(xlim=(-1.7, 1.7), ylim=(-1.4, 1.5), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def main() -> None:
    """Draw the picture."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "connectivity_hooks", "font.family": "sans-serif"}):
        figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
        layer(axes[0], (0, 1, 2), "a hidden layer")
        layer(axes[1], (2, 0, 1), "its neurons exchanged, with their weights")
        stream(axes[2], 0.0, "features in a stream")
        stream(axes[3], 0.7, "the same features, neurons turned")
        figure.savefig(pathlib.Path(__file__).parent / "images" / "alignment.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
