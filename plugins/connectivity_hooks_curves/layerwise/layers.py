"""Layers of a module, the moves that bring each to the other end, and the variance of its weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Move(NamedTuple):
    """A move of one layer towards the other end, of as many as there are rounds.

    Attributes:
        layer: Number of the layer.
        nth: Which of its moves this is, from 1; the last arrives.
    """

    layer: int
    nth: int


def layers_of(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the names of parameters by the module that has them, in their order.

    What a parametrization puts in a parameter's place (``fc.parametrizations.weight.original0``) is its module's.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        whole = (
            name.partition(".parametrizations.")[0] if ".parametrizations." in f".{name}" else name.rpartition(".")[0]
        )
        found.setdefault(whole, []).append(name)
    return [tuple(layer) for layer in found.values()]


def moves_of(layers: int, rounds: int) -> list[Move]:
    """Return all moves in order, each layer once in a round."""
    return [Move(layer, nth) for nth in range(1, rounds + 1) for layer in range(layers)]


@torch.no_grad()
def move(here: Tensor, a: Tensor, b: Tensor, nth: int, rounds: int) -> None:
    """Move a parameter, in place, by its share of what is left of the way to `b`, and restore its variance.

    The share is one of all the moves that are left, so that the last one arrives, bit for bit. The variance of a weight
    (two axes or more) becomes what lies between those of both ends; a bias, or a factor of a norm, has too few entries.
    """
    if nth == rounds:
        here.copy_(b)
        return
    here.lerp_(b, 1 / (rounds - nth + 1))
    if here.ndim > 1:
        restore_variance(here, torch.lerp(variance(a), variance(b), nth / rounds))


def variance(values: Tensor) -> Tensor:
    """Return the mean square of what values have above their mean."""
    return values.var(correction=0)


def restore_variance(values: Tensor, wanted: Tensor) -> None:
    """Scale values about their mean, in place, so that they have a variance; constant ones stay as they are."""
    mean, found = values.mean(), variance(values)
    scale = torch.where(found > 0, (wanted / found.clamp_min(torch.finfo(found.dtype).tiny)).sqrt(), 1)
    values.sub_(mean).mul_(scale).add_(mean)
