"""Fitting a checkpoint to a model: prefixes, tied tensors, and the whole difference before any compute."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.reading import Checkpoint
from connectivity_hooks.errors import InputError

_LISTED = 50


@dataclass(frozen=True)
class Difference:
    """How a checkpoint's tensors differ from a model's; empty when they fit.

    Attributes:
        missing: Names the model has and the checkpoint has not.
        unexpected: Names the checkpoint has and the model has not.
        mis_shaped: For a name both have: what is wrong with its shape or type.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mis_shaped: tuple[str, ...]

    def __bool__(self) -> bool:
        """Say whether there is any difference."""
        return bool(self.missing or self.unexpected or self.mis_shaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "different": self.mis_shaped}
        return "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in parts.items() if names)


@dataclass(frozen=True)
class Fitted:
    """A checkpoint's weights under the model's names and in its order, and what was done to them."""

    weights: dict[str, Tensor]
    notes: tuple[str, ...]


def fit(checkpoint: Checkpoint, model: nn.Module) -> Fitted:
    """Return the checkpoint's weights as the model names them; the model is left as it is.

    Raises:
        InputError: They do not fit; the message gives the whole difference.
    """
    fitted, fault = _try(checkpoint, model)
    if fitted is None:
        raise InputError(fault)
    return fitted


def fit_pair(a: Checkpoint, b: Checkpoint, model: nn.Module) -> tuple[Fitted, Fitted]:
    """Fit two checkpoints to one model; the faults of both are said at once.

    Raises:
        InputError: One of them, or both, do not fit.
    """
    (fitted_a, fault_a), (fitted_b, fault_b) = _try(a, model), _try(b, model)
    if fitted_a is None or fitted_b is None:
        raise InputError(" | ".join(filter(None, (fault_a, fault_b))))
    return fitted_a, fitted_b


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Difference:
    """Compare names, shapes and kinds of type (floating or not)."""
    both = [name for name in expected if name in found]
    return Difference(
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(sorted(name for name in found if name not in expected)),
        mis_shaped=tuple(filter(None, (_mismatch(name, expected[name], found[name]) for name in both))),
    )


def without_prefix(names: Iterable[str], expected: Iterable[str]) -> tuple[dict[str, str], str | None]:
    """Return {name in the file: name in the model} and the prefix that was stripped, or None.

    A prefix is stripped only if there is no doubt: every name of the file has it, and what is left are the model's
    names exactly. ``_orig_mod.`` is stripped wherever torch.compile put it, under the same condition.
    """
    names, wanted = list(names), set(expected)
    same = {name: name for name in names}
    if not wanted or wanted == set(names):
        return same, None
    first = min(wanted)
    prefixes = {name[: -len(first)] for name in names if name.endswith("." + first)}
    for prefix in sorted(prefixes):
        if all(name.startswith(prefix) for name in names):
            stripped = {name: name[len(prefix) :] for name in names}
            if set(stripped.values()) <= wanted:
                return stripped, prefix
    compiled = {name: name.replace("_orig_mod.", "") for name in names}
    if compiled != same and set(compiled.values()) <= wanted and len(set(compiled.values())) == len(names):
        return compiled, "_orig_mod."
    return same, None


def tied_groups(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the groups of names in the model's state that are one and the same tensor."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.numel():
            key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _try(checkpoint: Checkpoint, model: nn.Module) -> tuple[Fitted | None, str]:
    expected = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    groups = tied_groups(model)
    aliases = {name for group in groups for name in group[1:]}
    file = checkpoint.file
    renamed, prefix = without_prefix(checkpoint.weights, _likely(checkpoint.weights, expected, aliases))
    weights = {renamed[name]: tensor for name, tensor in checkpoint.weights.items()}
    notes = [
        *checkpoint.notes,
        *([f"{file.name}: the prefix {shown(prefix)} was stripped"] if prefix else []),
    ]
    fault = _complete(weights, groups, file, notes)
    if fault:
        return None, fault
    found = difference(expected, weights)
    if found:
        return None, f"{file}: does not fit the model: {found}; use the model it was saved from"
    return Fitted({name: weights[name] for name in expected}, tuple(notes)), ""


def _likely(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], aliases: set[str]) -> list[str]:
    """Return the names a file of this size would have: all of them, or all but the aliases of tied tensors."""
    return list(expected) if len(found) == len(expected) else [name for name in expected if name not in aliases]


def _complete(
    weights: dict[str, Tensor], groups: tuple[tuple[str, ...], ...], file: pathlib.Path, notes: list[str]
) -> str:
    """Fill in the names of tied tensors that a file leaves out; return the fault if their values differ."""
    for group in groups:
        present = [name for name in group if name in weights]
        for name in present[1:]:
            if not torch.equal(weights[name], weights[present[0]]):
                names = " and ".join(shown(tied) for tied in (present[0], name))
                return f"{file}: {names} are one tensor in the model and differ in the file; untie them or save again"
        for name in group:
            if present and name not in weights:
                weights[name] = weights[present[0]]
                notes.append(f"{file.name}: {shown(name)} is tied to {shown(present[0])}")
    return ""


def _mismatch(name: str, expected: Tensor, found: Tensor) -> str:
    if expected.shape != found.shape:
        return f"{name} (expected {tuple(expected.shape)}, found {tuple(found.shape)})"
    if expected.is_floating_point() != found.is_floating_point():
        return f"{name} (expected {expected.dtype}, found {found.dtype})"
    return ""


def _listed(names: tuple[str, ...]) -> str:
    listed = ", ".join(shown(name) for name in names[:_LISTED])
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"
