"""Axes of recurrent layers: units of one direction of one layer are neurons, in each of their gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, fixed, unknown
from connectivity_hooks.structure.program import Shape
from connectivity_hooks.structure.terms import Atom, Term, concatenation, positions, product, unify

GATES = {"aten.lstm": 4, "aten.gru": 3, "aten.rnn_tanh": 1, "aten.rnn_relu": 1}
"""Blocks of rows that a unit has in its weights: gates, and the candidate for its value."""


def recurrent(operands: Operands) -> Any:
    """Columns read the input, or the units themselves; a unit has a row for each gate, in weights and biases alike.

    The initial state has one set of units for all layers and directions, where it is not one number everywhere, and so
    have the last states where there are several.
    """
    layers = list(_layers(operands))
    given = operands.axes("input")
    if not layers or len(given) != 3:
        return unknown(operands)
    term, units = given[-1], list[Term]()
    for layer in layers:
        own = [_units(operands, parameters, term) for parameters in layer]
        term = concatenation(own)
        units += own
    _set_states(operands, units)
    samples = given[0] if operands.argument("batch_first", False) else given[1]
    states = (
        _last(shape, units, samples) if number in operands.items else fixed(shape, operands.place)
        for number, shape in enumerate(operands.shapes[1:], 1)
    )
    return ((given[0], given[1], term), *states)


def _layers(operands: Operands) -> Iterator[list[list[Axes]]]:
    """Yield for each layer the parameters of each of its directions; nothing where they are others than usual."""
    parameters = operands.listed("params")
    each = 4 if operands.argument("has_biases", True) else 2
    directions = 2 if operands.argument("bidirectional", False) else 1
    if len(parameters) != each * directions * operands.argument("num_layers", 1):  # the outputs are projected
        return
    for first in range(0, len(parameters), each * directions):
        yield [parameters[at : at + each] for at in range(first, first + each * directions, each)]


def _units(operands: Operands, parameters: list[Axes], given: Term) -> Term:
    """Return the units of one direction of one layer, from (W of the input, W of the units, biases)."""
    gates = GATES[operands.step.operation]
    of_input, of_units = parameters[:2]
    units = Atom(of_units[1].size)
    rows = product([positions(gates), units]) if gates > 1 else units
    unify(of_input[1], given)
    unify(of_units[1], units)
    for one in parameters:
        unify(one[0], rows)
    return units


def _set_states(operands: Operands, units: list[Term]) -> None:
    """Let the initial states be of the units; one number everywhere is of any."""
    given = operands.argument("hx", ())
    for state in given if isinstance(given, (tuple, list)) else [given]:
        if state not in operands.alike:
            for one in units:
                unify(operands.known[state][-1], one)


def _last(shape: Shape, units: list[Term], samples: Term) -> Axes:
    """Return the axes of last states (layers · directions, N, units); all units are alike where there are several."""
    for one in units[1:]:
        unify(units[0], one)
    return (positions(shape[0]), samples, units[0])
