"""The loss a model computes itself when it is given labels, against ours of the same samples.

Transformers' causal language models take labels that are the tokens themselves, and move them by one position inside.
Our losses compare outputs and targets position by position, as PyTorch's do: of such labels they would measure how well
each token is repeated, which nobody trained for, and say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import LABELS, with_labels
from connectivity_hooks.model.inputs import Inputs, named_tensors
from connectivity_hooks.model.outputs import entries_of
from connectivity_hooks.model.running import forward
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.arguments import names_argument
from connectivity_hooks.tasks.loss import IGNORED, LOSSES, Loss

_OWN = "loss"
"""The entry of what a model returns that Transformers' models hold their own loss in."""

_ROUNDING = 1e-5
"""Of a mean of thousands of values in float32, where an untrained model's losses at two places differ by 1e-3 or so."""

_COARSE = 4
"""Units in the last place for losses computed in bfloat16 or float16, whose logits are rounded too."""


def compare_own_loss(
    model: nn.Module, loss: Loss, inputs: Inputs, outputs: Tensor, targets: Tensor, where: str
) -> str | None:
    """Compare the loss that a model returns when it is given labels with ours, where it returns one.

    A loss of the user's own is what the user says: it is only refused where labels must be moved.

    Args:
        model: In evaluation mode.
        loss: Ours, settled on how targets are read.
        inputs: Of a few samples.
        outputs: (N, …), the model's on them.
        targets: (N, …), theirs.
        where: The first words of a message.

    Returns:
        A note with both losses where they differ; None where they agree or cannot be compared.

    Raises:
        InputError: The model compares its outputs with labels moved by one position, and these were not moved.
    """
    own = _own_loss(model, inputs, targets)
    if own is None:
        return None
    ours = _mean(loss, outputs, targets)
    if not math.isfinite(ours) or _near(ours, own):
        return None
    if _moves(loss, outputs, targets, own):
        if _moved_already(inputs, targets):
            return None
        raise InputError(
            f"{where}: {type(model).__name__} moves {LABELS!r} by one position itself, what is measured does not (on "
            f"two samples {ours:.4g}, its own loss {float(own):.4g}); move them in the loader: "
            f"torch.nn.functional.pad(labels[..., 1:], (0, 1), value={IGNORED})"
        )
    if loss.name not in LOSSES:
        return None
    return (
        f"{where}: what is measured is {loss.name}, which is not the loss that {type(model).__name__} itself returns: "
        f"on two samples {ours:.4g} and {float(own):.4g}"
    )


def said_before(note: str, notes: Sequence[str]) -> bool:
    """Say whether a note is among others, whatever losses they give: those of other weights are other figures."""
    subject = note.partition(": on two samples ")[0]
    return any(each.startswith(subject) for each in notes)


def _own_loss(model: nn.Module, inputs: Inputs, targets: Tensor) -> Tensor | None:
    """Return the loss of a model that takes labels by name, a finite scalar; None where it gives none."""
    if not isinstance(inputs, Mapping) or not names_argument(model, LABELS):
        return None
    given = inputs if LABELS in inputs else with_labels((inputs, targets))[0]
    try:
        with torch.no_grad(), torch.random.fork_rng(), guarded_call("its own loss"):
            own = entries_of(forward(model, given)).get(_OWN)
    except InputError:  # labels of another kind than it takes; nothing of ours needs this pass
        return None
    return own if own is not None and own.numel() == 1 and bool(own.isfinite().all()) else None


def _moves(loss: Loss, outputs: Tensor, targets: Tensor, own: Tensor) -> bool:
    """Say whether the model's own loss is that of outputs (N, T, C) and labels (N, T) of the next position."""
    if outputs.ndim != 3 or targets.shape != outputs.shape[:2] or targets.is_floating_point() or targets.shape[1] < 2:
        return False
    try:
        return _near(_mean(loss, outputs[:, :-1], targets[:, 1:]), own)
    except InputError:
        return False


def _moved_already(inputs: Mapping[str, Inputs], targets: Tensor) -> bool:
    """Say whether labels (N, T) are the tokens of the next position, rather than those of their own.

    The tokens are the inputs of the labels' shape that are more often equal to them at either place.
    """
    tokens = [each for _, each in named_tensors({k: v for k, v in inputs.items() if k != LABELS})]
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


def _mean(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float(loss.measure(outputs, targets).mean())


def _near(ours: float, own: Tensor) -> bool:
    eps = torch.finfo(own.dtype).eps if own.is_floating_point() else 0.0
    return math.isclose(ours, float(own), rel_tol=max(_ROUNDING, _COARSE * eps), abs_tol=_ROUNDING)
