"""Coordinates of weights: from two numbers, or one, to the weights there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import tracked_norms
from connectivity_hooks.model import Weights, same
from connectivity_hooks.paths import Path

Place = Callable[[Weights], None]
"""Writes weights into a module's own tensors by name."""


@dataclass(frozen=True)
class Corner:
    """A checkpoint that a frame is made of, measured as it is.

    Attributes:
        name: Its name.
        t: Where it is on the frame's path.
        at: Its coordinates.
    """

    name: str
    t: float
    at: tuple[float, ...]


class Frame(ABC):
    """Weights by coordinates.

    Attributes:
        corners: The checkpoints that it is made of.
        labels: What the axes are, one for each coordinate.
        path: A path through the corners.
        subject: What places depend on, as JSON-ready values.
    """

    corners: tuple[Corner, ...]
    labels: tuple[str, ...]
    path: Path
    subject: Mapping[str, object]

    @abstractmethod
    def place(self, *at: float) -> Place:
        """Return what writes the weights at some coordinates."""


@torch.no_grad()
def mixed(parts: Iterable[tuple[float, Tensor]], target: Tensor) -> None:
    """Write Σ c·w into `target`, computed in float32 at least."""
    wide = torch.promote_types(target.dtype, torch.float32)
    (first, weight), *rest = parts
    total = weight.to(wide) * first
    for share, each in rest:
        total.add_(each.to(wide), alpha=share)
    target.copy_(total)


def coordinates_of(model: nn.Module) -> list[str]:
    """Return the names of the parameters that distances are measured over, of tied ones the first."""
    return [name for name, each in model.named_parameters() if each.is_floating_point()]


def counters_of(model: nn.Module) -> set[str]:
    """Return the names of tensors that count the batches a norm has seen; no output depends on them in evaluation."""
    return {f"{norm}.num_batches_tracked".lstrip(".") for norm in tracked_norms(model)}


def require_mixable(names: tuple[str, str], first: Weights, other: Weights, counters: set[str]) -> None:
    """Refuse weights that cannot be mixed.

    Raises:
        InputError: Whole numbers or truth values differ, or what differs is not finite.
    """
    for key, tensor in first.items():
        if key in counters or same(tensor, other[key]):
            continue
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{names[1]}: {key} ({kind}) differs from that of {names[0]}; between whole numbers or truth values "
                "there is no plane: give both the same, or leave one of them out"
            )
        if not (tensor.isfinite().all() and other[key].isfinite().all()):
            raise InputError(
                f"{names[1]}: {key} is not that of {names[0]} and holds infinities, a mask; give both the same"
            )
