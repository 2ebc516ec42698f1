"""Which group each space of a program carries: what survives all that is done to its neurons."""

from __future__ import annotations

from connectivity_hooks.structure.program import Program
from connectivity_hooks.structure.spaces import Spaces, read_spaces
from connectivity_hooks.structure.symmetries.effects import concerns, survives
from connectivity_hooks.structure.symmetries.factors import unscaled_axes
from connectivity_hooks.structure.symmetries.gammas import makes_gamma
from connectivity_hooks.structure.symmetries.groups import GL, ROTATIONS, Group, O, largest, name_of
from connectivity_hooks.structure.symmetries.members import Member, copies_of, members_of, occurs_once
from connectivity_hooks.structure.symmetries.scales import Scale, is_scaling, survives_scale
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry
from connectivity_hooks.structure.symmetries.uses import Flow, Use


def read_symmetries(program: Program, spaces: Spaces | None = None) -> Symmetries:
    """Derive what may be done to the neurons of each space, from the operations alone.

    Nothing is run; `verified` runs it. Time: proportional to steps times spaces.

    Args:
        program: The program.
        spaces: Its spaces, where they were read already.
    """
    spaces = read_spaces(program) if spaces is None else spaces
    flow = Flow.of(program, spaces)
    found = [_symmetry(flow, number) for number in spaces.free]
    kept = tuple(each for each in found if each is not None)
    return Symmetries(spaces, kept, program.tied, program.weight_shapes)


def _symmetry(flow: Flow, number: int) -> Symmetry | None:
    """Return the symmetry of one space; None where it is in no weight."""
    space = flow.spaces.spaces[number]
    if not all(occurs_once(axis.layout, number) for axis in flow.spaces.axes_of(number)):
        return None
    outer = copies_of(flow, number)
    members = members_of(flow, number, outer)
    if not members:
        return None
    group, scales, causes = _group(flow, number)
    group = largest(group & _of_roles(members) & _of_norms(flow, number))
    if not group & ROTATIONS:  # permutations, signs and factors move γ and β as they are
        scales = []
    copies = members[0].positions.shape[0]
    return Symmetry(
        number, space.name, group, space.width, copies, outer if copies > 1 else None, tuple(members),
        tuple(scales), tuple(causes),
    )  # fmt: skip


def _group(flow: Flow, number: int) -> tuple[Group, list[Scale], list[str]]:
    """Return what survives all steps, the scales that are folded for it, and what made the group smaller."""
    group, scales, causes = GL, list[Scale](), list[str]()
    for step in flow.program.steps:
        use = Use(flow, step, number)
        if not concerns(use):
            continue
        if is_scaling(use):
            kept, scale = survives_scale(use)
            scales += [scale] if scale else []
        elif makes_gamma(use):
            continue
        else:
            kept = survives(use)
        if largest(group & kept) != largest(group):
            causes.append(f"{step.operation} ({step.module}) leaves {name_of(kept)}")
        group &= kept
    return group, scales, causes


def _of_norms(flow: Flow, number: int) -> Group:
    """Return what a batch norm leaves whose input and value are one: its γ cannot take a factor that it takes away."""
    return ~(Group.FLIP | Group.SCALE) if unscaled_axes(flow, number) is None else GL


def _of_roles(members: list[Member]) -> Group:
    """Return what the parts that weights have leave: one that reads and writes the same neurons turns, no more."""
    twofold = any({"reads", "writes"} <= member.roles for member in members)
    return O if twofold else GL
