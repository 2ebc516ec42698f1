"""What acts entry by entry: activations, what changes nothing, sums and products of two values."""

from __future__ import annotations

from connectivity_hooks.structure.operations.call import Call, axes_of
from connectivity_hooks.structure.program import Step


def activation(call: Call) -> Step | None:
    """Recognise a function of each entry of one value, without weights."""
    return None if call.only_value is None else call.known("activation", call.replayed())


def identity(call: Call) -> Step | None:
    """Recognise what gives the value it reads."""
    return None if call.only_value is None else call.known("identity", lambda x, w: x[0])


def dropout(call: Call) -> Step | None:
    """Recognise dropout that is off."""
    return None if call.arguments.get("train") else identity(call)


def addition(call: Call) -> Step | None:
    """Recognise the sum of two values of as many axes."""
    if not _of_two_values(call) or call.arguments.get("alpha", 1) != 1:
        return None
    return call.known("add", lambda x, w: x[0] + x[1])


def product(call: Call) -> Step | None:
    """Recognise the product of two values of as many axes, as by a gate."""
    return call.known("product", lambda x, w: x[0] * x[1]) if _of_two_values(call) else None


def _of_two_values(call: Call) -> bool:
    """Say whether two values meet entry by entry.

    Of two with unlike numbers of axes the shorter one is stretched along axes that are not its own.
    """
    return call.bare and len(call.inputs) == 2 and len({axes_of(arg) for arg in call.node.all_input_nodes}) == 1
