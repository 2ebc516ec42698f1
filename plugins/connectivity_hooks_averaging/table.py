"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectivity_hooks.reports import in_blocks


def table_of(content: Mapping[str, Any], width: int | None = None) -> str:
    """Return a line for each checkpoint and one for the mean: loss, and error in percent, on each split.

    Args:
        content: Of an average.
        width: Columns of the terminal; None where lines may have any length.
    """
    splits = list(content["task"]["samples"])
    head = ["checkpoint", "averaged", *(f"{split} {what}" for split in splits for what in ("loss", "error"))]
    rows = [(each, each["name"], "yes" if each["averaged"] else "no") for each in content["checkpoints"]]
    rows += [(content["soup"], "mean", "")] if content["soup"] else []
    return in_blocks(head, [[name, taken, *_figures(of, splits)] for of, name, taken in rows], 2, width)


def _figures(of: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    found = []
    for split in splits:
        loss, error = of[split]["loss"], of[split]["error"]
        found += ["not finite" if loss is None else f"{loss:.4g}", "–" if error is None else f"{100 * error:.2f} %"]
    return found


def edges_table(content: Mapping[str, Any], width: int | None = None) -> str:
    """Return a line for each edge, lowest barrier first: barrier and largest loss on each split.

    Args:
        content: Of a graph.
        width: Columns of the terminal; None where lines may have any length.
    """
    splits = list(content["task"]["samples"])
    columns = (f"{split} {what}" for split in splits for what in ("barrier", "loss max"))
    edges = sorted(content["edges"], key=lambda edge: (edge["barrier"] is None, edge["barrier"]))
    return in_blocks(["a", "b", "connected", *columns], [_edge(edge, splits) for edge in edges], 2, width)


def _edge(edge: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    figures = [edge[split][name] for split in splits for name in ("barrier_entezari", "loss_max")]
    shown = ["not finite" if figure is None else f"{figure:.4g}" for figure in figures]
    return [edge["a"], edge["b"], "yes" if edge["connected"] else "no", *shown]
