"""The arguments that a model's forward takes, against those that a batch has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from connectivity_hooks.model.inputs import Inputs

_MOST = 12  # names in a message; some of Transformers' models take forty


def names_argument(model: nn.Module, name: str) -> bool:
    """Say whether a model's forward has an argument of that name."""
    return name in _parameters(model)


def by_name(model: nn.Module, inputs: Inputs) -> Mapping[str, Any] | None:
    """Return a batch's inputs by the names of a forward's arguments; None where it does not say them."""
    if isinstance(inputs, Mapping):
        return inputs
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    in_order = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    names = [name for name, parameter in _parameters(model).items() if parameter.kind in in_order]
    return dict(zip(names, given, strict=False)) if len(given) <= len(names) else None


def misfit(model: nn.Module, inputs: Inputs) -> str:
    """Return in words which arguments a batch has that a model does not take, or lacks; empty where it fits.

    What a forward takes is read from its signature; one of ``*args, **kwargs`` says nothing.
    """
    parameters = _parameters(model)
    kinds = {parameter.kind for parameter in parameters.values()}
    if not parameters or inspect.Parameter.VAR_POSITIONAL in kinds:
        return ""
    takes = [name for name, parameter in parameters.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    needs = [name for name in takes if parameters[name].default is inspect.Parameter.empty]
    if isinstance(inputs, Mapping):
        unknown = [] if inspect.Parameter.VAR_KEYWORD in kinds else [name for name in inputs if name not in takes]
        return _of_names(model, unknown, [name for name in needs if name not in inputs], takes)
    count = len(inputs) if isinstance(inputs, (tuple, list)) else 1
    in_order = [name for name in takes if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    if count > len(in_order) or any(name not in in_order[:count] for name in needs):
        return f"the batch has {count} inputs, and {_forward(model)} takes {_listed(takes)}"
    return ""


def unnamed(model: nn.Module, inputs: Inputs) -> str:
    """Return in words which arguments a batch has that a forward does not name, though it takes any; else nothing.

    It may pass them on, so this explains a failure and is none.
    """
    if not isinstance(inputs, Mapping):
        return ""
    takes = [name for name, one in _parameters(model).items() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    return _of_names(model, [name for name in inputs if name not in takes], [], takes) if takes else ""


def _of_names(model: nn.Module, unknown: Sequence[str], missing: Sequence[str], takes: Sequence[str]) -> str:
    if unknown:
        text = f"the batch has {_listed(unknown)}, and {_forward(model)} takes {_listed(takes)}"
        # A model of one argument often takes a whole dict in it; nobody but the model's author can tell.
        return f"{text}; if that is to be a dict, give {{{takes[0]!r}: {{…}}}}" if len(takes) == 1 else text
    return f"the batch lacks {_listed(missing)}, and {_forward(model)} takes {_listed(takes)}" if missing else ""


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(model.forward).parameters
    except (TypeError, ValueError):  # made by code that has none
        return {}


def _forward(model: nn.Module) -> str:
    return f"{type(model).__name__}.forward"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST])
    return shown + (" …" if len(names) > _MOST else "") or "nothing"
