"""Layers that are left out: each with its reason, and said as whoever captures wants it."""

from __future__ import annotations

from typing import Literal

from connectivity_hooks.errors import one_line
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.warning import warn_unraised

Faults = Literal["warn", "raise", "note"]


class LeftOut:
    """Which layers are left out, and why: with a layer, all its calls.

    Args:
        faults: What is done with what goes wrong: one warning for each layer, for who trains; raising it; or noting it
            in `problems` only, for who answers layer by layer.

    Attributes:
        problems: For each layer left out, the reason.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.problems: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        """Say whether a layer is left out; `name` may be a single call."""
        return modules_of([name])[0] in self.problems

    def add(self, name: str, error: Exception) -> str:
        """Leave a layer out from now on, and return its name; `error` is raised where faults are to be."""
        if self.faults == "raise":
            raise error
        layer = modules_of([name])[0]
        if layer not in self.problems:
            self.problems[layer] = one_line(error)
            if self.faults == "warn":
                warn_unraised(f"capture: {layer} is left out: {self.problems[layer]}")
        return layer

    def let_by(self, error: Exception) -> None:
        """Say that a whole pass is let by; `error` is raised where faults are to be."""
        if self.faults == "raise":
            raise error
        warn_unraised(f"capture: a pass is let by: {one_line(error)}")
