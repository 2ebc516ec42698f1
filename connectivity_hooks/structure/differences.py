"""Naming the place where a program and its model part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from connectivity_hooks.structure.program import Program
from connectivity_hooks.structure.writes import place


def parting(graph: fx.GraphModule, placeholders: Mapping[str, Any], program: Program, found: Mapping[str, Any]) -> str:
    """Return a clause that names what makes a program's outputs other than the model's.

    Args:
        graph: The graph the program was read from.
        placeholders: Value of every placeholder by name, as for the program's run.
        program: The program.
        found: The values of its steps.
    """
    nodes = {node.name: node for node in graph.graph.nodes}
    recorder = _Recorder(graph, placeholders)
    recorder.run()
    for step in program.steps:
        if not _close(recorder.values[step.name], found[step.name]):
            return f"{place(nodes[step.name])} is the first that gives other values"
    return "torch.export's graph gives other outputs than the model; a forward pass may not depend on earlier ones"


def random_step(graph: fx.GraphModule, program: Program) -> str | None:
    """Return the place of the first step that draws random numbers, or None; dropout that is off draws none."""
    nodes = {node.name: node for node in graph.graph.nodes}
    found = (nodes[step.name] for step in program.steps if step.kind != "identity")
    return next((place(node) for node in found if _draws(node)), None)


class _Recorder(fx.Interpreter):
    """Runs a graph on copies and keeps each value as it was when it was computed."""

    def __init__(self, graph: fx.GraphModule, placeholders: Mapping[str, Any]) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.extra_traceback = False
        self._placeholders = placeholders
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        given = n.op == "placeholder"
        value = self._placeholders[n.name] if given else super().run_node(n)
        copied = value.clone() if isinstance(value, Tensor) else value
        self.values[n.name] = copied
        return copied if given else value


def _draws(node: fx.Node) -> bool:
    """Say whether an operation draws random numbers; attention and recurrent layers do where they drop something."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in node.target._schema.arguments if a.has_default_value()}  # type: ignore[union-attr]
    given = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    shares = [given[name] for name in ("dropout_p", "dropout", "p") if name in given]
    return given.get("train") is not False and not (shares and not any(shares))


def _close(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return True
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    wide = torch.complex128  # holds every type, spectra included
    return torch.allclose(one.to(wide), other.to(wide), rtol=1e-3, atol=1e-6, equal_nan=True)
