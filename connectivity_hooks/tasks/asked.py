"""Asking a model for its own loss of a few samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import LABELS, RETURN_LOSS
from connectivity_hooks.model.inputs import Inputs, mapped, taken
from connectivity_hooks.model.outputs import LOSS, Pick, entries_of, picked
from connectivity_hooks.model.running import Forward, forward
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.arguments import by_name, names_argument
from connectivity_hooks.tasks.loss import IGNORED, Loss, Over, Reading, counted
from connectivity_hooks.tasks.made_up import made_up

OWN = LOSS
"""The entry of what a model returns that Transformers' models hold their own loss in."""

_IGNORES = "semantic_loss_ignore_index"
"""Where a segmentation model's configuration says which label it ignores."""


_SAME, _COARSE = 1e-4, 8
"""Of a loss, against its mean or sum over samples: relative, and in units of its type; batches are computed apart."""

_NEARER = 10
"""Of two that are this near, the one that is so many times nearer is the one."""


OVER: tuple[Over, ...] = ("labels", "samples", "sum")
"""What a model may do over a batch, the most frequent first."""


@dataclass(frozen=True)
class Own:
    """What a model returned for labels.

    Attributes:
        loss: Its own loss, a scalar.
        outputs: Its outputs in the same pass, since a decoder may read the labels; None where none can be picked of
            what it returns beside a loss.
    """

    loss: Tensor
    outputs: Tensor | None

    @property
    def finite(self) -> bool:
        """Whether the loss is a finite number."""
        return bool(self.loss.isfinite())


