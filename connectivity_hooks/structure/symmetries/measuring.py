"""Which group each space carries, measured: a judge of what was derived that knows no operation.

The derivative of the outputs along the generators of a group (`moments`) tells continuous groups, larger ones than the
derived too; random elements tell signs and permutations, and confirm what the derivative says. Where both disagree with
what was derived, the smaller group is used and all three are told.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from connectivity_hooks.errors import one_line
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.structure.symmetries.checking import TOLERANCE, Trial, judged
from connectivity_hooks.structure.symmetries.folding import folded
from connectivity_hooks.structure.symmetries.groups import GL, NOTHING, Group, O, largest, name_of
from connectivity_hooks.structure.symmetries.moments import Residuals, gradients, residuals
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry

NULL = TOLERANCE
"""Of a derivative, relative to what the members make of it one by one; the same as for random elements. In some thirty
networks of the libraries that were tried rounding was below 1e-14, and all that moved the outputs above 4e-5."""

NAMES: Mapping[Group, str] = {
    Group.TURN_BESIDE_ONES: "O₁", Group.TURN: "O", Group.MIX: "GL", Group.SCALE: "factors",
}  # fmt: skip
"""What a kind of move is called where its derivative is told."""


@dataclass(frozen=True)
class Comparison:
    """What was derived of one space, what was measured, and what is used.

    Attributes:
        space: Number of the space.
        name: Name of the weights that make it.
        derived: The group that the operations leave.
        measured: The largest group that was found to hold; nothing where not even permutations do.
        used: The smaller of both.
        residuals: For each kind of move with generators the derivative along them, see `moments.Residuals`; empty where
            it could not be taken.
        like: Name of the space whose elements were tried for groups larger than the derived, for all that are like it;
            its own where it was tried itself.
    """

    space: int
    name: str
    derived: Group
    measured: Group
    used: Group
    residuals: Residuals = field(default_factory=dict)
    like: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the same was derived and measured."""
        return self.derived == self.measured


@dataclass(frozen=True, eq=False)
class Measured:
    """Symmetries that were derived and measured.

    Attributes:
        symmetries: Those to use: of each space the smaller group.
        comparisons: One for each space that was derived to move.
        deviation: Largest change of an output under a random element of every group in use at once, relative to the
            largest output, in float64.
        refuted: In words, what was derived and did not hold.
        note: In words, why no derivative could be taken; empty where it was.
    """

    symmetries: Symmetries
    comparisons: tuple[Comparison, ...]
    deviation: float
    refuted: tuple[str, ...] = ()
    note: str = ""


def measured(symmetries: Symmetries, model: nn.Module, inputs: Inputs, run: Forward = PLAIN, seed: int = 0) -> Measured:
    """Measure the group of every space on random weights in float64, and take the smaller where it is not the derived.

    Time: one pass backwards for all continuous groups of all spaces; two passes for random elements of all groups at
    once; one for each class of spaces alike (same roles, same operations) that may have a larger group.

    Args:
        symmetries: What was derived.
        model: The module in float64, in evaluation mode; left as it was.
        inputs: Of one sample or a few.
        run: How the model is run.
        seed: Of weights, elements and vectors.
    """
    trial = Trial(symmetries, model, inputs, run, seed)
    seen, note = _derivatives(symmetries, model, trial, run, seed)
    left = tuple(_narrowed(each, seen.get(each.space, {})) for each in symmetries.symmetries)
    found = judged(trial.of(replace(symmetries, symmetries=left)))
    refuted = [
        f"{each.name}: {each.title} was derived, the derivative of the outputs leaves {name_of(now.group)}"
        for each, now in zip(symmetries.symmetries, left, strict=True)
        if each.group != now.group
    ]
    larger = _Larger(trial, symmetries)
    compared = (_compared(each, found.symmetries, seen, larger) for each in symmetries.symmetries)
    return Measured(found.symmetries, tuple(compared), found.deviation, (*refuted, *found.refuted), note)


def _derivatives(
    symmetries: Symmetries, model: nn.Module, trial: Trial, run: Forward, seed: int
) -> tuple[dict[int, Residuals], str]:
    """Return the residuals by space, or none and why."""
    if not symmetries.symmetries:
        return {}, ""
    weights = folded(symmetries, trial.weights)
    try:
        slopes = gradients(symmetries, model, weights, trial.inputs, run, seed)
    except Exception as error:  # a stranger's operation may have no derivative, and says so in any way
        return {}, f"no derivative of the outputs can be taken ({one_line(error, 120)}): groups are tried by elements"
    return {each.space: residuals(each, weights, slopes, seed) for each in symmetries.symmetries}, ""


def _narrowed(symmetry: Symmetry, seen: Residuals) -> Symmetry:
    """Return a symmetry with what the derivative leaves of its group."""
    refused = [move for move, size in seen.items() if size > NULL]
    return symmetry.carrying(largest(symmetry.group & ~_moves(refused)))


def _moves(moves: list[Group]) -> Group:
    found = NOTHING
    for move in moves:
        found |= move
    return found


def _compared(derived: Symmetry, used: Symmetries, all_seen: Mapping[int, Residuals], larger: _Larger) -> Comparison:
    """Compare what was derived of one space with what holds."""
    seen = all_seen.get(derived.space, {})
    kept = used.of(derived.space)
    group = kept.group if kept else NOTHING
    if group != derived.group:
        return Comparison(derived.space, derived.name, derived.group, group, group, seen, derived.name)
    found, like = larger.of(derived, seen)
    return Comparison(derived.space, derived.name, derived.group, found, group, seen, like)


class _Larger:
    """Looks for groups larger than the derived, one space for each class of spaces alike."""

    def __init__(self, trial: Trial, symmetries: Symmetries) -> None:
        self._trial, self._symmetries = trial, symmetries
        self._found: dict[Hashable, tuple[Group, str]] = {}

    def of(self, symmetry: Symmetry, seen: Residuals) -> tuple[Group, str]:
        """Return the largest group that holds, and the name of the space that was tried."""
        candidates = tuple(self._candidates(symmetry, seen))
        if not candidates:
            return symmetry.group, symmetry.name
        key = (_kind(symmetry), candidates)
        if key not in self._found:
            self._found[key] = (self._first_that_holds(symmetry, candidates), symmetry.name)
        return self._found[key]

    def _candidates(self, symmetry: Symmetry, seen: Residuals) -> Iterator[Group]:
        """Yield the groups that the derivative allows and that hold the derived one, largest first.

        Of signs the derivative knows nothing; those of whole copies are moves of what is inside the copies.
        """
        moves = symmetry.group | _moves([move for move, size in seen.items() if size <= NULL])
        if Group.MIX in moves:
            moves = GL
        elif Group.TURN in moves:
            moves |= O
        flips = [] if self._symmetries.inside(symmetry.space) else [Group.FLIP]
        for further in (*flips, NOTHING):
            group = largest(moves | further)
            if group != symmetry.group and symmetry.group in group:
                yield group

    def _first_that_holds(self, symmetry: Symmetry, candidates: tuple[Group, ...]) -> Group:
        for group in candidates:
            if self._trial.holds([symmetry], group):
                return group
        return symmetry.group


def _kind(symmetry: Symmetry) -> Hashable:
    """Return what spaces that are alike have in common: the parts weights have in them, and what made them smaller."""
    parts = frozenset((member.axis, member.roles, member.takes_factors) for member in symmetry.members)
    operations = tuple(cause.split()[0] for cause in symmetry.causes)
    return symmetry.group, symmetry.copies > 1, parts, operations
