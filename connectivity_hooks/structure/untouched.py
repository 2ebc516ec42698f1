"""A model's attributes, put back after its code has run: what a forward pass keeps there belongs to that pass alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import Inputs, mapped
from connectivity_hooks.model.pristine import apart
from connectivity_hooks.model.running import Forward

_CONTAINERS = (dict, OrderedDict, list, set)
"""An `OrderedDict` holds a module's hooks: code that puts them on at its first pass notes so beside them."""


class Attributes:
    """The attributes of every module as they are now; tensors are not copied.

    Some modules keep what they computed from their weights, such as a table of attention biases, and read it again
    under other weights; tracing leaves tensors without values behind.

    Args:
        model: The model. Lazy modules that have not run are left out, since their first pass makes their weights.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [module for module in model.modules() if not isinstance(module, LazyModuleMixin)]
        self._kept = [(vars(module), dict(vars(module))) for module in modules]
        self._contents = [
            (value, value.copy())
            for _, attributes in self._kept
            for value in attributes.values()
            if type(value) in _CONTAINERS
        ]

    def are_as_they_were(self) -> bool:
        """Say whether no attribute and no entry of a dict, list or set among them was made, replaced or taken away."""
        return all(_identical(now, before) for now, before in (*self._kept, *self._contents))

    def put_back(self) -> None:
        """Make every attribute what it was, and every dict, list and set among them hold what it held."""
        for now, before in self._kept:
            for name in now.keys() - before.keys():
                del now[name]
            now.update(before)
        for container, content in self._contents:
            _refill(container, content)


def _identical(now: Any, before: Any) -> bool:
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(key in before and value is before[key] for key, value in now.items())
    if isinstance(now, list):
        return all(value is old for value, old in zip(now, before, strict=True))
    return bool(now == before)


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


@torch.no_grad()
def require_forgetful(
    model: nn.Module, fresh: nn.Module | None, weights: Mapping[str, Tensor] | None, inputs: Inputs, run: Forward
) -> None:
    """Refuse a module that gives other outputs than its pristine copy with tensors of its own, of the same values.

    They are other tensors, since code may look up what it kept by their identity, in a place that is not the module's.
    A module whose outputs differ from its own is none of these, see `require_repeatable`.

    Memory: the module once more without `weights`, else its buffers; where there is none for it, the pristine copy
    itself is asked.

    Args:
        model: A module that ran under other weights before.
        fresh: See `model.pristine`.
        weights: The weights that are written into both, in tensors of their own; None where these are not known.
        inputs: Of a batch.
        run: How the module is run.

    Raises:
        InputError: It keeps what it computed under earlier weights.
    """
    if fresh is None:
        return
    with torch.random.fork_rng(devices=[]):
        expected, found, again = (
            run(each, mapped(torch.clone, inputs)) for each in (apart(fresh, weights), model, model)
        )
    near = {"rtol": 1e-3, "atol": 1e-5, "equal_nan": True}
    alike = torch.allclose(found, expected, **near)  # type: ignore[arg-type]
    if not alike and torch.allclose(found, again, **near):  # type: ignore[arg-type]
        raise InputError(
            "the model keeps what it computed under other weights, so that its outputs are not those of its weights; "
            "compute it anew in every forward pass, or register it as a buffer"
        )


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put a model's attributes back when the block ends."""
    attributes = Attributes(model)
    try:
        yield
    finally:
        attributes.put_back()
