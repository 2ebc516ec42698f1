"""A sample of the features of training passes since it was last cleared, with their targets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.features.capture import Capture, kept_rows
from connectivity_hooks.features.reservoir import Reservoir
from connectivity_hooks.features.rows import first_axes, require_plain
from connectivity_hooks.features.view import neurons_last

TARGETS = ":targets"  # no layer can have this name


class Window(Capture):
    """Features (N, n) of the training's own passes, at most `samples` rows of them.

    What a hook catches is reduced to neurons at once, (N, C, H, W) to (N, C), so that little is held. The passes of one
    optimizer step wait until `keep` says which targets they had; passes in evaluation mode are not looked at. A layer
    that has not one row for each sample of a pass, or is not reached by every pass, is left out.

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
        unpairable: Why the targets that came cannot be kept, else empty.
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
        self._waiting: list[_Pass] = []
        self._unheard: list[int | None] = []
        self._fired.clear()
        self._let_by = False
        self.rows = 0
        self.unpaired = 0
        self.unpairable = ""

    def keep(self, targets: Tensor | Sequence[Tensor] | None) -> None:
        """Take the passes that wait into the sample.

        Args:
            targets: The targets of their rows, in one tensor or in one for each pass; None where there are none.

        Raises:
            InputError: Their number is another than that of the rows that passed.
        """
        passes, self._waiting = self._waiting, []
        unheard, self._unheard = self._unheard, []
        given = [targets] if isinstance(targets, Tensor) else list(targets or [])
        paired = _paired(given, [each.rows for each in passes], unheard) if given and passes else None
        reached = [each for each in passes if each.caught]
        self.rows += sum(each.rows for each in passes)
        if not reached:
            return
        caught, rows = self._joined(reached), sum(each.rows for each in reached)
        if paired is None:
            self.unpaired += rows
        else:
            caught[TARGETS] = torch.cat([part for part, each in zip(paired, passes, strict=True) if each.caught])
        self._sampled(caught, rows)

    def _full(self, rows: int) -> bool:
        return rows >= self._samples

    def _begin(self, inputs: list[Any]) -> None:
        super()._begin(inputs)
        self._let_by = not self._active and not self.paused and self._root.training
        self._rows_let_by = next(iter(first_axes(inputs)), None) if self._let_by else None

    def _end(self, completed: bool) -> None:
        super()._end(completed)
        if self._let_by and completed:  # the sample was full: its targets will come all the same
            self._unheard.append(self._rows_let_by)
        self._let_by = False

    def _listens(self) -> bool:
        waiting = sum(each.rows for each in self._waiting)
        return super()._listens() and self._root.training and not self._full(waiting)

    def _catch(self, layer: str, module: nn.Module, value: object) -> None:
        started = time.perf_counter()
        super()._catch(layer, module, value)
        self.seconds += time.perf_counter() - started

    def _copied(self, tensor: Tensor) -> Tensor:
        require_plain(tensor)
        if hasattr(tensor, "full_tensor"):
            raise InputError("its output is a DTensor, which one process cannot gather alone; capture another layer")
        neurons = neurons_last(tensor.detach(), spatial=self._spatial)
        return neurons.clone() if neurons.data_ptr() == tensor.data_ptr() else neurons

    def _store(self, caught: dict[str, Tensor]) -> None:
        before = self._waiting[-1].caught if self._waiting else self._features
        names = [name for name in before if name != TARGETS and not self._left_out(name)]
        aligned, rows = self._aligned(caught, names)
        if rows > 0:
            self._waiting.append(_Pass(rows, aligned))

    def _joined(self, passes: Sequence[_Pass]) -> dict[str, Tensor]:
        """Return the rows of several passes in one tensor for each layer that is not left out."""
        joined: dict[str, Tensor] = {}
        for name in [name for name in passes[0].caught if not self._left_out(name)]:
            try:
                joined[name] = torch.cat([each.caught[name] for each in passes])
            except Exception as error:  # another number of neurons than in the pass before
                self._leave_out(name, error)
        return joined

    def _sampled(self, caught: dict[str, Tensor], rows: int) -> None:
        assert self._reservoir is not None
        targets = caught.pop(TARGETS, None)
        before = self._features.pop(TARGETS, None)
        stay = self._sample(caught, rows, self._reservoir)
        if targets is None or self.unpaired or self.unpairable:
            return
        try:
            self._features[TARGETS] = kept_rows(targets[:0] if before is None else before, targets, stay)
        except Exception as error:  # of another shape than before: token labels of another length
            self.unpairable = one_line(error)


@dataclass(frozen=True)
class _Pass:
    """One forward pass: its samples, and for each layer (samples, n)."""

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
