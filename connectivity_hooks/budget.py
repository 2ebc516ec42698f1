"""How long something is trained, as a person types it: ``300steps``, ``3epochs``, ``30s``, ``5m``, ``2h``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from connectivity_hooks.errors import UsageError

Unit = Literal["steps", "epochs", "seconds"]

_TYPED = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(steps?|epochs?|s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LARGEST = 1e12
"""Steps, epochs or seconds: more than any training has, and exact in a float."""


@dataclass(frozen=True)
class Budget:
    """How long something is trained.

    Only steps and epochs give the same result again: what is reached in a time depends on the machine.

    Attributes:
        amount: How much, above 0; of steps a whole number.
        unit: Of what.
    """

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: object, flag: str = "--budget") -> Budget:
        """Read a budget as typed: a number with ``steps``, ``epochs``, ``s``, ``m`` or ``h`` behind it.

        Args:
            text: What was typed.
            flag: Where, as the message names it.

        Raises:
            UsageError: It is none.
        """
        expected = f"{flag}: expected a budget such as 300steps, 3epochs, 30s or 5m"
        found = _TYPED.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            raise UsageError(f"{expected}, found {repr(text)[:60]}")
        amount, word = float(found[1]), found[2]
        unit: Unit = "seconds" if word in _SECONDS else "steps" if word.startswith("step") else "epochs"
        amount *= _SECONDS.get(word, 1)
        if not 0 < amount <= _LARGEST or (unit == "steps" and not amount.is_integer()):
            limits = f"above 0 and at most {_LARGEST:g}" + (" and whole" if unit == "steps" else "")
            raise UsageError(f"{expected}, {limits}, found {repr(text)[:60]}")
        return cls(amount, unit)

    @property
    def is_reproducible(self) -> bool:
        """Whether the same seed gives the same training on every run of one machine."""
        return self.unit != "seconds"

    def share(self, steps: int, epochs: float, seconds: float) -> float:
        """Return how much of it is used, from 0 to 1.

        Args:
            steps: Steps done.
            epochs: Epochs done, with the part of the one that is under way.
            seconds: Seconds since the training began, runs that were interrupted included.
        """
        done = {"steps": float(steps), "epochs": epochs, "seconds": seconds}[self.unit]
        return min(1.0, done / self.amount)

    def steps_left(self, steps: int, batches: int) -> int | None:
        """Return how many steps are left; None where only the clock knows.

        Args:
            steps: Steps done.
            batches: Batches of an epoch.
        """
        if self.unit == "seconds":
            return None
        whole = self.amount if self.unit == "steps" else self.amount * batches
        return max(0, math.ceil(whole) - steps)

    def __str__(self) -> str:
        """Return it as it can be typed."""
        return f"{self.amount:.12g}{'s' if self.unit == 'seconds' else self.unit}"
