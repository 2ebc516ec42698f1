"""A loss: what it makes of outputs and targets, as terms of samples and as one scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.strangers import guarded_call, unlike_floats
from connectivity_hooks.tasks.loss.reading import Reading
from connectivity_hooks.tasks.loss.terms import Terms

TermsOf = Callable[[Tensor, Tensor], Terms]

Over: TypeAlias = Literal["labels", "samples", "sum"]
"""What a model does with a batch in its own loss: it averages over the labels that count or the samples, or sums."""


@dataclass(frozen=True)
class Loss:
    """A loss Φ(outputs, targets), averaged over what counts of all samples.

    Attributes:
        name: As typed by the user.
        terms: Maps outputs (N, …) and targets (N, …) to sums and weights (N,); sums can be differentiated, and weights
            depend on the targets alone.
        errors: Maps the same to the number of wrong predictions of each sample, and how many it has; None where there
            is no such notion.
        convex: Whether Φ is convex in the outputs, which a proven bound needs.
        scalar: The mean of the terms in fewer operations, for training; None takes it from the terms.
        fit: Returns outputs and targets in the shapes they are compared in, or raises `InputError` where they do not
            fit; None where any shapes may.
        shape: Returns the shape of what a user's own function makes of them, before it is averaged over the rest.
        rowwise: Whether a sample's terms are the same to the bit whatever samples are beside it, and any thread may ask
            for them: of PyTorch's own losses, and not to be known of a user's.
        reading: Of a cross-entropy, what it compares with what, and of the model's own which labels count; None of any
            other loss.
        open: Whether nobody asked for this loss: where a model itself computes another of the built-in ones, that is
            taken (``auto``).
        coupled: Whether a sample's terms depend on the samples beside it, so that a split has to be measured in the
            same batches at every pass.
        over: Of the model's own, what it was seen to do over a batch; None of any other loss.
    """

    name: str
    terms: TermsOf
    errors: TermsOf | None
    convex: bool
    scalar: Callable[[Tensor, Tensor], Tensor] | None = None
    fit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    shape: Callable[[Tensor, Tensor], tuple[int, ...]] | None = None
    rowwise: bool = False
    reading: Reading | None = None
    open: bool = False
    coupled: bool = False
    over: Over | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, a scalar that can be differentiated."""
        if self.scalar is not None:
            return self.scalar(outputs, targets)
        return self.terms(outputs, targets).mean()

    def measure(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return the terms (N,) as exactly as can be: in float64, or as a function that takes no float64 gives them.

        In float32 a loss of 1e-4 is known to three digits only, since it is a difference of outputs of size 10.
        """
        self.check(outputs, targets)
        try:
            return self.terms(outputs.double(), _floats(targets, torch.float64))
        except Exception:  # class weights in float32 beside it, a device without float64
            with guarded_call(Failing(self.name, outputs, targets)):
                return self.terms(outputs.float(), _floats(targets, torch.float32))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise `InputError` when a batch of outputs and targets does not fit this loss."""
        found = unlike_floats(outputs)
        if found is not None:
            raise InputError(f"loss {self.name}: the model returned {found}, expected a plain tensor of floats")
        if self.fit is not None:
            self.fit(outputs, targets)


@dataclass(frozen=True)
class Failing:
    """The first words of a failure; made of the shapes only when it comes."""

    name: str
    outputs: Tensor
    targets: Tensor

    def __str__(self) -> str:
        return f"loss {self.name}: fails on outputs {tuple(self.outputs.shape)} and targets {tuple(self.targets.shape)}"


def _floats(targets: Tensor, dtype: torch.dtype) -> Tensor:
    return targets.to(dtype) if targets.is_floating_point() else targets
