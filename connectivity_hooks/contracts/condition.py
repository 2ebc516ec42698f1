"""A condition: a question about one checkpoint with a measured answer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.features.observation import Observation


@dataclass(frozen=True)
class Verdict:
    """The answer of a condition for one layer.

    Attributes:
        condition: Name of the condition.
        layer: Dotted name of the layer; None when the answer is about the whole network.
        holds: True or False as measured; None when nothing could be measured, see `reason`.
        measured: The measured figure, in `unit`.
        threshold: The figure `measured` is compared with, in the same unit.
        unit: Unit of both, e.g. ``nats`` or ``fraction of samples``.
        reason: Why nothing could be measured (NaN features, a layer that never fired), or what besides `measured` is
            the reason of the answer; else empty.
        details: Further figures by name, for tables and for JSON.
    """

    condition: str
    layer: str | None
    holds: bool | None
    measured: float | None
    threshold: float | None
    unit: str
    reason: str = ""
    details: Mapping[str, float | int | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.holds is not None and (self.measured is None or not math.isfinite(self.measured)):
            raise ValueError(f"{self.condition} on {self.layer}: a verdict needs a finite measurement")
        if self.holds is None and not self.reason:
            raise ValueError(f"{self.condition} on {self.layer}: an invalid verdict needs a reason")

    @property
    def status(self) -> Literal["holds", "fails", "invalid"]:
        """Say the verdict in a word."""
        if self.holds is None:
            return "invalid"
        return "holds" if self.holds else "fails"

    @classmethod
    def invalid(cls, condition: str, layer: str | None, reason: str) -> Verdict:
        """Return the verdict of a question that could not be answered."""
        return cls(condition, layer, None, None, None, "", reason)


class Condition(Method):
    """A question about one checkpoint, layer by layer.

    The observation gives features on probe data; the module is in evaluation mode and must be left as it was.
    Features with NaN or Inf, and layers that never fired, get `Verdict.invalid`, never ``holds``.

    Attributes:
        watched: Whether `connectivity_hooks.watch` asks it when the user names no conditions: it is cheap enough to be
            asked while a network trains, and needs no more than features and labels.
    """

    watched: ClassVar[bool] = False

    @abstractmethod
    def check(self, observation: Observation) -> Iterable[Verdict]:
        """Answer the question for every layer of the observation."""
