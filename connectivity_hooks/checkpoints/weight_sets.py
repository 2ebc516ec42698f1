"""Which of the sets of weights that a training stored is meant: trained or averaged, student or teacher."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from connectivity_hooks.checkpoints.header import shown, shown_key
from connectivity_hooks.errors import InputError

KEYS = ("state_dict", "model", "model_state_dict", "module", "net", "weights")
AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
# Lightning's WeightAveraging puts the averaged weights under state_dict, and the trained ones here.
CURRENT = "current_model_state"


def choose(source: pathlib.Path, loaded: Any, key: str | None) -> tuple[Mapping[Any, Any], list[str]]:
    """Return the weights among what a file holds, and what was chosen.

    Args:
        source: The file, for messages.
        loaded: What it holds.
        key: The entry that is meant, ``ema.module`` one inside another; needed where several are sets of weights of one
            model.

    Raises:
        InputError: There are no weights, none under `key`, or several sets.
    """
    if not isinstance(loaded, Mapping):
        raise InputError(f"{source}: holds a {type(loaded).__name__}, expected a state dict or a dict with one")
    sets = _sets(loaded)
    if key is not None:
        chosen = _entry(loaded, key)
        if chosen is None:
            raise InputError(f"{source}: has no weights under {key!r}; {_offer(sets, loaded)}")
        return chosen, [f"{source.name}: weights taken from {key!r}"]
    if len(sets) > 1:
        raise InputError(f"{source}: {_offer(sets, loaded)}; say which with --key, the same for both ends of a path")
    if sets:
        return _states(loaded)[sets[0]], [f"{source.name}: weights taken from {sets[0]!r}"]
    if not _is_state(loaded):
        raise InputError(f"{source}: holds no weights that it names so; its entries are {entries(loaded)}; say --key")
    return loaded, []


def entries(names: Mapping[Any, Any]) -> str:
    """Return the first names of a mapping as they may be shown."""
    return ", ".join(shown_key(name) for name in list(names)[:8]) or "none"


def _sets(loaded: Mapping[Any, Any]) -> list[str]:
    """Return the entries that usually hold weights, and every other that has the same names in it."""
    states = _states(loaded)
    usual = [name for name in (*KEYS, *AVERAGED) if name in states]
    names = {name: _names(state) for name, state in states.items()}
    return usual + [
        name for name in states if name not in usual and any(_alike(names[name], names[other]) for other in usual)
    ]


def _states(loaded: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """Return the entries that hold tensors by name, and those inside one more mapping by both names, ``ema.module``."""
    found: dict[str, Mapping[Any, Any]] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Mapping):
            continue
        if _is_state(value):
            found[name] = value
        elif not name.startswith("optim"):  # its moments have the names of the weights, and are none
            inside = {key: state for key, state in value.items() if isinstance(key, str) and _is_state(state)}
            found |= {f"{name}.{key}": state for key, state in inside.items()}
    return found


def _entry(loaded: Mapping[Any, Any], key: str) -> Mapping[Any, Any] | None:
    return loaded[key] if _is_state(loaded.get(key)) else _states(loaded).get(key)


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(tensor, Tensor) for tensor in value.values())


def _names(state: Mapping[Any, Any]) -> set[str]:
    """Return the names of tensors as the module itself has them; an average or a wrapper puts some before each."""
    names = (name for name, value in state.items() if isinstance(value, Tensor) and isinstance(name, str))
    return {name.removeprefix("module.").removeprefix("_orig_mod.") for name in names}


def _alike(a: set[str], b: set[str]) -> bool:
    return 2 * len(a & b) >= max(len(a), len(b))


def _offer(sets: list[str], loaded: Mapping[Any, Any]) -> str:
    if not sets:
        return f"its entries are {entries(loaded)}"
    roles = _roles(sets)
    return f"holds {len(sets)} sets of weights: {', '.join(shown(name) + roles.get(name, '') for name in sets)}"


def _roles(sets: list[str]) -> dict[str, str]:
    """Return which of several sets are averaged and which trained, where their names say it."""
    if CURRENT in sets:
        return {"state_dict": " (averaged)", CURRENT: " (trained)"}
    averaged = [name for name in sets if name.partition(".")[0] in AVERAGED]
    if not averaged or len(sets) < 2:
        return {}
    return {name: " (averaged)" if name in averaged else " (trained)" if name in KEYS else "" for name in sets}
