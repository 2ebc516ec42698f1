"""The symmetries of a task's network that may be used: derived, tried in float64, and possible for these checkpoints.

Every aligner begins here, so that none moves a checkpoint by a group that was not seen to keep the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from connectivity_hooks.errors import ConnectivityError, InputError, one_line
from connectivity_hooks.model import placed
from connectivity_hooks.structure import (
    Checked,
    Program,
    Symmetries,
    checked,
    first_inputs,
    read_symmetries,
    task_program,
    unfoldable,
)
from connectivity_hooks.tasks import Task

_TRIED: WeakKeyDictionary[Any, list[tuple[Program, Checked]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Network:
    """The symmetries that may be used between checkpoints.

    Attributes:
        symmetries: What may be done.
        deviation: Largest change of an output under random elements of all groups, relative, in float64.
        demoted: In words, what was derived and is not used: it did not hold, or these checkpoints do not allow it.
    """

    symmetries: Symmetries
    deviation: float
    demoted: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return what an alignment's record says of the network, JSON-ready."""
        return {"coverage": self.symmetries.coverage, "demoted": list(self.demoted)}


def network_of(task: Task, *checkpoints: Mapping[str, Tensor]) -> Network:
    """Return the symmetries that may be used between checkpoints.

    Spaces whose γ is zero in one of them where β is not, and whose β nothing can take over, are permuted only.

    Raises:
        InputError: The structure cannot be read, or the model does not run in float64.
    """
    found = prepared(task)
    numbers = frozenset[int]().union(*(unfoldable(found.symmetries, each) for each in checkpoints))
    demoted = [
        f"{symmetry.name}: permutations instead of {symmetry.title}, since γ is zero where β is not"
        for symmetry in found.symmetries.symmetries
        if symmetry.space in numbers
    ]
    return Network(found.symmetries.permutations_alone(numbers), found.deviation, (*found.refuted, *demoted))


def prepared(task: Task) -> Checked:
    """Return the symmetries of a task's network as tried by `checked`, on the CPU in float64; once for each program.

    Raises:
        InputError: The structure cannot be read, or the model does not run in float64.
    """
    program = task_program(task)
    try:
        known = _TRIED.setdefault(task.factory, [])
    except TypeError:  # a factory that cannot be referred to weakly
        known = []
    found = next((tried for read, tried in known if read is program), None)
    if found is None:
        found = _tried(task, program)
        known.append((program, found))
    return found


def _tried(task: Task, program: Program) -> Checked:
    precise = replace(task, dtype=torch.float64, device=torch.device("cpu"))
    model, inputs = precise.model(), placed(first_inputs(task), precise.device, precise.dtype)
    try:
        return checked(read_symmetries(program), model, inputs, task.forward)
    except ConnectivityError:
        raise
    except Exception as error:
        name = task.model_name or "the model"
        raise InputError(f"{name}: its symmetries cannot be tried in float64: {one_line(error, 200)}") from error
