"""Losses: per sample, with the error they count and whether they are convex in the outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.strangers import guarded_call, unlike_floats
from connectivity_hooks.tasks.references import parse, resolve

PerSample = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss Φ(outputs, targets), averaged over samples.

    Attributes:
        name: As typed by the user.
        per_sample: Maps outputs (N, …) and targets (N, …) to losses (N,).
        errors: Maps the same to (N,), 1 where the prediction is wrong and 0 where it is right; None where there is no
            such notion.
        convex: Whether Φ is convex in the outputs, which a proven bound needs.
    """

    name: str
    per_sample: PerSample
    errors: PerSample | None
    convex: bool

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, a scalar that can be differentiated."""
        return self.per_sample(outputs, targets).mean()

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (N,) as exactly as can be: in float64, or as a function that takes no float64 gives them.

        In float32 a loss of 1e-4 is known to three digits only, since it is a difference of outputs of size 10.
        """
        self.check(outputs, targets)
        try:
            return self.per_sample(outputs.double(), _floats(targets, torch.float64))
        except Exception:  # class weights in float32 beside it, a device without float64
            with guarded_call(_Failing(self.name, outputs, targets)):
                return self.per_sample(outputs.float(), _floats(targets, torch.float32))

    def predictions(self, outputs: Tensor) -> int:
        """Return how many predictions one sample's error is the mean of: 1, or the number of its positions or labels.

        Of a loss of the user's own it is not known, and 1 is assumed.
        """
        if self.name not in LOSSES or len(outputs) == 0:
            return 1
        counted = outputs[:, 0] if self.name == "cross-entropy" else outputs
        return counted.numel() // len(outputs)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise `InputError` when a batch of outputs and targets does not fit this loss."""
        found = unlike_floats(outputs)
        if found is not None:
            raise InputError(f"loss {self.name}: the model returned {found}, expected a plain tensor of floats")
        if self.name == "cross-entropy":
            _check_classes(outputs, targets)
        elif self.name in LOSSES and outputs.shape != targets.shape:
            raise InputError(
                f"loss {self.name}: outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; "
                "expected the same"
            )


def check_probabilities(loss: str, targets: Tensor, where: str) -> None:
    """Raise `InputError` where a loss takes probabilities and targets (N, …) are none; it would not be convex there.

    Args:
        loss: Name of the loss: ``cross-entropy`` takes weights of classes ≥ 0, ``bce`` values in [0, 1].
        targets: All targets of a split.
        where: The first words of the message.
    """
    if loss not in ("cross-entropy", "bce") or (loss == "cross-entropy" and not targets.is_floating_point()):
        return
    low, high = float(targets.min()), float(targets.max())  # either is NaN if one value is
    if not (low >= 0 and high <= (1 if loss == "bce" else sys.float_info.max)):
        expected = "values in [0, 1]" if loss == "bce" else "finite probabilities of classes, none below 0"
        raise InputError(f"{where} targets lie in [{low:g}, {high:g}]; loss {loss} expects {expected}")


def resolve_loss(spec: str, convex: bool | None = None) -> Loss:
    """Return the loss a user names: one of `LOSSES`, or ``FILE.py:callable``.

    Args:
        spec: The name.
        convex: Declares whether a loss of the user's own is convex in the outputs; None says nothing, which counts as
            no.

    Raises:
        UsageError: The name is unknown, or a built-in loss is declared to be what it is not.
    """
    if spec in LOSSES:
        if convex is False:
            raise UsageError(f"--loss {spec} is convex in the outputs; leave --loss-is-not-convex out")
        return LOSSES[spec]
    if ":" not in spec:
        raise UsageError(f"unknown loss {spec!r}; {near_matches(spec, LOSSES)}; or FILE.py:callable")
    return custom_loss(spec, resolve(parse(spec)), convex=bool(convex))


def custom_loss(name: str, function: PerSample, *, convex: bool) -> Loss:
    """Make a `Loss` of a user's function of (outputs, targets) that returns one value per sample.

    Raises:
        InputError: On the first call, when the function fails or returns anything else.
    """

    def per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
        with guarded_call(_Failing(name, outputs, targets)):
            values = function(outputs.clone(), targets.clone())  # copies: it may write to them
        found = unlike_floats(values)
        if found is not None:
            raise InputError(f"loss {name}: expected a plain tensor of floating numbers, found {found}")
        if len(targets) not in values.shape[:1]:
            raise InputError(
                f"loss {name}: expected one value per sample ({len(targets)},), found {tuple(values.shape)}"
            )
        return _mean_over_rest(values)

    return Loss(name, per_sample, None, convex)


@dataclass(frozen=True)
class _Failing:
    """The first words of a failure; made of the shapes only when it comes."""

    name: str
    outputs: Tensor
    targets: Tensor

    def __str__(self) -> str:
        return f"loss {self.name}: fails on outputs {tuple(self.outputs.shape)} and targets {tuple(self.targets.shape)}"


def _floats(targets: Tensor, dtype: torch.dtype) -> Tensor:
    return targets.to(dtype) if targets.is_floating_point() else targets


def _mean_over_rest(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return _mean_over_rest(F.cross_entropy(outputs, targets, reduction="none"))


def _wrong_class(outputs: Tensor, targets: Tensor) -> Tensor:
    labels = targets if targets.ndim == outputs.ndim - 1 else targets.argmax(1)
    return outputs.argmax(1) != labels


def _wrong_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs > 0) != (targets > 0.5)


def _elementwise(function: Callable[..., Tensor]) -> PerSample:
    return lambda outputs, targets: _mean_over_rest(function(outputs, targets.to(outputs.dtype), reduction="none"))


def _errors_per_sample(errors: PerSample) -> PerSample:
    return lambda outputs, targets: _mean_over_rest(errors(outputs, targets).to(torch.float32))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross-entropy", _cross_entropy, _errors_per_sample(_wrong_class), convex=True),
        Loss(
            "bce",
            _elementwise(F.binary_cross_entropy_with_logits),
            _errors_per_sample(_wrong_sign),
            convex=True,
        ),
        Loss("mse", _elementwise(F.mse_loss), None, convex=True),
        Loss("l1", _elementwise(F.l1_loss), None, convex=True),
        Loss("huber", _elementwise(F.huber_loss), None, convex=True),
    )
}


def _check_classes(outputs: Tensor, targets: Tensor) -> None:
    shape = tuple(outputs.shape)
    if outputs.ndim < 2:
        raise InputError(f"loss cross-entropy: expected outputs (samples, classes, …), found {shape}")
    if outputs.shape[1] < 2:
        raise InputError(
            f"loss cross-entropy: outputs {shape} have one class, for which it is always 0; for one logit or a mask "
            "give --loss bce, for real targets --loss mse"
        )
    if targets.is_floating_point():
        if outputs.shape != targets.shape:
            raise InputError(
                f"loss cross-entropy: class probabilities {tuple(targets.shape)} do not fit outputs {shape}"
            )
        return
    if targets.shape != outputs.shape[:1] + outputs.shape[2:]:
        raise InputError(f"loss cross-entropy: labels {tuple(targets.shape)} do not fit outputs {shape}")
