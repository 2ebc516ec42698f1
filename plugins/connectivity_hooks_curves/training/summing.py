"""A step whose batch is run in parts, at several t or in several processes, and summed up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.tasks import Loss, Task
from connectivity_hooks.team import Team
from connectivity_hooks_curves.training.curve import Place
from connectivity_hooks_curves.training.parts import Dealt, Part
from connectivity_hooks_curves.training.points import ControlPoints
from connectivity_hooks_curves.training.untrained import Untrained
from connectivity_hooks_curves.training.vectors import clip_scale, norm_of

Run: TypeAlias = Callable[[Part], Tensor]
"""Runs a part, forth and back, and returns the sum of its losses."""


class Counting:
    """A loss as a sum over all that counts, which remembers how much that was: parts of a batch add up to it.

    Args:
        loss: The loss.

    Attributes:
        counted: How much counted in the last batch, a scalar.
        counts: Whether the next one does; otherwise its loss is 0, and so are its gradients.
    """

    def __init__(self, loss: Loss) -> None:
        self._terms = loss.terms
        self.counted, self.counts = torch.zeros(()), True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum, a scalar that can be differentiated."""
        terms = self._terms(outputs, targets)
        self.counted = terms.weights.detach().sum() * self.counts
        return terms.sums.sum() * self.counts

    @classmethod
    def of(cls, task: Task) -> tuple[Task, Counting]:
        """Return a task whose loss is counted, and what counts it."""
        counting = cls(task.loss)
        return replace(task, loss=replace(task.loss, scalar=counting)), counting


class Totals(NamedTuple):
    """What is known of a step once all parts of its batch ran.

    Attributes:
        loss: Mean loss, a scalar on the device.
        norm: Norms of the gradients at each t, summed: finite where all are. None where nothing is clipped.
        seconds: That the training took so far in the first process, a scalar on the device.
    """

    loss: Tensor
    norm: Tensor | None
    seconds: Tensor


class Summing:
    """Sums what the parts of a batch say of one step: gradients, losses, and what the module wrote itself.

    Gradients of parts are weighted by how much counts in each, so that they are those of the whole batch at once, but
    for what a module makes of a batch as a whole: batch norm takes the statistics of each part. What the module writes
    in a pass, such as running statistics, is averaged over processes, weighted alike.

    Args:
        points: What is trained.
        untrained: What the module writes itself.
        team: The processes.
        counting: Counts what the loss is a mean of.
        device: Of the losses.
    """

    def __init__(
        self, points: ControlPoints, untrained: Untrained, team: Team, counting: Counting, device: torch.device
    ) -> None:
        self._points, self._untrained, self._team, self._counting = points, untrained, team, counting
        # Sums over tokens lose digits in float32; some devices have no float64.
        exact = torch.float64 if device.type in ("cpu", "cuda") else torch.float32
        self._nothing = torch.zeros((), device=device, dtype=exact)
        self._agreed = False

    def gradients(
        self,
        batch: Dealt,
        run: Run,
        *,
        weight_decay: float = 0.0,
        clip: float | None = None,
        seconds: float = 0.0,
    ) -> Totals:
        """Run what this process has of a batch, and give the points the gradients of all of it.

        Args:
            batch: Dealt out.
            run: Writes the parameters at a part's t, runs it forth and back, and returns the sum of its losses.
            weight_decay: λ of λ/2·‖φ(t)‖².
            clip: Largest norm of the gradient at one t; None leaves it.
            seconds: That the training took so far in this process.
        """
        if batch.at is None:
            return self._at_many(batch.parts, run, weight_decay, clip, seconds)
        return self._at_one(batch.parts, self._points.place(batch.at), run, weight_decay, clip, seconds)

    def _at_one(
        self, parts: list[Part], place: Place, run: Run, weight_decay: float, clip: float | None, seconds: float
    ) -> Totals:
        """Sum the gradient at a place: one vector, however many points it moves."""
        losses, counts = [], []
        for part in parts:
            self._counting.counts = part.counts
            losses.append(run(part))
            counts.append(self._counting.counted)
        vectors = self._points.collected() if parts else self._points.nothing()
        loss, counted, _, spent = self._summed(losses, counts, [], seconds)
        self._points.sum(vectors, self._team)
        if not parts:
            self._points.write(place)  # which weight decay reads
        self._points.averaged(vectors, counted, weight_decay)
        norm = self._points.norm(vectors) if clip is not None else None
        self._points.clear()
        self._points.add(place, vectors, _clipped(norm, clip))
        return Totals(loss / counted, norm, spent)

    def _at_many(self, parts: list[Part], run: Run, weight_decay: float, clip: float | None, seconds: float) -> Totals:
        """Sum the gradients of the points, which are shares of those at each t."""
        self._points.clear()
        losses, counts, norms = [], [], []
        for part in parts:
            losses.append(run(part))
            counts.append(self._counting.counted)
            vectors = self._points.collected()
            self._points.averaged(vectors, counts[-1], weight_decay)
            norm = norm_of(vectors) if clip is not None else None
            norms += [] if norm is None else [norm]
            self._points.add(self._points.place(part.at), vectors, _clipped(norm, clip) * counts[-1])
        loss, counted, norm, spent = self._summed(losses, counts, norms, seconds)
        for gradient in self._points.gradients:
            self._team.sum(gradient)
            gradient.div_(counted.to(gradient.dtype))
        return Totals(loss / counted, norm if clip is not None else None, spent)

    @torch.no_grad()
    def _summed(
        self, losses: list[Tensor], counts: list[Tensor], norms: list[Tensor], seconds: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return losses, counts and norms summed over all processes, and the first one's seconds, in one message."""
        first = self._nothing + (seconds if self._team.is_first else 0.0)
        own = [sum((each.to(self._nothing) for each in some), self._nothing) for some in (losses, counts, norms)]
        written = self._written() if self._team.count > 1 else []
        # A process without samples has nothing to say, whatever its module holds.
        shares = [(each.to(self._nothing) * own[1] if losses else self._nothing.expand(each.shape)) for each in written]
        message = torch.cat([torch.stack([*own, first]), *(share.reshape(-1) for share in shares)])
        self._team.sum(message)
        loss, counted, norm, spent = message[:4].unbind()
        means = (message[4:] / counted).split([each.numel() for each in written])
        for buffer, mean in zip(written, means, strict=True):
            buffer.copy_(mean.view(buffer.shape))
        return loss, counted, norm, spent

    def _written(self) -> list[Tensor]:
        """Return what the module writes itself and can be averaged; which that is, the first process says."""
        if not self._agreed:
            untrained = self._untrained
            untrained.own = self._team.share(lambda: untrained.own or frozenset())
            self._agreed = True
        return [tensor for tensor in self._untrained.state().values() if tensor.is_floating_point()]


def _clipped(norm: Tensor | None, clip: float | None) -> float | Tensor:
    """Return what a gradient of some norm is multiplied by."""
    return 1.0 if norm is None or clip is None else clip_scale(norm, clip)
