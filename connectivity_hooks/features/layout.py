"""Which axis of a feature is what: samples, neurons, and positions (tokens, pixels) for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TypeAlias

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.select import INPUT

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
        UsageError: One is no layout, or two are for the same layers.
    """

    def __init__(self, layouts: NamedLayouts = None) -> None:
        self._pairs = _pairs(layouts)
        self._used: set[tuple[str, str]] = set()
        seen: set[str | int] = set()
        for layer, letters in self._pairs:
            key = layer or len(letters)
            if key in seen:
                raise UsageError(f"layout {letters!r}: another is named for {layer or f'layers of {key} axes'} already")
            seen.add(key)
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
                self._used.add((pattern, letters))
                if len(letters) != ndim:
                    raise InputError(f"layout {letters} was named for it, and its output has {ndim} axes")
                return laid_out(letters)
        fitting = next((each for name, each in self._pairs if not name and len(each) == ndim), None)
        if fitting is None:
            return None
        self._used.add(("", fitting))
        return laid_out(fitting)

    def unused(self) -> list[str]:
        """Return in words those that were asked for by no layer so far."""
        return [
            f"{layer}={letters}: {layer} is not among the layers that are looked at"
            if layer
            else f"{letters}: no layer that is looked at has {len(letters)} axes"
            for layer, letters in self._pairs
            if (layer, letters) not in self._used
        ]


def check_layers(layouts: NamedLayouts, names: Sequence[str], model: str) -> None:
    """Raise `UsageError` where a layout is named for a layer that no module has.

    Args:
        layouts: See `NamedLayouts`.
        names: Of all modules.
        model: What the model is called.
    """
    for layer, letters in _pairs(layouts):
        bare = _bare(layer)
        if layer and not any(name == bare or fnmatch(name, bare) or fnmatch(name, layer) for name in names):
            raise UsageError(f"layout {layer}={letters}: no layer {bare!r} in {model}; {near_matches(bare, names)}")


def _bare(layer: str) -> str:
    """Return the module that ``NAME:input``, ``NAME[0]`` or both are of."""
    return modules_of([layer])[0].removesuffix(INPUT)


def _pairs(layouts: NamedLayouts) -> list[tuple[str, str]]:
    """Return (layer, letters) for each; the layer is empty where all are meant."""
    if isinstance(layouts, Mapping):
        return list(layouts.items())
    given = [layouts] if isinstance(layouts, str) else layouts or []
    parted = [each.rpartition("=") for each in given]
    for layer, equals, letters in parted:
        if equals and not layer:
            raise UsageError(f"layout '={letters}': names no layer before the =; {_EXPECTED}")
    return [(layer, letters) for layer, _, letters in parted]


def laid_out(letters: str) -> Layout:
    """Return the layout of letters with one N and a C or more."""
    return Layout(letters.index("N"), tuple(axis for axis, letter in enumerate(letters) if letter == "C"))
