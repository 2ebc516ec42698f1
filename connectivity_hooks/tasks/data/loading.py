"""From what a user types to splits: find the form, scale, normalise, check, cache."""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.data import arrays, callables, digits, folder
from connectivity_hooks.tasks.data.raw import Arrays, RawData
from connectivity_hooks.tasks.loss import LOSSES
from connectivity_hooks.tasks.split import CachedSplit, Split, StreamedSplit

_CHANNELS = (1, 3, 4)
_LABELS, _PROBABILITIES = "cross-entropy", "bce"  # the losses that want integers to be classes, and values in [0, 1]


@dataclass(frozen=True)
class Placement:
    """Where data goes: its device and floating type, and how many bytes of each split may be held in memory."""

    device: torch.device
    dtype: torch.dtype
    cache_limit: int


@dataclass(frozen=True)
class Scaling:
    """What is done to values after uint8 was scaled to [0, 1].

    Attributes:
        numbers: Means and then standard deviations of every channel; None leaves the values.
        loss: Name of the loss, which says what integer targets mean; None where it is not known.
    """

    numbers: list[float] | None
    loss: str | None = None


def load_data(
    spec: str,
    placement: Placement,
    *,
    normalize: str | None = None,
    image_size: int | None = None,
    loss: str | None = None,
) -> tuple[Split, Split | None]:
    """Return the training split and, if there is one, the test split.

    Args:
        spec: ``digits``, a ``.npz`` or ``.safetensors`` file, an image folder, or ``FILE.py:callable``.
        placement: Where they go.
        normalize: ``mean,std``, or the means and then the standard deviations of every channel; applied after uint8 was
            scaled to [0, 1].
        image_size: Size of a folder's images.
        loss: Name of the loss; it says whether integer targets are labels (see `prepare`).

    Raises:
        InputError: The data is malformed.
        UsageError: The form is unknown, or an option does not go with it.
    """
    scale = Scaling(_parse_normalize(normalize), loss)
    raw = _raw(spec, placement.cache_limit, image_size)
    train = _split("train", raw.train, spec, scale, placement)
    test = None if raw.test is None else _split("test", raw.test, spec, scale, placement)
    if isinstance(train, CachedSplit) and isinstance(test, CachedSplit):
        shapes = [tuple(split.inputs.shape[1:]) for split in (train, test)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{spec}: training inputs have shape {shapes[0]}, test inputs {shapes[1]}; expected the same"
            )
    return train, test


def _raw(spec: str, cache_limit: int, image_size: int | None) -> RawData:
    path = pathlib.Path(spec)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return folder.load(path, image_size)
    if image_size is not None:
        raise UsageError("--image-size goes with an image folder only")
    if spec == "digits":
        return digits.load()
    if path.suffix in (".npz", ".safetensors"):
        return arrays.load(path)
    if ":" in spec:
        return callables.load(spec, cache_limit)
    if mode or "/" in spec:
        raise InputError(f"{spec}: expected digits, X.npz, X.safetensors, an image folder or FILE.py:callable")
    raise UsageError(
        f"unknown data {spec!r}; expected digits, X.npz, X.safetensors, an image folder or FILE.py:callable"
    )


