"""A sample of the features of training passes since it was last cleared, with their targets."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.capture import Capture, kept_rows
from connectivity_hooks.features.sample import Reservoir
from connectivity_hooks.features.view import neurons_last

TARGETS = ":targets"  # no layer can have this name


class Window(Capture):
    """Features (N, n) of the training's own passes, at most `samples` rows of them.

    What a hook catches is reduced to neurons at once, (N, C, H, W) to (N, C), so that little is held. The passes of one
    optimizer step wait until `keep` says which targets they had; passes in evaluation mode are not looked at.

    Args:
        model: As for `capture`.
        layers: As for `capture`.
        samples: Rows kept, drawn uniformly from all that passed since `clear`.
        spatial: How feature maps become neurons: ``pool`` or ``flatten``.
        seed: Seed of the draw.
        strict: Raise what goes wrong in a hook.

    Attributes:
        rows: Rows that passed since `clear`, kept or not.
        seconds: Time that the hooks took, on the host.
        unpaired: Rows that came without targets.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str] | None,
        *,
        samples: int,
        spatial: str = "pool",
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        self.seconds = 0.0
        self._spatial = spatial
        self._samples = samples
        self._seed = seed
        super().__init__(model, layers, every=1, samples=samples, seed=seed, strict=strict)
        self.clear()

    @property
    def heard(self) -> bool:
        """Whether a layer fired since `clear`."""
        return bool(self._fired)

    def clear(self) -> None:
        """Forget what was captured; the hooks stay."""
        self._reservoir = Reservoir(self._samples, self._seed)
        self._features = {}
        self._waiting: list[dict[str, Tensor]] = []
        self._fired.clear()
        self.rows = 0
        self.unpaired = 0

    def keep(self, targets: Tensor | Sequence[Tensor] | None) -> None:
        """Take the passes that wait into the sample.

        Args:
            targets: The targets of their rows, in one tensor or in one for each pass; None where there are none.

        Raises:
            InputError: Their number is another than that of the rows that passed.
        """
        passes, self._waiting = self._waiting, []
        if not passes:
            return
        caught = {name: torch.cat([each[name] for each in passes]) for name in passes[0]}
        rows = len(next(iter(caught.values())))
        if targets is None:
            self.unpaired += rows
        else:
            joined = (targets if isinstance(targets, Tensor) else torch.cat(list(targets))).detach()
            if len(joined) < rows or (len(joined) > rows and not self._full(rows)):
                raise InputError(
                    f"{len(joined)} targets for {rows} rows that passed; give step(targets=) the targets of every "
                    "forward pass since the last step"
                )
            caught[TARGETS] = joined[:rows]
        self._sampled(caught, rows)

    def _full(self, rows: int) -> bool:
        return rows >= self._samples

    def _listens(self) -> bool:
        waiting = sum(len(next(iter(each.values()))) for each in self._waiting)
        return super()._listens() and self._root.training and not self._full(waiting)

    def _catch(self, layer: str, module: nn.Module, value: object) -> None:
        started = time.perf_counter()
        super()._catch(layer, module, value)
        self.seconds += time.perf_counter() - started

    def _copied(self, tensor: Tensor) -> Tensor:
        if hasattr(tensor, "full_tensor"):
            raise InputError("its output is a DTensor, which one process cannot gather alone; capture another layer")
        neurons = neurons_last(tensor.detach(), spatial=self._spatial)
        return neurons.clone() if neurons.data_ptr() == tensor.data_ptr() else neurons

    def _store(self, caught: dict[str, Tensor]) -> None:
        lengths = {len(tensor) for tensor in caught.values()}
        if len(lengths) == 1 and 0 not in lengths and (not self._waiting or caught.keys() == self._waiting[0].keys()):
            self._waiting.append(caught)

    def _sampled(self, caught: dict[str, Tensor], rows: int) -> None:
        assert self._reservoir is not None
        self.rows += rows
        stay = self._reservoir.offer(rows)
        if self.unpaired:
            caught.pop(TARGETS, None)
            self._features.pop(TARGETS, None)
        for name, tensor in caught.items():
            self._features[name] = kept_rows(self._features.get(name, tensor[:0]), tensor, stay)
