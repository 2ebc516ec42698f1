"""Walking along a path: the weights at rising t, written into a module's own tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.model.weights import Weights, assign
from connectivity_hooks.paths.edits import Edit, apply
from connectivity_hooks.paths.path import Path


class Walk:
    """Writes the weights at any t, cheapest at rising t.

    Holds the last point passed: it shares the path's tensors and owns copies only of those of which a block changed,
    so at most one model beyond the path itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rewind()

    @torch.no_grad()
    def write(self, t: float, into: Mapping[str, Tensor]) -> None:
        """Write the weights at t into `into`, in place; at a point the path's own values, bit for bit."""
        segment, fraction = self._path.segment(t)
        if fraction == 0:
            self._reach(len(self._path.edits) if t == 1 else segment)
            assign(into, self._weights)
        elif self._path.shape.straight:
            self._reach(segment)
            self._write_between(self._path.edits[segment], fraction, into)
        else:
            self._write_bezier(t, into)

    def _write_between(self, edits: tuple[Edit, ...], fraction: float, into: Mapping[str, Tensor]) -> None:
        replaced = {edit.name for edit in edits if edit.whole}
        assign({name: tensor for name, tensor in into.items() if name not in replaced}, self._weights)
        for edit in edits:
            left, target = edit.block(self._weights[edit.name]), into[edit.name]
            values = edit.values.to(left.device)
            if not left.is_floating_point():
                edit.put(target, left)
            elif edit.whole and target.dtype == left.dtype and target.device == left.device:
                torch.lerp(left, values, fraction, out=target)
            else:
                edit.put(target, torch.lerp(left, values, fraction))

    def _write_bezier(self, t: float, into: Mapping[str, Tensor]) -> None:
        degree = len(self._path.edits)
        assign(into, self._path.start)
        floating = {name: tensor for name, tensor in into.items() if tensor.is_floating_point()}
        for tensor in floating.values():
            tensor.zero_()
        for index, weights in enumerate(self._path.points()):
            share = math.comb(degree, index) * (1 - t) ** (degree - index) * t**index
            for name, tensor in floating.items():
                tensor.add_(weights[name].to(tensor.device), alpha=share)

    def _reach(self, index: int) -> None:
        if index < self._index:
            self._rewind()
        while self._index < index:
            for edit in self._path.edits[self._index]:
                apply(edit, self._weights, self._owned)
            self._index += 1

    def _rewind(self) -> None:
        self._index = 0
        self._weights: Weights = dict(self._path.start)
        self._owned: set[str] = set()
