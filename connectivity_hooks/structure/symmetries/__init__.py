"""What may be done to the neurons of each space without changing the function, and doing it.

In reading order: `groups`, `uses` (a step as it uses one space; `plain_maps` shows turned weights as maps), `effects`
(what each operation leaves of a group: one row each;
`effects_of_maps`: of those that mix neurons) and `scales` (γ and β, which `gammas` finds and `reading_maps` or
`writing_maps` take over), `positions`, `members` and `values` (where the neurons are; `factors`: which weights take
numbers), `symmetry` (all of it as data), `deriving` (from a program), `elements`, `folding` and `moving` (weights of
the same function), `drawing`, `rescaling`, `checking` and `measuring` (by running it; `moments` has the derivatives).
"""

from connectivity_hooks.structure.symmetries.checking import Checked, checked
from connectivity_hooks.structure.symmetries.deriving import read_symmetries
from connectivity_hooks.structure.symmetries.drawing import beside_ones
from connectivity_hooks.structure.symmetries.elements import Element
from connectivity_hooks.structure.symmetries.folding import folded, unfoldable, unfolded
from connectivity_hooks.structure.symmetries.groups import Group
from connectivity_hooks.structure.symmetries.measuring import Comparison, Measured, measured
from connectivity_hooks.structure.symmetries.members import Member
from connectivity_hooks.structure.symmetries.moving import Elements, apply, combined, inner_first, moved, transformed
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry
from connectivity_hooks.structure.symmetries.values import Held, held

__all__ = [
    "Checked",
    "Comparison",
    "Element",
    "Elements",
    "Group",
    "Held",
    "Measured",
    "Member",
    "Symmetries",
    "Symmetry",
    "apply",
    "beside_ones",
    "checked",
    "combined",
    "folded",
    "held",
    "inner_first",
    "measured",
    "moved",
    "read_symmetries",
    "transformed",
    "unfoldable",
    "unfolded",
]
