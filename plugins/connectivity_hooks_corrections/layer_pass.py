"""Passes over samples in which layers are measured, and normalised to what they should put out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.features import Tokens
from connectivity_hooks.model import forward
from connectivity_hooks_corrections.layers import Layer
from connectivity_hooks_corrections.moments import Moments, Statistics, matching
from connectivity_hooks_corrections.samples import DrawnSamples


@torch.no_grad()
def measured(
    model: nn.Module,
    samples: DrawnSamples,
    layers: Sequence[Layer],
    targets: Mapping[str, Statistics] | None = None,
) -> dict[str, Moments]:
    """Run a model on all samples, and return the moments of what its layers put out, by name.

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
            listener.found[layer.name] = Moments()
            hook = functools.partial(listener.hear, layer)
            stack.callback(layer.module.register_forward_hook(hook).remove)
        for inputs in samples.batches():
            listener.tokens = Tokens(model, inputs)
            forward(model, inputs)
    return listener.found


class _Listener:
    """Measures the outputs of layers, and gives them the targets' statistics."""

    tokens: Tokens

    def __init__(self, targets: Mapping[str, Statistics] | None) -> None:
        self._targets = targets
        self.found: dict[str, Moments] = {}

    def hear(self, layer: Layer, module: nn.Module, given: Any, outputs: Tensor) -> Tensor | None:
        statistics = self.found[layer.name].add(_values(layer, outputs, self.tokens.of(layer.name)))
        if self._targets is None or statistics is None:
            return None
        return layer.mapped(outputs, *matching(statistics, self._targets[layer.name], outputs.dtype))


def _values(layer: Layer, outputs: Tensor, kept: Tensor | None) -> Tensor:
    """Return outputs as (R, C), those of padding left out where a mask (N, T) says which they are."""
    tokens_first = outputs.ndim == 3 and layer.axis(outputs) == 2
    if kept is not None and tokens_first and outputs.shape[:2] == kept.shape:
        return outputs[kept]
    return layer.values(outputs)


@contextmanager
def modules_run() -> Iterator[None]:
    """Let PyTorch's transformer layers run the modules in them, which their fast path for evaluation does not."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
