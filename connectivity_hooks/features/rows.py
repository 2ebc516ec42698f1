"""Rows of a forward pass: one for each sample of its batch, or the tensor is not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from connectivity_hooks.errors import InputError


def first_axes(inputs: Iterable[Any]) -> list[int]:
    """Return the first axis of every tensor that a module was given, in order.

    Args:
        inputs: What it was given; tensors are looked for in mappings too. A list of tensors says nothing: its entries
            may be samples, whose first axis is something else.
    """
    found: list[int] = []
    for value in inputs:
        if isinstance(value, Tensor) and value.dim() > 0:
            found.append(value.size(0))
        elif isinstance(value, Mapping):
            found += first_axes(value.values())
    return found


def samples_of_pass(given: Iterable[Any], caught: Iterable[Tensor]) -> int | None:
    """Return how many samples a forward pass had; None when neither what it was given nor what was caught says so.

    It is the first axis that most of the caught tensors share with a tensor that was given; where none does, that of
    the first one given.
    """
    axes = first_axes(given)
    rows = [tensor.size(0) for tensor in caught]
    shared = Counter(number for number in rows if number in axes or not axes)
    return shared.most_common(1)[0][0] if shared else next(iter(axes), None)


def samples_of_batch(batch: Any) -> int | None:
    """Return how many samples a batch has: by its targets where it has some, else by its inputs.

    Args:
        batch: Inputs, or (inputs, targets); inputs are a tensor, a tuple of arguments or a mapping of named ones.
    """
    if not isinstance(batch, (tuple, list)):
        return next(iter(first_axes([batch])), None)
    inputs = batch[0] if isinstance(batch[0], (tuple, list)) else batch[:1]
    return next(iter([*first_axes(batch[1:2]), *first_axes(inputs)]), None)


def require_plain(tensor: Tensor) -> None:
    """Refuse a tensor that cannot be kept beyond its forward pass.

    Raises:
        InputError: It is seen from inside torch.func (vmap, grad), where it stands for others, or holds no values.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # there is no public question for it
        raise InputError("it was called inside torch.func (vmap, grad), where its output has no values of its own")
    if tensor.device.type == "meta" or isinstance(tensor, FakeTensor):
        raise InputError("its output holds no values: it is on the device meta, or fake")


def require_rows(tensor: Tensor, samples: int) -> None:
    """Refuse a tensor that has not one row for each sample.

    Raises:
        InputError: Its first axis is not the samples, or its rows differ in length.
    """
    if tensor.is_nested:
        raise InputError("its output is a nested tensor, whose rows differ in length")
    if tensor.size(0) != samples:
        raise InputError(
            f"its output {tuple(tensor.shape)} has {tensor.size(0)} rows, expected {samples}, one for each sample of "
            "the batch; capture a layer whose first axis is the samples (batch_first=True, where it is offered)"
        )
