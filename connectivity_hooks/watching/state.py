"""The state of a watch, as it lies in other people's checkpoints: checked before it is gone on from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import guarded
from connectivity_hooks.watching.schedule import Clock

FORMAT = "connectivity_hooks.watch/1"


def counted_in(state: Any) -> Clock:
    """Return the counters of what `Watch.state_dict` returned.

    Raises:
        InputError: It is something else, or damaged.
    """
    with guarded("watch: the state", f"what state_dict() returned, of format {FORMAT}"):
        found = state.get("format") if isinstance(state, Mapping) else state
        if found != FORMAT:
            raise InputError(f"watch: expected a state of format {FORMAT}, found {found!r:.40}")
        if not all(isinstance(name, str) and isinstance(status, str) for name, status in state["statuses"].items()):
            raise ValueError("its statuses are no words by name")
        whole = [_number(state, name, (int,)) for name in ("step", "epoch")]
        seconds = [_number(state, name, (int, float)) for name in ("elapsed", "spent")]
        return Clock(int(whole[0]), int(whole[1]), float(seconds[0]), float(seconds[1]))


def _number(state: Mapping[str, Any], name: str, kinds: tuple[type, ...]) -> float:
    value = state[name]
    if type(value) not in kinds or not math.isfinite(value) or value < 0:
        raise ValueError(f"its {name} is {value!r:.40}, expected a number of at least 0")
    number: float = value
    return number