def _mode(path: pathlib.Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # not there, or a name that no file can have
        return 0


def _split(name: str, raw: Arrays | Iterable[Arrays], spec: str, scale: Scaling, placement: Placement) -> Split:
    if not isinstance(raw, tuple):
        prepared = _Prepared(raw, spec, name, scale)
        return StreamedSplit(name, prepared, placement.device, placement.dtype)
    inputs, targets = prepare(raw[0], raw[1], f"{spec}: {name}", scale)
    return CachedSplit(name, inputs, targets).to(placement.device, placement.dtype)


class _Prepared:
    """A loader whose batches are prepared as they pass."""

    def __init__(self, loader: Iterable[Arrays], spec: str, name: str, scale: Scaling) -> None:
        self._loader = loader
        self._where = f"{spec}: {name}"
        self._scale = scale

    def __iter__(self) -> Iterator[Arrays]:
        return (prepare(x, y, self._where, self._scale) for x, y in self._loader)


def prepare(inputs: Tensor, targets: Tensor, where: str, scale: Scaling) -> Arrays:
    """Return inputs as floats with channels first, normalised, and targets as int64 labels or floats.

    uint8 becomes [0, 1]. (N, H, W) becomes (N, 1, H, W); (N, H, W, C) with 1, 3 or 4 channels becomes (N, C, H, W),
    unless the second axis could be channels as well: then it is (N, C, H, W) already.

    Targets that are images get what the inputs get, but are not normalised for ``bce``, which needs values in [0, 1].
    Images are: targets that equal the inputs (an autoencoder's), and uint8 targets of the inputs' shape. Never images
    are: integers under ``cross-entropy``, which are labels; uint8 values 0 and 1 alone, a mask; integers for a loss of
    the user's own, which may mean anything.

    Raises:
        InputError: Inputs or targets hold NaN or Inf.
    """
    prepared = _prepared(inputs)
    if prepared.is_floating_point() and not bool(torch.isfinite(prepared).all()):
        raise InputError(f"{where}: inputs hold NaN or Inf; clean the data")
    if not _are_images(targets, inputs, scale.loss):
        return _normalised(prepared, scale.numbers, where), _targets(targets, where)
    pictures = _prepared(targets)
    if pictures.is_floating_point() and not bool(torch.isfinite(pictures).all()):
        raise InputError(f"{where}: targets hold NaN or Inf; clean the data")
    if scale.loss != _PROBABILITIES:
        pictures = _normalised(pictures, scale.numbers, where)
    return _normalised(prepared, scale.numbers, where), pictures


def _prepared(values: Tensor) -> Tensor:
    scaled = values.float() / 255 if values.dtype == torch.uint8 else values
    if scaled.ndim == 3 and (values.dtype == torch.uint8 or values.is_floating_point()):
        return scaled.unsqueeze(1)
    if scaled.ndim == 4 and scaled.shape[3] in _CHANNELS and scaled.shape[1] not in _CHANNELS:
        return scaled.permute(0, 3, 1, 2).contiguous()
    return scaled


def _are_images(targets: Tensor, inputs: Tensor, loss: str | None) -> bool:
    if targets.shape != inputs.shape or targets.ndim < 2 or (loss == _LABELS and not targets.is_floating_point()):
        return False
    if targets.dtype == inputs.dtype and torch.equal(targets, inputs):
        return True
    known = loss is None or loss in LOSSES
    return known and targets.dtype == torch.uint8 and targets[0].numel() > 1 and bool((targets > 1).any())


def _targets(targets: Tensor, where: str) -> Tensor:
    if targets.is_floating_point():
        if not bool(torch.isfinite(targets).all()):
            raise InputError(f"{where}: targets hold NaN or Inf; clean the data")
        return targets
    labels = targets.long()
    return labels.flatten() if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _parse_normalize(normalize: str | None) -> list[float] | None:
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


def _normalised(inputs: Tensor, scale: list[float] | None, where: str) -> Tensor:
    if scale is None:
        return inputs
    half = len(scale) // 2
    if half > 1 and (inputs.ndim < 2 or inputs.shape[1] != half):
        raise InputError(f"{where}: --normalize gives {half} channels, inputs have shape {tuple(inputs.shape[1:])}")
    shape = [1, half] + [1] * (inputs.ndim - 2)
    mean, std = (torch.tensor(part).view(shape) for part in (scale[:half], scale[half:]))
    normalised = (inputs.to(torch.promote_types(inputs.dtype, torch.float32)) - mean) / std
    if not bool(torch.isfinite(normalised).all()):
        raise InputError(f"{where}: inputs are not finite after --normalize; check its numbers")
    return normalised
