"""The mean of weights, summed in float64, and what of a checkpoint is not averaged."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import tracked_norms
from connectivity_hooks.model import Weights, same


class Soup:
    """A weighted mean that grows, Σ w_i·θ_i / Σ w_i, every tensor summed in float64.

    A floating tensor that is the same in all, such as a mask with infinities, stays as it is, bit for bit. Integers and
    truth values are not averaged: they have to be the same in all, but for counters, which are the first one's. Memory:
    the first checkpoint, and its floating weights in float64.

    Args:
        counters: Names of integer tensors that count, and change no output.

    Attributes:
        members: Names of the checkpoints in it.
        kept_counters: Names of the counters that differed.
    """

    def __init__(self, counters: Collection[str] = ()) -> None:
        self.members: tuple[str, ...] = ()
        self.kept_counters: frozenset[str] = frozenset()
        self.total = 0.0
        self._counters = frozenset(counters)
        self._first: Weights = {}
        self._sums: Weights = {}

    def add(self, name: str, weights: Weights, share: float = 1.0) -> None:
        """Take in a checkpoint with a weight.

        Raises:
            InputError: An integer or bool tensor is not that of the others.
        """
        if not self._first:
            self._first = dict(weights)
        for key, tensor in weights.items():
            if not tensor.is_floating_point():
                self._require_equal(name, key, tensor)
            elif key in self._sums:
                self._sums[key] += share * tensor.double()
            elif not same(tensor, self._first[key]):
                self._sums[key] = self.total * self._first[key].double() + share * tensor.double()
        self.total += share
        self.members = (*self.members, name)

    def joined_by(self, name: str, weights: Weights, share: float = 1.0) -> Soup:
        """Return another soup, with one more checkpoint in it."""
        more = Soup(self._counters)
        more.members, more.total, more.kept_counters = self.members, self.total, self.kept_counters
        more._first, more._sums = self._first, {key: tensor.clone() for key, tensor in self._sums.items()}
        more.add(name, weights, share)
        return more

    def mean(self, dtype: torch.dtype | None = None) -> Weights:
        """Return the mean, rounded once: to `dtype`, or to the types of the first checkpoint."""
        return {key: self._mean(key, tensor, dtype) for key, tensor in self._first.items()}

    def _mean(self, key: str, own: Tensor, dtype: torch.dtype | None) -> Tensor:
        if not own.is_floating_point():
            return own
        mean = self._sums[key] / self.total if key in self._sums else own
        return mean.to(dtype or own.dtype)

    def _require_equal(self, name: str, key: str, tensor: Tensor) -> None:
        if same(tensor, self._first[key]):
            return
        if key not in self._counters:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{name}: {key} ({kind}) differs from that of {self.members[0]}; whole numbers and truth values have "
                "no mean: leave one of them out, or give both the same"
            )
        self.kept_counters |= {key}


def counters_of(model: nn.Module) -> set[str]:
    """Return the names of tensors that count the batches a norm has seen; no output depends on them in evaluation."""
    return {f"{norm}.num_batches_tracked".lstrip(".") for norm in tracked_norms(model)}
