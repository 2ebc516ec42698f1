"""Model factories from what a user types."""

from __future__ import annotations

import functools
import importlib.util

from torch import nn

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.references import call, parse, resolve
from connectivity_hooks.tasks.task import ModelFactory


def model_factory(spec: str | ModelFactory) -> ModelFactory:
    """Return a function that makes the model ``PREFIX:NAME?arg=value``, ``FILE.py:callable`` or ``module:callable``.

    From code it may be the function or the class itself.

    Raises:
        InputError: The code fails, or makes something else than an ``nn.Module``.
        UsageError: The prefix, name or argument is unknown; or it is nothing that makes a model.
    """
    if not isinstance(spec, str):
        return _checked(spec)
    reference = parse(spec)
    if reference.home in registry().adapters:
        adapter = registry().adapter(reference.home)

        def create() -> nn.Module:
            with guarded_call(f"adapter {reference.home}"):
                return adapter.create(reference.name, reference.arguments)

        return create
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

    # Whoever asks where the model comes from asks the function itself.
    return functools.update_wrapper(make, function, assigned=(), updated=())


def _checked(factory: object) -> ModelFactory:
    """Return a factory that was given in code, with whatever it makes or raises looked at."""
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UsageError(
            f"model: a {type(factory).__name__} makes no model; expected a name, or a function or class that makes a "
            "new module each time"
        )
    name = getattr(factory, "__qualname__", type(factory).__name__)

    @functools.wraps(factory, updated=())  # what tells its code is found through it
    def make() -> nn.Module:
        with guarded_call(f"model {name}: fails"):
            model = factory()
        if not isinstance(model, nn.Module):
            raise InputError(f"model {name}: makes a {type(model).__name__}, expected an nn.Module")
        return model

    return make


def _left_out() -> str:
    return f"; {registry().shut_out}" if registry().shut_out else ""


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # `__main__`, names with zeros in them: finders raise what they like
        return False
