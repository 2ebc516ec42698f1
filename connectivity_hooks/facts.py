"""What makes a model's function beside its own weights: entries of a configuration, the weights of a base."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping

import torch
from torch import nn

from connectivity_hooks.contracts.adapter import Adapter
from connectivity_hooks.errors import ConnectivityError, InputError
from connectivity_hooks.paths.path import Path
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import guarded_call

LIBRARY = "library"
"""Under which facts name the library and its version."""

_LISTED = 6
_SHOWN = 24
_NONE = (None, "null", "false")
"""What is off: a file may leave it out."""


def facts_of(model: nn.Module) -> dict[str, str]:
    """Return what the model's library knows of its function beside its own weights; empty without a library.

    Raises:
        InputError: The adapter of the library fails.
    """
    adapter = registry().adapter_of(model)
    if adapter is None:
        return {}
    with guarded_call(f"adapter {adapter.prefix}"):
        return dict(adapter.facts(model))


def folder_facts(folder: pathlib.Path, base: str | None = None) -> dict[str, str]:
    """Return the facts of the model that a folder itself names; empty where it names none, or none can be made here.

    Args:
        folder: A folder of a library.
        base: The folder of the base, for adapters on one.
    """
    for entry in registry().adapters.values():
        adapter = entry.cls()
        try:
            with guarded_call(f"adapter {adapter.prefix}"):
                name = adapter.model_of(folder)
            if name is None:
                continue
            given = {"base": base} if base and adapter.takes_base else {}
            return _made(adapter, name.partition(":")[2], given)
        except ConnectivityError:
            return {}
    return {}


def _made(adapter: Adapter, name: str, given: Mapping[str, object]) -> dict[str, str]:
    """Return the facts of a model, made without weights where it can be; a base's weights are among them."""

    def on(place: str) -> dict[str, str]:
        with torch.random.fork_rng(), torch.device(place), guarded_call(f"adapter {adapter.prefix}"):
            return dict(adapter.facts(adapter.create(name, given)))

    if not adapter.takes_base:
        with contextlib.suppress(InputError):  # a few need the values they make
            return on("meta")
    return on("cpu")


def base_in(model: str) -> str | None:
    """Return the base in a model's name, ``peft:FOLDER?base=FOLDER``; None where none is named."""
    parts = model.partition("?")[2].split("&")
    return next((part.removeprefix("base=") for part in parts if part.startswith("base=")), None)


def unlike(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Return the facts in which two models differ, each with both values.

    Names that only one side has are compared where both are of one version of the library.
    """
    keys = one.keys() | other.keys() if one.get(LIBRARY) == other.get(LIBRARY) else one.keys() & other.keys()
    pairs = {key: (one.get(key), other.get(key)) for key in sorted(keys - {LIBRARY})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not set(pair) <= {*_NONE}}


def other_model(path: Path, facts: Mapping[str, str]) -> str | None:
    """Say in what a path's model is another than one of these facts; None where it is not, or it is not known."""
    found = unlike(path.facts, facts) if path.facts and facts else {}
    return f"the path is of another model: {in_words(found, 'there', 'here')}" if found else None


def in_words(found: Mapping[str, tuple[str | None, str | None]], here: str, there: str) -> str:
    """Return differences as a text: ``num_attention_heads is 2 in the file and 4 in the model``."""
    listed = [f"{key} is {_shown(a)} {here} and {_shown(b)} {there}" for key, (a, b) in found.items()]
    return ", ".join(listed[:_LISTED]) + (f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else "")


def _shown(value: str | None) -> str:
    if value is None:
        return "not there"
    return value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
