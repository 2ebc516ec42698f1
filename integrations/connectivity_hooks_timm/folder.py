"""config.json of a checkpoint folder that timm's ``save_for_hf`` wrote."""

from __future__ import annotations

import math
import pathlib
from typing import Any

from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import guarded, read_json

# Bytes: a thousand times what timm writes.
_LARGEST = 1 << 20
_PASSED_ON = ("num_classes", "global_pool")


def model_of_folder(folder: pathlib.Path) -> str | None:
    """Return ``timm:ARCHITECTURE?num_classes=…`` of a folder, or None when it is not timm's.

    Raises:
        InputError: config.json names an architecture, and is malformed beyond that.
    """
    file = folder / "config.json"
    if not file.is_file() or file.stat().st_size > _LARGEST:
        return None
    try:
        config = read_json(file, "a model's configuration")
    except InputError:
        return None  # not timm's: whoever wrote it, the folder's checkpoint may be read all the same
    if not isinstance(config, dict) or "architecture" not in config:
        return None
    with guarded(file, "timm's configuration of a model", "say --model"):
        return f"timm:{_architecture(file, config)}{_query(file, _arguments(file, config))}"


def _architecture(file: pathlib.Path, config: dict[str, Any]) -> str:
    name = config["architecture"]
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise InputError(f"{file}: architecture is not the name of a timm model; say --model")
    return name


def _arguments(file: pathlib.Path, config: dict[str, Any]) -> dict[str, Any]:
    own = {key: config[key] for key in _PASSED_ON if config.get(key) is not None}
    further = config.get("model_args") or {}
    if not isinstance(further, dict):
        raise InputError(f"{file}: model_args is not a table of arguments; say --model")
    return {**own, **further}


def _query(file: pathlib.Path, arguments: dict[str, Any]) -> str:
    parts = []
    for key, value in arguments.items():
        text = value if isinstance(value, str) else repr(value)
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or not str(key).isidentifier() or any(sign in text for sign in "&?#"):
            raise InputError(f"{file}: the argument {str(key)[:40]!r} cannot be passed on; say --model")
        parts.append(f"{key}={text}")
    return "?" + "&".join(parts) if parts else ""
