"""How the tensors of a checkpoint differ from a model's: names, shapes and kinds of type, without any values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from connectivity_hooks.checkpoints.header import shown

# So that the line of a checkpoint of another model can still be read.
_LISTED = 50


@dataclass(frozen=True)
class Difference:
    """How a checkpoint's tensors differ from a model's; empty when they fit.

    Attributes:
        missing: Names the model has and the checkpoint has not.
        unexpected: Names the checkpoint has and the model has not.
        mis_shaped: For a name both have: what is wrong with its shape or type.
        may_be_mended: Whether loading may still find a way: no tensor has another type or another number of values.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mis_shaped: tuple[str, ...]
    may_be_mended: bool = True

    def __bool__(self) -> bool:
        """Say whether there is any difference."""
        return bool(self.missing or self.unexpected or self.mis_shaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "different": self.mis_shaped}
        return "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in parts.items() if names)


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Difference:
    """Compare names, shapes and kinds of type (floating or not); the tensors may be on the meta device."""
    both = [(name, tensor, found[name]) for name, tensor in expected.items() if name in found]
    return Difference(
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(sorted(name for name in found if name not in expected)),
        mis_shaped=tuple(filter(None, (_mismatch(*pair) for pair in both))),
        may_be_mended=all(_same_kind(own, other) and own.numel() == other.numel() for _, own, other in both),
    )


def listed(names: tuple[str, ...]) -> str:
    """Return names as they may be shown, the first of many."""
    text = ", ".join(shown(name) for name in names[:_LISTED])
    return text if len(names) <= _LISTED else f"{text} and {len(names) - _LISTED} more"


def _mismatch(name: str, expected: Tensor, found: Tensor) -> str:
    if expected.shape != found.shape:
        return f"{name} (expected {tuple(expected.shape)}, found {tuple(found.shape)})"
    if not _same_kind(expected, found):
        return f"{name} (expected {expected.dtype}, found {found.dtype})"
    return ""


def _same_kind(expected: Tensor, found: Tensor) -> bool:
    return expected.is_floating_point() == found.is_floating_point()
