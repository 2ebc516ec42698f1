"""What a loader gives, read as a batch: inputs of a model, and targets of a loss.

The one reader for the loaders of ``--data``, the probes of ``watch`` and streams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import Inputs, named_tensors
from connectivity_hooks.strangers import unlike_plain

Batch: TypeAlias = tuple[Inputs, Tensor]
"""Inputs, and targets (N, …)."""

Unused: TypeAlias = Callable[[Mapping[str, Any]], Collection[str]]
"""Says which of a batch's named inputs are left out, because the model does not take them."""


def none_unused(inputs: Mapping[str, Any]) -> Collection[str]:
    """Leave nothing out."""
    return ()


LABELS = "labels"
"""The entry of a mapping that holds targets, as Transformers names it."""

RETURN_LOSS = "return_loss"
"""The argument by which models that need no labels are asked for their loss, such as CLIP and SigLIP."""

_DEEPEST_LIST = 8  # of numbers: beyond the axes of any model's inputs


TOKENS, MASK = "input_ids", "attention_mask"
"""The entries that hold tokens (N, T), and which of them are no padding."""

IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out unless told otherwise."""

_EXPECTED = f"expected (inputs, targets), or a dict with {LABELS!r}"


ITS_OWN = "no targets are given, so the inputs are taken for their own, as an autoencoder's"
"""What a person is told of batches without targets."""

_PAIR, _LABELLED, _ITSELF = "is a pair (inputs, targets)", f"is a dict with {LABELS!r}", "has no targets"


class BatchReader:
    """Reads the batches of one loader by one rule: its first says whether they have targets, and where.

    A batch without labels among others would else have its own inputs for targets, and no word of it.

    Args:
        where: The first words of a message.
        unused: Says which named inputs are left out; asked of every batch.
    """

    def __init__(self, where: str, unused: Unused = none_unused) -> None:
        self._where = where
        self._unused = unused
        self._form: str | None = None

    @property
    def its_own(self) -> bool:
        """Whether the batches have no targets, and their inputs are taken for them."""
        return self._form == _ITSELF

    def read(self, batch: Any, number: int) -> Batch:
        """Return the inputs and targets of a batch, see `read_batch`.

        Args:
            batch: What a loader gave.
            number: Its place among the loader's batches, from 0.

        Raises:
            InputError: It is no batch, or has another form than the first.
        """
        inputs, targets, form = _parted(batch, self._where)
        if isinstance(inputs, Mapping):
            left_out = self._unused(inputs)
            inputs = {name: value for name, value in inputs.items() if name not in left_out}
        if self._form is None:
            self._form = form
        if form != self._form:
            first = "has" if form == _ITSELF else self._form
            raise InputError(f"{self._where}: batch {number + 1} {form}, batch 1 {first}; expected one form of all")
        return _checked(inputs, targets, self._where)


def read_batch(batch: Any, where: str) -> Batch:
    """Return the inputs and targets of a batch, as they are: nothing is copied, moved or converted.

    - ``(inputs, targets)``: inputs are a tensor, a tuple of arguments, or a mapping of named ones.
    - A mapping with ``labels``: these are the targets, everything else is the inputs.
    - A tensor, ``(tensor,)``, ``(inputs, None)`` or a mapping without ``labels``: there are no targets, and the only
      tensor of the inputs is what an autoencoder gives back.

    Args:
        batch: What a loader gave.
        where: The first words of a message.

    Raises:
        InputError: It is none of these, its tensors are not plain, or they have not one number of rows.
    """
    inputs, targets, _ = _parted(batch, where)
    return _checked(inputs, targets, where)


def _checked(inputs: Inputs, targets: Tensor | None, where: str) -> Batch:
    named = _named(inputs, where)
    _require_plain([*named.values(), *([] if targets is None else [targets])], where)
    targets = _itself(named, where) if targets is None else targets
    _require_rows(named, targets, where)
    _require_tensors(inputs, len(targets), where)
    return inputs, targets


def with_labels(batch: Batch) -> Batch:
    """Return a batch whose targets are among its named inputs too, for models that compute with them."""
    inputs, targets = batch
    return {**inputs, LABELS: targets.clone()}, targets  # a model may write to its own


def _parted(batch: Any, where: str) -> tuple[Inputs, Tensor | None, str]:
    """Return inputs, targets, and the form the batch has."""
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        batch = batch[0]
    if isinstance(batch, Tensor):
        return batch, None, _ITSELF
    if isinstance(batch, Mapping):
        batch = _of_tensors(batch)
        inputs = {str(name): value for name, value in batch.items() if name != LABELS}
        if LABELS not in batch:
            return inputs, None, _ITSELF
        return inputs, _targets(batch[LABELS], f"{LABELS!r} is", where), _LABELLED
    if not isinstance(batch, (tuple, list)):
        raise InputError(f"{where}: a batch is a {type(batch).__name__}, {_EXPECTED}")
    if len(batch) != 2:
        raise InputError(
            f"{where}: a batch has {len(batch)} entries and is not a pair, {_EXPECTED}; several inputs are "
            "((first, second), targets)"
        )
    inputs, targets = batch
    if targets is None:
        return inputs, None, _ITSELF
    return inputs, _targets(targets, "targets are", where), _PAIR


def _of_tensors(batch: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return a batch with ``labels`` whose lists and arrays of as many numbers as there are labels are tensors.

    Tokenizers return such lists unless they are asked for tensors. Lists of unequal lengths stay what they are.
    """
    labels = _as_tensor(batch.get(LABELS))
    if not isinstance(labels, Tensor) or not labels.ndim:
        return batch
    return {
        name: labels if name == LABELS else _as_tensor(value) if _rows(value) == len(labels) else value
        for name, value in batch.items()
    }


