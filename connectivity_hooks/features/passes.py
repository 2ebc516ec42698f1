"""Listening to forward passes: what hooks tell becomes whole passes, and these go to a store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from connectivity_hooks.features.hooks import Listener
from connectivity_hooks.features.outputs import tensor_in
from connectivity_hooks.features.store import CaughtPass, Store
from connectivity_hooks.warning import warn_unraised


@final
class Passes(Listener):
    """Hands whole passes to a store; what is called outside a pass, or in one that fails, is no part of any.

    Args:
        model: The module listened to.
        root: The module whose passes count: the same, or what torch.compile made of it.
        store: What becomes of them.
        every: Of the passes the store listens to, one in so many is wanted.

    Attributes:
        fired: The layers that were reached and taken.
        counted: Passes that were listened to.
        seconds: Time that taking features took, on the host.
    """

    def __init__(self, model: nn.Module, root: nn.Module, store: Store, *, every: int) -> None:
        self.fired: set[str] = set()
        self.counted = 0
        self.seconds = 0.0
        self._model = model
        self._root = root
        self._store = store
        self._problems = store.left_out.problems  # by layer, which is all that is asked in every pass
        self._every = every
        self._begun = False
        self._training = False
        self._given: list[Any] = []
        self._calls: dict[str, list[Tensor]] = {}

    def begin(self, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Begin a pass; one before it that never ended is forgotten."""
        self._calls = {}
        inputs = [*given, *named.values()]
        self._training = self._root.training
        listens = not self.paused and self._store.listens(inputs, training=self._training)
        self.active = listens and self.counted % self._every == 0
        self.counted += listens
        self._begun = not self.paused
        self._given = inputs if self._begun else []
        if self.active:
            try:
                self._store.begun(given, named)
            except Exception as error:  # a hook that raises would end the training
                self.active = False
                self._store.left_out.let_by(error)

    def caught(self, layer: str, module: nn.Module, value: object) -> None:
        """Take what passes a layer; what cannot be taken leaves the layer out."""
        if layer in self._problems:
            return
        started = time.perf_counter()
        try:
            with torch.no_grad():
                tensor = self._store.taken(layer, module, tensor_in(value, module))
        except Exception as error:  # a hook that raises would end the training
            self._store.leave_out(layer, error)
        else:
            self.fired.add(layer)
            self._calls.setdefault(layer, []).append(tensor)
        self.seconds += time.perf_counter() - started

    def end(self, *, completed: bool) -> None:
        """Hand the pass to the store, if it was completed."""
        given, self._given = self._given, []
        calls, self._calls = self._calls, {}
        wanted, self.active = self.active, False
        begun, self._begun = self._begun, False
        if not (begun and completed):
            return
        try:
            if wanted:
                self._store.keep(CaughtPass(given, self._named(calls)))
                self._warn_of_silence()
            else:
                self._store.let_by(given, training=self._training)
        except Exception as error:  # a hook that raises would end the training
            self._store.left_out.let_by(error)

    def _named(self, calls: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        """Return a tensor for each call; of a layer that was left out at a later call, none."""
        named: dict[str, Tensor] = {}
        for layer, tensors in calls.items():
            names = [layer] if len(tensors) == 1 else [f"{layer}[{index}]" for index in range(len(tensors))]
            if layer not in self._problems:
                named.update(zip(names, tensors, strict=True))
        return named

    def _warn_of_silence(self) -> None:
        if self._root is not self._model and not self.fired and self.counted == 1:
            warn_unraised(
                f"capture: no layer fired in a whole forward pass of {type(self._model).__name__}; a compiled module "
                "ignores hooks that come after its first run: attach before, or capture from the uncompiled module"
            )
