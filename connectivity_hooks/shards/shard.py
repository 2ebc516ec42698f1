"""Which of how many shards: ``2/4``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from connectivity_hooks.errors import UsageError

T = TypeVar("T")

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)  # no job array has a thousand million jobs


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that somebody types as ``i/n``; raise `UsageError` where it is none."""
        found = _FORM.fullmatch(text)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count:
            shown = text if len(text) <= 40 else text[:39] + "…"
            raise UsageError(f"--shard {shown}: expected I/N with whole numbers and 1 ≤ I ≤ N, such as 2/4")
        return cls(number, count)

    def of(self, things: Sequence[T]) -> Sequence[T]:
        """Return this shard's share of things that every shard lists in the same order: every `count`-th."""
        return things[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
