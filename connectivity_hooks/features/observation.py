"""An observation: one checkpoint's features on probe data, as conditions see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.calls import called, modules_of
from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.noting import noting_capture
from connectivity_hooks.features.view import neurons_last
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.running import forward
from connectivity_hooks.strangers import Pass, guarded_call
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.split import Split


@dataclass
class Observation:
    """A module in evaluation mode, probe data, and the layers to look at.

    `features` holds as many layers at once as `budget` allows, so that few layers cost one pass over the data and many
    wide ones cost several instead of the memory: at most max(budget, one layer's 4·N·n bytes). A condition that streams
    uses `batches` and needs one batch's features only.

    A layer that cannot be measured is left out of both, and `why_not` says why. Rows are compared with the samples of
    every batch, and before the first in two small batches of different sizes: an axis that is as long as one batch by
    chance is not as long as the other.

    Attributes:
        model: The module; a condition leaves it as it was.
        split: Probe data, N samples.
        loss: The task's loss.
        layers: Dotted names of the layers, or ``NAME:input``; ``NAME[0]``, ``NAME[1]`` … for the calls of a module that
            is called several times in one pass.
        batch_size: Samples of one forward pass.
        spatial: How feature maps become neurons: ``pool`` (mean over space) or ``flatten``.
        budget: Bytes of features kept at once.
        left_out: Layers that were proposed and cannot be looked at, with the reason.
        problems: Layers that could not be measured so far, with the reason.
    """

    model: nn.Module
    split: Split
    loss: Loss
    layers: Sequence[str]
    batch_size: int = 512
    spatial: str = "pool"
    budget: int = 2 * 1024**3
    left_out: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _widths: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _tried: bool = field(default=False, init=False, repr=False)
    _held: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def batches(self, layers: Sequence[str] | None = None) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield ({layer: (rows, n)}, targets) batch by batch; a layer that cannot be measured is missing."""
        self.widths()
        yield from self._looked(self.split.batches(self.batch_size), self.layers if layers is None else layers)

    def features(self, layer: str) -> Tensor:
        """Return the features (N, n) of one layer in float32; raise `KeyError` if it cannot be measured."""
        if layer not in self._held:
            self._held.clear()
            self._held = self._gather(self._affordable(layer))
        if layer not in self._held:
            raise KeyError(f"{layer}: {self.why_not(layer)}")
        return self._held[layer]

    def why_not(self, layer: str) -> str:
        """Return why a layer cannot be measured, as far as it was looked at."""
        return self.problems.get(layer, "the layer never fired")

    def targets(self) -> Tensor:
        """Return the targets (N, …) in the order of `features`."""
        return self.split.targets()

    def widths(self) -> dict[str, int]:
        """Return the neurons of each layer that can be measured, as far as two small batches say."""
        if not self._tried:
            self._tried = True
            for _ in self._looked(self._small_batches(), self.layers):
                pass
        return {name: self._widths[name] for name in self.layers if name in self._widths.keys() - self.problems}

    def by_call(self, *, proposed: bool) -> Observation:
        """Return the observation with a layer that is called several times replaced by its calls.

        Args:
            proposed: Nobody named the layers: those that cannot be measured are left out, and named in `left_out`.
        """
        found = replace(self, layers=called(self.layers, self._fired()))
        usable = found.widths()
        if proposed:
            found.left_out = {name: found.why_not(name) for name in found.layers if name not in usable}
            found.layers = tuple(usable)
        return found

    def _fired(self) -> list[str]:
        inputs, _ = next(self._small_batches())
        seen, guard = noting_capture(self.model, modules_of(self.layers)), guarded_call(Pass(self.model, inputs))
        with seen, evaluation_mode(self.model), torch.no_grad(), guard:
            forward(self.model, inputs)
        return list(seen)

    def _small_batches(self) -> Iterator[tuple[Any, Tensor]]:
        few = self.split.head(3)
        for size in (3, 2):  # no axis but that of the samples is as long as both
            yield next(iter(few.head(size).batches(size)))

    def _looked(
        self, loader: Iterator[tuple[Any, Tensor]], layers: Sequence[str]
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Run the model on batches, and yield what can be measured; what cannot is noted."""
        seen = noting_capture(self.model, modules_of(layers))
        with seen, evaluation_mode(self.model):
            for inputs, targets in loader:
                with torch.no_grad(), guarded_call(Pass(self.model, inputs)):
                    forward(self.model, inputs)
                found = {layer: self._neurons(layer, seen, len(targets)) for layer in layers}
                yield {layer: value for layer, value in found.items() if value is not None}, targets

    def _neurons(self, layer: str, seen: Capture, samples: int) -> Tensor | None:
        if layer in self.problems:
            return None
        try:
            feature = neurons_last(_with_rows(seen[layer], samples), spatial=self.spatial)
        except KeyError:
            self.problems[layer] = seen.why_not(layer)
            return None
        except InputError as error:
            self.problems[layer] = str(error)
            return None
        width = self._widths.setdefault(layer, feature.shape[1])
        if width != feature.shape[1]:
            self.problems[layer] = f"it has {width} neurons in one batch and {feature.shape[1]} in another"
            return None
        return feature

    def _affordable(self, layer: str) -> list[str]:
        widths = self.widths()
        chosen, left = [layer], self.budget - 4 * len(self.split) * widths.get(layer, 0)
        for name in list(self.layers)[list(self.layers).index(layer) + 1 :] if layer in self.layers else []:
            left -= 4 * len(self.split) * widths.get(name, 0)
            if left < 0:
                break
            chosen.append(name)
        return chosen

    def _gather(self, layers: Sequence[str]) -> dict[str, Tensor]:
        gathered: dict[str, Tensor] = {}
        row = 0
        for features, targets in self.batches(layers):
            for name, value in features.items():
                if name not in gathered:
                    gathered[name] = torch.empty(len(self.split), value.shape[1], device=value.device)
                gathered[name][row : row + len(value)] = value
            row += len(targets)
        if row != len(self.split):
            raise InputError(f"data: {self.split.name} gave {row} samples in one pass; expected {len(self.split)}")
        return {name: value for name, value in gathered.items() if name not in self.problems}


def _with_rows(feature: Tensor, samples: int) -> Tensor:
    if len(feature) != samples:
        raise InputError(
            f"expected {samples} rows for a batch of {samples} samples, found {len(feature)} in its shape "
            f"{tuple(feature.shape)}; name a layer whose first axis is the samples"
        )
    return feature
