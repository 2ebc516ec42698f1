"""The loss a model computes itself when it is given labels: ours reads targets as it does, where both agree.

Transformers' causal language models take labels that are the tokens themselves and move them by one position inside,
segmentation models bring their outputs to the size of the labels, regressors compute squared errors. A loss that
compares position by position would measure how well each token is repeated, which nobody trained for, and say nothing.
So the model is asked for its own loss of a few samples, and what gives the same figure is what it computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import LABELS, TOKENS, Batch
from connectivity_hooks.model.inputs import Inputs, named_tensors
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.tasks.asked import Asked, Own
from connectivity_hooks.tasks.loss import IGNORED, MODELS_OWN, Loss, is_models_own, models_own, read_targets
from connectivity_hooks.tasks.loss.alike import Alike, alike

_ROUNDING = 1e-5
"""Of a mean of thousands of values in float32, where an untrained model's losses at two places differ by 1e-3 or so."""

_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}

_COARSE = 4
"""Units in the last place for losses computed in bfloat16 or float16, whose logits are rounded too."""


def settle_loss(
    model: nn.Module,
    loss: Loss,
    few: Batch,
    outputs: Tensor,
    targets: Tensor,
    where: str,
    forward: Forward = PLAIN,
) -> tuple[Loss, tuple[str, ...]]:
    """Check all targets of a split against a loss, which is read as the model's own, where the model computes one.

    A loss of the user's own is what the user says: it is only refused where labels must be moved.

    Args:
        model: In evaluation mode.
        loss: Ours.
        few: Inputs and targets of a few samples.
        outputs: (N, …), the model's on them.
        targets: All targets of the split.
        where: The first words of a message.
        forward: How the model is run.

    Returns:
        The loss, settled on how targets are read, and what there is to say: how they are read, and both losses where
        the model's own is another.

    Raises:
        InputError: Targets cannot be what the loss expects; or the model compares its outputs with labels moved by one
            position, and these were not moved for a loss of the user's own.
    """
    inputs, wanted = few
    asked = Asked(model, inputs, wanted, forward)
    loss, words = _as_the_model(asked, loss, few, outputs, targets)
    try:
        loss, note = read_targets(loss, outputs, wanted, targets, where)
    except InputError as error:
        if loss.shape is not None or not _returns_one(asked, wanted):
            raise
        raise InputError(f"{error}; or take the loss that {asked.kind} itself returns, --loss {MODELS_OWN}") from None
    if _copies(loss, few) and not asked.decodes and not targets.is_floating_point():
        words += (
            f"{LABELS} are the tokens of their own position, and {asked.kind} is not seen to move them by one: what is "
            "measured is how well tokens are repeated, not how well the next is predicted; where that is meant, let "
            f"the loader move them: torch.nn.functional.pad(labels[..., 1:], (0, 1), value={IGNORED})",
        )
    other = None if is_models_own(loss) else _difference(asked, loss, few, outputs, targets, where)
    return loss, tuple(filter(None, (*words, note, other)))


def _returns_one(asked: Asked, targets: Tensor) -> bool:
    own = asked.own(targets) if asked.by_labels else None
    return own is not None and own.finite


def require_no_copying(model: nn.Module, loss: Loss, few: Batch) -> None:
    """Refuse to measure how well each token is repeated, of a probe without labels whose tokens stand in for them.

    Args:
        model: Its class is named.
        loss: Settled on how targets are read.
        few: Inputs and targets of a few samples.

    Raises:
        InputError: All labels that count are the tokens of their own position, and the loss is not of the next.
    """
    if _copies(loss, few):
        raise InputError(
            f"{LABELS} are the tokens of their own position, and {type(model).__name__} is not seen to predict the next"
            f" one; give {LABELS!r}"
        )


def _copies(loss: Loss, few: Batch) -> bool:
    """Say whether all labels that count are the tokens of their own position, and the loss is not of the next."""
    inputs, targets = few
    tokens = inputs.get(TOKENS) if isinstance(inputs, Mapping) else None
    if loss.reading is None or loss.reading.shifted or not isinstance(tokens, Tensor) or tokens.shape != targets.shape:
        return False
    return bool(((targets == tokens) | (targets == IGNORED)).all())


def said_before(note: str, notes: Sequence[str]) -> bool:
    """Say whether a note is among others, whatever losses they give: those of other weights are other figures."""
    subject = note.partition(": on ")[0]
    return any(each.startswith(subject) for each in notes)


def _as_the_model(
    asked: Asked, loss: Loss, few: Batch, outputs: Tensor, targets: Tensor
) -> tuple[Loss, tuple[str, ...]]:
    """Return the loss as the model's own was seen to read outputs and targets, and that in words where it is news."""
    closed = replace(loss, open=False)
    if is_models_own(loss):
        return _over_batches(asked, loss, len(few[1]))
    if not asked.answers or not (loss.open or (loss.reading is not None and not loss.reading.settled)):
        return closed, ()
    inputs, wanted = few
    found = _seen(asked, loss, outputs, wanted, targets)
    if found is None:
        return closed, ()
    reading, kind = found.loss.reading, asked.kind
    if reading is not None and reading.shifted and _moved_already(inputs, wanted):
        return closed, (f"{LABELS} are the next tokens already, so they are not moved again, as {kind} would do",)
    words = found.words(kind)
    if reading is not None and reading.ignored != IGNORED and bool((targets == reading.ignored).any()):
        words += (f"labels of {reading.ignored} are left out, as {kind} itself leaves them",)
    return found.loss, words


