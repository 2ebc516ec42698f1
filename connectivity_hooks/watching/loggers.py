"""One way to log to anything: functions, TensorBoard, loggers shaped like W&B, Lightning."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import UsageError
from connectivity_hooks.watching.schedule import Clock

Log: TypeAlias = Callable[[dict[str, float], int], object]

_EXPECTED = (
    "log: expected a function of (scalars, step), an object with log_dict, log_metrics (Lightning), log (W&B, "
    "Accelerate) or add_scalar (TensorBoard), or a list of them"
)


def loggers(log: Any) -> tuple[Log, ...]:
    """Return one function of (scalars by name, step) for each thing the user logs to; none for None.

    Tried in this order: ``add_scalar(name, value, step)``; ``log_metrics(scalars, step=)``; ``log_dict(scalars)``, with
    ``step=`` where it takes one; ``log(scalars, step=)``; a function of (scalars, step).

    Raises:
        UsageError: It is none of these.
    """
    if log is None:
        return ()
    if isinstance(log, (list, tuple)):
        return tuple(each for entry in log for each in loggers(entry))
    return (_adapted(log),)


def scalars(verdicts: Sequence[Verdict], clock: Clock) -> dict[str, float]:
    """Return what is logged of one check.

    ``CONDITION/LAYER`` is the measured figure and ``CONDITION/LAYER/holds`` is 1 or 0; a verdict that is invalid has
    neither. ``watch/seconds`` is the time that watching took so far.
    """
    values: dict[str, float] = {}
    for verdict in verdicts:
        name = f"{verdict.condition}/{verdict.layer or 'network'}"
        if verdict.measured is not None and math.isfinite(verdict.measured):
            values[name] = float(verdict.measured)
        if verdict.holds is not None:
            values[f"{name}/holds"] = float(verdict.holds)
    return {**values, "watch/seconds": clock.spent}


def _adapted(log: Any) -> Log:
    if isinstance(log, logging.Logger):
        raise UsageError(f"{_EXPECTED}; found a logging.Logger: give a function that calls it")
    if callable(getattr(log, "add_scalar", None)):
        return lambda values, step: _scalar_by_scalar(log.add_scalar, values, step)
    for method in ("log_metrics", "log_dict", "log"):
        if callable(getattr(log, method, None)):
            return _by_method(getattr(log, method))
    if callable(log):
        return lambda values, step: log(values, step)
    raise UsageError(f"{_EXPECTED}; found {type(log).__name__}")


def _scalar_by_scalar(add_scalar: Callable[..., object], values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        add_scalar(name, value, step)


def _by_method(method: Callable[..., object]) -> Log:
    if _takes_step(method):
        return lambda values, step: method(values, step=step)
    return lambda values, step: method(values)


def _takes_step(method: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # one written in C may have no signature
        return True
    return any(each.name == "step" or each.kind is each.VAR_KEYWORD for each in parameters)
