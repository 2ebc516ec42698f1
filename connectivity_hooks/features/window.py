"""A sample of the features of training passes since it was last cleared, with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.pooled import Pooled
from connectivity_hooks.features.pooling import Pools
from connectivity_hooks.features.reservoir import Reservoir
from connectivity_hooks.features.rows import first_axes
from connectivity_hooks.features.sampled import aligned, kept_rows, sample_rows
from connectivity_hooks.features.sequence_first import SequenceFirst
from connectivity_hooks.features.store import CaughtPass, Store

TARGETS = ":targets"  # no layer can have this name

_UNSURE = (
    "in a model that works with tokens first (batch_first=False), only targets tell whether its rows are samples; give "
    "them to every watch.step(targets=...), or watch with a probe"
)


@final
class Window(Store):
    """Keeps features (N, n) of the training's own passes, at most `samples` rows of them, and their targets.

    What passes is reduced to neurons at once, (N, C, H, W) to (N, C), so that little is held. The passes of one
    optimizer step wait until `pair` says which targets they had; passes in evaluation mode are not looked at. A layer
    that has not one row for each sample of a pass, or is not reached by every pass, is left out; so is one whose rows
    may be tokens (`connectivity_hooks.features.sequence_first`).

    Args:
        model: The module listened to.
        samples: Rows kept, drawn uniformly from all that passed since `clear`.
        pool: How positions become neurons (`connectivity_hooks.features.pooling`).
        seed: Seed of the draw.
        left_out: As for every `Store`.

    Attributes:
        pooled: Takes their positions.
        features: The features of the rows kept, and under `TARGETS` their targets if all had some.
        rows: Rows that passed since `clear`, kept or not.
        waiting: Rows of the passes that wait for their targets.
        heard: Whether a layer was reached since `clear`.
        unpaired: Rows that came without targets.
        unpairable: Why the targets that came cannot be kept, else empty.
    """

    def __init__(
        self, model: nn.Module, *, samples: int, pool: Pools = "mean", seed: int = 0, left_out: LeftOut
    ) -> None:
        super().__init__(left_out, Pooled(model, pool))
        self._sequence_first = SequenceFirst(model)
        self._unsure: set[str] = set()
        self._samples = samples
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Forget what was kept, and draw anew."""
        self.features = {}
        self.rows = 0
        self.waiting = 0
        self.heard = False
        self.unpaired = 0
        self.unpairable = ""
        self._reservoir = Reservoir(self._samples, self._seed)
        self._passes: list[_Waiting] = []
        self._unheard: list[int | None] = []

    def listens(self, given: list[Any], *, training: bool) -> bool:
        """Say whether a pass is the training's, and those that wait leave room for it."""
        return training and self.waiting < self._samples

    def taken(self, layer: str, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return the neurons (N, n) of what passes, as a copy."""
        if hasattr(tensor, "full_tensor"):
            raise InputError("its output is a DTensor, which one process cannot gather alone; capture another layer")
        self._require_sure(layer, tensor)
        neurons = super().taken(layer, module, tensor)
        self.heard = True
        return neurons

    def _require_sure(self, layer: str, tensor: Tensor) -> None:
        """Note a layer whose rows may be tokens; raise `InputError` for one of which nothing can tell."""
        told = tensor.ndim < 3 or not self.rows_given or layer in self._unsure
        if not told and self._sequence_first.rows(layer, tensor, self.rows_given) == "unsure":
            self._unsure.add(layer)

    def keep(self, passed: CaughtPass) -> None:
        """Let a pass wait for its targets."""
        before = self._passes[-1].caught if self._passes else self.features
        names = [name for name in before if name != TARGETS and name not in self.left_out]
        caught, rows = aligned(self, passed, names)
        if rows > 0:
            self._passes.append(_Waiting(rows, caught))
            self.waiting += rows

    def let_by(self, given: list[Any], *, training: bool) -> None:
        """Note the samples of a pass that there was no room for: its targets will come all the same."""
        if training:
            self._unheard.append(next(iter(first_axes(given)), None))

    def pair(self, targets: Tensor | Sequence[Tensor] | None) -> None:
        """Take the passes that wait into the sample.

        Args:
            targets: The targets of their rows, in one tensor or in one for each pass; None where there are none.

        Raises:
            InputError: Their number is another than that of the rows that passed.
        """
        passes, self._passes, self.waiting = self._passes, [], 0
        unheard, self._unheard = self._unheard, []
        given = [targets] if isinstance(targets, Tensor) else list(targets or [])
        paired = _paired(given, [each.rows for each in passes], unheard) if given and passes else None
        if passes and paired is None:
            for layer in sorted(self._unsure):
                self.leave_out(layer, InputError(_UNSURE))
        reached = [each for each in passes if each.caught]
        self.rows += sum(each.rows for each in passes)
        if not reached:
            return
        of_reached = None
        if paired is not None:
            of_reached = torch.cat([part for part, each in zip(paired, passes, strict=True) if each.caught])
        self._sample(self._joined(reached), sum(each.rows for each in reached), of_reached)

    def _joined(self, passes: Sequence[_Waiting]) -> dict[str, Tensor]:
        """Return the rows of several passes in one tensor for each layer that is not left out."""
        joined: dict[str, Tensor] = {}
        for name in [name for name in passes[0].caught if name not in self.left_out]:
            try:
                joined[name] = torch.cat([each.caught[name] for each in passes])
            except Exception as error:  # another number of neurons than in the pass before
                self.leave_out(name, error)
        return joined

    def _sample(self, caught: dict[str, Tensor], rows: int, targets: Tensor | None) -> None:
        before = self.features.pop(TARGETS, None)
        stay = self._reservoir.offer(rows)
        sample_rows(self, caught, stay)
        if targets is None:
            self.unpaired += rows
        if targets is None or self.unpaired or self.unpairable:
            return
        try:
            self.features[TARGETS] = kept_rows(targets[:0] if before is None else before, targets, stay)
        except Exception as error:  # of another shape than before: token labels of another length
            self.unpairable = one_line(error)


@dataclass(frozen=True)
class _Waiting:
    """One pass that waits for its targets: its samples, and for each layer (samples, n)."""

    rows: int
    caught: dict[str, Tensor]


def _paired(given: Sequence[Tensor], rows: Sequence[int], unheard: Sequence[int | None]) -> list[Tensor]:
    """Return the targets of each pass that was heard.

    Args:
        given: The targets of all passes, in one tensor or in one for each pass.
        rows: Samples of each pass that was heard.
        unheard: Samples of each later pass, which nobody listened to; None where they are not known.

    Raises:
        InputError: There are more or fewer than samples, in all or in a pass.
    """
    found = [len(each) for each in given]
    numbers = [*rows, *(each for each in unheard if each is not None)]
    by_pass = len(found) == len(numbers) and len(numbers) == len(rows) + len(unheard)
    fits = found == numbers if by_pass else sum(found) == sum(numbers)
    if not fits and not (None in unheard and sum(found) > sum(numbers)):
        raise InputError(
            f"{', '.join(map(str, found))} targets for {', '.join(map(str, numbers))} rows that passed; give "
            "step(targets=) the targets of every forward pass since the last step"
        )
    joined = torch.cat(list(given)).detach() if len(given) > 1 else given[0].detach()
    return list(joined[: sum(rows)].split(list(rows)))
