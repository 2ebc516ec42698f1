"""Training a sub-network on the features it reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.running import Values, run
from connectivity_hooks_theorem.certified.search.features import OUTPUTS, Features
from connectivity_hooks_theorem.certified.search.neuron_pairs import Head
from connectivity_hooks_theorem.certified.search.output_layer import Goal

TEMPERATURE = 4.0
_LABELS_FROM = 0.85


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: Epochs of a round; the learning rate rises and falls once in each (Smith and Topin 2019).
        steps: Steps of a round at least, whatever the epochs.
        flat: Largest learning rate and weight decay of AdamW (Loshchilov and Hutter 2019) for flat features.
        maps: The same for feature maps.
    """

    epochs: int
    steps: int = 600
    flat: tuple[float, float] = (8e-3, 0.0)
    maps: tuple[float, float] = (3e-3, 0.3)

    def shortened(self, epochs: int) -> Schedule:
        """Return the same with fewer epochs, and as many steps at least in proportion."""
        return replace(self, epochs=epochs, steps=self.steps * epochs // self.epochs)

    def rates(self, features: Features) -> tuple[float, float]:
        """Return the largest learning rate and the weight decay."""
        return self.maps if features.are_maps else self.flat

    def batch_size(self, features: Features) -> int:
        """Return the samples of a step: fewer of feature maps, which fill a processor's cache."""
        return max(32, min(100 if features.are_maps else 500, features.count // 100))

    def epochs_of(self, features: Features) -> int:
        """Return the epochs of a round."""
        return max(self.epochs, -(-self.steps * self.batch_size(features) // features.count))


def train(
    network: Network,
    narrow: Weights,
    head: Head | None,
    features: Features,
    goal: Goal,
    cut: int,
    until: int,
    schedule: Schedule,
    generator: torch.Generator,
) -> tuple[Weights, Head | None]:
    """Return narrow weights and output layer after one round of training.

    A classifier learns the end's own outputs, softened (distillation, Hinton et al. 2015), which costs its test error
    less than learning the labels, and towards the end of the round the labels too, as long as the goal is not reached;
    other losses are minimised as they are. Statistics of norms are measured afterwards, over all samples.

    Args:
        network: The network.
        narrow: Weights to begin with; those after `until` belong to a network without `head`.
        head: Output layer on the flattened features at `until`; None trains the network's own.
        features: Features at `cut`.
        goal: What to reach.
        cut: Where the sub-network begins.
        until: Where the trained layers end and the head reads.
        schedule: How long.
        generator: Source of the order of samples.
    """
    weights = {name: tensor.clone() for name, tensor in narrow.items()}
    trained = _parameters(network, weights)
    extra = [] if head is None else [tensor.clone() for tensor in (head.weight, head.bias) if tensor is not None]
    variables = [tensor.requires_grad_() for tensor in (*trained, *extra)]
    outputs = _outputs(network, weights, extra, cut, until)
    _descend(variables, outputs, features, goal, schedule, generator)
    for tensor in variables:
        tensor.requires_grad_(False)
    settle_norms(network, weights, features, cut, until, schedule.batch_size(features))
    return weights, None if head is None else Head(extra[0], extra[1] if len(extra) > 1 else None)


def _parameters(network: Network, weights: Weights) -> list[Tensor]:
    statistics = {
        layer.step.weights[role] for layer in network.layers for role in ("mean", "var") if role in layer.step.weights
    }
    return [tensor for name, tensor in weights.items() if name not in statistics]


def _outputs(
    network: Network, weights: Weights, head: list[Tensor], cut: int, until: int
) -> Callable[[Values], Tensor]:
    def outputs(values: Values) -> Tensor:
        found = run(network, weights, values, cut, until if head else None, momentum=0.1)
        (value,) = found.values()
        return F.linear(value.flatten(1), *head) if head else value

    return outputs


def _descend(
    variables: list[Tensor],
    outputs: Callable[[Values], Tensor],
    features: Features,
    goal: Goal,
    schedule: Schedule,
    generator: torch.Generator,
) -> None:
    count = len(goal.targets)
    size, epochs = schedule.batch_size(features), schedule.epochs_of(features)
    peak, decay = schedule.rates(features)
    optimizer = torch.optim.AdamW(_groups(variables, decay), peak, fused=variables[0].device.type in ("cpu", "cuda"))
    total_steps = epochs * -(-count // size)
    steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=total_steps)
    reached = math.inf
    for epoch in range(epochs):
        with_labels = goal.imitates and epoch >= epochs * _LABELS_FROM and reached > goal.target
        total = torch.zeros((), device=goal.targets.device)
        for batch, values in features.shuffled(size, generator):
            if len(batch) == 1 < count:
                continue  # a batch of one has no statistics
            found = outputs(values)
            own = goal.loss(found, goal.targets[batch])
            objective = own
            if goal.outputs is not None and goal.imitates:
                objective = _distilled(found, values.get(OUTPUTS, goal.outputs[batch]))
            if with_labels:
                objective = objective + TEMPERATURE * own
            for tensor in variables:
                tensor.grad = None
            objective.backward()
            optimizer.step()
            steps.step()
            total += own.detach() * len(batch)
        reached = float(total) / count


def _groups(variables: list[Tensor], decay: float) -> list[dict[str, object]]:
    """Return the optimizer's groups: vectors do not decay. One where nothing does: each costs a call a step."""
    if decay == 0:
        return [{"params": variables, "weight_decay": 0.0}]
    matrices = [tensor for tensor in variables if tensor.ndim > 1]
    vectors = [tensor for tensor in variables if tensor.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _distilled(found: Tensor, wished: Tensor) -> Tensor:
    return F.cross_entropy(found / TEMPERATURE, (wished / TEMPERATURE).softmax(1)) * TEMPERATURE**2


@torch.no_grad()
def settle_norms(network: Network, weights: Weights, features: Features, cut: int, until: int, batch_size: int) -> None:
    """Set the statistics of norms to their means over all batches, in place."""
    if not any(layer.step.kind == "norm" and layer.step.name for layer in network.layers_between(cut, until)):
        return
    for count, batch in zip(itertools.count(1), features.batches(batch_size)):
        run(network, weights, batch, cut, until, momentum=1 / count)
