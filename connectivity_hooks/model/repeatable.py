"""Whether a model's outputs are those of its weights and inputs alone, and not of chance or of earlier passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import Inputs, mapped
from connectivity_hooks.model.running import Forward
from connectivity_hooks.strangers import Pass, guarded_call

# Some operations of an accelerator add up in an order of their own in every pass, which moves a few sums by some units
# in the last place; a layer or two amplify that. Coarse types would allow anything, hence the limit: chance is larger.
_UNITS, _MOST = 100, 0.03
_SHOWN = 3  # names of buffers in one line


@torch.no_grad()
def require_repeatable(model: nn.Module, inputs: Inputs, run: Forward) -> None:
    """Refuse a model that gives other outputs in a second pass over the same batch under the same weights.

    Args:
        model: A module in evaluation mode, its weights written.
        inputs: Of a batch; they are not modified.
        run: How the module is run.

    Raises:
        InputError: It is random, or a pass leaves something behind that the next one reads.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng(devices=[]), guarded_call(Pass(model, inputs)):
        first, second = (run(model, mapped(torch.clone, inputs)).clone() for _ in range(2))
    written = [name for name, now in model.named_buffers() if name in before and not _equal(now, before[name])]
    # What is written may change outputs by little in one pass and by much in a thousand.
    exact = written and first.device.type == "cpu"
    change = _change(first, second)
    if not change <= (0.0 if exact else _rounding(first)):
        raise InputError(
            f"in evaluation mode, two passes of the model over one batch under the same weights differ by {change:.1g} "
            f"of the largest output: {_cause(written)}; a forward pass may not depend on chance or on earlier ones"
        )


def near(found: Tensor, expected: Tensor, *, exact: bool) -> bool:
    """Say whether two passes gave the same outputs, NaN in the same places: to the bit, or within rounding."""
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    return _change(found, expected) <= (0.0 if exact else _rounding(expected))


def _rounding(outputs: Tensor) -> float:
    return min(_UNITS * torch.finfo(outputs.dtype).eps, _MOST)


def _cause(written: list[str]) -> str:
    if not written:
        return "it draws random numbers (dropout that is always on?), or reads what an earlier pass kept"
    more = f" and {len(written) - _SHOWN} more" if len(written) > _SHOWN else ""
    return f"every pass writes into {', '.join(written[:_SHOWN])}{more}"


def _change(first: Tensor, second: Tensor) -> float:
    """Return the largest difference, relative to the largest output; infinite where one alone is not a number."""
    if first.shape != second.shape:
        return float("inf")
    unequal = ~((first == second) | (first.isnan() & second.isnan()))
    if not unequal.any():
        return 0.0
    one, other = first.double(), second.double()
    largest = one.abs().nan_to_num(0.0, 0.0).max().clamp_min(1e-300)
    return float(((one - other)[unequal].abs().max() / largest).nan_to_num(float("inf"), float("inf")))


def _equal(now: Tensor, before: Tensor) -> bool:
    return now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all())
