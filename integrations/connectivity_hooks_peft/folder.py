"""Folders that ``PeftModel.save_pretrained`` writes: adapter_config.json says what was trained on which base."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.untrusted import read_json

CONFIG = "adapter_config.json"
KINDS = ("LORA", "IA3")
"""Kinds of adapters that are read."""

_BASE = "base_model_name_or_path"
_INCIDENTAL = {
    _BASE,
    "peft_version",
    "revision",
    "inference_mode",
    "auto_mapping",
    "lora_dropout",
    "init_lora_weights",
    "init_ia3_weights",
    "runtime_config",
    "megatron_config",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
}
"""Entries that do not make another adapter; dropout is off while a path is measured."""
_FIRST = ("peft_type", "r", "lora_alpha", "target_modules", "modules_to_save")
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways of starting LoRA that leave the base as it is; the others take something out of its weights."""
_UNMEANT = ("layer_replication", "alora_invocation_tokens", "arrow_config", "use_qalora", "target_parameters")


def read(folder: pathlib.Path) -> dict[str, Any] | None:
    """Return adapter_config.json of a folder; None where there is none.

    Raises:
        InputError: It is no configuration of an adapter.
    """
    file = folder / CONFIG
    try:
        if not file.is_file():
            return None
    except (OSError, ValueError):  # a name that no file can have
        return None
    config = read_json(file, "the configuration of an adapter", "save the adapter again")
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise InputError(f"{file}: names no peft_type, expected what PeftModel.save_pretrained writes")
    return config


def require_meant(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Refuse kinds of adapters that are not read; raise `InputError`."""
    kind, file = config["peft_type"], folder / CONFIG
    if kind not in KINDS:
        raise InputError(
            f"{file}: an adapter of kind {kind} is not read, expected {' or '.join(KINDS)}; merge it into its base"
        )
    start = config.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise InputError(
            f"{file}: init_lora_weights is {start!r}, which takes a part of the base's weights into the adapter; "
            "save it with path_initial_model_for_weight_conversion, which makes plain LoRA of it"
        )
    for name in _UNMEANT:
        if config.get(name):
            raise InputError(
                f"{file}: {name} is {config[name]!r}, and such adapters are not read; merge it into its base"
            )


def base_of(folder: pathlib.Path, config: Mapping[str, Any], given: object) -> pathlib.Path:
    """Return the folder of the base: the one given, else the one that the configuration names, if it is here.

    Raises:
        InputError: The folder that was given is none of a model.
        UsageError: None is given, and what is named is no folder here; nothing is downloaded.
    """
    named = config.get(_BASE)
    base = pathlib.Path(str(named if given is None else given))
    if (base / "config.json").is_file():
        return base
    if given is not None:
        raise InputError(f"{base}: has no config.json, expected the folder of the base that {folder} was trained on")
    raise UsageError(
        f"{folder}: its base {_shown(named)} is no folder here, and nothing is downloaded; say --base FOLDER "
        f"(peft:{folder}?base=FOLDER)"
    )


def difference(one: pathlib.Path, other: pathlib.Path) -> str | None:
    """Return the entries in which two adapters' configurations differ; None where none that counts does."""
    first, second = read(one) or {}, read(other) or {}
    keys = sorted(filter(counts, {*first, *second}), key=lambda key: (key not in _FIRST, key))
    unlike = [key for key in keys if plain_value(first.get(key)) != plain_value(second.get(key))]
    if unlike:
        listed = ", ".join(f"{key} {_shown(first.get(key))} and {_shown(second.get(key))}" for key in unlike[:6])
        return f"their {CONFIG} differ: {listed}" + (f" and {len(unlike) - 6} more" if len(unlike) > 6 else "")
    bases = [config.get(_BASE) for config in (first, second)]
    return None if bases[0] == bases[1] else f"their bases are {bases[0]!r} and {bases[1]!r}"


def counts(key: str) -> bool:
    """Say whether an entry of a configuration may make another adapter."""
    return key not in _INCIDENTAL


def plain_value(value: object) -> object:
    """Return a value as it counts: sets of modules are written in any order, what is off in several ways."""
    if isinstance(value, (list, set, tuple)):
        return sorted(map(str, value)) or None
    return value or None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
