"""The structure of a model: its computation as a list of steps, mapped to weight names, and whose neurons are whose.

In reading order: `program` (the steps), `reading` (from torch.export's graph; `checking` runs both), `operations` (what
each operation is: one row a recogniser), `spaces` (which axes of which weights and values are the same neurons),
`axis_rules` (what each operation does to axes: one row a rule), `terms` and `layouts` (axes while they are found out,
and as data), `symmetries` (what may be done to the neurons of each space, and doing it), `taught` (rules of plugins),
`teaching` (what these are written with).
"""

from connectivity_hooks.structure import causes
from connectivity_hooks.structure.causes import cause
from connectivity_hooks.structure.program import INPUT, Program, Step, input_values, run_step
from connectivity_hooks.structure.reading import read_program
from connectivity_hooks.structure.spaces import INPUTS, OUTPUTS, Axis, Space, Spaces, leading, read_spaces
from connectivity_hooks.structure.symmetries import (
    Checked,
    Comparison,
    Element,
    Elements,
    Group,
    Held,
    Measured,
    Member,
    Symmetries,
    Symmetry,
    apply,
    beside_ones,
    checked,
    combined,
    folded,
    held,
    inner_first,
    measured,
    moved,
    read_symmetries,
    transformed,
    unfoldable,
    unfolded,
)
from connectivity_hooks.structure.task_program import first_inputs, task_program
from connectivity_hooks.structure.untouched import untouched

__all__ = [
    "INPUT",
    "INPUTS",
    "OUTPUTS",
    "Axis",
    "Checked",
    "Comparison",
    "Element",
    "Elements",
    "Group",
    "Held",
    "Measured",
    "Member",
    "Program",
    "Space",
    "Spaces",
    "Step",
    "Symmetries",
    "Symmetry",
    "apply",
    "beside_ones",
    "cause",
    "causes",
    "checked",
    "combined",
    "first_inputs",
    "folded",
    "held",
    "inner_first",
    "input_values",
    "leading",
    "measured",
    "moved",
    "read_program",
    "read_spaces",
    "read_symmetries",
    "run_step",
    "task_program",
    "transformed",
    "unfoldable",
    "unfolded",
    "untouched",
]
