"""The order in which a person reads several paths; programs get them in the order in which they were built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from connectivity_hooks.evaluation.evaluation import Evaluation

T = TypeVar("T")


def ordered(evaluations: Mapping[str, Evaluation], kept: str | None = None) -> dict[str, Evaluation]:
    """Return the one that is kept, then those that are proven, each by its largest loss on the first split."""
    ranks = {
        name: (found.conclusion.verdict == "proven", next(iter(found.barriers.values())).loss_max)
        for name, found in evaluations.items()
    }
    return _sorted(evaluations, ranks, kept)


def ordered_saved(builders: Mapping[str, Any], split: str | None, kept: str | None = None) -> dict[str, Any]:
    """Return the builders of report.json in the same order.

    Args:
        builders: As the file has them.
        split: The first split; None where nothing was measured.
        kept: Name of the one that is kept.
    """
    ranks = {
        name: (of["conclusion"]["verdict"] == "proven", of[split]["loss_max"] if split else None)
        for name, of in builders.items()
    }
    return _sorted(builders, ranks, kept)


def _sorted(items: Mapping[str, T], ranks: Mapping[str, tuple[bool, Any]], kept: str | None) -> dict[str, T]:
    def rank(name: str) -> tuple[bool, bool, float]:
        proven, loss = ranks[name]
        known = isinstance(loss, (int, float)) and math.isfinite(loss)
        return name != kept, not proven, loss if known else math.inf

    return {name: items[name] for name in sorted(items, key=rank)}
