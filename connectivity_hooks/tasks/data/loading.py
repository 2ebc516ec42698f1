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
from connectivity_hooks.tasks.split import CachedSplit, Split, StreamedSplit

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Placement:
    """Where data goes: its device and floating type, and how many bytes of each split may be held in memory."""

    device: torch.device
    dtype: torch.dtype
    cache_limit: int


def load_data(
    spec: str, placement: Placement, *, normalize: str | None = None, image_size: int | None = None
) -> tuple[Split, Split | None]:
    """Return the training split and, if there is one, the test split.

    Args:
        spec: ``digits``, a ``.npz`` or ``.safetensors`` file, an image folder, or ``FILE.py:callable``.
        placement: Where they go.
        normalize: ``mean,std``, or the means and then the standard deviations of every channel; applied after uint8 was
            scaled to [0, 1].
        image_size: Size of a folder's images.

    Raises:
        InputError: The data is malformed.
        UsageError: The form is unknown, or an option does not go with it.
    """
    scale = _parse_normalize(normalize)
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


def _split(
    name: str, raw: Arrays | Iterable[Arrays], spec: str, scale: list[float] | None, placement: Placement
) -> Split:
    if not isinstance(raw, tuple):
        prepared = _Prepared(raw, spec, name, scale)
        return StreamedSplit(name, prepared, placement.device, placement.dtype)
    inputs, targets = prepare(raw[0], raw[1], f"{spec}: {name}", scale)
    return CachedSplit(name, inputs, targets).to(placement.device, placement.dtype)


class _Prepared:
    """A loader whose batches are prepared as they pass."""

    def __init__(self, loader: Iterable[Arrays], spec: str, name: str, scale: list[float] | None) -> None:
        self._loader = loader
        self._where = f"{spec}: {name}"
        self._scale = scale

    def __iter__(self) -> Iterator[Arrays]:
        return (prepare(x, y, self._where, self._scale) for x, y in self._loader)


def prepare(inputs: Tensor, targets: Tensor, where: str, scale: list[float] | None) -> Arrays:
    """Return inputs as floats with channels first, normalised, and targets as int64 labels or floats.

    uint8 becomes [0, 1]. (N, H, W) becomes (N, 1, H, W); (N, H, W, C) with 1, 3 or 4 channels becomes (N, C, H, W),
    unless the second axis could be channels as well: then it is (N, C, H, W) already.

    Raises:
        InputError: Inputs or targets hold NaN or Inf.
    """
    scaled = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
    if scaled.ndim == 3 and (inputs.dtype == torch.uint8 or inputs.is_floating_point()):
        scaled = scaled.unsqueeze(1)
    elif scaled.ndim == 4 and scaled.shape[3] in _CHANNELS and scaled.shape[1] not in _CHANNELS:
        scaled = scaled.permute(0, 3, 1, 2).contiguous()
    if scaled.is_floating_point() and not bool(torch.isfinite(scaled).all()):
        raise InputError(f"{where}: inputs hold NaN or Inf; clean the data")
    return _normalised(scaled, scale, where), _targets(targets, where)


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
    if len(numbers) % 2 or not numbers or min(numbers[len(numbers) // 2 :]) <= 0:
        raise UsageError(f"--normalize: expected as many means as positive standard deviations, found {normalize!r}")
    return numbers


def _normalised(inputs: Tensor, scale: list[float] | None, where: str) -> Tensor:
    if scale is None:
        return inputs
    half = len(scale) // 2
    if half > 1 and (inputs.ndim < 2 or inputs.shape[1] != half):
        raise InputError(f"{where}: --normalize gives {half} channels, inputs have shape {tuple(inputs.shape[1:])}")
    shape = [1, half] + [1] * (inputs.ndim - 2)
    mean, std = (torch.tensor(part).view(shape) for part in (scale[:half], scale[half:]))
    return (inputs.float() - mean) / std
