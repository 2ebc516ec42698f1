"""Losses of a user's own: a function of outputs and targets, and the name it is found by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.strangers import guarded_call, unlike_floats, unlike_plain
from connectivity_hooks.tasks.loss.contrastive import CONTRASTIVE
from connectivity_hooks.tasks.loss.loss import Failing, Loss
from connectivity_hooks.tasks.loss.models_own import NAME as MODELS_OWN
from connectivity_hooks.tasks.loss.models_own import models_own
from connectivity_hooks.tasks.loss.named import LOSSES
from connectivity_hooks.tasks.loss.terms import Terms, mean_over_rest, sum_over_rest
from connectivity_hooks.tasks.references import parse, resolve

AUTO = "auto"
"""The name of the loss nobody chose."""

_NAMED = {
    AUTO: replace(LOSSES["cross-entropy"], open=True),
    **LOSSES,
    CONTRASTIVE.name: CONTRASTIVE,
    MODELS_OWN: models_own(),
}


def resolve_loss(spec: str, convex: bool | None = None) -> Loss:
    """Return the loss a user names: one of `LOSSES`, ``contrastive``, ``own``, ``auto``, or ``FILE.py:callable``.

    Args:
        spec: The name; ``own`` is what the model itself returns, ``auto`` is cross-entropy until the model is seen to
            compute another of the built-in ones.
        convex: Declares whether a loss of the user's own is convex in the outputs; None says nothing, which counts as
            no.

    Raises:
        UsageError: The name is unknown, or a built-in loss is declared convex or not.
    """
    if spec in _NAMED:
        loss = _NAMED[spec]
        if convex is not None and convex is not loss.convex:
            raise UsageError(
                f"loss {spec} is convex; leave loss_is_convex=False (--loss-is-not-convex) out"
                if loss.convex
                else f"loss {spec} is not convex for each sample; leave loss_is_convex=True (--loss-is-convex) out"
            )
        return loss
    if ":" not in spec:
        raise UsageError(f"unknown loss {spec!r}; {near_matches(spec, _NAMED)}; or FILE.py:callable")
    return custom_loss(spec, resolve(parse(spec)), convex=bool(convex))


def custom_loss(name: str, function: Callable[[Tensor, Tensor], Any], *, convex: bool) -> Loss:
    """Make a `Loss` of a user's function of (outputs, targets).

    The function returns one value per sample, (N,), or (N, …), which is averaged over the rest: every sample counts
    once. Or it returns a pair (sums, weights), each (N,) or (N, …), which is summed over the rest: the mean over the
    data is Σ sums / Σ weights, so that what is ignored has sum and weight 0, and classes may weigh differently. Weights
    depend on the targets alone.

    Raises:
        InputError: On the first call, when the function fails or returns anything else.
    """

    def returned(outputs: Tensor, targets: Tensor) -> Any:
        with guarded_call(Failing(name, outputs, targets)):
            return function(outputs.clone(), targets.clone())  # copies: it may write to them

    def shape(outputs: Tensor, targets: Tensor) -> tuple[int, ...]:
        found = returned(outputs, targets)
        return tuple((found[0] if isinstance(found, (tuple, list)) else found).shape)

    def terms(outputs: Tensor, targets: Tensor) -> Terms:
        found = returned(outputs, targets)
        if isinstance(found, (tuple, list)) and len(found) == 2:
            _require_values(name, found[0], len(targets))
            return _of_pair(name, found[0], found[1])
        _require_values(name, found, len(targets))
        return Terms(mean_over_rest(found), torch.ones(len(targets), dtype=found.dtype, device=found.device))

    functools.update_wrapper(terms, function, assigned=(), updated=())  # its code is the user's
    return Loss(name, terms, None, convex, shape=shape)


def _of_pair(name: str, sums: Tensor, weights: Any) -> Terms:
    unlike = unlike_plain(weights)
    if unlike is not None or weights.is_complex() or weights.shape != sums.shape:
        found = unlike or f"{tuple(weights.shape)} of {str(weights.dtype).removeprefix('torch.')}"
        raise InputError(f"loss {name}: expected as many weights as sums, {tuple(sums.shape)}, found {found}")
    each = sum_over_rest(weights.detach().to(sums.device, sums.dtype))
    if not bool(((each >= 0) & each.isfinite()).all()):
        raise InputError(f"loss {name}: expected finite weights, none below 0, found {float(each.min()):g} among them")
    return Terms(sum_over_rest(sums), each)


def _require_values(name: str, values: Any, count: int) -> None:
    found = unlike_floats(values)
    if found is not None:
        raise InputError(f"loss {name}: expected a plain tensor of floating numbers, found {found}")
    if count not in values.shape[:1]:
        raise InputError(f"loss {name}: expected one value per sample ({count},), found {tuple(values.shape)}")
