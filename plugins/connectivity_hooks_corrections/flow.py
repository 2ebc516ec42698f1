"""What becomes of the outputs of layers in a forward pass: which of them other layers or norms read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from connectivity_hooks.model import Inputs, forward
from connectivity_hooks_corrections.layers import Layer

_LINEAR = {
    *("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "linear", "convolution", "_convolution"),
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"),
}
"""Operations that multiply values by a weight, by the names they have below the modules."""

_CARRYING = {
    "cat",
    *(
        f"{kind}_pool{n}d{more}"
        for kind in ("avg", "_adaptive_avg", "max")
        for n in (1, 2, 3)
        for more in ("", "_with_indices")
    ),
}
"""Operations after which a factor above zero and a shift for each channel are still those, on the same axis."""


class Flow(TorchDispatchMode):
    """Follows values through one pass, operation by operation; nothing that is computed changes.

    Values are told apart by their memory, so that views and what is written in place are followed. Every tensor of the
    pass is held: use it for few samples.

    Args:
        model: The module, in evaluation mode.
        layers: Linear maps and convolutions by name.
        norms: Norms by name.

    Attributes:
        calls: How often each layer ran.
        arguments: Arguments of each layer's last call.
        hidden: Layers whose outputs reach another layer, and names of weights for which that is true of what they give.
        read: Layers whose outputs are read by something else than a norm that scales the same channels.
        outside: Names of weights that were read outside of the layer that has them.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, Layer], norms: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model, self._layers, self._norms = model, layers, norms
        self._places: defaultdict[int, list[tuple[range, str]]] = defaultdict(list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            memory, first = place_of(parameter)
            self._places[memory].append((range(first, first + parameter.numel()), name))
        self._sources: defaultdict[int, frozenset[str]] = defaultdict(frozenset)
        self._givers: defaultdict[int, set[_Given]] = defaultdict(set)
        self._running: list[str] = []
        self._normed: list[list[Tensor]] = []
        self._held: list[Any] = []
        self.calls: Counter[str] = Counter()
        self.arguments: dict[str, tuple[Sequence[Any], Mapping[str, Any]]] = {}
        self.hidden: set[str] = set()
        self.read: set[str] = set()
        self.outside: set[str] = set()

    @torch.no_grad()
    def follow(self, inputs: Inputs) -> int:
        """Run the module on some inputs, and take note; return how many bytes of values were held."""
        with ExitStack() as stack:
            for layer in self._layers.values():
                for hook in self._around(layer):
                    stack.callback(hook.remove)
            for norm in self._norms.values():
                for hook in self._around_norm(norm):
                    stack.callback(hook.remove)
            with self:
                returned = forward(self._model, inputs)
        self.read |= {each.layer for tensor in _tensors([returned]) for each in self._givers[_memory(tensor)]}
        bytes_of = {_memory(tensor): tensor.nbytes for tensor in _tensors(self._held)}
        self._held.clear()
        return sum(bytes_of.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note what it read and what came of it."""
        returned = func(*args, **(kwargs or {}))
        given, out = list(_tensors([args, kwargs or {}])), list(_tensors([returned]))
        self._held.append((given, out))
        name = getattr(getattr(func, "_overloadpacket", func), "__name__", "").rstrip("_")
        writes = bool(getattr(getattr(func, "_schema", None), "is_mutable", False))
        views = set() if writes else {_memory(tensor) for tensor in out}
        read = [tensor for tensor in given if _memory(tensor) not in views]
        self._note_weights(name, read, out)
        if name not in _CARRYING or not all(self._carry(tensor, out[0]) for tensor in given):
            self._note_readers(read)
        sources = frozenset().union(*(self._sources[_memory(tensor)] for tensor in given))
        for tensor in out or (given if writes else ()):
            self._sources[_memory(tensor)] |= sources
        return returned

    def _note_weights(self, operation: str, read: Iterable[Tensor], out: Iterable[Tensor]) -> None:
        """Note weights that are read elsewhere than in their own layer, and follow what linear maps make of them."""
        foreign = [(name, tensor) for tensor in read for name in self._foreign(tensor)]
        self.outside |= {name for name, _ in foreign}
        matrices = frozenset(name for name, tensor in foreign if tensor.ndim > 1)
        if operation in _LINEAR and matrices:
            for tensor in read:
                self.hidden |= self._sources[_memory(tensor)]
            for tensor in out:
                self._sources[_memory(tensor)] |= matrices

    def _foreign(self, tensor: Tensor) -> list[str]:
        """Return the names of the weight that a tensor is, or is a part of, if it is read by no layer which has it."""
        memory, first = place_of(tensor)
        names = [name for places, name in self._places.get(memory, ()) if first in places]
        own = any(not layer or name.startswith(f"{layer}.") for layer in self._running for name in names)
        return [] if own else names

    def _carry(self, tensor: Tensor, out: Tensor) -> bool:
        """Note that what comes of some layers is in `out`, on the same axis; say whether that axis is known."""
        for each in list(self._givers[_memory(tensor)]):
            axis = each.axis_in(tensor)
            if axis is None or axis >= out.ndim:
                return False
            self._givers[_memory(out)].add(_Given.of(each.layer, out, axis))
        return True

    def _note_readers(self, read: Iterable[Tensor]) -> None:
        for tensor in read:
            normed = [x for given in self._normed for x in given if _memory(x) == _memory(tensor)]
            for each in self._givers[_memory(tensor)]:
                if not any(each.axis_in(x, 1) == 1 for x in normed):  # a norm's channels are its second axis
                    self.read.add(each.layer)

    def _around(self, layer: Layer) -> Iterable[RemovableHandle]:
        def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._running.append(layer.name)

        def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.arguments[layer.name] = args, kwargs
            for tensor in _tensors([args, kwargs]):
                self.hidden |= self._sources[_memory(tensor)]

        def end(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
            self._running.pop()
            self.calls[layer.name] += 1
            for tensor in _tensors([outputs]):
                axis = layer.axis(tensor)
                if axis >= 0:
                    self._givers[_memory(tensor)] = {_Given.of(layer.name, tensor, axis)}
                self._sources[_memory(tensor)] |= {layer.name}

        # Hooks that are there already, such as those that compute a weight or change what is given, run between.
        yield layer.module.register_forward_pre_hook(begin, prepend=True)
        yield layer.module.register_forward_pre_hook(given, with_kwargs=True)
        yield layer.module.register_forward_hook(end)

    def _around_norm(self, norm: nn.Module) -> Iterable[RemovableHandle]:
        def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._normed.append(list(_tensors([args, kwargs])))

        def end(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
            self._normed.pop()

        yield norm.register_forward_pre_hook(begin, prepend=True, with_kwargs=True)
        yield norm.register_forward_hook(end)


class _Given(NamedTuple):
    """Where the channels of a layer's outputs lie in a memory: every view of all of it has them where these fit."""

    layer: str
    channels: int
    stride: int
    numel: int

    @classmethod
    def of(cls, layer: str, tensor: Tensor, axis: int) -> _Given:
        return cls(layer, tensor.shape[axis], tensor.stride(axis), tensor.numel())

    def axis_in(self, tensor: Tensor, first: int = 0) -> int | None:
        """Return the axis of a tensor that is the channels, of those from `first` on; None where it is none."""
        if tensor.numel() != self.numel:
            return None
        axes = range(first, tensor.ndim)
        return next((i for i in axes if (tensor.shape[i], tensor.stride(i)) == (self.channels, self.stride)), None)


def _tensors(values: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> int:
    """Return what tells the memory of a tensor from that of others; its own identity where it has none."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):  # sparse and nested tensors
        return id(tensor)


def place_of(tensor: Tensor) -> tuple[int, int]:
    """Return the memory of a weight and where it begins there: several may lie in one."""
    try:
        return _memory(tensor), int(tensor.storage_offset())
    except (RuntimeError, NotImplementedError):
        return _memory(tensor), 0
