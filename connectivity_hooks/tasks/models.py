"""Model factories from what a user types."""

from __future__ import annotations

import importlib.util

from torch import nn

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.references import call, parse, resolve
from connectivity_hooks.tasks.task import ModelFactory


def model_factory(spec: str) -> ModelFactory:
    """Return a function that makes the model ``PREFIX:NAME?arg=value``, ``FILE.py:callable`` or ``module:callable``.

    Raises:
        InputError: The code fails, or makes something else than an ``nn.Module``.
        UsageError: The prefix, name or argument is unknown.
    """
    reference = parse(spec)
    if reference.home in registry().adapters:
        adapter = registry().adapter(reference.home)
        return lambda: adapter.create(reference.name, reference.arguments)
    if not reference.is_code and not _is_module(reference.home):
        hint = near_matches(reference.home, registry().adapters) + _left_out()
        raise UsageError(f"--model {spec}: {reference.home!r} is no installed library of models and no module; {hint}")
    try:
        function = resolve(reference)
    except UsageError as unknown:  # the name may be one of a library whose adapter was left out
        raise UsageError(f"{unknown}{_left_out()}") from unknown

    def make() -> nn.Module:
        model = call(reference, function)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{reference.home}:{reference.name} returns a {type(model).__name__}, expected an nn.Module"
            )
        return model

    return make


def _left_out() -> str:
    return f"; {registry().shut_out}" if registry().shut_out else ""


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # `__main__`, names with zeros in them: finders raise what they like
        return False
