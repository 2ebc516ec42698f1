"""The entries of a configuration that make a model's function, and those that do not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

_INCIDENTAL = {
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "initializer_range",
    "initializer_factor",
}
"""Entries that do not make another model: how it is run, stored and started.

Nor do rates of dropout: nothing is dropped while a path is measured.
"""

_LABELS = ("id2label", "label2id")
_LONGEST = 300  # characters of a value that is kept as it is


def counts(key: str) -> bool:
    """Say whether an entry of a configuration may make another model."""
    return key not in _INCIDENTAL and "drop" not in key


def facts(model: nn.Module) -> dict[str, str]:
    """Return the entries of a model's configuration that count, those of parts by names with dots, and its class."""
    import transformers

    config: Any = getattr(model, "config", None)
    try:
        entries = dict(config.to_dict())
    except Exception:  # a stranger's configuration; it is then not known
        return {}
    entries.pop("architectures", None)  # the class of a folder; the model may have been asked for with another head
    found = {name: _text(value) for name, value in _counted("", entries)}
    return {**found, "class": type(model).__name__, "library": f"transformers {transformers.__version__}"}


def _counted(prefix: str, entries: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in entries.items():
        name = f"{prefix}{key}"
        if not counts(str(key)) or str(key).startswith("_"):  # what a library keeps for itself
            continue
        if isinstance(value, Mapping) and value and key not in _LABELS:
            yield from _counted(f"{name}.", value)
        else:
            yield name, value


def _text(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda thing: type(thing).__name__)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text if len(text) <= _LONGEST else f"sha256 {digest} of {text[:40]}"
