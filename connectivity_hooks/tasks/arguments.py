"""The arguments that a model's forward takes, against those that a batch has."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from connectivity_hooks.model.inputs import Inputs

_MOST = 12  # names in a message; some of Transformers' models take forty
_ALIKE = 0.8  # of two names, of which one is taken for the other misspelt


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
        known = [] if _takes_any_name(model, parameters) else [*takes, *_declared(model, parameters)]
        unknown = [name for name in inputs if known and name not in known]
        return _of_names(model, unknown, [name for name in needs if name not in inputs], takes)
    count = len(inputs) if isinstance(inputs, (tuple, list)) else 1
    in_order = [name for name in takes if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    if count > len(in_order) or any(name not in in_order[:count] for name in needs):
        return f"the batch has {count} inputs, and {_forward(model)} takes {_listed(takes)}"
    return ""


def superfluous(model: nn.Module, inputs: Mapping[str, Any]) -> list[str]:
    """Return the names among a batch's inputs that a model does not take and can be run without, as the Trainer does.

    Texts, which no model is run on, are among them even where ``**kwargs`` takes any name. None are where the batch
    lacks what the model needs, where nothing would be left, and where a name is likely another one misspelt: these are
    for `misfit` to say.
    """
    parameters = _parameters(model)
    takes = _taken_by_name(model, parameters)
    if not takes:
        return []
    unknown = [name for name in inputs if name not in takes]
    if _takes_any_name(model, parameters):
        return [name for name in unknown if _are_texts(inputs[name])]
    needs = [name for name in takes if name in parameters and parameters[name].default is inspect.Parameter.empty]
    free = [name for name in takes if name not in inputs]
    if len(unknown) == len(inputs) or any(name not in inputs for name in needs):
        return []
    return [] if any(difflib.get_close_matches(name, free, 1, _ALIKE) for name in unknown) else unknown


def takes_none_of(model: nn.Module, names: Collection[str]) -> bool:
    """Say whether a model takes one argument or more, and none of these names."""
    parameters = _parameters(model)
    takes = _taken_by_name(model, parameters)
    return bool(takes) and not _takes_any_name(model, parameters) and not set(takes) & set(names)


def _taken_by_name(model: nn.Module, parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the names that a forward takes: its arguments', and those that its ``**kwargs`` are declared to have."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    return [name for name, each in parameters.items() if each.kind not in variable] + _declared(model, parameters)


def _takes_any_name(model: nn.Module, parameters: Mapping[str, inspect.Parameter]) -> bool:
    kinds = {parameter.kind for parameter in parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds and not _declared(model, parameters)


def _declared(model: nn.Module, parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the names of ``**kwargs: Unpack[SomeTypedDict]`` (PEP 692), as Transformers' models declare theirs."""
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and parameter.annotation is not inspect.Parameter.empty:
            annotation = parameter.annotation
            if isinstance(annotation, str):
                annotation = _evaluated(model, name)
            for held in getattr(annotation, "__args__", ()):
                known = {*getattr(held, "__required_keys__", ()), *getattr(held, "__optional_keys__", ())}
                return sorted(known)
    return []


def _evaluated(model: nn.Module, name: str) -> Any:
    """Return the annotation of an argument that was written as text; None where it has no meaning."""
    try:
        return inspect.signature(model.forward, eval_str=True).parameters[name].annotation
    except Exception:  # it is evaluated, and may name what is only there for type checkers
        return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(each, str) for each in value)
    )


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
