"""In what a field counts: errors of tokens or pixels where a sample holds several, and samples that are sequences."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from connectivity_hooks.tasks.loss import IGNORED, Loss
from connectivity_hooks.tasks.loss import MODELS_OWN as OWN

TOKEN, PIXEL = "token", "pixel"


def unit_of(loss: Loss, outputs: Tensor, few: Tensor, targets: Tensor) -> str | None:
    """Return what counts once in means over the data; None where it has no other name than sample.

    Tokens are labels (N, T) under a cross-entropy of classes, pixels labels (N, H, W) or, under bce, a mask's (N, 1, H,
    W). Where no sample has more than one label that counts, it is the sample that does.

    Args:
        loss: The loss, settled on how targets are read.
        outputs: Of a few samples.
        few: Their targets.
        targets: All targets of the split.
    """
    if loss.fit is None or loss.errors is None:
        return None
    found, wanted = loss.fit(outputs, few)
    of_classes = not wanted.is_floating_point() and wanted.shape == found.shape[:1] + found.shape[2:]
    positions = [size for size in wanted.shape[1:] if size != 1]
    unit = {1: TOKEN, 2: PIXEL}.get(len(positions)) if of_classes else _of_mask(loss, positions)
    return unit if unit is not None and _has_several(targets) else None


def unit_in(task: Mapping[str, object]) -> str | None:
    """Return the unit that a described task names, see `unit_of`."""
    unit = task.get("unit")
    return unit if isinstance(unit, str) and unit in (TOKEN, PIXEL) else None


def error_in(unit: str | None) -> str:
    """Return what a wrong prediction is called: ``token error``, ``pixel error``, or ``error``."""
    return "error" if unit is None else f"{unit} error"


def loss_in(unit: str | None) -> str:
    """Return the loss with its unit, where it is known to be a mean of logarithms."""
    return "loss" if unit is None else f"loss, in nats a {unit},"


def samples_in(unit: str | None, count: int | None = None, *, batches: bool = False) -> str:
    """Return what is drawn at random: sequences of tokens, samples, or batches where these have a term each."""
    noun = "batch" if batches else "sequence" if unit == TOKEN else "sample"
    return noun if count == 1 else "batches" if batches else f"{noun}s"


def of_batches(task: Mapping[str, object]) -> bool:
    """Say whether a described task's loss is one number for each batch of several samples."""
    return task.get("loss") == OWN and task.get("batches_count") not in (None, 1)


def _of_mask(loss: Loss, positions: list[int]) -> str | None:
    return PIXEL if loss.name == "bce" and len(positions) == 2 else None


def _has_several(targets: Tensor) -> bool:
    rows = targets.flatten(1) if targets.ndim > 1 else targets[:, None]
    return rows.shape[1] > 1 and (rows.is_floating_point() or int((rows != IGNORED).sum(1).max()) > 1)
