"""Draws what benchmarks/builders.py measured: loss and error along every path between the ends of one network.

python benchmarks/draw_builders.py runs/builders/mlp/results.json docs/images/builders-mlp.svg --share 0.2
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe and Ito's colours, which all eyes tell apart; a line aligned first is dashed.
COLOURS = {
    "linear": "#777777",
    "certified": "#000000",
    "bezier": "#0072b2",
    "polychain": "#56b4e9",
    "autoneb": "#009e73",
    "layerwise": "#e69f00",
    "simplex": "#cc79a7",
}


def chosen(rows, share):
    """Return the rows that are drawn: those of one budget, and those without."""
    return [row for row in rows if "fault" not in row and row["share"] in (0.0, share)]


def draw(rows, axes):
    """Draw the test loss and the test error of every row."""
    for row in rows:
        t, loss, error = zip(*row["curves"]["test"], strict=True)
        aligned = row["align"] != "none"
        name = f"{row['align']}, then {row['builder']}" if aligned else row["builder"]
        style = {"color": COLOURS.get(row["builder"], "#d55e00"), "linestyle": "--" if aligned else "-"}
        axes[0].plot(t, loss, **style, linewidth=1.6)
        axes[1].plot(t, [100 * one for one in error], **style, linewidth=1.6, label=name)
    axes[0].set(yscale="log", xlabel="t", ylabel="test loss")
    axes[1].set(yscale="log", xlabel="t", ylabel="test error, %")
    for one in axes:
        one.yaxis.set(
            major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter()
        )
        one.grid(alpha=0.25)
        one.spines[["top", "right"]].set_visible(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=0.2, help="the budget that is drawn")
    arguments = parser.parse_args()
    rows = chosen(json.loads(arguments.results.read_text()), arguments.share)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "connectivity_hooks", "font.family": "sans-serif"}):
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        draw(rows, axes)
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
        figure.savefig(arguments.picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
