"""The mean of weights, summed in float64, and what of a checkpoint is not averaged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import tracked_norms
from connectivity_hooks.model import Weights, mean_of_products, same
from connectivity_hooks.registry import registry


class Soup:
    """A weighted mean that grows, Σ w_i·θ_i / Σ w_i, every tensor summed in float64.

    A floating tensor that is the same in all, such as a mask with infinities, stays as it is, bit for bit. Integers and
    truth values are not averaged: they have to be the same in all, but for counters, which are the first one's. Memory:
    the first checkpoint, and its floating weights in float64.

    Weights that the model uses as a product alone, as adapters' B·A, have the mean of the products, see
    `mean_of_products`; of them all members are held.

    Args:
        counters: Names of integer tensors that count, and change no output.
        products: Names of B and A of each product.

    Attributes:
        members: Names of the checkpoints in it.
        kept_counters: Names of the counters that differed.
        product_errors: By the name of B the relative error of the last mean's product.
    """

    def __init__(self, counters: Collection[str] = (), products: Sequence[tuple[str, str]] = ()) -> None:
        self.members: tuple[str, ...] = ()
        self.kept_counters: frozenset[str] = frozenset()
        self.total = 0.0
        self._counters = frozenset(counters)
        self.product_errors: Mapping[str, float] = {}
        self._products = tuple(products)
        self._factors: list[tuple[float, Weights]] = []
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
        self._factors.append((share, {key: weights[key] for pair in self._products for key in pair}))
        self.total += share
        self.members = (*self.members, name)

    def joined_by(self, name: str, weights: Weights, share: float = 1.0) -> Soup:
        """Return another soup, with one more checkpoint in it."""
        more = Soup(self._counters, self._products)
        more._factors = list(self._factors)
        more.members, more.total, more.kept_counters = self.members, self.total, self.kept_counters
        more._first, more._sums = self._first, {key: tensor.clone() for key, tensor in self._sums.items()}
        more.add(name, weights, share)
        return more

    def mean(self, dtype: torch.dtype | None = None) -> Weights:
        """Return the mean, rounded once: to `dtype`, or to the types of the first checkpoint."""
        plain = self.plain(dtype)
        if not self._products:
            return plain
        shares, factors = zip(*self._factors, strict=True)
        found = mean_of_products(factors, self._products, shares)
        self.product_errors = found.errors
        return {**plain, **{key: tensor.to(plain[key].dtype) for key, tensor in found.weights.items()}}

    def plain(self, dtype: torch.dtype | None = None) -> Weights:
        """Return the mean of every tensor by itself, of the factors of a product too."""
        return {key: self._mean(key, tensor, dtype) for key, tensor in self._first.items()}

    @property
    def has_products(self) -> bool:
        """Whether the mean is not that of every tensor by itself."""
        return bool(self._products)

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


def products_of(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the names of B and A of each product that a library names, of which factors have no mean.

    The library is the model's, or that of a part of it.
    """
    found = dict[tuple[str, str], None]()
    for name, module in model.named_modules():
        adapter = registry().adapter_of(module)
        for left, right in () if adapter is None else adapter.products(module):
            found[f"{name}.{left}".lstrip("."), f"{name}.{right}".lstrip(".")] = None
    return tuple(found)
