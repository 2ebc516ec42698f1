"""Temperature scaling: outputs divided by the one number that makes held-out data most likely (Guo et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks.loss import Loss

OF_LOGITS = ("cross-entropy", "bce")
"""Losses whose outputs are logits, which a temperature divides."""

LEAST, MOST = 1e-3, 1e6
"""Temperatures looked at; predictions of no use are made ever less sure."""

_STEPS = 100
_WRONG = math.log(2)  # a wrong prediction costs as much at every temperature
_NEAR = 1e-10  # relative, of the temperature: Newton's steps halve no more


def require_logits(loss: Loss, what: str) -> None:
    """Refuse a loss whose outputs are no logits.

    Args:
        loss: The loss.
        what: What wants it, as the first words of the message.

    Raises:
        InputError: It is none of `OF_LOGITS`.
    """
    if loss.name not in OF_LOGITS:
        raise InputError(
            f"{what}: a temperature divides logits, those of {' or '.join(OF_LOGITS)}; the loss is {loss.name}"
        )


class TemperatureFit:
    """Newton's method for β = 1/T, at which the mean loss of outputs·β is least; it is convex in β.

    Whoever uses it goes through the held-out data as often as `done` is False, and hands to `update` what `slopes` sums
    up at `inverse`. Steps that leave the bracket of those before are replaced by its geometric middle, so that it ends
    wherever it starts.

    Attributes:
        inverse: β, where the data are to be looked at next.
        done: Whether it is found, or there is none.
    """

    def __init__(self) -> None:
        self.inverse, self.done = 1.0, False
        self._low, self._high, self._steps = 1 / MOST, 1 / LEAST, 0
        self._lost = False

    @property
    def temperature(self) -> float | None:
        """T; None where there is none. At `LEAST` or `MOST`, the best lies beyond.

        There is none where a loss is not a finite number, and where all predictions are right, which are the better the
        surer they are made.
        """
        return None if self._lost else 1 / self.inverse

    def update(self, slopes: Tensor) -> None:
        """Take a step.

        Args:
            slopes: Sums of `slopes` over all held-out data, at `inverse`.
        """
        total, slope, bend, _ = (float(value) for value in slopes)
        if not (math.isfinite(slope) and math.isfinite(bend)) or total < _WRONG:
            self._lost = self.done = True
            return
        if slope > 0:
            self._high = self.inverse
        else:
            self._low = self.inverse
        step = self.inverse - slope / bend if bend > 0 else math.nan
        if not self._low <= step <= self._high:
            step = math.sqrt(self._low * self._high)
        self._steps += 1
        near = abs(step - self.inverse) <= _NEAR * self.inverse
        self.done = slope == 0 or near or self._steps == _STEPS
        self.inverse = self.inverse if slope == 0 else step


@torch.enable_grad()
def slopes(outputs: Tensor, targets: Tensor, loss: Loss, inverse: float) -> Tensor:
    """Return (4,), in float64: sums of the loss at outputs·β, of its first and second derivative in β, and of weights.

    Args:
        outputs: (N, …).
        targets: (N, …).
        loss: The loss.
        inverse: β.
    """
    beta = torch.tensor(inverse, dtype=torch.float64, device=outputs.device, requires_grad=True)
    terms = loss.measure(outputs.double() * beta, targets)
    total = terms.sums.double().sum()
    (first,) = torch.autograd.grad(total, beta, create_graph=True)
    (second,) = torch.autograd.grad(first, beta)
    return torch.stack([total, first, second, terms.weights.double().sum()]).detach()


def fit_temperature(batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], loss: Loss) -> float | None:
    """Return the T in [1e-3, 1e6] at which the mean loss of outputs/T is least; None where there is none.

    Time: about ten times what it takes to go through the batches, with two derivatives in float64.

    Args:
        batches: Gives all (outputs, targets) each time it is called, kept or computed again.
        loss: One of `OF_LOGITS`.
    """
    fit = TemperatureFit()
    while not fit.done:
        parts = [slopes(*batch, loss, fit.inverse) for batch in batches()]
        fit.update(torch.stack(parts).sum(0))
    return fit.temperature
