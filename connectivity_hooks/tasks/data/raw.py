"""Splits as they come from a file, before scaling and normalising."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from connectivity_hooks.model.batches import Batch

Source: TypeAlias = Batch | list[Batch] | Iterable[Batch]
"""All samples as one batch, batches that cannot be joined, or a loader too large for memory."""


@dataclass(frozen=True)
class RawData:
    """A training and perhaps a test split.

    Attributes:
        train: Training samples.
        test: Test samples; None where there are none.
        stored: Whether inputs are arrays as a file has them, of which nobody said yet where the channels are.
        own: Whether they come from code of the user's own.
        its_own: Whether no targets were given, so that the inputs are taken for them.
    """

    train: Source
    test: Source | None
    stored: bool = False
    own: bool = False
    its_own: bool = False
