"""Neurons of what passes in the training's own passes, without waiting for a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.layout import Layout, usual
from connectivity_hooks.features.module_axes import layout_by_module
from connectivity_hooks.features.padding import AVERAGED_IN, LEFT_OUT, Tokens, named_arguments
from connectivity_hooks.features.pooling import Pooling, Pools
from connectivity_hooks.features.sequence_first import SequenceFirst
from connectivity_hooks.features.view import neurons_last, positions_behind

_UNSURE = (
    "in a model that works with tokens first (batch_first=False), nothing tells whether its rows are samples; capture "
    "one of the sequence-first modules beside it, or no pool=, which keeps the pass whole"
)


class Pooled:
    """Takes the positions of what passes, padding left out where the pass was given a mask.

    One batch is all that is seen: which axis is what, the modules say (`module_axes`).

    Args:
        model: The module listened to.
        pools: How positions are taken.
    """

    def __init__(self, model: nn.Module, pools: Pools = "mean") -> None:
        self.pooling = Pooling(model, pools)
        self._model = model
        self._layouts: dict[tuple[str, tuple[int, ...], int], Layout] = {}
        self._tokens = Tokens(model, None)
        self._sequence_first = SequenceFirst(model)
        self._positions: set[str] = set()
        self._padded: dict[str, tuple[Tensor, bool]] = {}

    def begin(self, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Begin a pass with what the model was given."""
        self._tokens = Tokens(self._model, named_arguments(self._model, given, named), wait=False)

    def require_sure(self, layer: str, feature: Tensor, samples: int) -> None:
        """Raise `InputError` where a layer's rows may be tokens, in a model that works with tokens first."""
        if samples and not feature.is_nested and self._sequence_first.rows(layer, feature, samples) == "unsure":
            raise InputError(_UNSURE)

    def rows(self, layer: str, feature: Tensor, samples: int) -> Tensor:
        """Return the neurons (N, n) of a layer.

        Args:
            layer: Dotted name, or ``NAME:input``.
            feature: What passed it.
            samples: Samples of the pass; 0 where that is not known.

        Raises:
            InputError: It is not clear which axis is what, or what is asked for cannot be taken.
        """
        layout = self._layout(layer, feature, samples)
        behind = positions_behind(feature, layout) if feature.ndim > 2 else feature
        known = None
        if behind.ndim > 2:
            self._positions.add(layer)
            known = self._tokens.at(layer, behind)
            self._note(layer, known)
        return neurons_last(feature, layout, pool=self.pooling.of(layer), tokens=known)

    def words(self) -> dict[str, dict[str, str]]:
        """Return for each layer that has positions how they were taken; it waits for the device."""
        found = {}
        for layer in self._positions:
            found[layer] = {"pool": self.pooling.asked(layer)}
            there, known = self._padded.get(layer, (None, False))
            if there is not None and bool(there):
                found[layer]["padding"] = LEFT_OUT if known else AVERAGED_IN
        return found

    def _note(self, layer: str, known: Tensor | None) -> None:
        given = self._tokens.of(layer)
        if given is not None:
            before, always = self._padded.get(layer, (None, True))
            there = (~given).any()
            self._padded[layer] = (there if before is None else before | there, always and known is not None)

    def _layout(self, layer: str, feature: Tensor, samples: int) -> Layout:
        if feature.ndim < 3 or not samples:
            return usual(feature.ndim)
        key = (layer, tuple(feature.shape), samples)
        if key not in self._layouts:  # every pass of a training asks
            self._layouts[key] = layout_by_module(self._model, layer, feature.shape, samples)
        return self._layouts[key]
