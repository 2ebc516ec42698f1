"""An observation made of what the training's own passes put out: features and targets, no inputs to run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.padding import AVERAGED_IN
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.split import Drawn, Split

_OTHER_POSITIONS = "the mask is of other positions than its own, and nothing tells which of these are padding"


class PassedSplit(Split):
    """Samples of which only the features were kept.

    Args:
        rows: N.
        targets: (N, …), or why there are none.
    """

    name = "training"

    def __init__(self, rows: int, targets: Tensor | str) -> None:
        self._rows = rows
        self._targets = targets

    def __len__(self) -> int:
        return self._rows

    def targets(self) -> Tensor:
        """Return all targets (N, …); raise `InputError` when some were not given."""
        if isinstance(self._targets, str):
            raise InputError(self._targets)
        return self._targets

    def targets_or_nan(self) -> Tensor:
        """Return all targets, or NaN for each where they are missing: whoever uses them sees it."""
        return torch.full((self._rows,), torch.nan) if isinstance(self._targets, str) else self._targets

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Refuse: the inputs were not kept."""
        self._refuse()

    def head(self, count: int) -> Split:
        """Refuse: the inputs were not kept."""
        self._refuse()

    def sample(self, count: int, seed: int) -> Split:
        """Refuse: the inputs were not kept."""
        self._refuse()

    def shuffled(self, size: int, seed: int | torch.Generator, *, epoch: int = 0, start: int = 0) -> Iterator[Drawn]:
        """Refuse: the inputs were not kept."""
        self._refuse()

    def labelled(self) -> Split:
        """Refuse: the inputs were not kept."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError("it runs the model on inputs, which mode='training' does not keep; watch with a probe instead")


class PassedObservation(Observation):
    """Features that were caught during the training, as conditions see them.

    Args:
        model: The module; a condition leaves it as it was.
        features: For each layer (N, n).
        split: Their targets.
        loss: The task's loss.
        layers: The layers looked at; one that has neither features nor a problem never fired.
        problems: Why layers were left out.
        taken: In words how positions were taken, by layer (`Pooled.words`).
    """

    def __init__(
        self,
        model: nn.Module,
        features: Mapping[str, Tensor],
        split: PassedSplit,
        loss: Loss,
        layers: Sequence[str],
        problems: Mapping[str, str],
        taken: Mapping[str, Mapping[str, str]],
    ) -> None:
        super().__init__(model, split, loss, layers)
        self.problems = dict(problems)
        self._passed = split
        self._features = dict(features)
        self._taken = taken
        self.padded = {layer: _OTHER_POSITIONS for layer, words in taken.items() if words.get("padding") == AVERAGED_IN}

    def batches(self, layers: Sequence[str] | None = None) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield the features and targets of all samples at once."""
        wanted = self.layers if layers is None else layers
        yield {name: self._features[name] for name in wanted if name in self._features}, self._passed.targets_or_nan()

    def features(self, layer: str) -> Tensor:
        """Return the features (N, n) of one layer; raise `KeyError` if it never fired or was left out."""
        if layer not in self._features:
            raise KeyError(f"{layer}: {self.why_not(layer)}")
        return self._features[layer]

    def pooled(self, layer: str) -> dict[str, float | int | str | None]:
        """Return in words how a layer's positions became neurons; nothing where it has none."""
        return dict(self._taken.get(modules_of([layer])[0], {}))

    def why_not(self, layer: str) -> str:
        """Return why a layer has no features."""
        return self.problems.get(layer, "the layer never fired")
