"""What makes the function of a base with an adapter, beside the adapter's weights."""

from __future__ import annotations

import json
from typing import Any

from connectivity_hooks.facts import LIBRARY, facts_of
from connectivity_hooks_peft.adapted import Adapted
from connectivity_hooks_peft.folder import counts, plain_value


def facts_of_adapted(model: Adapted) -> dict[str, str]:
    """Return the entries of both configurations that count, and a digest of the base's weights."""
    import peft

    (config,) = model.peft_config.values()
    base = facts_of(model.inner)
    library = f"peft {peft.__version__}, {base.pop(LIBRARY, '')}"
    own = {key: json.dumps(plain_value(value), sort_keys=True, default=_plain) for key, value in _entries(config)}
    weights = {"base.weights": f"sha256 {model.base_digest}"} if model.base_digest else {}
    return {**own, **{f"base.{key}": text for key, text in base.items()}, **weights, LIBRARY: library}


def _entries(config: Any) -> list[tuple[str, object]]:
    return [(key, value) for key, value in config.to_dict().items() if counts(key)]


def _plain(thing: object) -> object:
    return sorted(map(str, thing)) if isinstance(thing, (set, frozenset)) else type(thing).__name__
