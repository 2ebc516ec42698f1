"""Entries of a config.json that somebody else wrote: numbers that no model has, and what would fetch or run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from connectivity_hooks.errors import InputError

_LONGEST = 10**9
"""Above every size of a model; more than ten times as many values as the largest vocabulary or context has places."""
_COUNTS = {**dict.fromkeys(("layer", "depth", "block", "expert", "stage", "head"), 10**4), "label": 10**6}
"""Words in the names of what is made one by one, in lists whose making takes memory before any weight does."""
_NO_SIZES = ("theta", "length", "seed")

_NEVER = ("attn_implementation", "experts_implementation", "auto_map", "quantization_config", "custom_pipelines")
"""Entries that choose code: kernels may be fetched by their name. How a model is computed is for who runs it to say."""


def require_possible(where: object, entries: Mapping[str, Any]) -> None:
    """Refuse a number larger than any model has, before anything is made of it.

    Raises:
        InputError: It names the entry.
    """
    for name, number in _numbers("", entries):
        counted = [most for word, most in _COUNTS.items() if word in name and "size" not in name and "dim" not in name]
        most = min(counted, default=_LONGEST)
        if abs(number) > most and not any(word in name for word in _NO_SIZES):
            raise InputError(
                f"{where}: {name} is {number if abs(number) < 10**18 else 'of more than 18 digits'}, expected at most "
                f"{most}; no model has that many"
            )


def harmless(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries without those that choose code, and with no weights of a backbone to be fetched."""
    kept = {name: value for name, value in entries.items() if name.lstrip("_").removesuffix("_internal") not in _NEVER}
    for name, value in kept.items():
        if isinstance(value, Mapping):
            kept[name] = harmless(value)
    return {**kept, "use_pretrained_backbone": False} if "use_pretrained_backbone" in kept else kept


def _numbers(name: str, value: object) -> Iterator[tuple[str, int | float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in ("id2label", "label2id"):
                yield from _numbers(str(key), inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(name, inner)
    elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and _multiplies(name)):
        yield name, value


def _multiplies(name: str) -> bool:
    return any(word in name for word in ("ratio", "mult", "factor", "expan"))
