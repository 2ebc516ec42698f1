"""The tokenizer that texts are read with: the checkpoints' own, found by the adapters of the libraries that made it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from connectivity_hooks.contracts.tokenizer import Tokenizer
from connectivity_hooks.errors import InputError
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.data.spec import DataSpec
from connectivity_hooks.untrusted import read_json

OPTION = "tokenizer"
"""The option that names a folder."""


def tokenizer_for(spec: DataSpec, folders: Sequence[pathlib.Path]) -> Tokenizer:
    """Return the tokenizer in the folder that ``?tokenizer=FOLDER`` names, or else that of the checkpoints.

    Raises:
        InputError: There is none, or two checkpoints have different ones.
    """
    named = spec.text(OPTION)
    folders = list(dict.fromkeys(folders)) if named is None else [pathlib.Path(named)]
    found = {folder: tokenizer for folder in folders if (tokenizer := _in(folder)) is not None}
    if not found:
        looked = " and ".join(str(folder) for folder in folders) or "no checkpoint"
        raise InputError(
            f"{spec.body}: a tokenizer is missing; looked in {looked} for tokenizer.json or tokenizer_config.json; "
            f"copy its files there, or say ?{OPTION}=FOLDER"
        )
    (first, chosen), *others = found.items()
    for folder, other in others:
        if other.vocabulary != chosen.vocabulary:
            raise InputError(
                f"{spec.body}: the tokenizers of {first} and {folder} are different, of {chosen.size} and {other.size} "
                "tokens; checkpoints that read other tokens cannot be joined"
            )
    return chosen


def _in(folder: pathlib.Path) -> Tokenizer | None:
    for name, entry in registry().adapters.items():
        with guarded_call(f"adapter {name}: {folder}"):
            found = entry.cls().tokenizer(folder)
        if found is not None:
            return found
    return None


def pad_token(spec: DataSpec, folders: Sequence[pathlib.Path]) -> int:
    """Return the token that fills up: the tokenizer's, or else that of config.json beside a checkpoint, or else 0."""
    named = spec.text(OPTION)
    folders = list(dict.fromkeys(folders)) if named is None else [pathlib.Path(named)]
    for folder in folders:
        tokenizer = _in(folder)
        if tokenizer is not None and tokenizer.pad is not None:
            return tokenizer.pad
    return next(filter(None, map(_configured, folders)), 0)


def _configured(folder: pathlib.Path) -> int:
    if not (folder / "config.json").is_file():
        return 0
    config = read_json(folder / "config.json", "a model's configuration")
    token = config.get("pad_token_id") if isinstance(config, Mapping) else None
    return token if type(token) is int and token >= 0 else 0
