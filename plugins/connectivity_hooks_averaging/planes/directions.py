"""Random directions around one checkpoint, with filter normalisation (Li et al. 2018, arXiv 1712.09913, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks_averaging.planes.filters import filters_of
from connectivity_hooks_averaging.planes.frame import Corner, Frame, Place, mixed


class Slice(Frame):
    """The line or the plane through one checkpoint along random directions: θ + x·d_1 (+ y·d_2).

    Args:
        name: Of the checkpoint.
        weights: Of it.
        directions: One or two, see `random_directions`.
        subject: What tells this slice from others, as JSON-ready values.
    """

    def __init__(
        self, name: str, weights: Weights, directions: Sequence[Weights], subject: Mapping[str, object]
    ) -> None:
        self._weights, self._directions = weights, directions
        self.path = Path.from_points([weights, weights])
        self.corners = (Corner(name, 0.0, (0.0,) * len(directions)),)
        numbers = ("first", "second")[: len(directions)]
        self.labels = tuple(f"{number} direction (1: the length of each filter)" for number in numbers)
        self.subject = subject

    def place(self, *at: float) -> Place:
        """Return what writes the weights at some coordinates."""

        def write(into: Weights) -> None:
            for key, target in into.items():
                parts = [(share, each[key]) for share, each in zip(at, self._directions, strict=True) if key in each]
                if parts:
                    mixed([(1.0, self._weights[key]), *parts], target)
                else:
                    target.copy_(self._weights[key])

        return write


def random_directions(model: nn.Module, weights: Weights, count: int, seed: int) -> list[Weights]:
    """Draw directions, each filter of which is as long as that filter of the weights.

    d_ij ← d_ij / ‖d_ij‖ · ‖θ_ij‖ for the j-th filter of the i-th layer, from d ~ N(0, 1): of a convolution the weights
    that make one output channel, of a linear layer those that make one neuron; `filters_of` says what else. Biases and
    the parameters of norms have no filters and do not move, and neither do buffers. Tied parameters move as one. What
    is drawn does not depend on device or type.

    Args:
        model: Says which parameters there are.
        weights: The weights.
        count: How many directions.
        seed: Seeds the drawing.

    Raises:
        InputError: No parameter has filters.
    """
    every, ties = filters_of(model), _ties(model)
    if not every:
        raise InputError("slice: the model has no parameter with filters, all are biases, of norms or with one axis")
    generator, directions = torch.Generator().manual_seed(seed), list[Weights]()
    for _ in range(count):
        direction = Weights()
        for name, filters in every.items():
            weight = weights[name]
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            found = filters.scaled(drawn, weight.detach().cpu().double()).to(weight.device, weight.dtype)
            direction |= dict.fromkeys(ties[name], found)
        directions.append(direction)
    return directions


def _ties(model: nn.Module) -> dict[str, list[str]]:
    """Return all names of each parameter by the first of them."""
    first, found = dict[int, str](), dict[str, list[str]]()
    for name, each in model.named_parameters(remove_duplicate=False):
        found.setdefault(first.setdefault(id(each), name), []).append(name)
    return found
