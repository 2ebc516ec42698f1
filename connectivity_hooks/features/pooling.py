"""How the positions of each layer become neurons: what was asked for, for all layers or for some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import TypeAlias, get_args

from torch import nn

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.select import INPUT
from connectivity_hooks.features.view import Taken

Pools: TypeAlias = "str | Sequence[str] | Mapping[str, str]"
"""One way for all layers (``mean``), ``LAYER=WAY`` in a list, or a mapping from layer or glob to a way."""

CLASS = "class"
POOLS = (*get_args(Taken), CLASS)
"""``mean``, ``first``, ``last``, ``flatten`` of `neurons_last`, and ``class``, the token a model adds to answer by."""

_MEAN = "mean"


class Pooling:
    """How the positions of each layer are taken; the mean where nothing is said.

    ``class`` is the first token, or the last where the model's configuration says that it answers by that (XLNet).

    Args:
        model: The module.
        pools: See `Pools`.

    Raises:
        UsageError: One is no way to take positions, two are for the same layers, or a layer is unknown.
    """

    def __init__(self, model: nn.Module, pools: Pools = _MEAN) -> None:
        self._model = model
        self._pairs = _pairs(pools)
        self._used: set[str] = set()
        _check_layers([layer for layer in self._pairs if layer], model)

    def of(self, layer: str) -> Taken:
        """Return how `neurons_last` is to take a layer's positions.

        Args:
            layer: Dotted name, ``NAME:input``, or a single call of either.

        Raises:
            InputError: It is the class token, and the model has none.
        """
        asked = self.asked(layer)
        return class_token(self._model) if asked == CLASS else asked  # type: ignore[return-value]

    def asked(self, layer: str) -> str:
        """Return what was asked for, one of `POOLS`."""
        names = {layer, modules_of([layer])[0]}
        for pattern, pool in self._pairs.items():
            if pattern and any(name == pattern or fnmatch(name, pattern) for name in names):
                self._used.add(pattern)
                return pool
        return self._pairs.get("", _MEAN)

    def unused(self) -> list[str]:
        """Return in words what was asked for layers that nobody asked about so far."""
        return [
            f"{layer}={pool}: {layer} is not among the layers that are looked at"
            for layer, pool in self._pairs.items()
            if layer and layer not in self._used
        ]


def class_token(model: nn.Module) -> Taken:
    """Return where a model's class token is: of several conventions the one its configuration names, else the first.

    Raises:
        InputError: The model says that it has none.
    """
    summary = getattr(getattr(model, "config", None), "summary_type", None)  # of XLNet and its relatives
    if summary in ("first", "last"):
        return "last" if summary == "last" else "first"
    tokens = getattr(model, "num_prefix_tokens", None)  # of timm
    absent = object()
    named = [getattr(model, name, absent) for name in ("cls_token", "class_token")]
    if tokens == 0 or any(value is None or value is False for value in named):
        raise InputError(f"{type(model).__name__} has no class token; take another pool: mean, first or last")
    return "first"


def _pairs(pools: Pools) -> dict[str, str]:
    """Return what is asked for by layer or glob, under the empty name for all others."""
    if isinstance(pools, Mapping):
        given = list(pools.items())
    else:
        parted = [each.rpartition("=") for each in ([pools] if isinstance(pools, str) else pools)]
        for layer, equals, pool in parted:
            if equals and not layer:
                raise UsageError(f"pool '={pool}': names no layer before the =; expected LAYER={'|'.join(POOLS)}")
        given = [(layer, pool) for layer, _, pool in parted]
    found: dict[str, str] = {}
    for layer, pool in given:
        if pool not in POOLS:
            raise UsageError(f"pool: expected one of {', '.join(POOLS)}, or LAYER=one of them, found {pool!r}")
        if layer in found:
            raise UsageError(f"pool {pool!r}: another is named for {layer or 'all layers'} already")
        found[layer] = pool
    return found


def _check_layers(layers: Sequence[str], model: nn.Module) -> None:
    names = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        bare = modules_of([layer])[0].removesuffix(INPUT)
        if not any(name == bare or fnmatch(name, bare) or fnmatch(name, layer) for name in names):
            raise UsageError(
                f"pool {layer}=…: no layer {bare!r} in {type(model).__name__}; {near_matches(bare, names)}"
            )
