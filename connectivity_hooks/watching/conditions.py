"""The conditions a user asks for, and asking them without harm to the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch

from connectivity_hooks.checking import make_condition, verdicts
from connectivity_hooks.contracts.condition import Condition, Verdict
from connectivity_hooks.errors import UsageError, one_line
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import is_interruption

Conditions: TypeAlias = "str | Iterable[str | Condition] | Mapping[str, Mapping[str, object]] | None"


def make_conditions(wanted: Conditions, seed: int) -> tuple[Condition, ...]:
    """Return the conditions of a name, of names and instances, or of a mapping from name to options.

    None takes what the installed plugins propose, which may be nothing.

    Raises:
        UsageError: An empty list is given, a condition twice, or a name or option is unknown.
    """
    if wanted is None:
        return tuple(entry.cls(seed=seed) for entry in registry().conditions.values() if entry.cls.watched)
    if isinstance(wanted, Mapping):
        made = [make_condition(name, options, seed=seed) for name, options in wanted.items()]
    else:
        given = [wanted] if isinstance(wanted, (str, Condition)) else list(wanted)
        made = [each if isinstance(each, Condition) else make_condition(each, seed=seed) for each in given]
    names = [condition.name for condition in made]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"watch: expected one condition or more, each once, found {', '.join(names) or 'none'}")
    return tuple(made)


def answers(
    conditions: Sequence[Condition], observe: Callable[[], Observation], step: int, *, strict: bool
) -> tuple[Verdict, ...]:
    """Ask every condition; what fails, memory that runs out included, is the reason of an invalid verdict.

    Args:
        conditions: The conditions.
        observe: Gives what they look at.
        step: Told to the plugins.
        strict: Raise what fails instead.
    """
    try:
        observation = observe()
    except BaseException as error:
        if strict or is_interruption(error):
            raise
        return tuple(Verdict.invalid(condition.name, None, one_line(error)) for condition in conditions)
    found: list[Verdict] = []
    for condition in conditions:
        try:
            found += verdicts(condition, observation, f"step {step}", strict=strict)
        except BaseException as error:  # a stranger's condition may raise anything
            if strict or is_interruption(error):
                raise
            found.append(Verdict.invalid(condition.name, None, one_line(error)))
            out_of_memory = isinstance(error, torch.OutOfMemoryError)
            # what the failed check held is freed only when the error is gone
        else:
            out_of_memory = False
        if out_of_memory:
            torch.cuda.empty_cache()
    return tuple(found)
