"""Which axis of a feature is what: samples, neurons, and positions (tokens, pixels) for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TypeAlias

from connectivity_hooks.errors import InputError, UsageError

NamedLayouts: TypeAlias = "str | Sequence[str] | Mapping[str, str] | None"
"""Letters for all layers (``TNC``), ``LAYER=LETTERS`` in a list, or a mapping from layer or glob to letters."""

_LETTERS = re.compile(r"[A-Z]{2,}")
_EXPECTED = "expected a letter for each axis with N for the samples and C for the neurons, e.g. NTC, TNC or NHWC"


@dataclass(frozen=True)
class Layout:
    """The axes of a feature; those that are neither samples nor neurons are positions.

    Attributes:
        samples: The axis that counts the samples.
        neurons: The axes that count the neurons, usually one; of several, every combination is a neuron (heads).
    """

    samples: int
    neurons: tuple[int, ...]

    def positions(self, ndim: int) -> tuple[int, ...]:
        """Return the other axes of a feature of `ndim` axes."""
        return tuple(axis for axis in range(ndim) if axis != self.samples and axis not in self.neurons)

    def fits(self, ndim: int) -> bool:
        """Say whether a feature of `ndim` axes has these."""
        return max(self.samples, *self.neurons) < ndim

    def letters(self, ndim: int) -> str:
        """Return it as it is named: N, C, and other letters for positions."""
        others = iter("LHWABDEFG" if len(self.positions(ndim)) < 2 else "HWABDEFG")
        return "".join(
            "N" if axis == self.samples else "C" if axis in self.neurons else next(others) for axis in range(ndim)
        )


def usual(ndim: int) -> Layout:
    """Return what PyTorch's own modules mostly put out: (N, n), (N, T, n), (N, n, H, W)."""
    return Layout(0, (ndim - 1,) if ndim < 4 else (1,))


class Named:
    """Layouts that a user named, for all layers or for some.

    Args:
        layouts: See `NamedLayouts`.

    Raises:
        UsageError: One is no layout.
    """

    def __init__(self, layouts: NamedLayouts = None) -> None:
        self._pairs = _pairs(layouts)
        for _, letters in self._pairs:
            if not _LETTERS.fullmatch(letters) or letters.count("N") != 1 or "C" not in letters:
                raise UsageError(f"layout {letters!r}: {_EXPECTED}; for one layer NAME=LETTERS")

    def of(self, layer: str, ndim: int) -> Layout | None:
        """Return the layout named for a layer of `ndim` axes; None where none is.

        A layout for all layers holds for those with as many axes.

        Raises:
            InputError: The one named for this layer has another number of axes.
        """
        for pattern, letters in self._pairs:
            if pattern and (layer == pattern or fnmatch(layer, pattern)):
                if len(letters) != ndim:
                    raise InputError(f"layout {letters} was named for it, and its output has {ndim} axes")
                return _layout(letters)
        return next((_layout(each) for name, each in self._pairs if not name and len(each) == ndim), None)


def _pairs(layouts: NamedLayouts) -> list[tuple[str, str]]:
    """Return (layer, letters) for each; the layer is empty where all are meant."""
    if isinstance(layouts, Mapping):
        return list(layouts.items())
    given = [layouts] if isinstance(layouts, str) else layouts or []
    return [(layer, letters) for layer, _, letters in (each.rpartition("=") for each in given)]


def _layout(letters: str) -> Layout:
    return Layout(letters.index("N"), tuple(axis for axis, letter in enumerate(letters) if letter == "C"))
