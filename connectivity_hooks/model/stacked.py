"""A module run on one batch under the weights of several points: one after the other, or all at once by `vmap`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from connectivity_hooks.model.inputs import Inputs, rows_of
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.model.weights import Weights, weights_of


def point_of(model: nn.Module) -> Weights:
    """Return copies of a module's weights, named as `torch.func.functional_call` takes them.

    Tied tensors are one under all their names; buffers that are no part of its `state_dict` stay the module's own.
    """
    stored = {tensor.data_ptr() for tensor in weights_of(model).values()}
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    copies: dict[int, Tensor] = {}
    return {
        name: copies.setdefault(id(tensor), tensor.detach().clone())
        for name, tensor in named
        if tensor.data_ptr() in stored
    }


def stacked(points: Sequence[Weights]) -> Weights:
    """Return the weights of P points in one tensor (P, …) by name."""
    return {name: torch.stack([point[name] for point in points]) for name in points[0]}


def in_turn(model: nn.Module, points: Sequence[Weights], inputs: Inputs, run: Forward = PLAIN) -> Tensor:
    """Return the outputs (P, N, …) of one batch under the weights of P points, computed one after the other.

    The operations are those of the module alone, so outputs are the same to the bit.
    """
    return torch.stack([run.under(model, point, inputs, all_names=True) for point in points])


def at_once(model: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs, run: Forward = PLAIN) -> Tensor:
    """Return the same of stacked weights (P, …), every operation computed once for all points.

    Sums may be taken in another order, which moves outputs by rounding.

    Raises:
        RuntimeError: An operation cannot be computed for all points in one, or would be for one after the other; so
            does whatever else `vmap` refuses, such as a branch that depends on values.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*batching rule")  # it would be slower than one after the other
        found: Tensor = vmap(lambda point: run.under(model, point, inputs, all_names=True))(dict(weights))
    return found


def bytes_of_row(model: nn.Module, inputs: Inputs, run: Forward = PLAIN) -> int:
    """Return how many bytes all values computed in a pass take for each sample: no pass holds more of them at a time.

    Args:
        model: The module, in evaluation mode.
        inputs: A few samples; they are run.
        run: How the module is run.
    """
    with _Counting() as counting:  # type: ignore[no-untyped-call]
        run(model, inputs)
    return int(-(-counting.total // rows_of(inputs)))


class _Counting(TorchDispatchMode):
    """Adds up the bytes of tensors that operations make; views of what they were given are none."""

    total: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {_place(tensor) for tensor in _tensors((args, kwargs))}
        self.total += sum(tensor.nbytes for tensor in _tensors(found) if _place(tensor) not in given)
        return found


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
