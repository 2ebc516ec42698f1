"""A state of a training, from which copies grow: weights, optimizer, schedule, and whatever else has a state."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from connectivity_hooks.checkpoints import Checkpoint, read, save
from connectivity_hooks.checkpoints.atomic import atomic_write, make_folder
from connectivity_hooks.checkpoints.pickles import load_plain
from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.stability.layout import START, STATE, STATE_KEY, STEP_KEY, step_folder
from connectivity_hooks.untrusted import open_regular

_CHUNK = 1 << 24


@runtime_checkable
class Stateful(Protocol):
    """What has a state: an optimizer, a learning-rate schedule, a gradient scaler, an average of weights."""

    def state_dict(self) -> Any:
        """Return the state, in tensors and plain containers."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Take a state back."""
        ...


def save_start(
    folder: str | os.PathLike[str], step: int, model: nn.Module, *, task: str | None = None, **state: Stateful
) -> None:
    """Save the state of a training after `step` optimizer steps, for copies to start from (Frankle et al. 2020).

    Writes ``FOLDER/k_<step>/start.safetensors``, an ordinary checkpoint, and beside it ``start.state.pt``, the state of
    everything else, which is read back without running code. States of random generators are left out: how a copy's
    noise differs is up to the copy. A crash leaves no half of a state.

    Args:
        folder: Folder of the whole analysis; made when missing.
        step: Optimizer steps done so far, k; 0 before the first.
        model: The module; wrappers are left out, see `connectivity_hooks.save`.
        task: How the model is made, likewise.
        **state: Whatever else the training goes on from, by name: ``optimizer=optimizer, scheduler=scheduler``.

    Raises:
        InputError: A state holds more than tensors and plain containers, or the folder cannot be written.
        UsageError: `step` is negative, or something has no state.
    """
    if step < 0:
        raise UsageError(f"save_start: expected a step ≥ 0, found {step}")
    for name, part in state.items():
        if not isinstance(part, Stateful):
            raise UsageError(f"save_start: {name} is a {type(part).__name__}, which has no state_dict; leave it out")
    place = step_folder(pathlib.Path(folder), step)
    make_folder(place)
    digest = _write(place / STATE, {name: part.state_dict() for name, part in state.items()})
    save(model, place / START, task=task, metadata={STEP_KEY: str(step), STATE_KEY: digest})


@dataclass(frozen=True)
class Start:
    """A saved state.

    Attributes:
        weights: The checkpoint; its digest tells one state from another, what lies beside the weights included.
        state: State by name, as `save_start` was given it.
    """

    weights: Checkpoint
    state: Mapping[str, Any]


def read_start(place: pathlib.Path) -> Start:
    """Read the state in one k's folder.

    Raises:
        InputError: It is missing, malformed, or its two files do not belong together.
    """
    weights = read_start_weights(place)
    if weights.metadata.get(STATE_KEY) != _digest(place / STATE):
        raise InputError(f"{place / STATE}: does not belong to {START} beside it; save the state of this step again")
    state = load_plain(place / STATE)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError(f"{place / STATE}: is not a table of states by name; save the state of this step again")
    return Start(weights, state)


def read_start_weights(place: pathlib.Path) -> Checkpoint:
    """Read the weights in one k's folder, whose metadata has the digest of the rest."""
    if not (place / START).exists():
        raise InputError(f"{place}: holds no {START}; save the state of this step with ch.save_start")
    return read(place / START)


def _write(file: pathlib.Path, state: Mapping[str, Any]) -> str:
    try:
        with atomic_write(file) as stream:
            torch.save(dict(state), stream)
    except InputError:
        raise
    except Exception as error:  # pickling raises many kinds; all mean the same to the user
        reason = one_line(error, 120)
        raise InputError(f"{file}: a state cannot be stored: {reason}; leave it out of save_start") from None
    load_plain(file)  # what cannot be read back without running code is better known now than after the training
    return _digest(file)


def _digest(file: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open_regular(file) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
