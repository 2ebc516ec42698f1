"""Capturing features with forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.utils.hooks import RemovableHandle

from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.hooks import Begin, Detached, End, Entering, Leaving
from connectivity_hooks.features.outputs import tensor_in
from connectivity_hooks.features.reservoir import Reservoir
from connectivity_hooks.features.rows import require_plain, require_rows, samples_of_pass
from connectivity_hooks.features.select import INPUT, default_layers, proposed_layers, select
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.warning import warn_unraised

_NOT_ALWAYS = (
    "some passes reach it and others do not, or call it another number of times: its rows would be of other samples"
)


def capture(
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    every: int = 1,
    samples: int | None = None,
    seed: int = 0,
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
        samples: Keep that many samples, drawn uniformly from all that pass; None keeps the last captured pass whole. A
            layer is left out when it has not one row for each sample of a batch, rows of another shape than before, or
            is not reached by every pass.
        seed: Seed of that draw.
        strict: Raise what goes wrong in a hook, instead of leaving the layer out with one warning.

    Returns:
        The `Capture`: a mapping from layer to tensor, (N, n) or (N, C, H, W), and a context manager that removes the
        hooks.

    Raises:
        UsageError: A layer is unknown or compiled by torch.jit, or `every` or `samples` is less than 1.

    A module that torch.compile wrapped and that has run already never calls hooks put on later: the first pass then
    warns, and asking for a layer raises. Attach before the first step.
    """
    return Capture(model, layers, every=every, samples=samples, seed=seed, strict=strict)


