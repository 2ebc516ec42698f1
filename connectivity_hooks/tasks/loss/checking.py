"""All targets of a split against a loss and a model's outputs, before anything is computed."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss.loss import Loss
from connectivity_hooks.tasks.loss.named import cross_entropy, out_of_range
from connectivity_hooks.tasks.loss.shapes import axes
from connectivity_hooks.tasks.loss.terms import Terms

CHANGING_WEIGHTS = "its weights change with the outputs; expected them to depend on the targets alone"

_ROUNDED = 64
"""Units in the last place by which a sample's loss may differ in batches of other sizes, summed in another order."""

_SUMS_TO_ONE = 1e-3
"""How near to 1 probabilities sum that were rounded to bfloat16 or written with three digits."""

_NEAR_ONE = 0.02
"""How near to 1 probabilities sum however they were rounded; of labels that are 0 or 1 the sum is a whole number."""


def read_targets(loss: Loss, outputs: Tensor, few: Tensor, targets: Tensor, where: str) -> tuple[Loss, str | None]:
    """Check all targets of a split against a loss and the outputs of a few samples.

    Args:
        loss: The loss.
        outputs: Of a few samples of the split.
        few: Their targets.
        targets: All targets of the split.
        where: The first words of a message.

    Returns:
        The loss, settled on how these targets are read, and that in words where their shape leaves something to say.

    Raises:
        InputError: Targets cannot be what the loss expects.
    """
    try:
        loss.check(outputs, few)
    except InputError as error:
        raise InputError(f"{where} targets are {tuple(targets.shape)}; {error}") from None
    loss = settled(loss, outputs, few)
    _check(loss, outputs, few, targets, where)
    return loss, _note(loss, outputs, few) or _note_of_weights(loss, targets)


def _check(loss: Loss, outputs: Tensor, few: Tensor, targets: Tensor, where: str) -> None:
    if loss.reading is not None and not targets.is_floating_point():
        labels = loss.reading.labels(targets)
        _require_some(labels, where)
        if loss.fit is not None:
            _check_labels(labels, loss.fit(outputs, few)[0].shape[1], where)
    check_probabilities(loss.name, targets, where)
    if loss.name == "cross-entropy" and few.is_floating_point():
        _check_axis(few, where)
    if loss.shape is not None:  # a function of the user's own
        with torch.random.fork_rng():  # it may draw, which is refused, or move a training's state
            _check_weights(loss, outputs, few)
            _check_each(loss, outputs, few)


def check_probabilities(loss: str, targets: Tensor, where: str) -> None:
    """Raise `InputError` where a loss takes probabilities and targets (N, …) are none; it would not be convex there.

    Args:
        loss: Name of the loss: ``cross-entropy`` takes weights of classes ≥ 0, ``bce`` values in [0, 1].
        targets: All targets of a split.
        where: The first words of the message.
    """
    if loss not in ("cross-entropy", "bce") or (loss == "cross-entropy" and not targets.is_floating_point()):
        return
    low, high = float(targets.min()), float(targets.max())  # either is NaN if one value is
    if not (low >= 0 and high <= (1 if loss == "bce" else sys.float_info.max)):
        expected = "values in [0, 1]" if loss == "bce" else "finite probabilities of classes, none below 0"
        raise InputError(f"{where} targets lie in [{low:g}, {high:g}]; loss {loss} expects {expected}")


def settled(loss: Loss, outputs: Tensor, targets: Tensor) -> Loss:
    """Return the loss as a first batch shows it is meant, so that later batches are read in the same way.

    Sequences of other lengths may be as long as there are classes, and their labels fit both ways of reading.
    """
    reading = loss.reading
    if (
        reading is None
        or loss.fit is None
        or reading.shifted
        or reading.upsampled
        or targets.is_floating_point()
        or outputs.ndim < 3
    ):
        return loss
    ways = axes(outputs, targets)
    return replace(cross_entropy(replace(reading, axis=ways[0])), open=loss.open) if len(ways) == 1 else loss


