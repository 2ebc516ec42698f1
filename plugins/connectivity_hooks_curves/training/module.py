"""A module whose trained parameters are views of vectors, to be moved along a curve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights, assign, weights_of


class Layout:
    """Where in one vector some tensors lie.

    Args:
        tensors: By name, in the order they have in the vector.

    Attributes:
        names: Of the tensors.
        size: P, the length of the vector.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.names = tuple(tensors)
        self._shapes = [(tensor.shape, _strides(tensor)) for tensor in tensors.values()]
        self.size = sum(tensor.numel() for tensor in tensors.values())

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the parts of a vector (P,) in the shapes and memory formats of the tensors."""
        found, offset = {}, 0
        for name, (shape, strides) in zip(self.names, self._shapes, strict=True):
            found[name] = torch.as_strided(vector, shape, strides, offset)
            offset += shape.numel()
        return found


class Group:
    """Parameters of one type, in one vector: writing it is setting all of them.

    Args:
        parameters: By the names that weights have them under; each becomes a view of `values`.

    Attributes:
        names: Of the parameters, in the order they have in the vector.
        values: (P,) the parameters.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._layout = Layout(parameters)
        self.names = self._layout.names
        self._parameters = list(parameters.values())
        some = self._parameters[0]
        self.values = torch.empty(self._layout.size, device=some.device, dtype=some.dtype)
        self._views = [*self.views(self.values).values()]
        self._addresses = [view.data_ptr() for view in self._views]
        for view, parameter in zip(self._views, self._parameters, strict=True):
            view.copy_(parameter.detach())

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the parts of a vector (P,) in the shapes and memory formats of the parameters."""
        return self._layout.views(vector)

    def tensors(self, vector: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters that a vector (P,) stands for, by name."""
        yield from self.views(vector).items()

    def whole(self, vector: Tensor) -> Tensor:
        """Return a vector (P,) as a state has it, whatever this process holds of it."""
        return vector

    def part(self, whole: Tensor) -> Tensor:
        """Return what this process holds of a vector of a state."""
        return whole

    def vector(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Return the parameters among some weights as one vector (P,) of a type."""
        found = torch.empty_like(self.values, dtype=dtype)
        for name, view in self.views(found).items():
            view.copy_(weights[name].detach())
        return found

    def attach(self) -> None:
        """Let the parameters be views, also of a module that gave them other memory in its last pass; no gradients."""
        for parameter, view, address in zip(self._parameters, self._views, self._addresses, strict=True):
            if parameter.data_ptr() != address:
                parameter.data = view
            parameter.grad = None

    def gradients(self, weight_decay: float = 0.0) -> list[Tensor | None]:
        """Return the gradients of the last backward pass, and of λ/2·‖·‖²; None of what took no part in it."""
        found = self._found()
        dense = [gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient for gradient in found]
        if not weight_decay:
            return dense
        pulls = (weight_decay * view for view in self._views)
        return [pull if found is None else found + pull for found, pull in zip(dense, pulls, strict=True)]

    def _found(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self._parameters]


class FlatModule:
    """A module of one's own, as it is, with its trained parameters in vectors: one for each floating type.

    Tied parameters are one. What has ``requires_grad=False`` is no coordinate: its training left it where it was, and
    so does a curve. Buffers are none either.

    Args:
        model: The module; taken over.

    Attributes:
        model: The module.
        groups: Its parameters by type.

    Raises:
        InputError: It has no parameter to train.
    """

    is_spread: ClassVar[bool] = False
    """Whether this process holds a part of the parameters, and others the rest."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        weights = weights_of(model)
        trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if name in weights and parameter.is_floating_point() and parameter.requires_grad
        }
        if not trained:
            raise InputError(_nothing_to_train(model))
        self.groups = [self._group(part) for part in _by_type(trained)]
        self._places = [place for place in _places(model) if place[2] in trained]
        self._trained = trained
        self.attach()

    def _group(self, parameters: Mapping[str, nn.Parameter]) -> Group:
        return Group(parameters)

    def held(self, tensor: Tensor) -> Tensor:
        """Return what this process holds of one of the module's own tensors."""
        return tensor.detach()

    def cut(self, tensor: Tensor, whole: Tensor) -> Tensor:
        """Return what this process would hold of other values of one of the module's own tensors."""
        return whole.to(tensor.device, tensor.dtype)

    def total(self, number: Tensor) -> Tensor:
        """Return the sum of what every process that holds a part of the module says of it."""
        return number

    def anywhere(self, flag: bool) -> bool:
        """Say whether something is so in any process that holds a part of the module."""
        return bool(self.total(torch.tensor(float(flag))))

    @property
    def names(self) -> frozenset[str]:
        """Names of the trained parameters; one of each that are tied."""
        return frozenset(self._trained)

    def attach(self) -> None:
        """Make the module ready for a pass: its parameters are views, and have no gradients."""
        for group in self.groups:
            group.attach()

    def check(self) -> None:
        """After a pass: make sure that it was one of the parameters.

        Raises:
            InputError: The module put another parameter in the place of one of its own.
        """
        for registered, key, name in self._places:
            if registered.get(key) is not self._trained[name]:
                raise InputError(
                    f"the model ({type(self.model).__name__}): its forward puts another parameter in the place of "
                    f"{name}, which no curve can then move; let it compute with the new values, and assign none"
                )

    def weights(self, vectors: Iterable[Tensor], like: Mapping[str, Tensor]) -> Weights:
        """Return a vector (P,) of each group as weights in the types of `like`, which has all that is not trained."""
        found = dict(like)
        for group, vector in zip(self.groups, vectors, strict=True):
            for name, tensor in group.tensors(vector):
                found[name] = tensor.to(like[name].device, like[name].dtype).clone(
                    memory_format=torch.contiguous_format
                )
        own = {id(parameter): name for name, parameter in self._trained.items()}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            if name in like and id(parameter) in own:
                found[name] = found[own[id(parameter)]]
        return found

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights, buffers too, into the module."""
        assign(weights_of(self.model), weights)


def _by_type(parameters: Mapping[str, nn.Parameter]) -> list[dict[str, nn.Parameter]]:
    found: dict[tuple[torch.dtype, torch.device], dict[str, nn.Parameter]] = {}
    for name, parameter in parameters.items():
        found.setdefault((parameter.dtype, parameter.device), {})[name] = parameter
    return list(found.values())


def _places(model: nn.Module) -> list[tuple[dict[str, nn.Parameter | None], str, str]]:
    """Return where parameters are registered: in which module's table, under which key, and their whole names."""
    return [
        (module._parameters, key, f"{prefix}.{key}".lstrip("."))
        for prefix, module in model.named_modules()
        for key in module._parameters
    ]


def _strides(parameter: Tensor) -> tuple[int, ...]:
    """Return the strides a parameter keeps in a vector: its own where it fills its memory, as channels last does."""
    order = sorted(range(parameter.ndim), key=lambda axis: (parameter.stride(axis), parameter.shape[axis]))
    dense = 1
    for axis in order:
        if parameter.shape[axis] != 1 and parameter.stride(axis) != dense:
            return torch.empty(parameter.shape, device="meta").stride()
        dense *= parameter.shape[axis]
    return parameter.stride()


def _nothing_to_train(model: nn.Module) -> str:
    who = f"the model ({type(model).__name__})"
    if any(parameter.is_floating_point() for parameter in model.parameters()):
        return f"{who} has no parameter to train: all have requires_grad=False; leave it on where a curve may move"
    return f"{who} has no parameters to train"
