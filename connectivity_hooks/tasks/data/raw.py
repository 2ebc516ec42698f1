"""Splits as they come from a file, before scaling and normalising."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Arrays: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class RawData:
    """A training and perhaps a test split: (inputs, targets) in memory, or a loader too large for it."""

    train: Arrays | Iterable[Arrays]
    test: Arrays | Iterable[Arrays] | None
