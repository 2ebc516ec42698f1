"""Names of a module's single calls, ``NAME[0]``, ``NAME[1]`` …, where one pass calls it several times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CALL = re.compile(r"\[\d+\]$")


def modules_of(layers: Iterable[str]) -> list[str]:
    """Return the layers to listen to for `layers`, some of which may be single calls."""
    return list(dict.fromkeys(_CALL.sub("", layer) for layer in layers))


def called(layers: Sequence[str], fired: Iterable[str]) -> tuple[str, ...]:
    """Return `layers` with one that was called several times replaced by its calls.

    Args:
        layers: Names of layers.
        fired: Names as a capture gives them after a pass.
    """
    calls: dict[str, list[str]] = {}
    for name in fired:
        calls.setdefault(_CALL.sub("", name), []).append(name)
    return tuple(dict.fromkeys(name for layer in layers for name in calls.get(layer, [layer])))
