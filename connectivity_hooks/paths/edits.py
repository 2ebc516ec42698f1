"""Edits: what changes from one point of a path to the next, down to the block of a tensor that changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.model.weights import Weights, same


@dataclass(frozen=True)
class Edit:
    """New values of one tensor, or of a block of it.

    Attributes:
        name: The tensor's dotted name.
        values: The new values: the whole tensor, or (len(rows), len(cols), …) of it.
        rows: int64 indices along the first axis; None means all of it.
        cols: int64 indices along the second axis; None means all of it.
    """

    name: str
    values: Tensor
    rows: Tensor | None = None
    cols: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether the edit replaces the whole tensor."""
        return self.rows is None and self.cols is None

    def block(self, tensor: Tensor) -> Tensor:
        """Return the block of `tensor` this edit is about: the tensor itself, or a copy of a part."""
        return tensor if self.whole else tensor[self._index(tensor.device)]

    def put(self, tensor: Tensor, values: Tensor) -> None:
        """Write `values` into the block of `tensor` in place."""
        if self.whole:
            tensor.copy_(values)
        else:
            tensor[self._index(tensor.device)] = values.to(tensor.device, tensor.dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> Edit:
        """Return the edit on `device`, floating values in `dtype`."""
        values = self.values.to(device, dtype if self.values.is_floating_point() else None)
        return Edit(self.name, values, self.rows, self.cols)

    def _index(self, device: torch.device) -> tuple[Tensor | slice, ...]:
        rows = None if self.rows is None else self.rows.to(device)
        cols = None if self.cols is None else self.cols.to(device)
        if rows is None:
            return (slice(None), cols) if cols is not None else (slice(None),)
        return (rows,) if cols is None else (rows[:, None], cols[None, :])


def edits_between(before: Weights, after: Weights) -> tuple[Edit, ...]:
    """Return the edits that turn `before` into `after`, each the smaller of a block and the whole tensor."""
    return tuple(
        _smallest_edit(name, tensor, after[name]) for name, tensor in before.items() if not same(tensor, after[name])
    )


def apply(edit: Edit, weights: Weights, owned: set[str]) -> None:
    """Apply `edit` to `weights`, copying a tensor before its first change unless its name is in `owned`."""
    if edit.whole:
        weights[edit.name] = edit.values
        owned.discard(edit.name)
        return
    if edit.name not in owned:
        weights[edit.name] = weights[edit.name].clone()
        owned.add(edit.name)
    edit.put(weights[edit.name], edit.values)


def _smallest_edit(name: str, before: Tensor, after: Tensor) -> Edit:
    if after.ndim == 0:
        return Edit(name, after)
    changed = _changed(before, after)
    rows = changed.flatten(1).any(1).nonzero().flatten() if changed.ndim > 1 else changed.nonzero().flatten()
    cols = changed.transpose(0, 1).flatten(1).any(1).nonzero().flatten() if changed.ndim > 1 else None
    rows_left = None if len(rows) == after.shape[0] else rows.cpu()
    cols_left = None if cols is None or len(cols) == after.shape[1] else cols.cpu()
    block = Edit(name, after, rows_left, cols_left)
    values = after if block.whole else block.block(after)
    indices = sum(8 * len(index) for index in (rows_left, cols_left) if index is not None)
    if values.numel() * values.element_size() + indices >= after.numel() * after.element_size():
        return Edit(name, after)
    return Edit(name, values, rows_left, cols_left)


def _changed(before: Tensor, after: Tensor) -> Tensor:
    # A sign of zero that flips is a change too: ends are kept bit for bit.
    after = after.to(before.device)
    return (before != after) | (before.signbit() != after.signbit())
