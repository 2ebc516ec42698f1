"""Passes over samples in which layers are measured, and normalised to what they should put out."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.features import Tokens
from connectivity_hooks.model import forward
from connectivity_hooks_corrections.hooked_passes import modules_run
from connectivity_hooks_corrections.layers import Layer
from connectivity_hooks_corrections.moments import Moments, Statistics, matching
from connectivity_hooks_corrections.samples import DrawnSamples

_IN_CACHE, _ON_DEVICE = 2**18, 2**24
"""Values that are widened to float64 at once: 2 MiB, which a processor's cache holds (a whole batch takes five times as
long), and 128 MiB on an accelerator, where many small operations would be the slow ones."""


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
    """Yield outputs as (R, C), some rows at a time, without those of padding that a mask (N, T) knows of."""
    at_once = _IN_CACHE if outputs.device.type == "cpu" else _ON_DEVICE
    if layer.axis(outputs) == 0:
        yield layer.values(outputs)
        return
    samples = max(1, at_once * len(outputs) // max(1, outputs.numel()))
    tokens = outputs.ndim == 3 and layer.axis(outputs) == 2
    masks: Iterable[Tensor | None] = itertools.repeat(None)
    if kept is not None and tokens and outputs.shape[:2] == kept.shape:
        masks = kept.split(samples)
    for part, mask in zip(outputs.split(samples), masks, strict=False):
        rows = layer.values(part) if mask is None else part[mask]
        yield from rows.split(max(1, at_once // max(1, rows.shape[1])))
