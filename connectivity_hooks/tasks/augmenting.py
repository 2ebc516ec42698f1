"""Augmentation: random changes of inputs under which their targets stay the same, for what is trained on a task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors
from connectivity_hooks.strangers import guarded_call, unlike_plain
from connectivity_hooks.tasks.references import call, parse, resolve

Augment = Callable[[Inputs], Inputs]
"""Maps inputs (N, …), as the model reads them, to as many augmented ones; draws from PyTorch's global generator."""

_PADDING = 8


def flip(x: Tensor) -> Tensor:
    """Mirror half of the images (N, C, H, W), drawn at random, from left to right."""
    chosen = torch.rand(len(x), 1, 1, 1).to(x.device, non_blocking=True) < 0.5
    return torch.where(chosen, x.flip(3), x)


def crop(x: Tensor) -> Tensor:
    """Shift every image (N, C, H, W) by up to an eighth of its size, zeros moving in."""
    count, height, width = len(x), x.shape[2], x.shape[3]
    by = max(1, height // _PADDING), max(1, width // _PADDING)
    padded = F.pad(x, (by[1], by[1], by[0], by[0]))
    # Drawn on the processor, the same for every device, which is not waited for: others have work to go on with.
    top, left = (torch.randint(0, 2 * pad + 1, (count, 1)).to(x.device, non_blocking=True) for pad in by)
    rows, columns = (first + torch.arange(size, device=x.device) for first, size in ((top, height), (left, width)))
    samples = torch.arange(count, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


AUGMENTATIONS: dict[str, Augment] = {"flip": flip, "crop": crop, "crop-flip": lambda x: flip(crop(x))}


def resolve_augment(spec: str | None) -> Augment | None:
    """Return the augmentation a user names: one of `AUGMENTATIONS`, or ``FILE.py:callable?argument=value``.

    The callable makes the function; a class of transforms whose objects are called with a batch does.

    Raises:
        InputError: The code fails, or makes nothing that can be called.
        UsageError: The name is unknown.
    """
    if spec is None:
        return None
    if spec in AUGMENTATIONS:
        return AUGMENTATIONS[spec]
    if ":" not in spec:
        raise UsageError(f"--augment {spec}: expected a name or FILE.py:callable; {near_matches(spec, AUGMENTATIONS)}")
    reference = parse(spec)
    made = call(reference, resolve(reference))
    if not callable(made):
        raise InputError(f"--augment {spec}: gives a {type(made).__name__}, expected a function of a batch of inputs")
    return _guarded(made, spec)


def _guarded(function: Augment, spec: str) -> Augment:
    """Return a stranger's augmentation that works on a copy, with whatever it gives or raises looked at."""

    def augment(inputs: Inputs) -> Inputs:
        with guarded_call(f"--augment {spec}: fails on inputs of shape {_shapes(inputs)}"):
            found = function(mapped(torch.clone, inputs))
        expected, given = (dict(named_tensors(each)) for each in (inputs, found))
        if isinstance(found, Mapping) != isinstance(inputs, Mapping) or expected.keys() != given.keys():
            raise InputError(
                f"--augment {spec}: gives {_listed(given) or type(found).__name__} for {_listed(expected)}, expected "
                "the same"
            )
        for name, tensor in expected.items():
            _require_like(given[name], tensor, f"--augment {spec}: gives" + (f" {name} as" if name else ""))
        return found

    return functools.update_wrapper(augment, function, assigned=(), updated=())  # its code is the user's


def _shapes(inputs: Inputs) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}".strip() for name, tensor in named_tensors(inputs))


def _listed(named: Mapping[str, Tensor]) -> str:
    return ", ".join(name or "a tensor" for name in named)


def _require_like(found: Tensor, expected: Tensor, gives: str) -> None:
    if unlike_plain(found) or found.shape != expected.shape or found.dtype != expected.dtype:
        what, like = (f"{tuple(each.shape)} {each.dtype}" for each in (found, expected))
        raise InputError(f"{gives} {what} for {like}, expected the same, a plain tensor")


def check_augment(augment: Augment, inputs: Inputs, spec: str) -> None:
    """Augment a few inputs and check what comes out; the global random state is kept.

    Raises:
        InputError: It fails, is one of `AUGMENTATIONS` and the inputs are no images, gives another shape, or gives
            numbers that are not finite.
    """
    if spec in AUGMENTATIONS and not (isinstance(inputs, Tensor) and inputs.ndim == 4):
        raise InputError(f"--augment {spec}: takes images (N, C, H, W), found inputs of shape {_shapes(inputs)}")
    with torch.random.fork_rng():
        found = augment(inputs)
    if not all(bool(tensor.isfinite().all()) for _, tensor in named_tensors(found)):
        raise InputError(f"--augment {spec}: gives numbers that are not finite")
