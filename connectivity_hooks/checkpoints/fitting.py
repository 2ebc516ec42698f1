"""Fitting a checkpoint to a model: the whole difference before any tensor is read, then what values alone can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from connectivity_hooks.checkpoints import strict
from connectivity_hooks.checkpoints.constants import constants_of, equal_bits, is_constant
from connectivity_hooks.checkpoints.contents import count_non_finite
from connectivity_hooks.checkpoints.difference import difference, listed
from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.library_names import under_own_names
from connectivity_hooks.checkpoints.names import fill_in_tied, sources_of
from connectivity_hooks.checkpoints.reading import Checkpoint, non_finite_fault, read_together
from connectivity_hooks.errors import InputError, one_line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Fitted:
    """A checkpoint's weights under the model's names and in its order, and what was done to them."""

    weights: dict[str, Tensor]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """How a checkpoint becomes a model's weights, as far as its header tells.

    Attributes:
        checkpoint: The checkpoint.
        expected: The model's own tensors by name.
        sources: Name in the file by name in the model.
        ties: Pairs of names that are one tensor in the model, and that the file both has.
        unstored: Buffers of the model that the file has and the model no longer stores.
        strictly: Whether a strict load of PyTorch has to fill in or rename what is left.
        notes: What is done.
    """

    checkpoint: Checkpoint
    expected: Mapping[str, Tensor]
    sources: Mapping[str, str]
    ties: tuple[tuple[str, str], ...]
    unstored: Mapping[str, Tensor]
    strictly: bool
    notes: tuple[str, ...]


def fit(checkpoint: Checkpoint, model: nn.Module, *, finite: bool = False) -> Fitted:
    """Return the checkpoint's weights as the model names them; the model is left as it is.

    Names and shapes are compared first, from the header: a checkpoint that does not fit is not read. Taken is what a
    strict load of PyTorch takes, and besides, with a note: a prefix before every name, names under which the
    model's library stores it, tied tensors stored once, and buffers that the model no longer stores where it has the
    same values itself.

    Args:
        checkpoint: Weights in a file.
        model: What they are for.
        finite: Refuse NaN and Inf too, except for infinities of a buffer that a fresh model has bit for bit: a mask.

    Raises:
        InputError: They do not fit; the message gives the whole difference.
    """
    return _carry_out(_plan(checkpoint, model), model, finite)


def fit_pair(a: Checkpoint, b: Checkpoint, model: nn.Module, *, finite: bool = False) -> tuple[Fitted, Fitted]:
    """Fit two checkpoints to one model, see `fit`; both are read at once, and the faults of both are said at once.

    Raises:
        InputError: One of them, or both, do not fit.
    """
    plans = _for_each((a, b), lambda checkpoint: _plan(checkpoint, model))
    read_together(a, b)
    first, second = _for_each(plans, lambda plan: _carry_out(plan, model, finite))
    if finite:
        _require_shared_constants((a, b), (first.weights, second.weights), constants_of(model))
    return first, second


def require_outlines(checkpoints: Iterable[Checkpoint], model: nn.Module) -> None:
    """Compare checkpoints' headers with a model, which may be on the meta device; no tensor is read.

    Raises:
        InputError: Names or shapes do not fit; the message gives the whole difference of each checkpoint.
    """
    _for_each(checkpoints, lambda checkpoint: _plan(checkpoint, model))


def _for_each(things: Iterable[T], do: Callable[[T], R]) -> list[R]:
    """Do it for each, then say the faults of all at once."""
    results, faults = [], []
    for thing in things:
        try:
            results.append(do(thing))
        except InputError as fault:
            faults.append(str(fault))
    if faults:
        raise InputError(" | ".join(dict.fromkeys(faults)))
    return results


def _plan(checkpoint: Checkpoint, model: nn.Module) -> _Plan:
    expected = _state(model)
    unstored = {name: buffer for name, buffer in model.named_buffers() if name not in expected}
    sources, notes = sources_of(checkpoint, {*expected, *unstored})
    if not sources.keys() <= {*expected, *unstored} or _lacks(model, sources, expected):
        checkpoint = under_own_names(checkpoint, model)
        sources, notes = sources_of(checkpoint, {*expected, *unstored})
    ties, filled = fill_in_tied(model, sources)
    outline = {name: checkpoint.outline[source] for name, source in sources.items()}
    unstored = {name: buffer for name, buffer in unstored.items() if name in outline}
    found = {name: tensor for name, tensor in outline.items() if name not in unstored}
    misfit = difference(expected, found)
    strictly = bool(misfit) and misfit.may_be_mended and strict.takes(model, found)
    stale = difference(unstored, {name: outline[name] for name in unstored})
    faults = [str(part) for part in (None if strictly else misfit, stale) if part]
    if faults:
        file = checkpoint.file
        raise InputError(f"{file}: does not fit the model: {'; '.join(faults)}; use the model it was saved from")
    other = tuple(name for name, value in model.state_dict().items() if not isinstance(value, Tensor))
    if other:
        filled.append(f"no tensor, so in no checkpoint, and the model's own: {listed(other)}")
    if unstored:
        filled.append(f"left out, since the model no longer stores it: {listed(tuple(unstored))}")
    if strictly:
        filled.append(f"{misfit}; filled in or renamed as a strict load of PyTorch does")
    notes += [f"{checkpoint.label}: {note}" for note in filled]
    return _Plan(checkpoint, expected, sources, ties, unstored, strictly, (*checkpoint.notes, *notes))


def _lacks(model: nn.Module, sources: Mapping[str, str], expected: Mapping[str, Tensor]) -> bool:
    """Say whether a file lacks what no tied tensor of it stands for; its library may make that anew."""
    found = dict(sources)
    fill_in_tied(model, found)
    return not expected.keys() <= found.keys()


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the model's state; what else it may hold is in no checkpoint."""
    state = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    lazy = next((name for name, tensor in state.items() if is_lazy(tensor)), None)
    if lazy is not None:
        raise InputError(f"the model's {lazy} has no shape yet (lazy): run the model once on a batch where it is made")
    return state


