"""The symmetries of a model as a table and as JSON-ready values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.reports.tables import aligned
from connectivity_hooks.structure.spaces import Space
from connectivity_hooks.structure.symmetries.groups import Group, name_of
from connectivity_hooks.structure.symmetries.measuring import NAMES, Comparison, Measured
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry

SEVERAL = "its neurons are several times in one axis, or in no weight"


@dataclass(frozen=True, eq=False)
class SymmetriesReport:
    """What was derived and measured of a model.

    Attributes:
        model: The model as named on the command line.
        inputs: What it was run on, in words.
        derived: What the operations leave.
        measured: What was measured, and what is used.
        seconds: What took how long.
    """

    model: str
    inputs: str
    derived: Symmetries
    measured: Measured
    seconds: Mapping[str, float]

    @property
    def rows(self) -> Iterator[tuple[Symmetry, Comparison]]:
        """The spaces that were derived to move, with what was measured."""
        return zip(self.derived.symmetries, self.measured.comparisons, strict=True)

    @property
    def pinned(self) -> list[tuple[Space, tuple[str, ...]]]:
        """The spaces of several neurons that stay, and why."""
        moving = {symmetry.space for symmetry in self.derived.symmetries}
        rest = [
            (space, space.pins or (SEVERAL,)) for n, space in enumerate(self.derived.spaces.spaces) if n not in moving
        ]
        return [(space, pins) for space, pins in rest if space.width > 1]

    @property
    def coverage(self) -> float:
        """Share of the weights that lie in a tensor which a group in use moves."""
        return self.measured.symmetries.coverage

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON-ready values."""
        return {
            "model": self.model,
            "inputs": self.inputs,
            "weights": self._weights(),
            "coverage": self.coverage,
            "deviation": self.measured.deviation,
            "refuted": list(self.measured.refuted),
            "note": self.measured.note,
            "spaces": [_space_json(symmetry, compared, self.derived.shapes) for symmetry, compared in self.rows],
            "pinned": [{"name": s.name, "neurons": s.width, "by": list(pins)} for s, pins in self.pinned],
            "seconds": dict(self.seconds),
        }

    def table(self) -> str:
        """Return all of it as plain text."""
        head = ["space", "neurons", "derived", "measured", "used", "weights", "folds", "because of"]
        lines = [_line(symmetry, compared, self.derived.shapes) for symmetry, compared in self.rows]
        parts = [f"{self.model} on {self.inputs}", aligned(head, lines), *self._pinned_lines(), *self._closing()]
        return "\n".join(parts)

    def _pinned_lines(self) -> list[str]:
        if not self.pinned:
            return []
        lines = [[space.name, str(space.width), "; ".join(pins)] for space, pins in self.pinned]
        return ["", aligned(["neurons that stay", "neurons", "because of"], lines)]

    def _closing(self) -> Iterator[str]:
        yield ""
        percent = int(1000 * self.coverage) / 10  # what stays is not rounded away
        yield f"Coverage: {percent:.1f} % of {self._weights():,} weights lie in tensors that may move"
        if self.measured.symmetries.symmetries:
            yield self._deviation()
        yield from (f"Refuted: {words}" for words in self.measured.refuted)
        larger = [each.name for _, each in self.rows if not each.agrees and each.used == each.derived]
        if larger:
            yield f"A larger group than the derived one was measured, and is not used: {', '.join(larger)}"
        yield from self._stood_for()
        if self.measured.note:
            yield f"Note: {self.measured.note}"
        yield "Seconds: " + ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.seconds.items())

    def _deviation(self) -> str:
        return (
            f"Deviation: {self.measured.deviation:.1e} of the largest output, in float64 on random weights, under a "
            "random element of every group at once"
        )

    def _stood_for(self) -> Iterator[str]:
        counts: dict[str, int] = {}
        for each in self.measured.comparisons:
            if each.like != each.name:
                counts[each.like] = counts.get(each.like, 0) + 1
        if counts:
            words = ", ".join(f"{name} for {count}" for name, count in counts.items())
            yield f"Elements of larger groups were tried on one space for all with its parts and operations: {words}"

    def _weights(self) -> int:
        return sum(math.prod(shape) for shape in self.derived.shapes.values())


def label_of(symmetry: Symmetry, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a space's name, with the entries of the weight where its neurons are not all of them: ``qkv.weight[0:8]``.

    One weight makes several spaces where it gives queries, keys and values at once.
    """
    member = next((each for each in symmetry.members if each.weight == symmetry.name), None)
    if member is None or member.positions.numel() == shapes[member.weight][member.axis]:
        return symmetry.name
    return f"{symmetry.name}[{int(member.positions.min())}:{int(member.positions.max()) + 1}]"


def _line(symmetry: Symmetry, compared: Comparison, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    folds = [scale.scale for scale in symmetry.scales]
    return [
        label_of(symmetry, shapes),
        _neurons(symmetry),
        *(name_of(group) for group in (compared.derived, compared.measured, compared.used)),
        str(len({member.weight for member in symmetry.members})),
        _short(folds),
        "; ".join(cause.removeprefix("aten.") for cause in symmetry.causes),
    ]


def _neurons(symmetry: Symmetry) -> str:
    return f"{symmetry.width}" if symmetry.copies == 1 else f"{symmetry.copies} × {symmetry.width}"


def _short(names: list[str]) -> str:
    """Return the first name and how many more there are: a stream of a deep network folds dozens."""
    return "" if not names else names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _space_json(symmetry: Symmetry, compared: Comparison, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    return {
        "name": symmetry.name,
        "label": label_of(symmetry, shapes),
        "neurons": symmetry.width,
        "copies": symmetry.copies,
        "derived": name_of(compared.derived),
        "measured": name_of(compared.measured),
        "used": name_of(compared.used),
        "derivatives": {_name(move): size for move, size in compared.residuals.items()},
        "tried_on": compared.like,
        "members": [
            {"weight": member.weight, "axis": member.axis, "roles": sorted(member.roles)} for member in symmetry.members
        ],
        "folds": [{"scale": scale.scale, "shift": scale.shift, "into": list(scale.maps)} for scale in symmetry.scales],
        "causes": list(symmetry.causes),
    }


def _name(move: Group) -> str:
    return NAMES[move]