def _note(loss: Loss, outputs: Tensor, targets: Tensor) -> str | None:
    if loss.fit is None:
        return None
    if loss.reading is not None and (loss.reading.shifted or loss.reading.upsampled):
        return None  # as the model's own loss was seen to do, which is said
    found, wanted = loss.fit(outputs, targets)
    notes = []
    if found.shape != outputs.shape:
        notes.append("the last axis of the outputs is taken for the classes")
    elif loss.name == "cross-entropy" and not targets.is_floating_point() and len(axes(outputs, targets)) > 1:
        notes.append(
            "axis 1 of the outputs is taken for the classes, as PyTorch does, and the last fits as well; if it is "
            "that, let the model return outputs.movedim(-1, 1)"
        )
    if wanted.shape != targets.shape:
        notes.append(f"targets are taken as {_shape(wanted)}")
    if not notes:
        return None
    return f"loss {loss.name}: outputs {_shape(outputs)}, targets {_shape(targets)}: {' and '.join(notes)}"


def _note_of_weights(loss: Loss, targets: Tensor) -> str | None:
    """Say that cross-entropy takes numbers (N, C, …) of any sum for weights: 0 and 1 of several labels look like it."""
    if loss.name != "cross-entropy" or loss.fit is None or not targets.is_floating_point():
        return None
    if bool(((targets.sum(1, dtype=torch.float64) - 1).abs() < _NEAR_ONE).all()):
        return None
    return (
        f"loss cross-entropy: targets {_shape(targets)} do not sum to 1 over the classes and are taken for their "
        "weights; for several labels of a sample, each 0 or 1, give loss= (--loss) bce, for real targets mse"
    )


def _require_some(labels: Tensor, where: str) -> None:
    if not bool((labels != IGNORED).any()):
        raise InputError(f"{where} labels are all {IGNORED}, which is ignored; nothing is left to measure")


def _check_labels(targets: Tensor, count: int, where: str) -> None:
    labels = targets.long()
    labels = labels[labels != IGNORED]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= count:
        raise InputError(f"{where} {out_of_range(low, high, count)}")


def _check_axis(targets: Tensor, where: str) -> None:
    """Refuse probabilities (N, …, C): they have the outputs' own shape, but classes are on the second axis."""
    second, last = (bool(((targets.sum(axis) - 1).abs() < _SUMS_TO_ONE).all()) for axis in (1, -1))
    if last and not second:
        raise InputError(
            f"{where} probabilities {tuple(targets.shape)} sum to 1 along the last axis; loss cross-entropy takes "
            "classes on axis 1: give outputs and targets as .movedim(-1, 1)"
        )


@torch.no_grad()
def _check_weights(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Refuse weights that change with the outputs: means of two models would not be over the same data."""
    if not torch.equal(loss.terms(outputs, targets).weights, loss.terms(1 - outputs, targets).weights):
        raise InputError(f"loss {loss.name}: {CHANGING_WEIGHTS}")


@torch.no_grad()
def _check_each(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a loss that is random, or whose value of a sample depends on the others beside it."""
    more = [*range(len(outputs)), 0]  # among others: as many samples and one again, whatever data there is
    alone, again = (loss.measure(outputs, targets) for _ in range(2))
    beside = loss.measure(outputs[more], targets[more])
    few, many = (_rest(loss, outputs[rows], targets[rows]) for rows in (more[:-1], more))
    if few != many:
        raise InputError(
            f"loss {loss.name}: returns {(len(outputs), *few)} for outputs {tuple(outputs.shape)} and targets "
            f"{tuple(targets.shape)}, a value for each pair of samples; reshape (N,) and (N, 1) one like the other"
        )
    if _differ(alone, again, outputs):
        raise InputError(f"loss {loss.name}: gives other values when it is called again; take out what is random")
    if _differ(Terms(alone.sums[more], alone.weights[more]), beside, outputs):
        raise InputError(
            f"loss {loss.name}: gives a sample another value in a batch of {len(more)} than of {len(outputs)}; "
            "expected values that do not depend on the other samples or their number, and no (N, 1) beside (N,)"
        )


def _rest(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[int, ...]:
    """Return the axes behind the samples' of what a user's own function returns."""
    return () if loss.shape is None else loss.shape(outputs, targets)[1:]


def _differ(first: Terms, second: Terms, outputs: Tensor) -> bool:
    """Return whether terms differ by more than rounding, which is relative to the outputs too."""
    eps = torch.finfo(first.sums.dtype).eps
    size = max(float(outputs.nan_to_num(0).abs().max()), 1.0)
    pairs = ((first.sums, second.sums), (first.weights, second.weights))
    near = _ROUNDED * eps
    return not all(torch.allclose(a, b, rtol=near, atol=near * size, equal_nan=True) for a, b in pairs)


def _shape(tensor: Tensor) -> str:
    return f"(N{''.join(f', {size}' for size in tensor.shape[1:])}{',' if tensor.ndim == 1 else ''})"
