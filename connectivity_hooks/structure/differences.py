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
    for step in program.steps:
        if step.kind != "identity" and _draws(nodes[step.name]):
            return f"{place(nodes[step.name])} draws random numbers"
    recorder = _Recorder(graph, placeholders)
    recorder.run()
    for step in program.steps:
        if not _close(recorder.values[step.name], found[step.name]):
            return f"{place(nodes[step.name])} is the first that gives other values"
    return "torch.export's graph gives other outputs than the model; a forward pass may not depend on earlier ones"


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
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _close(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return True
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    wide = torch.complex128  # holds every type, spectra included
    return torch.allclose(one.to(wide), other.to(wide), rtol=1e-3, atol=1e-6, equal_nan=True)
