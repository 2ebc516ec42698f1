"""An observation: one checkpoint's features on probe data, as conditions see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from connectivity_hooks.features.stream import stream
from connectivity_hooks.features.view import neurons_last
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.split import Split

_CALL = re.compile(r"\[\d+\]$")


def modules_of(layers: Sequence[str]) -> list[str]:
    """Return the layers to listen to for `layers`, some of which may be single calls, ``NAME[0]``."""
    return list(dict.fromkeys(_CALL.sub("", layer) for layer in layers))


@dataclass
class Observation:
    """A module in evaluation mode, probe data, and the layers to look at.

    `features` holds as many layers at once as `budget` allows, so that few layers cost one pass over the data and many
    wide ones cost several instead of the memory: at most max(budget, one layer's 4·N·n bytes). A condition that streams
    uses `batches` and needs one batch's features only.

    Attributes:
        model: The module; a condition leaves it as it was.
        split: Probe data, N samples.
        loss: The task's loss.
        layers: Dotted names of the layers, or ``NAME:input``; ``NAME[0]``, ``NAME[1]`` … for the calls of a module that
            is called several times in one pass.
        batch_size: Samples of one forward pass.
        spatial: How feature maps become neurons: ``pool`` (mean over space) or ``flatten``.
        budget: Bytes of features kept at once.
    """

    model: nn.Module
    split: Split
    loss: Loss
    layers: Sequence[str]
    batch_size: int = 512
    spatial: str = "pool"
    budget: int = 2 * 1024**3
    _held: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def batches(self, layers: Sequence[str] | None = None) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield ({layer: (rows, n)}, targets) batch by batch; a layer that never fired is missing."""
        loader = self.split.batches(self.batch_size)
        for features, (_, targets) in stream(self.model, loader, modules_of(self.layers if layers is None else layers)):
            yield (
                {name: neurons_last(value, spatial=self.spatial) for name, value in features.items()},
                targets,
            )

    def features(self, layer: str) -> Tensor:
        """Return the features (N, n) of one layer in float32; raise `KeyError` if it never fired."""
        if layer not in self._held:
            self._held.clear()
            self._held = self._gather(self._affordable(layer))
        if layer not in self._held:
            raise KeyError(f"{layer}: never fired")
        return self._held[layer]

    def targets(self) -> Tensor:
        """Return the targets (N, …) in the order of `features`."""
        return self.split.targets()

    def _affordable(self, layer: str) -> list[str]:
        first = next(iter(self.split.head(1).batches(1)))
        features, _ = next(stream(self.model, [first], modules_of(self.layers)))
        widths = {name: neurons_last(value, spatial=self.spatial).shape[1] for name, value in features.items()}
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
        return gathered
