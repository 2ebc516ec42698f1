"""Making the module of an adapter's folder: the base, PEFT's layers in it, and the adapter's tensors as its state."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from connectivity_hooks.checkpoints import read as read_checkpoint
from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.untrusted import guarded
from connectivity_hooks_peft import folder as folders
from connectivity_hooks_peft.adapted import Adapted, adapted, freeze
from connectivity_hooks_peft.base import base
from connectivity_hooks_peft.quiet import quiet

_NAME = "default"
"""The adapter's name in the module; files do not have it."""

_TASKS = {
    "SEQ_CLS": "sequence-classification",
    "TOKEN_CLS": "token-classification",
    "CAUSAL_LM": "causal-lm",
    "SEQ_2_SEQ_LM": "seq2seq-lm",
    "FEATURE_EXTRACTION": "base",
}
"""Heads by PEFT's word, in the words of the adapter of Transformers."""


def create(folder: pathlib.Path, arguments: Mapping[str, object]) -> nn.Module:
    """Make the module of an adapter's folder; see `PeftAdapter.create`."""
    config = folders.read(folder)
    if config is None:
        raise UsageError(f"peft:{folder}: has no {folders.CONFIG}, expected what PeftModel.save_pretrained writes")
    folders.require_meant(folder, config)
    given = dict(arguments)
    at = folders.base_of(folder, config, given.pop("base", None))
    heads = tuple(config.get("modules_to_save") or ())
    if "task" not in given and config.get("task_type") in _TASKS:
        given["task"] = _TASKS[config["task_type"]]
    if "num_labels" not in given and (labels := _labels(folder, heads)):
        given["num_labels"] = labels
    model, digest = base(at, given, heads)
    made = _injected(folder, config, model)
    made.base_digest = digest
    return made


def _labels(folder: pathlib.Path, heads: tuple[str, ...]) -> int | None:
    """Return the outputs of the head that an adapter brings; None where it brings none."""
    if not heads:
        return None
    found = [
        tensor.shape[0]
        for name, tensor in read_checkpoint(folder).outline.items()
        if name.endswith(".weight") and tensor.ndim == 2 and any(part in heads for part in name.split("."))
    ]
    return found[-1] if found else None


def _injected(folder: pathlib.Path, raw: Mapping[str, Any], model: nn.Module) -> Adapted:
    """Return a base with an adapter's layers in it, of any values."""
    peft = _peft()
    config = _configuration(folder, raw, peft)
    with quiet(), guarded(folder / folders.CONFIG, f"an adapter of a {type(model).__name__}", "use its own base"):
        whole = peft.get_peft_model(model, config)
    made = adapted(whole.base_model, {_NAME: config})
    state = {name: tensor for name, tensor in made.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    with quiet():
        own = peft.get_peft_model_state_dict(made, dict(state), _NAME, save_embedding_layers=False)
    freeze(made, own)
    stored = {id(tensor): name for name, tensor in own.items()}
    made.stored_names = {name: stored[id(tensor)] for name, tensor in state.items() if id(tensor) in stored}
    return made


def _configuration(folder: pathlib.Path, raw: Mapping[str, Any], peft: Any) -> Any:
    cls = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[raw["peft_type"]]
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = [name for name, value in raw.items() if name not in known and value]
    if unknown:
        raise InputError(
            f"{folder / folders.CONFIG}: {unknown[0]} is no entry that PEFT {peft.__version__} knows; use a newer one"
        )
    values = {name: value for name, value in raw.items() if name in known}
    # Values come from checkpoints; random ones, so that no factor of what is looked at meanwhile is zero.
    values |= {name: False for name in ("init_lora_weights", "init_ia3_weights") if name in known}
    with quiet(), guarded(folder / folders.CONFIG, "the configuration of an adapter", "save the adapter again"):
        return cls(**{**values, "inference_mode": False})


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise InputError(
            f"peft: cannot be imported ({one_line(error)}); pip install 'connectivity-hooks[peft]'"
        ) from None
    return peft
