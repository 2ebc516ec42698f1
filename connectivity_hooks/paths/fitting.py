"""Whether a path belongs to a model: names, shapes, and that weights the model ties are equal at every point."""

from __future__ import annotations

from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import Weights, same, weights_of
from connectivity_hooks.paths.path import Path


def require_fit(path: Path, model: nn.Module) -> None:
    """Refuse a path whose points cannot be the weights of `model`.

    Raises:
        InputError: Names or shapes differ, or two names of one tensor of the model have different values in the path,
            so that it would depend on the order of names which network is meant.
    """
    expected = weights_of(model)
    missing, extra = sorted(expected.keys() - path.start.keys()), sorted(path.start.keys() - expected.keys())
    if missing or extra:
        raise InputError(f"the path does not fit the model: missing {missing[:5]}, unexpected {extra[:5]}")
    for name, tensor in expected.items():
        found = path.start[name]
        if tensor.shape != found.shape:
            raise InputError(
                f"the path does not fit the model: {name} is {tuple(found.shape)}, expected {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() != found.is_floating_point():
            raise InputError(f"the path does not fit the model: {name} is {found.dtype}, expected {tensor.dtype}")
    _require_ties(path, tied_names(model))


def require_written(model: nn.Module, weights: Weights) -> None:
    """Refuse a model that does not have the weights which were written into it.

    Raises:
        InputError: Its `state_dict` returns copies, or names that share memory in part were given different values.
    """
    for name, tensor in weights_of(model).items():
        if not same(tensor, weights[name].to(tensor.device, tensor.dtype)):
            raise InputError(
                f"the model does not keep what is written into {name}: its state_dict returns a copy, or another name "
                "shares its memory and has other values in the path"
            )


def tied_names(model: nn.Module) -> list[tuple[str, ...]]:
    """Return the groups of names under which one tensor of `model` is stored."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in weights_of(model).items():
        # Views of one storage that lie elsewhere in it are tensors of their own.
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        groups.setdefault(place, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def _require_ties(path: Path, groups: list[tuple[str, ...]]) -> None:
    for index, point in enumerate(path.points()) if groups else ():
        for first, *others in groups:
            for other in others:
                if not same(point[first], point[other]):
                    raise InputError(
                        f"the path does not fit the model: {first} and {other} are one tensor in the model, and differ "
                        f"at point {index} of the path"
                    )