class Capture(Mapping[str, Tensor]):
    """Features by layer; a handle whose `remove` takes the hooks off, also at the end of a ``with`` block.

    A module that is called several times in one forward pass has an entry for each call, ``NAME[0]``, ``NAME[1]`` …
    Only calls inside a forward pass of the whole model count: what activation checkpointing computes again is not
    captured twice. Copies of the model (an EMA, a deepcopy) carry the hooks along, but only the model given here is
    listened to.

    Attributes:
        layers: The layers listened to.
        problems: For a layer that was left out, why.
        paused: Whether passes are let by, neither counted nor captured; may be set at any time between them.
        indices: With `samples`: the positions in the stream, counted from 0, of the samples that are kept.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | None,
        *,
        every: int,
        samples: int | None,
        seed: int,
        strict: bool,
    ) -> None:
        if every < 1 or (samples is not None and samples < 1):
            raise UsageError(f"capture: expected every ≥ 1 and samples ≥ 1, found {every} and {samples}")
        self._model = unwrapped(model)
        self._root = model if isinstance(model, OptimizedModule) else self._model
        names = [layers] if isinstance(layers, str) else layers
        self.layers = proposed_layers(self._model, default_layers) if names is None else select(self._model, names)
        self.problems: dict[str, str] = {}
        self._every = every
        self._strict = strict
        self._reservoir = None if samples is None else Reservoir(samples, seed)
        self.paused = False
        self._passes = 0
        self._active = False
        self._given: list[Any] = []
        self._current: dict[str, list[Tensor]] = {}
        self._features: dict[str, Tensor] = {}
        self._fired: set[str] = set()
        self._handles = self._attach()

    @property
    def indices(self) -> Tensor:
        """Positions in the stream of the samples kept, (K,) int64; needs `samples`."""
        if self._reservoir is None:
            raise UsageError("capture: indices are known only when samples= limits how many are kept")
        return self._reservoir.indices

    @property
    def never_fired(self) -> tuple[str, ...]:
        """The layers that no forward pass has reached."""
        return tuple(layer for layer in self.layers if layer not in self._fired and layer not in self.problems)

    def require_rows(self, samples: int | None) -> None:
        """Leave out, or raise for, every layer that has not `samples` rows in the last pass; None asks for nothing.

        Raises:
            InputError: One has not, and faults are to be raised.
        """
        if samples is not None:
            for name, tensor in list(self._features.items()):
                self._require_rows(name, tensor, samples)

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
        if layer not in self._features:
            raise KeyError(self._why_missing(layer))
        return self._features[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def __deepcopy__(self, memo: dict[int, Any]) -> Capture:
        """A copied model keeps referring to this capture, which ignores calls from copies."""
        return self

    def __reduce__(self) -> tuple[Callable[[], Detached], tuple[()]]:
        """A pickled model leaves the capture behind."""
        return Detached, ()

    def _attach(self) -> list[RemovableHandle]:
        modules = dict(self._model.named_modules())
        root = self._root
        _require_hooks(root, {layer: modules[layer.removesuffix(INPUT)] for layer in self.layers})
        handles = [root.register_forward_pre_hook(Begin(self, root), with_kwargs=True, prepend=True)]
        for layer in self.layers:
            module = modules[layer.removesuffix(INPUT)]
            if layer.endswith(INPUT):
                handles.append(module.register_forward_pre_hook(Entering(self, module, layer), with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(Leaving(self, module, layer), with_kwargs=True))
        handles.append(root.register_forward_hook(End(self, root), always_call=True))
        return handles

    def _begin(self, inputs: list[Any]) -> None:
        self._current = {}
        self._active = self._listens() and self._passes % self._every == 0
        self._passes += self._listens()
        self._given = inputs if self._active else []

    def _listens(self) -> bool:
        return not self.paused

    def _end(self, completed: bool) -> None:
        caught, self._current = self._current, {}
        ended, self._active = self._active and completed, False
        try:
            if ended:
                self._store({name: value for layer, calls in caught.items() for name, value in _named(layer, calls)})
                self._warn_of_silence()
        except Exception as error:  # a hook that raises would end the training
            if self._strict:
                raise
            warn_unraised(f"capture: a pass is let by: {one_line(error)}")
        finally:
            self._given = []

    def _catch(self, layer: str, module: nn.Module, value: object) -> None:
        if layer in self.problems:
            return
        try:
            with torch.no_grad():
                tensor = self._copied(tensor_in(value, module))
        except Exception as error:  # a hook that raises would end the training
            self._leave_out(layer, error)
            return
        self._fired.add(layer)
        self._current.setdefault(layer, []).append(tensor)

    def _leave_out(self, name: str, error: Exception) -> None:
        """Leave a layer out from now on, all its calls; say so once, or raise where faults are to be raised."""
        if self._strict:
            raise error
        layer = modules_of([name])[0]
        if layer in self.problems:
            return
        self.problems[layer] = one_line(error)
        for kept in [kept for kept in self._features if modules_of([kept]) == [layer]]:
            del self._features[kept]
        warn_unraised(f"capture: {layer} is left out: {self.problems[layer]}")

    def _copied(self, tensor: Tensor) -> Tensor:
        require_plain(tensor)
        gather = getattr(tensor, "full_tensor", None)  # a DTensor
        return (gather() if callable(gather) else tensor).detach().clone()

    def _store(self, caught: dict[str, Tensor]) -> None:
        if self._reservoir is None:
            self._features = caught
            return
        aligned, rows = self._aligned(caught, self._features)
        if aligned:
            self._sample(aligned, rows, self._reservoir)

    def _aligned(self, caught: dict[str, Tensor], before: Iterable[str]) -> tuple[dict[str, Tensor], int]:
        """Return what has one row for each sample, and how many; leave out every layer that has not, or not always.

        Args:
            caught: What one pass put out; a pass that reached no layer is no pass of theirs.
            before: The names that all passes before it had; none for the first.
        """
        rows = samples_of_pass(self._given, caught.values()) or 0
        names = set(before)
        for name in names ^ caught.keys() if names and caught else ():
            self._leave_out(name, InputError(_NOT_ALWAYS))
        for name, tensor in caught.items():
            self._require_rows(name, tensor, rows)
        return {name: tensor for name, tensor in caught.items() if not self._left_out(name)}, rows

    def _require_rows(self, name: str, tensor: Tensor, samples: int) -> None:
        try:
            require_rows(tensor, samples)
        except InputError as error:
            self._leave_out(name, InputError(f"{name}: {error}") if self._strict else error)

    def _left_out(self, name: str) -> bool:
        return modules_of([name])[0] in self.problems

    def _sample(self, caught: dict[str, Tensor], rows: int, reservoir: Reservoir) -> Tensor:
        """Take rows of one pass into the sample, and return which of those kept and those new stay."""
        stay = reservoir.offer(rows)
        for name, tensor in caught.items():
            try:
                self._features[name] = kept_rows(self._features.get(name, tensor[:0]), tensor, stay)
            except Exception as error:  # rows of another shape than before: other lengths, other image sizes
                self._leave_out(name, error)
        return stay

    def _warn_of_silence(self) -> None:
        if self._root is not self._model and not self._fired and self._passes == 1:
            warn_unraised(
                f"capture: no layer fired in a whole forward pass of {type(self._model).__name__}; a compiled module "
                "ignores hooks that come after its first run: attach before, or capture from the uncompiled module"
            )

    def _why_missing(self, layer: str) -> str:
        calls = [name for name in self._features if name.startswith(f"{layer}[")]
        if calls:
            return f"{layer} was called {len(calls)} times in one pass: ask for {', '.join(calls)}"
        if layer in self.problems:
            return f"{layer} was left out: {self.problems[layer]}"
        if layer in self.layers:
            return f"{layer} never fired: {self._advice(layer)}"
        return f"{layer} is not captured; captured are {', '.join(self._features) or 'none yet'}"

    def _advice(self, layer: str) -> str:
        if self._passes == 0:
            return "no forward pass of the model has run yet"
        parent = layer.removesuffix(INPUT).rpartition(".")[0]
        module = self._model.get_submodule(parent) if parent else self._model
        if isinstance(module, nn.MultiheadAttention):
            return f"attention uses its weights directly; capture {parent}"
        return f"its forward is bypassed or not reached; capture {parent or 'a module around it'}"


def kept_rows(kept: Tensor, new: Tensor, stay: Tensor) -> Tensor:
    """Return the rows `stay` of those kept and those new, without waiting for the device they are on."""
    rows = stay.pin_memory() if new.device.type == "cuda" else stay
    return torch.cat([kept, new])[rows.to(new.device, non_blocking=True)]


def _require_hooks(root: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Refuse what torch.jit compiled: it takes no hooks, and calls none."""
    for name, module in ({"the model": root} | dict(layers)).items():
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"capture: {name} is compiled by torch.jit, which calls no hooks; use the module it was made of"
            )


def _named(layer: str, calls: list[Tensor]) -> list[tuple[str, Tensor]]:
    if len(calls) == 1:
        return [(layer, calls[0])]
    return [(f"{layer}[{index}]", tensor) for index, tensor in enumerate(calls)]
