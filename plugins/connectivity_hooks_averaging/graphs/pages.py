"""The report of a graph, as files: components, the picture of edges, the matrix, tables."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from connectivity_hooks.checkpoints import atomic_text
from connectivity_hooks.json_values import finite
from connectivity_hooks.reports import as_svg, environment, page, write_csv
from connectivity_hooks_averaging.graphs.graph import Graph
from connectivity_hooks_averaging.graphs.picture import graph_figure
from connectivity_hooks_averaging.soups.pages import PACKAGE, matrix_picture

FORMAT = "connectivity_hooks.graph/1"

_SHOWN = 200
"""Edges in the page's table, lowest first; all are in barriers.csv."""


def content_of_graph(found: Graph) -> dict[str, Any]:
    """Return what report.json holds, JSON-ready."""
    names, lost = found.set.names, list[str]()
    content = {
        "format": FORMAT,
        "verdict": _verdict(found),
        "components": [[names[number] for number in group] for group in found.components],
        "threshold": found.threshold,
        "checkpoints": [
            {"name": entry.name, "file": entry.file.name, "sha256": entry.sha256, "loss": loss}
            for entry, loss in zip(found.set.entries, found.losses, strict=True)
        ],
        "equal": dict(found.set.equal),
        "tree": found.how.tree,
        "edges": _edges(found, found.edges),
        "lines": _edges(found, found.lines),
        "path": found.how.connecting.describe(),
        "task": found.task.describe(),
        "notes": list(found.set.notes),
        "environment": environment(),
    }
    ready: dict[str, Any] = finite(content, lost)
    ready["notes"] += [f"{place} is not a finite number" for place in lost[:20]]
    return ready


def write_graph(content: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Write barriers.csv, graph.svg, barriers.svg, report.html and, last, report.json; each in one step."""
    splits = list(content["task"]["samples"])
    _write_csv(content, folder / "barriers.csv", splits)
    picture = as_svg(graph_figure(content))
    atomic_text(folder / "graph.svg", picture)
    matrix = matrix_picture(*_matrix(content))
    atomic_text(folder / "barriers.svg", matrix)
    edges = sorted(content["edges"], key=lambda edge: _height(edge["barrier"]))
    text = page(
        "graph.html.j2", picture, package=PACKAGE, report=content, splits=splits, edges=edges[:_SHOWN], total=len(edges)
    )
    atomic_text(folder / "report.html", text)
    atomic_text(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def _edges(found: Graph, edges: Mapping[tuple[int, int], Any]) -> list[dict[str, Any]]:
    return [
        {"a": pair.a, "b": pair.b, "builder": pair.builder, "barrier": pair.barrier, "length": pair.length}
        | {"connected": pair.barrier <= found.threshold}
        | {split: asdict(figures) for split, figures in pair.barriers.items()}
        for pair in edges.values()
    ]


def _verdict(found: Graph) -> list[str]:
    names, groups = found.set.names, found.components
    along = f"{found.how.connecting.builder.name} paths" + (" along the tree" if found.how.tree else "")
    count = f"{len(groups)} component{'' if len(groups) == 1 else 's'}"
    sentences = [f"{len(names)} checkpoints, {count} at a barrier of {found.threshold:.4g}, over {along}."]
    for group in groups:
        members = ", ".join(names[number] for number in group)
        sentences.append(f"Connected: {members}." if len(group) > 1 else f"By itself: {members}.")
    sentences += [f"{name} has the weights of {other}, and is not shown." for name, other in found.set.equal.items()]
    return sentences


def _write_csv(content: Mapping[str, Any], file: pathlib.Path, splits: list[str]) -> None:
    figures = list(content["edges"][0][splits[0]])
    plain = [name for name in figures if not isinstance(content["edges"][0][splits[0]][name], list)]
    rows = [
        [edge["a"], edge["b"], edge["builder"], kind, split, edge["connected"], edge["length"]]
        + [edge[split][name] for name in plain]
        for kind, edges in (("edge", content["edges"]), ("line", content["lines"]))
        for edge in edges
        for split in splits
    ]
    write_csv(file, ("a", "b", "builder", "kind", "split", "connected", "length", *plain), rows)


def _matrix(content: Mapping[str, Any]) -> tuple[list[str], list[list[float | None]]]:
    """Return the names by component, and the barrier of every two that were measured."""
    names = [name for group in content["components"] for name in group]
    at = {name: number for number, name in enumerate(names)}
    found: list[list[float | None]] = [[None] * len(names) for _ in names]
    for edge in content["edges"]:
        a, b = at[edge["a"]], at[edge["b"]]
        found[a][b] = found[b][a] = edge["barrier"]
    return names, found


def _height(barrier: float | None) -> float:
    return float("inf") if barrier is None else barrier