class Asked:
    """Asks a model for its own loss of a few samples under some labels; each answer costs a pass of them.

    Args:
        model: In evaluation mode.
        inputs: Of a few samples.
        targets: Theirs.
        run: How the model is run.

    Attributes:
        kind: Name of the model's class.
        by_labels: Whether it takes labels.
        answers: Whether it does, or may be asked without.
        decodes: Whether it has a decoder beside an encoder, whose own inputs are the labels before a position.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, targets: Tensor, run: Forward) -> None:
        self._model, self._targets, self._run = model, targets, run
        self.kind = type(model).__name__
        self.by_labels = names_argument(model, LABELS)
        named = by_name(model, inputs) if self.by_labels or names_argument(model, RETURN_LOSS) else None
        self._inputs: Mapping[str, Any] = named or {}
        self.answers = named is not None
        config = getattr(model, "config", None)
        self.decodes = getattr(config, "is_encoder_decoder", None) is True
        index = getattr(config, _IGNORES, None)
        self._ignores = index if isinstance(index, int) and index != IGNORED else None
        self._known: list[tuple[Tensor, Own | None]] = []

    def own(self, labels: Tensor) -> Own | None:
        """Return the model's own loss under labels; None where it gives none, a number or not."""
        for before, answer in self._known:
            if before.shape == labels.shape and torch.equal(before, labels):
                return answer
        answer = self._answer(labels)
        self._known.append((labels.clone(), answer))
        return answer

    @property
    def ignored(self) -> tuple[int, ...]:
        """Labels that may be left out: first one that the configuration names, where some can be made that."""
        some = self.by_labels and not self._targets.is_floating_point() and self._targets.ndim > 1
        return (self._ignores, IGNORED) if some and self._ignores is not None else (IGNORED,)

    def trials(self, loss: Loss, outputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Own]]:
        """Yield labels under which a loss is to be compared with the model's own, which is finite of them.

        Where the loss leaves out another label than `IGNORED`, one of every sample is made that; then come the targets
        themselves; then some under which other losses differ from it, see `made_up`.

        Args:
            loss: It fits outputs and targets.
            outputs: (N, …), the model's on the few samples.
            targets: All targets of the split.
        """
        for labels in self._labels(loss, outputs, targets):
            own = self.own(labels)
            read = own is not None and own.outputs is None and LABELS in self._inputs
            if own is not None and own.finite and not (read and labels is not self._targets):
                yield labels, own

    def _labels(self, loss: Loss, outputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
        ignored = IGNORED if loss.reading is None else loss.reading.ignored
        if ignored != IGNORED and ignored in self.ignored:
            with_some = self._targets.masked_fill(self._targets == IGNORED, ignored)
            with_some.flatten(1)[:, 0] = ignored
            yield with_some
        yield self._targets
        made = made_up(loss, outputs, self._targets, targets) if self.by_labels else None
        if made is not None:
            yield made

    def counted(self) -> Reading:
        """Return which labels count in the model's own loss."""
        if self._targets.is_floating_point() or not self.by_labels:
            return Reading()
        positions = self._targets.ndim == 2 and self._targets.shape[1] > 1
        return Reading(shifted=positions and self.moves(), ignored=IGNORED if self._ignores is None else self._ignores)

    def moves(self) -> bool:
        """Say whether the model moves labels (N, T) by one position: then it answers to one at the second alone."""
        first, second = (self._only(place) for place in (0, 1))
        return second is not None and second.finite and first is not None and not first.finite

    def _only(self, place: int) -> Own | None:
        labels = torch.full_like(self._targets, IGNORED)
        labels[:, place] = self._targets[:, place].clamp(min=1)
        return self.own(labels)

    def over(self, reading: Reading) -> tuple[Over, ...]:
        """Return what the model may do over the samples of a batch, by its own loss of each one and of all together.

        Args:
            reading: Which labels count.

        Returns:
            All that agrees: averages over labels and over samples are the same of as many labels each. None is where
            the model does something else; all are where it gives no loss.
        """
        each = [own for own in map(self._of_rows, torch.arange(len(self._targets)).split(1)) if own is not None]
        rows = [row for row, own in enumerate(each) if own.finite]
        rows = rows * 2 if len(rows) == 1 else rows
        together = self._of_rows(torch.tensor(rows)) if rows else None
        if together is None or not together.finite:
            return OVER
        alone = torch.stack([each[row].loss for row in rows]).double().cpu()
        targets = self._targets if self.by_labels else self._targets.double()  # tokens are none, and samples count
        counts = torch.tensor([counted(reading.labels(targets[row : row + 1])) for row in rows]).double()
        found: dict[Over, float] = {
            "labels": float((alone * counts).sum() / counts.sum()),
            "samples": float(alone.mean()),
            "sum": float(alone.sum()),
        }
        return _nearest(found, together.loss)

    def _of_rows(self, rows: Tensor) -> Own | None:
        count = len(self._targets)
        inputs = mapped(lambda one: taken(one, rows) if one.ndim and len(one) == count else one, self._inputs)
        return self._answer(taken(self._targets, rows), inputs)

    def _answer(self, labels: Tensor, inputs: Inputs = None) -> Own | None:
        more = {LABELS: labels.clone()} if self.by_labels else {RETURN_LOSS: True}
        try:
            with torch.no_grad(), torch.random.fork_rng(), guarded_call("its own loss"):
                returned = forward(self._model, {**(self._inputs if inputs is None else inputs), **more})
        except InputError:  # labels of another kind than it takes; nothing of ours needs this pass
            return None
        loss, rest = _with_loss(returned)
        return None if loss is None else Own(loss.reshape(()), _outputs(rest, self._run.pick))


def _nearest(found: Mapping[Over, float], wanted: Tensor) -> tuple[Over, ...]:
    """Return which figures are a loss; where some are much nearer than others, these."""
    size = abs(float(wanted)) or 1.0
    apart = {over: abs(value - float(wanted)) / size for over, value in found.items()}
    within = max(_SAME, _COARSE * torch.finfo(wanted.dtype).eps)
    least = min(within, _NEARER * max(min(apart.values()), torch.finfo(wanted.dtype).eps))
    return tuple(over for over in OVER if apart[over] <= least)


def _with_loss(returned: Any) -> tuple[Tensor | None, Any]:
    """Return the loss, one number, among what a model returned for labels, and the rest as it is without them.

    Models that return tuples, as Transformers' do with ``return_dict=False``, put it before the outputs, or in a place
    behind them that is None without labels.
    """
    if type(returned) in (tuple, list):
        scalars = [n for n, one in enumerate(returned) if isinstance(one, Tensor) and not one.ndim]
        if len(scalars) != 1 or not returned[scalars[0]].is_floating_point():
            return None, returned
        place = scalars[0]
        rest = list(returned[1:]) if place == 0 else [*returned[:place], None, *returned[place + 1 :]]
        return returned[place], rest
    loss = entries_of(returned).get(OWN)
    return (loss, returned) if loss is not None and loss.numel() == 1 else (None, returned)


def _outputs(returned: Any, pick: Pick) -> Tensor | None:
    try:
        return picked(returned, pick)
    except InputError:
        return None
