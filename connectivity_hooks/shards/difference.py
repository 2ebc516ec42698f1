"""Where two tables differ first, in words."""

from __future__ import annotations

import json
from typing import Any

_SHOWN = 60  # of two values that differ: enough of a digest or a path to tell them


def difference(found: Any, expected: Any, place: str = "") -> str:
    """Return in words where two JSON values differ first, the order of names included; nothing where they do not."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in [*expected, *found]:
            inner = difference(found.get(name), expected.get(name), f"{place}.{name}".lstrip("."))
            if inner:
                return inner
        return "" if list(found) == list(expected) else f"the order of {place or 'its names'} is another one"
    return "" if found == expected else f"{place} is {_shown(found)} there and {_shown(expected)} here"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
