"""Symmetries of small modules, and what random elements of their groups and of larger ones do to outputs in float64."""

import torch

from connectivity_hooks.model import PLAIN
from connectivity_hooks.structure import checked, read_program, read_symmetries
from connectivity_hooks.structure.symmetries.checking import Trial
from connectivity_hooks.structure.symmetries.groups import _NAMES

NAMED = tuple(_NAMES)
ROUNDING = 1e-12  # of sums in float64, relative to the largest output
SEEN = 1e-7  # a change of outputs that no rounding explains


def derived(make, inputs, run=PLAIN):
    """Return a module in float64 and its symmetries, of which every one was tried and holds."""
    torch.manual_seed(0)
    model = make().eval()
    symmetries = read_symmetries(read_program(model, inputs, run))
    model = model.double()
    found = checked(symmetries, model, inputs, run)
    assert not found.refuted
    assert found.deviation <= ROUNDING
    return model, symmetries


def by_weight(symmetries, weight, axis):
    """Return the symmetries that move an axis of a weight, in the order in which steps meet them."""
    found = [s for s in symmetries.symmetries if any((m.weight, m.axis) == (weight, axis) for m in s.members)]
    assert found, f"nothing moves {weight}, axis {axis}"
    return found


def titles(symmetries, weight, axis):
    """Return the groups, with their copies, of what moves an axis of a weight."""
    return [symmetry.title for symmetry in by_weight(symmetries, weight, axis)]


def larger_that_hold(model, symmetries, symmetry, inputs, run=PLAIN):
    """Return which groups larger than a symmetry's own keep the outputs of random weights too."""
    trial = Trial(symmetries, model, inputs, run, 1)
    return [
        group
        for group in NAMED
        if symmetry.group in group and group != symmetry.group and trial.deviation([symmetry], group) <= SEEN
    ]
