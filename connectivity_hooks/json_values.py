"""What JSON can hold of our figures: it has no NaN and no infinities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any, lost: list[str] | None = None, place: str = "") -> Any:
    """Return JSON-ready values, None for what is not a finite number.

    Args:
        value: A figure, a text, or tables and lists of such.
        lost: The places of what became None are appended to it.
        place: Where the value stands, as dotted names.
    """
    if isinstance(value, float) and not math.isfinite(value):
        if lost is not None:
            lost.append(place)
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item, lost, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item, lost, f"{place}.{index}") for index, item in enumerate(value)]
    return value
