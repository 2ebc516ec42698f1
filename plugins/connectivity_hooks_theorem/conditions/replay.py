"""Passes of a model that go on from a layer: what its modules gave before is put in their place."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.features import Layout
from connectivity_hooks.model import PLAIN, Forward, Inputs, is_compiled
from connectivity_hooks_theorem.conditions.masking import Masking, listening
from connectivity_hooks_theorem.conditions.structures import tensors_of, with_tensors

# A call by its place in a pass: (2, 0) is the first call that the third of the model's own calls makes.
Place = tuple[int, ...]


class Diverged(Exception):
    """A pass cannot be gone on with: its modules were called in another order, or have no one axis of samples."""


class _Reached(Exception):
    """Ends a pass at a layer."""


@dataclass(frozen=True)
class _Call:
    """What a call gave.

    Attributes:
        module: The module that was called.
        value: What it returned, copied; NaN where nothing after the layer reads it.
        calls: How often listened modules had been reached when it ended (`Masking.calls`).
    """

    module: nn.Module
    value: Any
    calls: dict[str, int]

    def unread(self) -> _Call:
        """Return the call with NaN for the value."""
        return replace(self, value=with_tensors(self.value, _absent))


@dataclass
class _Frame:
    """A call that is under way, and how many calls it has made."""

    place: Place
    module: nn.Module
    made: int = 0


class Replay:
    """Runs a model up to a layer once, and from there on as often as wanted.

    Of the calls that have ended when the layer is reached, the outermost are kept; in a rerun they return what they
    gave and nothing inside them runs. What is computed between modules runs again. `learn` must be told two batches of
    different sizes first: the axis whose length follows theirs is that of the samples. Then `settle` fixes for a layer,
    on a small batch, what need be kept.

    Args:
        model: The module.
        layers: Layers that passes can be ended at, or that masks are for (`Masking`).
        layouts: Which axis of each layer is what.
        forward: How the model is run.

    Attributes:
        masking: Drops neurons in reruns.
        order: The layers, as the last pass that was learnt from reached them.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[str],
        layouts: Mapping[str, Layout] | None = None,
        forward: Forward = PLAIN,
    ) -> None:
        self.order: list[str] = []
        self._layers = tuple(layers)
        self.masking = Masking(self._layers, layouts, self._seen)
        self._model = model
        self._forward = forward
        self._shapes: dict[Place, list[tuple[int, list[torch.Size]]]] = {}
        self._kept: dict[Place, _Call] = {}
        self._settled: dict[str, dict[Place, bool]] = {}
        self._held: dict[Place, list[weakref.ref[Tensor]]] = {}
        self._frames: list[_Frame] = []
        self._mode = ""
        self._until = ""
        self._draws = 1
        self._returned = 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Listen to every module's calls inside the block.

        Raises:
            Diverged: A part of the model is compiled, so that its calls cannot be replaced.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(listening(self._model, self._layers, self.masking))
            for module in list(self._model.modules())[1:]:
                if is_compiled(module) or isinstance(module, torch.jit.ScriptModule) or module._compiled_call_impl:
                    raise Diverged("a part of the model is compiled")
                stack.callback(_restored, module, module.__dict__.get("forward"))
                module.forward = functools.partial(self._called, module, module.forward)
            yield

    def learn(self, inputs: Inputs, samples: int) -> Tensor:
        """Run a batch whole, take note of the shapes, and return the model's outputs."""
        self._learnt = samples
        self.order = []
        return self._run(inputs, "learn")

    def forget(self) -> None:
        """Forget what is kept, before another batch."""
        self._kept = {}

    def advance(self, inputs: Inputs, layer: str) -> None:
        """Keep what a batch gives up to a layer, going on from what is kept of it already.

        Raises:
            Diverged: The layer is not reached.
        """
        if layer == self._until and self._kept:
            return
        self._until = layer
        try:
            self._run(inputs, "advance")
        except _Reached:
            wanted = self._settled.get(layer, self._kept)
            self._kept = {place: call for place, call in self._kept.items() if place in wanted}
            return
        raise Diverged(f"{layer} is not reached")

    def settle(self, inputs: Inputs, layer: str, agrees: Callable[[], bool]) -> bool:
        """Fix what is kept up to a layer: of what nobody holds any more when it is reached only that it was there.

        Args:
            inputs: A small batch.
            layer: The layer.
            agrees: Reruns the batch and says whether the outputs are right. They are NaN if what is left out is read.

        Returns:
            Whether the layer can be gone on from.
        """
        self.advance(inputs, layer)
        if layer in self._settled:
            return True
        whole = dict(self._kept)
        unread = {place for place in whole if not any(ref() is not None for ref in self._held.get(place, []))}
        unread -= {max(whole, default=())}  # what came last may be read by a function between modules
        for without in (unread, set()):
            self._kept = {place: call.unread() if place in without else call for place, call in whole.items()}
            with contextlib.suppress(Exception):  # a stranger's code may refuse NaN, and PyTorch refuses to write there
                if agrees():
                    self._settled[layer] = {place: place not in without for place in whole}
                    return True
        return False

    def rerun(self, inputs: Inputs, draws: int) -> Tensor:
        """Return the model's outputs for a batch repeated `draws` times, from what is kept of the batch on.

        Raises:
            Diverged: The pass does not go the way of the one that is kept.
        """
        self._draws, self._returned = draws, 0
        try:
            returned = self._run(inputs, "rerun")
        finally:
            self._draws = 1
        if self._returned != len(self._kept):
            raise Diverged("calls are missing")
        return returned

    def _run(self, inputs: Inputs, mode: str) -> Tensor:
        self._mode = mode
        self._frames = [_Frame((), self._model)]
        try:
            return self._forward(self._model, inputs)
        finally:
            self._frames = []

    def _seen(self, layer: str) -> None:
        if self._mode == "learn":
            self.order.append(layer)
        elif self._mode == "advance" and layer == self._until:
            raise _Reached

    def _called(self, module: nn.Module, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if not self._frames:
            return original(*args, **named)
        around = self._frames[-1]
        place = (*around.place, around.made)
        around.made += 1
        if place in self._kept:
            return self._given_again(place, module, args)
        self._frames.append(_Frame(place, module))
        try:
            value = original(*args, **named)
        finally:
            self._frames.pop()
        if self._mode == "learn":
            self._shapes.setdefault(place, []).append((self._learnt, [tensor.shape for tensor in tensors_of(value)]))
        elif self._mode == "advance":
            self._keep(place, module, value)
        return value

    def _keep(self, place: Place, module: nn.Module, value: Any) -> None:
        settled = self._settled.get(self._until)
        if settled is not None and place not in settled:
            return
        for inside in [each for each in self._kept if each[: len(place)] == place]:
            del self._kept[inside]
        # a copy, since later code may write into what the module returned
        copied = with_tensors(value, torch.clone if settled is None or settled[place] else _absent)
        self._kept[place] = _Call(module, copied, dict(self.masking.calls))
        self._hold(place, value)

    def _hold(self, place: Place, value: Any) -> None:
        if self._until not in self._settled:
            self._held[place] = [weakref.ref(tensor) for tensor in tensors_of(value)]

    def _given_again(self, place: Place, module: nn.Module, args: tuple[Any, ...]) -> Any:
        call = self._kept[place]
        if call.module is not module:
            raise Diverged(f"another module is called at {place}")
        self._returned += 1
        self.masking.calls.update(call.calls)
        axes = iter(self._axes(place))

        def again(tensor: Tensor) -> Tensor:
            axis = next(axes)
            times = [self._draws if each == axis else 1 for each in range(tensor.ndim)]
            if _is_absent(tensor):
                return _absent(tensor, [size * more for size, more in zip(tensor.shape, times, strict=True)])
            return tensor.clone() if self._draws == 1 or axis is None else tensor.repeat(times)

        value = with_tensors(call.value, again)
        if self._mode == "advance":
            self._hold(place, value)
        return value

    def _axes(self, place: Place) -> list[int | None]:
        """Return for each tensor that a call gives its axis of samples; None where no axis follows their number."""
        learnt = self._shapes.get(place, [])
        if len(learnt) != 2 or len(learnt[0][1]) != len(learnt[1][1]):
            raise Diverged(f"another number of calls or tensors at {place}")
        (few, first), (more, second) = learnt
        return [_axis(a, b, few, more) for a, b in zip(first, second, strict=True)]


def _axis(one: torch.Size, other: torch.Size, few: int, more: int) -> int | None:
    differing = [axis for axis, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or len(differing) > 1 or any(one[axis] * more != other[axis] * few for axis in differing):
        raise Diverged(f"shapes {tuple(one)} and {tuple(other)} have no one axis of samples")
    return differing[0] if differing else None


def _absent(tensor: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Return a tensor of NaN that takes no memory, of a tensor's type; numbers that cannot be NaN stay."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.new_full((), torch.nan).expand(tensor.shape if shape is None else shape)


def _is_absent(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 1 and not any(tensor.stride())


def _restored(module: nn.Module, own: Any) -> None:
    """Give a module its `forward` back: one of its own, or that of its class."""
    if own is None:
        del module.forward
    else:
        module.forward = own
