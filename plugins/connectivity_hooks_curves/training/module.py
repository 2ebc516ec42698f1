"""A module whose parameters are one vector, and its gradients another, to be moved along a curve."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights, assign, weights_of


class FlatModule:
    """A module of one's own, as it is, with its floating parameters in one vector.

    Parameters are views of `values`, their gradients views of `gradient`: writing the one is setting all weights,
    reading the other after a backward pass is having all gradients; a step costs what a plain one costs, and two
    passes over the vectors. Tied parameters are one. Buffers are no coordinates.

    Args:
        model: The module; taken over.

    Attributes:
        model: The module.
        names: Of the parameters in the vector, by the name weights have them under.
        values: (P,) the parameters.
        gradient: (P,) their gradients.

    Raises:
        InputError: It has no floating parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        weights = weights_of(model)
        self._parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if name in weights and parameter.is_floating_point()
        }
        self.names = tuple(self._parameters)
        if not self.names:
            raise InputError("the model has no parameters to train")
        some = next(iter(self._parameters.values()))
        size = sum(parameter.numel() for parameter in self._parameters.values())
        self.values = torch.empty(size, device=some.device, dtype=some.dtype)
        self.gradient = torch.zeros_like(self.values)
        offset = 0
        for parameter in self._parameters.values():
            part = slice(offset, offset + parameter.numel())
            self.values[part].copy_(parameter.detach().flatten())
            parameter.data = self.values[part].view(parameter.shape)
            parameter.grad = self.gradient[part].view(parameter.shape)
            parameter.requires_grad_()
            offset += parameter.numel()

    def vector(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return weights' parameters as one vector (P,)."""
        parts = [weights[name].detach().flatten().to(self.values) for name in self.names]
        return torch.cat(parts)

    def weights(self, vector: Tensor, like: Mapping[str, Tensor]) -> Weights:
        """Return a vector as weights, in the types of `like`; what is no parameter is that of `like`."""
        found, offset = dict(like), 0
        for name, parameter in self._parameters.items():
            part = vector[offset : offset + parameter.numel()].view(parameter.shape)
            found[name] = part.to(like[name].dtype).to(like[name].device).clone()
            offset += parameter.numel()
        own = {id(parameter): name for name, parameter in self._parameters.items()}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            if name in like and id(parameter) in own:
                found[name] = found[own[id(parameter)]]
        return found

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights, buffers too, into the module."""
        with torch.no_grad():
            assign(weights_of(self.model), weights)