def _carry_out(plan: _Plan, model: nn.Module, finite: bool) -> Fitted:
    """Read what is planned and compare what only values show; raise `InputError` where they do not fit."""
    stored = plan.checkpoint.weights
    found = {name: stored[source] for name, source in plan.sources.items()}
    _require_equal_ties(plan, found)
    for name, own in plan.unstored.items():
        _require_own(plan, name, own, found.pop(name))
    if plan.strictly:
        found = _strictly_loaded(plan, model, found)
    weights = {name: found[name] for name in plan.expected}
    _require_reachable(plan, model, weights)
    return Fitted(weights, plan.notes + (_require_finite(plan, model, weights) if finite else ()))


def _require_equal_ties(plan: _Plan, found: Mapping[str, Tensor]) -> None:
    for first, second in plan.ties:
        if not torch.equal(found[first], found[second]):
            raise InputError(
                f"{plan.checkpoint.file}: {shown(first)} and {shown(second)} are one tensor in the model and differ in "
                "the file; untie them or save again"
            )


def _require_own(plan: _Plan, name: str, own: Tensor, found: Tensor) -> None:
    """Refuse a buffer whose values in the file are not what the model computes itself, but for rounding."""
    types = [tensor.dtype for tensor in (own, found) if tensor.is_floating_point()]
    rounding = max((torch.finfo(dtype).eps for dtype in types), default=0.0)
    if not torch.allclose(found.double(), own.detach().cpu().double(), rtol=rounding, atol=0.0, equal_nan=True):
        raise InputError(
            f"{plan.checkpoint.file}: {shown(name)} differs from the model's own, which it no longer stores; make the "
            "model as it was when it was saved"
        )


def _require_reachable(plan: _Plan, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse extra state that the module makes anew whenever it is asked: no value can be put into it."""
    names = [name for name in weights if name.rpartition(".")[2] == "_extra_state"]
    again = model.state_dict(keep_vars=True) if names else {}
    for name in names:
        own, value = plan.expected[name].detach(), weights[name]
        made_anew = again[name].data_ptr() != own.data_ptr()
        if made_anew and not equal_bits(own.to(value.device, value.dtype), value):
            raise InputError(
                f"{plan.checkpoint.file}: {shown(name)} differs from the model's, whose get_extra_state makes it anew; "
                "keep it in a buffer, or make the model as it was"
            )


def _strictly_loaded(plan: _Plan, model: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors where names and shapes agree, else what the model makes of the file."""
    types = [tensor.dtype for tensor in found.values() if tensor.is_floating_point()]
    dtype = next((kind for kind in (torch.float64, torch.float32, *types) if kind in types), torch.float32)
    try:
        mended = strict.loaded(model, found, dtype)
    except Exception as error:  # names and shapes were taken, so a module objects to values
        raise InputError(f"{plan.checkpoint.file}: the model refuses its values: {one_line(error)}") from None
    same = {name for name, own in plan.expected.items() if name in found and found[name].shape == own.shape}
    return {name: found[name] if name in same else mended[name] for name in plan.expected}


def _require_finite(plan: _Plan, model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Refuse NaN and Inf but for the model's own infinities; return the note that names these."""
    counted = plan.checkpoint.contents.non_finite
    known = {} if plan.strictly else {name: counted.get(plan.sources[name], 0) for name in weights}
    bad = {
        name: count
        for name, tensor in weights.items()
        if (count := known[name] if name in known else count_non_finite(tensor))
    }
    constants = constants_of(model) if bad else {}
    for name, count in bad.items():
        if not is_constant(constants, name, weights[name]):
            raise non_finite_fault(plan.checkpoint.file, name, count, weights[name].numel())
    note = f"{plan.checkpoint.label}: infinities that the model itself has: {listed(tuple(bad))}"
    return (note,) if bad else ()


def _require_shared_constants(
    checkpoints: tuple[Checkpoint, Checkpoint],
    weights: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    constants: Iterable[str],
) -> None:
    """Refuse a mask that the ends do not share: between Inf and another value there is no path."""
    for name in constants:
        a, b = (side[name] for side in weights)
        wide = torch.promote_types(a.dtype, b.dtype)
        if not equal_bits(a.to(wide), b.to(wide)):
            files = " and ".join(str(checkpoint.file) for checkpoint in checkpoints)
            raise InputError(
                f"{files}: {shown(name)} holds Inf in the model and differs between them; use ends that share it"
            )
