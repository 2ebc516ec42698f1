"""Capturing features with forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, final

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import UsageError
from connectivity_hooks.features.hooks import Detached, Listener, attached
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.passes import Passes
from connectivity_hooks.features.pooled import Pooled
from connectivity_hooks.features.pooling import Pools
from connectivity_hooks.features.sampled import Sampled
from connectivity_hooks.features.select import INPUT, default_layers, proposed_layers, select
from connectivity_hooks.features.store import LastPass, Store
from connectivity_hooks.model.wrappers import is_compiled, unwrapped


def capture(
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    every: int = 1,
    samples: int | None = None,
    seed: int = 0,
    pool: Pools | None = None,
    strict: bool = False,
) -> Capture:
    """Put hooks on `model`; what the layers put out is then found in the returned `Capture`.

    A tensor is detached and copied when it passes, so that nothing done to it later changes what was captured. The
    hooks draw no random numbers, keep no graph and wait for no device.

    Args:
        model: Any module; wrappers (DataParallel, DistributedDataParallel, torch.compile) are looked through.
        layers: Names, globs, or ``NAME:input`` for what enters a module. None takes what the library the model comes
            from proposes (timm: the stages and the input of the classifier), else every module whose output is an
            activation that feeds further weights (`connectivity_hooks.features.select.default_layers`).
        every: Capture every so many forward passes, the first one included; the others cost next to nothing.
        samples: Keep that many samples, drawn uniformly from all that pass, samples first, also of what sequence-first
            modules put out, (T, N, n). A layer is left out when it has not one row for each sample of a batch, or it
            cannot be told whether its rows are samples or tokens, rows of another shape than before, or is not reached
            by every pass. None keeps the last captured pass whole, every tensor with its axes as they came.
        seed: Seed of that draw.
        pool: Keep neurons (N, n) instead of whole tensors: ``mean`` over the positions, those left out that the pass's
            own mask says are padding, ``first``, ``last`` or ``class`` for one token, or ``flatten``; for all layers,
            or by layer, ``{"encoder.*": "last"}``. None keeps tensors as they come.
        strict: Raise what goes wrong in a hook, instead of leaving the layer out with one warning.

    Returns:
        The `Capture`: a mapping from layer to tensor, (N, n) or (N, C, H, W), (T, N, n) where the module
        works so, and a context manager that removes the hooks.

    Raises:
        UsageError: A layer or a pool is unknown, a layer is compiled by torch.jit, or `every` or `samples` is less than
            1.

    A module that torch.compile wrapped and that has run already never calls hooks put on later: the first pass then
    warns, and asking for a layer raises. Attach before the first step.
    """
    if every < 1 or (samples is not None and samples < 1):
        raise UsageError(f"capture: expected every ≥ 1 and samples ≥ 1, found {every} and {samples}")
    left_out = LeftOut("raise" if strict else "warn")
    pooled = None if pool is None else Pooled(unwrapped(model), pool)
    store: Store = LastPass(left_out, pooled)
    if samples is not None:
        store = Sampled(unwrapped(model), samples, seed, left_out, pooled)
    return Capture(model, layers, store, every=every)


@final
class Capture(Mapping[str, Tensor]):
    """Features by layer; a handle whose `remove` takes the hooks off, also at the end of a ``with`` block.

    A module that is called several times in one forward pass has an entry for each call, ``NAME[0]``, ``NAME[1]`` …
    Only calls inside a forward pass of the whole model count: what activation checkpointing computes again is not
    captured twice. Copies of the model (an EMA, a deepcopy) carry the hooks along, but only the model given here is
    listened to.

    Args:
        model: As for `capture`.
        layers: As for `capture`.
        store: Keeps what passes, and says which layers are left out.
        every: Of the passes the store listens to, one in so many is taken.

    Attributes:
        layers: The layers listened to.
        problems: For a layer that was left out, why.
    """

    def __init__(self, model: nn.Module, layers: str | Sequence[str] | None, store: Store, *, every: int = 1) -> None:
        self._model = unwrapped(model)
        names = [layers] if isinstance(layers, str) else layers
        self.layers = proposed_layers(self._model, default_layers) if names is None else select(self._model, names)
        self._store = store
        self.problems = store.left_out.problems
        modules = dict(self._model.named_modules())
        listened = {layer: modules[layer.removesuffix(INPUT)] for layer in self.layers}
        root = model if is_compiled(model) else self._model
        _require_hooks(root, listened)
        self._passes = Passes(self._model, root, store, every=every)
        self._handles = attached(self._passes, root, listened)

    @property
    def paused(self) -> bool:
        """Whether passes are let by, neither counted nor captured; may be set at any time between them."""
        return self._passes.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._passes.paused = paused

    @property
    def indices(self) -> Tensor:
        """With `samples`: positions in the stream, counted from 0, of the samples that are kept, (K,) int64."""
        return self._store.indices

    @property
    def passes(self) -> int:
        """How many passes were listened to, captured or not."""
        return self._passes.counted

    @property
    def seconds(self) -> float:
        """Time that taking features took so far, on the host."""
        return self._passes.seconds

    @property
    def never_fired(self) -> tuple[str, ...]:
        """The layers that no forward pass has reached."""
        fired = self._passes.fired
        return tuple(layer for layer in self.layers if layer not in fired and layer not in self.problems)

    def require_rows(self, samples: int | None) -> None:
        """Leave out, or raise for, every layer that has not `samples` rows in the last pass; None asks for nothing.

        Raises:
            InputError: One has not, and faults are to be raised.
        """
        if samples is not None:
            for name, tensor in list(self.items()):
                self._store.require_rows(name, tensor, samples)

    def why_not(self, layer: str) -> str:
        """Return why there is no feature of a layer."""
        return self.problems.get(layer) or self._why_missing(layer).removeprefix(f"{layer} ")

    def remove(self) -> None:
        """Take every hook off; what was captured stays. A second time does nothing."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __getitem__(self, layer: str) -> Tensor:
        """Return the feature of one layer; the `KeyError` of a missing one says why it is missing."""
        if layer not in self._store.features:
            raise KeyError(self._why_missing(layer))
        return self._store.features[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.features)

    def __len__(self) -> int:
        return len(self._store.features)

    def __deepcopy__(self, memo: dict[int, Any]) -> Capture:
        """A copied model that holds its capture goes on referring to this one."""
        return self

    def __reduce__(self) -> tuple[Callable[[], Listener], tuple[()]]:
        """A pickled model that holds its capture leaves it behind."""
        return Detached, ()

    def _why_missing(self, layer: str) -> str:
        calls = [name for name in self if name.startswith(f"{layer}[")]
        if calls:
            return f"{layer} was called {len(calls)} times in one pass: ask for {', '.join(calls)}"
        if layer in self.problems:
            return f"{layer} was left out: {self.problems[layer]}"
        if layer in self.layers:
            return f"{layer} never fired: {self._advice(layer)}"
        return f"{layer} is not captured; captured are {', '.join(self) or 'none yet'}"

    def _advice(self, layer: str) -> str:
        if self._passes.counted == 0:
            return "no forward pass of the model has run yet"
        parent = layer.removesuffix(INPUT).rpartition(".")[0]
        module = self._model.get_submodule(parent) if parent else self._model
        if isinstance(module, nn.MultiheadAttention):
            return f"attention uses its weights directly; capture {parent}"
        return f"its forward is bypassed or not reached; capture {parent or 'a module around it'}"


def _require_hooks(root: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Refuse what torch.jit compiled: it takes no hooks, and calls none."""
    for name, module in ({"the model": root} | dict(layers)).items():
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"capture: {name} is compiled by torch.jit, which calls no hooks; use the module it was made of"
            )
