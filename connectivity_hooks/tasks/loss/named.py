"""The built-in losses, PyTorch's own, averaged as PyTorch averages them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss.loss import Loss
from connectivity_hooks.tasks.loss.reading import PLAIN, Reading
from connectivity_hooks.tasks.loss.shapes import elements
from connectivity_hooks.tasks.loss.terms import Terms, joined, mean_over_rest, of_positions


def cross_entropy(reading: Reading = PLAIN) -> Loss:
    """Return the cross-entropy of labels or of probabilities.

    Args:
        reading: What is compared with what.
    """
    fit = reading.pair

    def of_part(outputs: Tensor, targets: Tensor) -> Terms:
        logits, wanted = fit(outputs, targets)
        return of_positions(_cross_entropy(logits, wanted), _counted(wanted))

    def terms(outputs: Tensor, targets: Tensor) -> Terms:
        return joined([of_part(*part) for part in reading.parts(outputs, targets)])

    def scalar(outputs: Tensor, targets: Tensor) -> Tensor:
        logits, wanted = fit(outputs, targets)
        if wanted.is_floating_point():
            return mean_over_rest(_cross_entropy(logits, wanted)).mean()
        return _cross_entropy(logits, wanted, "mean")  # of a batch without a label NaN, whose gradient is 0

    def errors_of_part(outputs: Tensor, targets: Tensor) -> Terms:
        logits, wanted = fit(outputs, targets)
        counted = _counted(wanted)
        wrong = logits.argmax(1) != (wanted.argmax(1) if counted is None else wanted)
        return of_positions((wrong if counted is None else wrong & counted).to(torch.float32), counted)

    def errors(outputs: Tensor, targets: Tensor) -> Terms:
        return joined([errors_of_part(*part) for part in reading.parts(outputs, targets)])

    return Loss("cross-entropy", terms, errors, convex=True, scalar=scalar, fit=fit, rowwise=True, reading=reading)


def out_of_range(low: int, high: int, count: int) -> str:
    """Say that labels in [low, high] are not all of `count` classes."""
    return (
        f"labels lie in [{low}, {high}], the model has {count} outputs; expected labels in [0, {count - 1}], or "
        f"{IGNORED} for what is ignored"
    )


def _cross_entropy(logits: Tensor, wanted: Tensor, reduction: str = "none") -> Tensor:
    try:
        return F.cross_entropy(logits, wanted, reduction=reduction)
    except IndexError:  # how PyTorch refuses a label on a processor; others are looked at before, see `read_targets`
        labels = wanted[wanted != IGNORED]
        text = out_of_range(int(labels.min()), int(labels.max()), logits.shape[1])
        raise InputError(f"loss cross-entropy: {text}") from None


def _counted(wanted: Tensor) -> Tensor | None:
    """Return which labels count; None of probabilities, which all do."""
    return None if wanted.is_floating_point() else wanted != IGNORED


def _elementwise(name: str, function: Callable[..., Tensor], wrong: Callable[[Tensor, Tensor], Tensor] | None) -> Loss:
    fit = partial(elements, name)

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        found, wanted = fit(outputs, targets)
        return function(found, wanted.to(found.dtype), reduction="none")

    def errors(outputs: Tensor, targets: Tensor) -> Terms:
        assert wrong is not None
        return of_positions(wrong(*fit(outputs, targets)).to(torch.float32))

    return Loss(
        name,
        lambda outputs, targets: of_positions(losses(outputs, targets)),
        None if wrong is None else errors,
        convex=True,
        scalar=lambda outputs, targets: mean_over_rest(losses(outputs, targets)).mean(),
        fit=fit,
        rowwise=True,
    )


def _wrong_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs > 0) != (targets > 0.5)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        cross_entropy(),
        _elementwise("bce", F.binary_cross_entropy_with_logits, _wrong_sign),
        _elementwise("mse", F.mse_loss, None),
        _elementwise("l1", F.l1_loss, None),
        _elementwise("huber", F.huber_loss, None),
    )
}
