"""Plain data of other libraries in pickles, rebuilt by code of our own that checks it: NumPy's values, and paths.

NumPy rebuilds its values by functions that believe what the pickle says of types and shapes. These here take their
place: they accept numbers, booleans and text alone, and as many bytes as the type and shape need.
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# Numbers, booleans, bytes and text, by NumPy's letters of a type: no objects, records or dates.
_KINDS = "biufcSU"
# Longest single value: a line of text of 16 000 characters, say.
_LONGEST_VALUE = 1 << 16


class PlainType:
    """What a pickle calls ``numpy.dtype``: the code of a type and the order of its bytes."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """Return the type; raise `ValueError` for any but numbers, booleans and text."""
        if (
            not isinstance(self.code, str)
            or self.code[:1] not in tuple(_KINDS)
            or self.order not in ("<", ">", "=", "|")
        ):
            raise ValueError(f"NumPy values of type {str(self.code)[:20]} are not plain data")
        dtype = np.dtype(self.order + self.code)
        if not 0 < dtype.itemsize <= _LONGEST_VALUE:
            raise ValueError(f"NumPy values of type {str(self.code)[:20]} are not plain data")
        return dtype


class PlainArray(np.ndarray[Any, Any]):
    """What a pickle calls ``numpy.ndarray``."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        dtype, raw = _dtype(kind), _bytes(raw)
        if (
            not all(type(length) is int and length >= 0 for length in shape)
            or len(raw) != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError("a NumPy array has other bytes than its shape and type need")
        super().__setstate__((1, tuple(shape), dtype, bool(fortran), raw))  # type: ignore[arg-type]


def plain_array(*_: object) -> npt.NDArray[Any]:
    """Take the place of ``numpy.core.multiarray._reconstruct``: an empty array, which its state then fills."""
    empty: npt.NDArray[Any] = PlainArray((0,), np.uint8)
    return empty


def no_bytes() -> bytes:
    """Take the place of ``bytes``, which pickles of this protocol name for the empty ones alone."""
    return b""


def plain_scalar(kind: PlainType, raw: bytes | str) -> Any:
    """Take the place of ``numpy.core.multiarray.scalar``."""
    dtype, content = _dtype(kind), _bytes(raw)
    if len(content) != dtype.itemsize:
        raise ValueError("a NumPy value has other bytes than its type needs")
    return np.frombuffer(content, dtype)[0]


def plain_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a pickle may name beside tensors and containers, as `torch.serialization.safe_globals` takes it."""
    stand_ins: list[tuple[Callable[..., Any], str]] = [
        (PlainType, "numpy.dtype"),
        (PlainArray, "numpy.ndarray"),
        (no_bytes, "builtins.bytes"),
    ]
    for home in ("numpy.core.multiarray", "numpy._core.multiarray"):  # before and since NumPy 2
        stand_ins += [(plain_scalar, f"{home}.scalar"), (plain_array, f"{home}._reconstruct")]
    for home in ("pathlib", "pathlib._local"):  # the second is Python 3.13's
        for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
            stand_ins += [(kind, f"{home}.{kind.__name__}"), (kind, f"{home}.{kind.__name__.removeprefix('Pure')}")]
    # timm's training script stores its arguments as a Namespace: plain data, safe to rebuild.
    return [argparse.Namespace, *stand_ins]


def _dtype(kind: object) -> np.dtype[Any]:
    if not isinstance(kind, PlainType):
        raise ValueError("a NumPy value has no type")
    return kind.dtype()


def _bytes(raw: bytes | str) -> bytes:
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)  # Python 2 had no bytes
