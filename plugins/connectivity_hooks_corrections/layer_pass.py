"""Passes over samples in which layers are measured, and normalised to what they should put out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.features import Tokens
from connectivity_hooks.model import forward
from connectivity_hooks_corrections.layers import Layer
from connectivity_hooks_corrections.moments import Moments, Statistics, matching
from connectivity_hooks_corrections.samples import DrawnSamples

_AT_ONCE = 2**22
"""Values that are widened to float64 at once, 32 MiB: a layer of a large image has a thousand times as many."""


@torch.no_grad()
def measured(
    model: nn.Module,
    samples: DrawnSamples,
    layers: Sequence[Layer],
    targets: Mapping[str, Statistics] | None = None,
) -> dict[str, Measured]:
    """Run a model on all samples, and return what its layers put out, by name.

    Args:
        model: The module, in evaluation mode.
        samples: The samples.
        layers: Those that are measured.
        targets: For each layer the statistics that its outputs are given, batch by batch, so that later layers see
            them; None leaves them as they are.
    """
    listener = _Listener(targets)
    with ExitStack() as stack:
        stack.enter_context(modules_run())
        for layer in layers:
            listener.found[layer.name] = Measured()
            hook = functools.partial(listener.hear, layer)
            stack.callback(layer.module.register_forward_hook(hook).remove)
        for inputs in samples.batches():
            listener.tokens = Tokens(model, inputs)
            forward(model, inputs)
    return listener.found


@dataclass
class Measured:
    """What one layer put out in a pass over all samples.

    Attributes:
        moments: Of all its values.
        calls: How often it ran.
    """

    moments: Moments = field(default_factory=Moments)
    calls: int = 0


class _Listener:
    """Measures the outputs of layers, and gives them the targets' statistics."""

    tokens: Tokens

    def __init__(self, targets: Mapping[str, Statistics] | None) -> None:
        self._targets = targets
        self.found: dict[str, Measured] = {}

    def hear(self, layer: Layer, module: nn.Module, given: Any, outputs: Tensor) -> Tensor | None:
        now, found = Moments(), self.found[layer.name]
        for values in _values(layer, outputs, self.tokens.of(layer.name)):
            now.add(values)
        found.calls += 1
        found.moments.add_all(now)
        statistics = now.statistics()
        if self._targets is None or statistics is None:
            return None
        return layer.mapped(outputs, *matching(statistics, self._targets[layer.name], outputs.dtype))


def _values(layer: Layer, outputs: Tensor, kept: Tensor | None) -> Iterator[Tensor]:
    """Yield outputs as (R, C), some samples at a time, without those of padding that a mask (N, T) knows of."""
    if layer.axis(outputs) == 0:
        yield layer.values(outputs)
        return
    samples = max(1, _AT_ONCE * len(outputs) // max(1, outputs.numel()))
    tokens = outputs.ndim == 3 and layer.axis(outputs) == 2
    if kept is None or not tokens or outputs.shape[:2] != kept.shape:
        yield from map(layer.values, outputs.split(samples))
        return
    for part, mask in zip(outputs.split(samples), kept.split(samples), strict=True):
        yield part[mask]


@contextmanager
def modules_run() -> Iterator[None]:
    """Let PyTorch's transformer layers run the modules in them, which their fast path for evaluation does not."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
