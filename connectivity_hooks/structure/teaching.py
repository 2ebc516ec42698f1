"""What a plugin's `Operation` is written with: a step as rules see it, the built-in rules, and the groups.

Rules of axes: `pointwise` (entries that meet are the same neurons), `like_the_first` (the first tensor's axes),
`linear` (the last axis is read by a weight's columns), `reduction` (axes in ``dim`` are gone), `unknown` (all stays);
what they are made of: `unify`, `broadcast`, `replaced`, `positions`. Effects: `everything` (a linear map), `odd`,
`positively_homogeneous`, `entry_by_entry`; or a group, one of `GL`, `O`, `O1`, `MONOMIAL`, `SCALED`, `SIGNED`, `S`.
"""

from connectivity_hooks.structure.axis_rules.maps import linear
from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, broadcast, replaced, unknown
from connectivity_hooks.structure.axis_rules.pointwise import like_the_first, pointwise, reduction
from connectivity_hooks.structure.program import Operand
from connectivity_hooks.structure.symmetries.effects import entry_by_entry, everything, odd, positively_homogeneous
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, SCALED, SIGNED, Group, O, S
from connectivity_hooks.structure.symmetries.members import Role
from connectivity_hooks.structure.symmetries.uses import Use
from connectivity_hooks.structure.terms import positions, unify

__all__ = [
    "GL",
    "MONOMIAL",
    "O1",
    "SCALED",
    "SIGNED",
    "Axes",
    "Group",
    "O",
    "Operand",
    "Operands",
    "Role",
    "S",
    "Use",
    "broadcast",
    "entry_by_entry",
    "everything",
    "like_the_first",
    "linear",
    "odd",
    "pointwise",
    "positions",
    "positively_homogeneous",
    "reduction",
    "replaced",
    "unify",
    "unknown",
]
