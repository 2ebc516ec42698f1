"""A folder of images: DIR/train/CLASS/*, and DIR/test, DIR/val or DIR/valid likewise."""

from __future__ import annotations

import contextlib
import io
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.tasks.data.caps import Cap, Caps
from connectivity_hooks.tasks.data.raw import RawData
from connectivity_hooks.untrusted import guarded, open_regular

_REMEDY = "remove it"
_COLOURS = 3
# Pillow's own limit (0.25 GB in colour), beyond which it speaks of bombs.
_MOST_PIXELS = 89_478_485

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
TESTS = ("test", "val", "valid")


def load(folder: pathlib.Path, image_size: int | None, caps: Caps) -> RawData:
    """Return uint8 images (N, C, H, W) and the positions of their classes in order of name.

    Args:
        folder: Holds ``train`` and perhaps one of ``test``, ``val``, ``valid``, each with a folder for each class.
        image_size: Resize the shorter side to it and cut out the centre; None needs images of one size.
        caps: How many images are taken; the others are not opened.

    Raises:
        InputError: A folder is missing or empty, the splits have other classes, an image is unreadable, or sizes
            differ.
    """
    if not (folder / "train").is_dir():
        raise InputError(f"{folder}: has no folder train; expected train/CLASS/IMAGE and perhaps test/CLASS/IMAGE")
    tests = [folder / name for name in TESTS if (folder / name).is_dir()]
    classes = _classes(folder / "train")
    if tests and (unlike := sorted({*_classes(tests[0])} ^ {*classes})):
        listed = ", ".join(f"{'train' if each in classes else tests[0].name}/{each}" for each in unlike[:5])
        listed += f" and {len(unlike) - 5} more" if len(unlike) > 5 else ""
        raise InputError(
            f"{folder}: train and {tests[0].name} have different class folders; only on one side are {listed}"
        )
    train = _split(folder / "train", classes, image_size, caps.train)
    return RawData(train, _split(tests[0], classes, image_size, caps.test) if tests else None)


def _classes(folder: pathlib.Path) -> list[str]:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError(f"{folder}: has no class folders; expected {folder.name}/CLASS/IMAGE")
    return classes


def _split(folder: pathlib.Path, classes: list[str], size: int | None, cap: Cap) -> Batch:
    files: list[pathlib.Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(file for file in (folder / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        files += images
        labels += [label] * len(images)
    if not files:
        raise InputError(f"{folder}: holds no images")
    rows = cap.rows(len(files))
    if rows is not None:
        files, labels = [files[row] for row in rows], [labels[row] for row in rows]
    _require_memory(folder, files, size)
    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(lambda file: _image(file, size), files))
    return stacked(arrays), torch.tensor(labels)


def stacked(arrays: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """Return images of one size, each (H, W) or (H, W, 3), as (N, C, H, W)."""
    gray = all(array.ndim == 2 for array in arrays)
    return _channels_first(torch.from_numpy(np.stack([array if gray else _colour(array) for array in arrays])))


def decoded(content: bytes, what: str, size: int | None) -> npt.NDArray[np.uint8]:
    """Return the image (H, W) or (H, W, 3) that some bytes are.

    Raises:
        InputError: They are none, or it needs more memory than there is; it begins with `what`.
    """
    with _read(io.BytesIO(content), what) as image:
        return _pixels(image, what, size)


def _image(file: pathlib.Path, size: int | None) -> npt.NDArray[np.uint8]:
    with _opened(file) as image:
        return _pixels(image, file, size)


def _pixels(image: Image.Image, what: object, size: int | None) -> npt.NDArray[np.uint8]:
    require_memory(_bytes(image.size), what, _REMEDY)
    plain = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return np.asarray(plain if size is None else _centre(plain, size))


def _require_memory(folder: pathlib.Path, files: Sequence[pathlib.Path], size: int | None) -> None:
    """Refuse a folder that does not fit in memory or whose images differ in size, before one of them is decoded."""
    shapes = {(size, size)} if size is not None else {_shape(file) for file in files}
    if len(shapes) > 1:
        raise InputError(f"{folder}: images differ in size, e.g. {sorted(shapes)[:2]}; give --image-size N")
    sides = shapes.pop()
    images = f"{folder}: its {len(files)} images of {sides[0]}×{sides[1]}"
    require_memory(len(files) * _bytes(sides), images, "give a smaller --image-size, or FILE.py:callable with a loader")


def _shape(file: pathlib.Path) -> tuple[int, int]:
    with _opened(file) as image:
        return image.height, image.width


@contextlib.contextmanager
def _opened(file: pathlib.Path) -> Iterator[Image.Image]:
    """Yield an image of which no more than the header has been read; what goes wrong with it is one line."""
    with open_regular(file) as stream, _read(stream, file) as image:
        yield image


@contextlib.contextmanager
def _read(stream: BinaryIO, what: object) -> Iterator[Image.Image]:
    with guarded(what, "an image", _REMEDY):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remark on large images: the size is checked below
                opened = Image.open(stream)
        except UnidentifiedImageError:
            raise ValueError("its format is unknown") from None
        with opened as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"it has {image.width * image.height} pixels, at most {_MOST_PIXELS} are decoded")
            yield image


def _bytes(sides: tuple[int, int]) -> int:
    """Return what an image takes at most: its bytes, and the floats they are scaled to."""
    return sides[0] * sides[1] * _COLOURS * (1 + 4)


def _centre(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _colour(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.stack([array] * 3, axis=-1) if array.ndim == 2 else array


def _channels_first(images: Tensor) -> Tensor:
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