def _rows(value: Any) -> int | None:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def _as_tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        wide = value.dtype.kind == "u" and value.dtype.itemsize > 1
        return torch.from_numpy(value.astype(np.int64 if wide else value.dtype.newbyteorder("=")))
    leaf = value
    for _ in range(_DEEPEST_LIST):
        if not isinstance(leaf, (list, tuple)) or not leaf:
            break
        leaf = leaf[0]
    if isinstance(value, (list, tuple)) and isinstance(leaf, (int, float)):
        with contextlib.suppress(ValueError, TypeError, RuntimeError, OverflowError):
            return torch.tensor(value)
    return value


def _named(inputs: Inputs, where: str) -> dict[str, Tensor]:
    """Return the tensors among the inputs by dotted name."""
    try:
        named = dict(named_tensors(inputs))
    except InputError as error:
        raise InputError(f"{where}: in a batch, {error}") from None
    if not named:
        raise InputError(
            f"{where}: in a batch, inputs are {_described(inputs)}; expected a tensor, a tuple of arguments, or a dict "
            "of named ones"
        )
    return named


def _described(value: Any) -> str:
    """Return in words what inputs without a tensor are."""
    if isinstance(value, Mapping):
        entries = ", ".join(f"{name!r}: a {type(each).__name__}" for name, each in value.items())
        return f"a dict of {entries}" if entries else f"a dict without any entry but {LABELS!r}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {type(value[0]).__name__ if value else 'nothing'}"
    return f"a {type(value).__name__}"


def _targets(targets: Any, what: str, where: str) -> Tensor:
    if isinstance(targets, (list, tuple)) and any(isinstance(each, Mapping) for each in targets):
        raise InputError(
            f"{where}: a batch is a {type(targets).__name__} of dicts beside its images, as a detector's: each has "
            "boxes of its own number, and a loss here compares one tensor (N, …) with one; detection is not measured"
        )
    if not isinstance(targets, Tensor):
        raise InputError(f"{where}: in a batch, {what} a {type(targets).__name__}, expected a tensor (N, …)")
    return targets


def _itself(named: Mapping[str, Tensor], where: str) -> Tensor:
    """Return the only tensor of the inputs, which is its own target; or the tokens, of which padding does not count.

    Whether tokens can be labels at all is for the model to say: those of a causal language model are.
    """
    if TOKENS in named and not named[TOKENS].is_floating_point():
        return _tokens(named[TOKENS], named.get(MASK))
    if len(named) != 1:
        entries = ", ".join(named)
        raise InputError(
            f"{where}: a batch has no targets, and its inputs are not one tensor that could be its own ({entries}); "
            f"{_EXPECTED}; a model that takes its targets under names of their own is wrapped in one that takes "
            f"{LABELS!r}, see docs/data.md"
        )
    return next(iter(named.values()))


def _tokens(tokens: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None or mask.shape != tokens.shape:
        return tokens
    return tokens.long().masked_fill(mask == 0, IGNORED)


def _require_rows(named: Mapping[str, Tensor], targets: Tensor, where: str) -> None:
    found = {name or "inputs": len(tensor) if tensor.ndim else None for name, tensor in named.items()}
    rows = len(targets) if targets.ndim else None
    if rows is None or any(count != rows for count in found.values()):
        listed = ", ".join(f"{name}: {'a single number' if count is None else count}" for name, count in found.items())
        raise InputError(
            f"{where}: a batch has {'a single number as' if rows is None else rows} targets and inputs of other rows "
            f"({listed}); expected as many of each, along the first axis"
        )


def _require_tensors(inputs: Inputs, rows: int, where: str) -> None:
    """Refuse what holds a text or a number for each sample; it cannot be cut into batches as tensors are."""
    in_order = enumerate(inputs) if isinstance(inputs, (tuple, list)) else ()
    for name, value in inputs.items() if isinstance(inputs, Mapping) else in_order:
        if isinstance(value, (list, tuple)) and len(value) == rows and not dict(named_tensors(value)):
            kind = type(value[0]).__name__ if rows else "nothing"
            raise InputError(
                f"{where}: in a batch, {name!r} is a {type(value).__name__} of {kind}, one for each sample; expected a "
                "tensor, or leave it out"
            )


def _require_plain(tensors: list[Tensor], where: str) -> None:
    for tensor in tensors:
        found = unlike_plain(tensor) or ("a complex tensor" if tensor.is_complex() else None)
        if found is not None:
            raise InputError(f"{where}: a batch has {found}; expected plain tensors of real numbers")
