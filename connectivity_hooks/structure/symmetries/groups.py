"""Groups: what may be done to the neurons of a space without changing the function.

A group is written as the kinds of moves in it, so that what survives several operations is the intersection of what
survives each. Names as in docs/alignment.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import reduce


class Group(enum.Flag):
    """Kinds of moves of the n neurons of a space.

    `PERMUTE` exchanges them, `FLIP` changes signs, `SCALE` multiplies each by a positive number, `TURN_BESIDE_ONES` are
    rotations that leave the vector of ones where it is, `TURN` any rotation, `MIX` any invertible matrix.
    """

    PERMUTE = enum.auto()
    FLIP = enum.auto()
    SCALE = enum.auto()
    TURN_BESIDE_ONES = enum.auto()
    TURN = enum.auto()
    MIX = enum.auto()


NOTHING = Group(0)
S = Group.PERMUTE
SIGNED = S | Group.FLIP
SCALED = S | Group.SCALE
MONOMIAL = SIGNED | Group.SCALE
O1 = S | Group.TURN_BESIDE_ONES
O = SIGNED | Group.TURN_BESIDE_ONES | Group.TURN  # noqa: E741 - its name everywhere
GL = O | Group.SCALE | Group.MIX
ROTATIONS = Group.TURN_BESIDE_ONES | Group.TURN | Group.MIX

# Largest first: a group is called by the first of these that it holds.
_NAMES = {GL: "GL", O: "O", O1: "O₁", MONOMIAL: "Mon", SCALED: "Mon₊", SIGNED: "S±", S: "S"}


def meet(groups: Iterable[Group]) -> Group:
    """Return the moves that are in all groups; everything where none is given."""
    return reduce(lambda one, other: one & other, groups, GL)


def largest(moves: Group) -> Group:
    """Return the largest named group made of some moves; a space is given no other."""
    return next((group for group in _NAMES if group in moves), NOTHING)


def within(group: Group) -> list[Group]:
    """Return the named groups that a group holds, itself first, the largest before the others."""
    return [named for named in _NAMES if named in group]


def name_of(group: Group) -> str:
    """Return the group's usual name; a dash for none."""
    return _NAMES.get(largest(group), "—")


def named(name: str) -> Group:
    """Return a group by its name, as in a report."""
    return next((group for group, own in _NAMES.items() if own == name), NOTHING)
