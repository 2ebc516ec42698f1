"""What is done to values before a model and a loss see them: bytes scaled, channels moved, normalised, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors
from connectivity_hooks.tasks.data.layout import AS_IS, FIRST, arranged
from connectivity_hooks.tasks.data.raw import Source
from connectivity_hooks.tasks.loss import LOSSES

_LABELS, _PROBABILITIES = "cross-entropy", "bce"  # the losses that want integers to be classes, and values in [0, 1]


@dataclass(frozen=True)
class Treatment:
    """What is done to values.

    Attributes:
        normalize: Means and then standard deviations of every channel, after bytes were scaled; None leaves the values.
        loss: Name of the loss, which says what integer targets mean; None where it is not known.
        layout: Where the channels are, see `layout.LAYOUTS`; ``auto`` is settled on the first samples of the training
            split.
    """

    normalize: list[float] | None = None
    loss: str | None = None
    layout: str = FIRST


class Prepared:
    """A loader whose batches are prepared as they pass."""

    def __init__(self, loader: Iterable[Batch], where: str, treatment: Treatment) -> None:
        self._loader = loader
        self._where = where
        self._treatment = treatment

    def __iter__(self) -> Iterator[Batch]:
        return (prepare(inputs, targets, self._where, self._treatment) for inputs, targets in self._loader)


def say_scaling(source: Source, where: str, treatment: Treatment, say: Callable[[str], object]) -> None:
    """Say which inputs are bytes, and so are scaled."""
    inputs = _first_inputs(source)
    scaled = [name or "inputs" for name, tensor in named_tensors(inputs) if tensor.dtype == torch.uint8]
    if scaled and treatment.layout != AS_IS:
        say(f"{where}: bytes of {', '.join(scaled)} are scaled to [0, 1]; --layout {AS_IS} leaves them as they are")


def moves(source: Source, layout: str) -> bool:
    """Say whether a layout moves any axis of the inputs, as far as the first batch says."""
    return any(arranged(tensor, layout) is not tensor for _, tensor in named_tensors(_first_inputs(source)))


def _first_inputs(source: Source) -> Inputs:
    inputs, _ = source if isinstance(source, tuple) else next(iter(source))
    return inputs


def prepare(inputs: Inputs, targets: Tensor, where: str, treatment: Treatment) -> Batch:
    """Return inputs with their channels second and normalised, and targets as int64 labels or floats.

    uint8 becomes [0, 1] unless the layout is ``as-is``; axes are moved as the layout says.

    Targets that are images get what the inputs get, but are not normalised for ``bce``, which needs values in [0, 1].
    Images are: targets that equal the inputs (an autoencoder's), and uint8 targets of the inputs' shape. Never images
    are: integers under ``cross-entropy``, which are labels; uint8 values 0 and 1 alone, a mask; integers for a loss of
    the user's own, which may mean anything.

    Raises:
        InputError: Inputs or targets hold NaN or Inf.
    """
    numbers = treatment.normalize
    images = _are_images(targets, inputs, treatment.loss)
    prepared = mapped(lambda values: _prepared(values, treatment.layout), inputs)
    for name, tensor in named_tensors(prepared):
        _require_finite(tensor, f"{where}: {name or 'inputs'}")
    # Of several inputs those that are floats: the others are identities and masks.
    alone = isinstance(inputs, Tensor)
    ready = mapped(
        lambda values: _normalised(values, numbers, where) if alone or values.is_floating_point() else values, prepared
    )
    if not images:
        return ready, _targets(targets, where)
    pictures = _prepared(targets, treatment.layout)
    _require_finite(pictures, f"{where}: targets")
    return ready, pictures if treatment.loss == _PROBABILITIES else _normalised(pictures, numbers, where)


def _prepared(values: Tensor, layout: str) -> Tensor:
    scaled = values.float() / 255 if values.dtype == torch.uint8 and layout != AS_IS else values
    return arranged(scaled, layout)


def _are_images(targets: Tensor, inputs: Inputs, loss: str | None) -> bool:
    tensors = [tensor for _, tensor in named_tensors(inputs)]
    if len(tensors) != 1 or targets.shape != tensors[0].shape or targets.ndim < 2:
        return False
    if loss == _LABELS and not targets.is_floating_point():
        return False
    if targets.dtype == tensors[0].dtype and torch.equal(targets, tensors[0]):
        return True
    known = loss is None or loss in LOSSES
    return known and targets.dtype == torch.uint8 and targets[0].numel() > 1 and bool((targets > 1).any())


def _targets(targets: Tensor, where: str) -> Tensor:
    """Return targets as they are, integers widened: what their shape means is for the loss to say."""
    _require_finite(targets, f"{where}: targets")
    return targets if targets.is_floating_point() else targets.long()


def _require_finite(values: Tensor, what: str) -> None:
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise InputError(f"{what} hold NaN or Inf; clean the data")


def parse_normalize(normalize: str | None) -> list[float] | None:
    """Return means and then standard deviations; raise `UsageError` where they are none."""
    if normalize is None:
        return None
    try:
        numbers = [float(part) for part in normalize.split(",")]
    except ValueError:
        raise UsageError(f"--normalize: expected MEAN,STD, found {normalize!r}") from None
    half = len(numbers) // 2
    # In float32, where the inputs are: 1e-46 would be a division by 0, and 1e39 infinite.
    kept = torch.tensor(numbers, dtype=torch.float32)
    if len(numbers) != 2 * half or not bool(torch.isfinite(kept).all()) or not bool((kept[half:] > 0).all()):
        raise UsageError(
            f"--normalize: expected finite means, then as many positive finite standard deviations, found {normalize!r}"
        )
    return numbers


def _normalised(inputs: Tensor, numbers: list[float] | None, where: str) -> Tensor:
    if numbers is None:
        return inputs
    half = len(numbers) // 2
    if half > 1 and (inputs.ndim < 2 or inputs.shape[1] != half):
        raise InputError(f"{where}: --normalize gives {half} channels, inputs have shape {tuple(inputs.shape[1:])}")
    shape = [1, half] + [1] * (inputs.ndim - 2)
    mean, std = (torch.tensor(part).view(shape) for part in (numbers[:half], numbers[half:]))
    normalised = (inputs.to(torch.promote_types(inputs.dtype, torch.float32)) - mean) / std
    if not bool(torch.isfinite(normalised).all()):
        raise InputError(f"{where}: inputs are not finite after --normalize; check its numbers")
    return normalised
