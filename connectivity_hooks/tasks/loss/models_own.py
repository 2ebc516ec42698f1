"""The loss that a model itself returns, taken as it comes: one number for a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss.loss import Loss, Over
from connectivity_hooks.tasks.loss.reading import PLAIN, Reading
from connectivity_hooks.tasks.loss.terms import Terms

NAME = "own"


def is_models_own(loss: Loss) -> bool:
    """Say whether a loss is the model's own; a user's function may have that name too."""
    return loss.coupled and loss.name == NAME


def models_own(reading: Reading = PLAIN, *, over: Over | None = None) -> Loss:
    """Return the model's own loss, read from outputs (N,) that are the batch's value N times.

    What a model averages inside of a batch is not seen, so a batch is one term: its first sample has the value, which
    weighs as many labels as count in the batch, or as many samples as it has, and the others weigh nothing. Then the
    mean over the data is that of all labels or samples, whatever the batches' sizes, where the model averages over
    those of a batch or sums over them; and confidence intervals are over batches. In batches of one sample every sample
    has its own term.

    Args:
        reading: Which labels count.
        over: What the model does over a batch; None where it was not seen yet, which is read as an average over labels.
    """
    summed = over == "sum"

    def terms(outputs: Tensor, targets: Tensor) -> Terms:
        weights = torch.zeros(len(outputs), dtype=torch.promote_types(outputs.dtype, torch.float32)).to(outputs.device)
        weights[0] = len(targets) if over == "samples" else counted(reading.labels(targets))
        # Nothing of a batch without a label: its value is not a number.
        return Terms(torch.where(weights > 0, outputs if summed else outputs * weights, 0.0), weights)

    # The value is no convex function of itself that a bound could be proven by: it is what a whole network computes.
    return Loss(
        NAME,
        terms,
        None,
        convex=False,
        scalar=lambda outputs, targets: outputs.mean(),
        reading=reading,
        coupled=True,
        over=over,
    )


def counted(labels: Tensor) -> Tensor | int:
    """Return how many labels of integers count; of floating numbers the samples."""
    return len(labels) if labels.is_floating_point() else (labels != IGNORED).sum()
