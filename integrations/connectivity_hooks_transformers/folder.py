"""Folders that ``save_pretrained`` writes: config.json names the class of the model, and says how it is made."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from connectivity_hooks.errors import InputError, UsageError, near_matches, one_line
from connectivity_hooks.untrusted import guarded, read_json
from connectivity_hooks_transformers.entries import harmless, require_possible
from connectivity_hooks_transformers.facts import counts
from connectivity_hooks_transformers.quiet import quiet

CONFIG = "config.json"

TASKS = {
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "multiple-choice": "AutoModelForMultipleChoice",
    "image-classification": "AutoModelForImageClassification",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "audio-classification": "AutoModelForAudioClassification",
    "speech-seq2seq": "AutoModelForSpeechSeq2Seq",
    "ctc": "AutoModelForCTC",
    "base": "AutoModel",
}
"""Heads by the word that asks for one, and the class of the library that chooses the model's own."""

_FIRST = ("architectures", "model_type", "vocab_size", "num_labels", "problem_type")  # what people look for
_SETTLED = {"architectures", "model_type", "transformers_version"}  # the class is settled; `task` asks for another
_LARGEST = 1 << 24  # bytes; a vocabulary of labels is in it, and no weights


def model_of(folder: pathlib.Path) -> str | None:
    """Return ``transformers:FOLDER`` of a folder whose config.json names a class of the library; else None.

    Raises:
        InputError: It names a class that is none of the library's own: such code is not run.
    """
    config = _read(folder)
    if config is None:
        return None
    if any(sign in str(folder) for sign in "?:"):
        raise InputError(f"{folder}: a folder of this name cannot be named as a model; rename it, or say --model")
    _class_of(folder, config)
    return f"transformers:{folder}"


def create(folder: pathlib.Path, arguments: Mapping[str, object]) -> nn.Module:
    """Make the model of a folder, without weights of its own; see `TransformersAdapter.create`."""
    given = dict(arguments)
    task = given.pop("task", None)
    if task is not None and task not in TASKS:
        raise UsageError(f"transformers:{folder}: task={task}: {near_matches(str(task), TASKS)}")
    raw = _read(folder)
    if raw is None:
        raise UsageError(
            f"transformers:{folder}: has no {CONFIG} of a model; expected a folder that save_pretrained wrote"
        )
    config = _configuration(folder, raw, given)
    with quiet(), guarded(folder / CONFIG, "a configuration that a model can be made of", "save the model again"):
        made = _made(folder, raw, config, task)
    if getattr(made, "loss_type", "") is None:
        made.loss_type = "ForCausalLM"  # the library takes it for None, with a remark about an entry nobody wrote
    model: nn.Module = made
    return model


def difference(first: str, second: str) -> str | None:
    """Return the entries in which the configurations of two models differ; None where none that counts does."""
    one, two = (_read(pathlib.Path(name.partition(":")[2].partition("?")[0])) or {} for name in (first, second))
    keys = sorted(key for key in {*one, *two} if counts(key))
    unlike = [key for key in keys if one.get(key) != two.get(key)]
    if not unlike:
        return None
    unlike.sort(key=lambda key: (key not in _FIRST, key))
    listed = ", ".join(f"{key} {_shown(one.get(key))} and {_shown(two.get(key))}" for key in unlike[:8])
    return f"their {CONFIG} differ: {listed}" + (f" and {len(unlike) - 8} more" if len(unlike) > 8 else "")


def _read(folder: pathlib.Path) -> dict[str, Any] | None:
    """Return config.json of a folder; None where there is none of the library's."""
    file = folder / CONFIG
    with contextlib.suppress(OSError, ValueError):
        if file.is_file() and file.stat().st_size <= _LARGEST:
            try:
                config = read_json(file, "a model's configuration")
            except InputError:
                return None  # whoever wrote it, the folder's checkpoint may be read all the same
            known = isinstance(config, dict) and ("architectures" in config or "model_type" in config)
            return config if known and "architecture" not in config else None
    return None


def _configuration(folder: pathlib.Path, raw: Mapping[str, Any], changes: Mapping[str, object]) -> Any:
    hf = _transformers()
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in hf.CONFIG_MAPPING:
        known = near_matches(str(kind), hf.CONFIG_MAPPING.keys())
        raise InputError(
            f"{folder / CONFIG}: model_type {_shown(kind)} is none of Transformers {hf.__version__}; {known}"
        )
    if raw.get("quantization_config") is not None:
        raise InputError(
            f"{folder / CONFIG}: the weights are quantized, and have no line between them; save them as floats"
        )
    require_possible(folder / CONFIG, raw)
    require_possible(f"transformers:{folder}", changes)
    with quiet(), guarded(folder / CONFIG, "a model's configuration", "save the model again"):
        config = hf.CONFIG_MAPPING[kind].from_dict(harmless(raw))
    entries = {*config.to_dict(), *getattr(config, "attribute_map", {}), "num_labels"} - _SETTLED
    for name, value in changes.items():
        if name not in entries or name.startswith("_"):
            raise UsageError(
                f"transformers:{folder}: {name} is no entry of its configuration; {near_matches(name, entries)}"
            )
        with quiet(), guarded(f"transformers:{folder}?{name}", "a value that the configuration takes", "give another"):
            setattr(config, name, value)
    return config


def _made(folder: pathlib.Path, raw: Mapping[str, Any], config: Any, task: object) -> Any:
    hf = _transformers()
    if task is not None:
        return getattr(hf, TASKS[str(task)]).from_config(config, trust_remote_code=False)
    return _class_of(folder, raw)(config)


def _class_of(folder: pathlib.Path, raw: Mapping[str, Any]) -> Any:
    """Return the class of the library that a configuration names; nothing else is ever looked up."""
    named = raw.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    hf = _transformers()
    found: Any = getattr(hf, name, None) if isinstance(name, str) and name.isidentifier() else None
    is_model = isinstance(found, type) and issubclass(found, hf.PreTrainedModel)
    if not is_model or not found.config_class:
        remote = " It asks for code of its own (auto_map), which is not run." if raw.get("auto_map") else ""
        raise InputError(
            f"{folder / CONFIG}: architectures names {_shown(name)}, expected a model of Transformers {hf.__version__};"
            f" say --model FILE.py:callable, or transformers:{folder}?task=…{remote}"
        )
    return found


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        reason = one_line(error)
        raise InputError(
            f"transformers: cannot be imported ({reason}); pip install 'connectivity-hooks[transformers]'"
        ) from None
    return transformers


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
