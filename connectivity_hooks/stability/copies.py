"""Copies of a training: the same state, trained on with other noise."""

from __future__ import annotations

import hashlib
import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from connectivity_hooks.checkpoints import fit, read, save
from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.model.weights import assign, weights_of
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.stability.layout import SEED_KEY, START_KEY, STEP_KEY, steps_in
from connectivity_hooks.stability.start import Stateful, read_start, read_start_weights


def copies(
    folder: str | os.PathLike[str], *, k: int | Sequence[int] | None = None, seeds: Sequence[int] = (1, 2)
) -> tuple[Copy, ...]:
    """Return the copies that are still to be trained, in order of k and seed; those whose file is there are left out.

    The training stays yours::

        for copy in ch.copies("runs", seeds=(1, 2)):
            model, optimizer, scheduler = build()
            copy.restore(model, optimizer=optimizer, scheduler=scheduler)
            loader = DataLoader(data, 64, shuffle=True, generator=copy.generator)
            train(model, optimizer, scheduler, loader, steps=range(copy.step, STEPS))
            copy.save(model)

    Args:
        folder: Where `save_start` has saved states.
        k: Steps to start from; None for every one that was saved.
        seeds: A copy for each of them at each k; at least two copies of one k are needed for a barrier.

    Raises:
        InputError: A state is missing, or a copy that is there grew from another state than the one saved now.
        UsageError: No seed, one twice, or a negative one.
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"copies: expected different seeds ≥ 0, found {seeds}")
    found = steps_in(pathlib.Path(folder))
    chosen = list(found) if k is None else [k] if isinstance(k, int) else list(dict.fromkeys(k))
    missing = [step for step in chosen if step not in found]
    if missing:
        known = ", ".join(map(str, found))
        raise InputError(f"{folder}: has no state of step {missing[0]}, only of {known}; save it with ch.save_start")
    return tuple(copy for step in chosen for copy in _unfinished(found[step], step, seeds))


class Copy:
    """One training to be done: from the state of step k, with its own order of the data.

    Two copies of one k differ in their noise alone: the order of the data, and what the global random generators
    decide, such as augmentation and dropout.

    Attributes:
        step: Optimizer steps done before, k.
        seed: Number of the copy.
        file: Where its final weights go.
        noise_seed: Below 2**32, drawn from step and seed, so that no two copies share it; for samplers and frameworks
            that take a seed.
        generator: Seeded with it; for the sampler or loader that shuffles the data. It is one object: what has drawn
            from it once goes on where it stopped.
    """

    def __init__(self, place: pathlib.Path, step: int, seed: int) -> None:
        self.step = step
        self.seed = seed
        self.file = place / f"seed_{seed}.safetensors"
        self.noise_seed = int.from_bytes(hashlib.sha256(f"{step}/{seed}".encode()).digest()[:4], "big")
        self.generator = torch.Generator().manual_seed(self.noise_seed)
        self._start: str | None = None

    def restore(self, model: nn.Module, **state: Stateful) -> None:
        """Put the training into the state of step k, and seed every global random generator with the copy's noise.

        Args:
            model: Takes the weights, in place.
            **state: Everything that `save_start` was given, by the same names; each takes its state.

        Raises:
            InputError: The state is missing or malformed, or does not fit.
            UsageError: Something that was saved is not given, or the other way round.
        """
        start = read_start(self.file.parent)
        if state.keys() != start.state.keys():
            raise UsageError(
                f"restore: {_names(start.state)} were saved at step {self.step}, {_names(state)} given; give the same"
            )
        bare = unwrapped(model)
        assign(weights_of(bare), fit(start.weights, bare).weights)
        for name, part in state.items():
            _load(part, start.state[name], name, self.file.parent)
        self._start = start.weights.sha256
        random.seed(self.noise_seed)
        np.random.seed(self.noise_seed)
        torch.manual_seed(self.noise_seed)

    def save(self, model: nn.Module, *, task: str | None = None) -> None:
        """Save the final weights where the analysis finds them; from then on the copy counts as finished.

        Args:
            model: The module, see `connectivity_hooks.save`; averaged weights (EMA) of every copy, or of none.
            task: How the model is made, likewise.
        """
        start = self._start or read_start_weights(self.file.parent).sha256
        metadata = {STEP_KEY: str(self.step), SEED_KEY: str(self.seed), START_KEY: start}
        save(model, self.file, task=task, metadata=metadata)

    def __repr__(self) -> str:
        return f"Copy(step={self.step}, seed={self.seed}, file={str(self.file)!r})"


def _unfinished(place: pathlib.Path, step: int, seeds: Sequence[int]) -> list[Copy]:
    start = read_start_weights(place)
    remaining = []
    for copy in (Copy(place, step, seed) for seed in seeds):
        if not copy.file.exists():
            remaining.append(copy)
        elif read(copy.file).metadata.get(START_KEY, start.sha256) != start.sha256:
            raise InputError(
                f"{copy.file}: grew from another state than the one beside it; remove the copy, or bring its state back"
            )
    return remaining


def _load(part: Stateful, state: Any, name: str, place: pathlib.Path) -> None:
    try:
        part.load_state_dict(state)
    except Exception as error:  # whatever it raises means that the state is of something else
        reason = one_line(error, 160)
        raise InputError(f"{place}: the state of {name} does not fit the {name} given: {reason}") from None


def _names(state: Mapping[str, object]) -> str:
    return ", ".join(sorted(state)) or "nothing"
