"""Dropping neurons of layers in a forward pass, several ways at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features import Layout, Passed, modules_of, tensor_in, usual
from connectivity_hooks_theorem.conditions.structures import with_tensors

INPUT = ":input"


class Masking:
    """Neurons dropped in the passes of a model, and what was seen on the way.

    Args:
        layers: Layers, ``NAME:input``, or single calls of either, ``NAME[0]``, that are listened to.
        layouts: Which axis of each layer is what; of one that is not among them as PyTorch's modules mostly have it.
        seen: Told the name of each when a pass reaches it.

    Attributes:
        masks: For some of the layers a mask (D, n) of the neurons kept. A batch of D·B samples has the D masks in turn,
            each for B samples.
        spoilt: For each layer with a mask that was reached whether it held NaN or Inf, a scalar on the device.
        calls: How often the pass has reached each module so far.
    """

    def __init__(
        self,
        layers: Iterable[str],
        layouts: Mapping[str, Layout] | None = None,
        seen: Callable[[str], None] | None = None,
    ) -> None:
        self.masks: Mapping[str, Tensor] = {}
        self.spoilt: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}
        self._layers = set(layers)
        self._layouts = layouts or {}
        self._seen = seen

    def begin(self) -> None:
        """Begin a pass."""
        self.calls = {}

    def reached(self, listened: str, module: nn.Module, value: Any, entered: object = None) -> Any:
        """Return what a layer gives with the dropped neurons of its feature at 0.

        Args:
            listened: Name of the layer.
            module: Its module.
            value: What it gives, or what enters it.
            entered: Its first input, which tells the feature among several tensors.
        """
        call = self.calls.get(listened, 0)
        self.calls[listened] = call + 1
        layer = listened if listened in self._layers else f"{listened}[{call}]"
        if layer in self.masks:
            feature = tensor_in(Passed(value, entered), module)  # the one that a capture takes
            dropped = self._masked(layer, feature)
            value = with_tensors(value, lambda tensor: dropped if tensor is feature else tensor)
        if self._seen is not None and layer in self._layers:
            self._seen(layer)
        return value

    def _masked(self, layer: str, feature: Tensor) -> Tensor:
        bad = ~torch.isfinite(feature).all()
        self.spoilt[layer] = self.spoilt[layer] | bad if layer in self.spoilt else bad
        layout = self._layouts.get(layer) or usual(feature.ndim)
        return feature * spread(self.masks[layer], feature.shape, layout).to(feature)


def spread(mask: Tensor, shape: Sequence[int], layout: Layout) -> Tensor:
    """Return masks of neurons (D, n) as a tensor that a feature of D·B samples is multiplied with.

    Args:
        mask: For each draw the neurons kept: n axes of neurons, or n of every position where positions are neurons.
        shape: The feature's.
        layout: Its axes.

    Raises:
        InputError: The feature has another number of neurons.
    """
    positions = layout.positions(len(shape))
    neurons = [shape[axis] for axis in layout.neurons]
    if mask.shape[1] == math.prod(neurons):
        axes, lengths = [layout.samples, *layout.neurons, *positions], [*neurons, *(1 for _ in positions)]
    else:
        axes = [layout.samples, *(axis for axis in range(len(shape)) if axis != layout.samples)]
        lengths = [shape[axis] for axis in axes[1:]]
    if mask.shape[1] != math.prod(lengths):
        raise InputError(f"masks of {mask.shape[1]} neurons are for another shape than {tuple(shape)}")
    rows = mask.repeat_interleave(shape[layout.samples] // len(mask), 0)
    return rows.reshape(-1, *lengths).permute([axes.index(axis) for axis in range(len(shape))])


@contextmanager
def masked(
    model: nn.Module, masks: Mapping[str, Tensor], layouts: Mapping[str, Layout] | None = None
) -> Iterator[Masking]:
    """Drop neurons in every forward pass inside the block.

    Args:
        model: The module; its hooks are as before when the block ends.
        masks: As `Masking.masks`.
        layouts: As for `Masking`.
    """
    masking = Masking(masks, layouts)
    masking.masks = masks
    with listening(model, masks, masking):
        yield masking


@contextmanager
def listening(model: nn.Module, layers: Iterable[str], masking: Masking) -> Iterator[None]:
    """Let `masking` hear of the layers, and change what they give, in every forward pass inside the block."""
    handles = [model.register_forward_pre_hook(lambda module, args: masking.begin(), prepend=True)]
    try:
        handles += [_listened(model, name, masking) for name in modules_of(layers)]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _listened(model: nn.Module, name: str, masking: Masking) -> Any:
    module = model.get_submodule(name.removesuffix(INPUT))
    if not name.endswith(INPUT):
        return module.register_forward_hook(
            lambda module, args, named, value: masking.reached(
                name, module, value, next(iter((*args, *named.values())), None)
            ),
            with_kwargs=True,
        )

    def entering(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if args:
            return (masking.reached(name, module, args[0]), *args[1:]), named
        key = next(iter(named), None)  # as a capture: the first argument, by whatever way it is given
        return (args, named) if key is None else (args, {**named, key: masking.reached(name, module, named[key])})

    return module.register_forward_pre_hook(entering, with_kwargs=True)