def _over_batches(asked: Asked, loss: Loss, samples: int) -> tuple[Loss, tuple[str, ...]]:
    """Return the model's own loss as it was seen to treat a batch, and that in words where it is no average of labels.

    What an earlier split told is kept where this one cannot tell.
    """
    reading = asked.counted()
    seen = asked.over(reading)
    over = loss.over if loss.over in seen or not seen else seen[0]
    if over != "sum" and not asked.by_labels:
        over = "samples"
    found = models_own(reading, over=over)
    if not seen:
        return found, (
            f"loss {loss.name}: {asked.kind} averages over neither the labels that count nor the samples, as seen "
            f"{_on(samples)}, and its batches are weighted by what counts in them: only of one batch (--batch-size) is "
            "it the loss of all the data",
        )
    if over == "sum":
        return found, (f"loss {loss.name}: {asked.kind} sums over samples, so it is divided by the labels that count",)
    if over == "samples" and asked.by_labels and "labels" not in seen:
        return found, (f"loss {loss.name}: {asked.kind} averages over samples, so each batch weighs as many as it has",)
    return found, ()


def _seen(asked: Asked, loss: Loss, outputs: Tensor, wanted: Tensor, targets: Tensor) -> Alike | None:
    """Return what gives the model's own figure under all labels, or moves them as it does; None where nothing does."""
    near: list[Alike] = []
    for ignored in asked.ignored:
        fitting = alike(loss, outputs, wanted, ignored)
        near = [each for each in fitting if _agrees(asked, each.loss, outputs, targets)]
        if len(near) == 1 or (near and not any(each.shifted for each in near)):
            return near[0]
    # Beside an auxiliary loss, as of a mixture of experts, no figure is the model's; labels are moved all the same.
    left = near or [each for each in alike(loss, outputs, wanted, IGNORED) if each.shifted]
    if not any(each.shifted for each in left):
        return None
    moved = asked.moves()
    return next((each for each in left if each.shifted == moved), None)


def _agrees(asked: Asked, loss: Loss, outputs: Tensor, targets: Tensor) -> bool:
    """Say whether a loss is the model's own under all labels that it answers to, of which there have to be some."""
    told = False
    for labels, own in asked.trials(loss, outputs, targets):
        ours = _ours(loss, own, outputs, labels)
        if ours is None or not _near(ours, own.loss):
            return False
        told = True
    return told


def _ours(loss: Loss, own: Own, outputs: Tensor, labels: Tensor) -> float | None:
    """Return a loss of the outputs; of those that the model returned beside its own, if any are known."""
    try:
        return _mean(loss, outputs if own.outputs is None else own.outputs, labels)
    except InputError:
        return None


def _difference(asked: Asked, loss: Loss, few: Batch, outputs: Tensor, targets: Tensor, where: str) -> str | None:
    """Return both losses in words where they differ; None where they agree or cannot be compared.

    Raises:
        InputError: The labels are moved by the model, and were not for a loss of the user's own.
    """
    inputs, wanted = few
    if not asked.answers:
        return None
    for labels, own in asked.trials(loss, outputs, targets):
        ours = _mean(loss, outputs, labels) if labels is wanted else _ours(loss, own, outputs, labels)
        if ours is None or not math.isfinite(ours) or _near(ours, own.loss):
            continue
        moves = _moves(loss, outputs, labels, own.loss)
        if moves and _moved_already(inputs, wanted):
            return None
        if moves and loss.shape is not None:
            raise InputError(
                f"{where}: {asked.kind} moves {LABELS!r} by one position itself, loss {loss.name} does not "
                f"({_on(len(wanted))} {ours:.4g}, its own loss {float(own.loss):.4g}); move them in the loader: "
                f"torch.nn.functional.pad(labels[..., 1:], (0, 1), value={IGNORED})"
            )
        if loss.shape is not None:
            return None
        return (
            f"{where}: what is measured is {loss.name}, which is not the loss that {asked.kind} itself returns: "
            f"{_on(len(wanted))}{'' if labels is wanted else ' with other labels'} {ours:.4g} and "
            f"{float(own.loss):.4g}"
        )
    return None


def _moves(loss: Loss, outputs: Tensor, targets: Tensor, own: Tensor) -> bool:
    """Say whether the model's own loss is that of outputs (N, T, C) and labels (N, T) of the next position."""
    if outputs.ndim != 3 or targets.shape != outputs.shape[:2] or targets.is_floating_point() or targets.shape[1] < 2:
        return False
    try:
        return _near(_mean(loss, outputs[:, :-1], targets[:, 1:]), own)
    except InputError:
        return False


def _moved_already(inputs: Inputs, targets: Tensor) -> bool:
    """Say whether labels (N, T) are the tokens of the next position, rather than those of their own.

    The tokens are the inputs of the labels' shape that are more often equal to them at either place.
    """
    given = {name: each for name, each in inputs.items() if name != LABELS} if isinstance(inputs, Mapping) else inputs
    tokens = [each for _, each in named_tensors(given)]
    fitting = [each for each in tokens if each.shape == targets.shape and not each.is_floating_point()]
    counted = targets != IGNORED
    pairs = [
        (
            int(((each == targets) & counted)[:, :-1].sum()),
            int(((each[:, 1:] == targets[:, :-1]) & counted[:, :-1]).sum()),
        )
        for each in fitting
    ]
    here, next_one = max(pairs, key=max, default=(0, 0))
    return next_one > here


def _on(samples: int) -> str:
    return f"on {_NUMBERS.get(samples, samples)} sample{'s' * (samples != 1)}"


def _mean(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float(loss.measure(outputs, targets).mean())


def _near(ours: float, own: Tensor) -> bool:
    eps = torch.finfo(own.dtype).eps if own.is_floating_point() else 0.0
    return math.isclose(ours, float(own), rel_tol=max(_ROUNDING, _COARSE * eps), abs_tol=_ROUNDING)
