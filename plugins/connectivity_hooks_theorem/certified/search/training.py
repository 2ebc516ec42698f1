"""Training a sub-network on the features it reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import Values
from connectivity_hooks_theorem.certified.search.draft import Draft
from connectivity_hooks_theorem.certified.search.features import OUTPUTS, Features
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer
from connectivity_hooks_theorem.certified.search.training_schedule import TrainingSchedule

_TEMPERATURE = 4.0
"""Softens outputs: Hinton et al. (2015) found 2.5 to 4 best for students much narrower than their teacher."""

_LABELS_FROM = 0.85
"""Share of a round after which labels join: by then the outputs are learnt and the learning rate is low. On the VGG of
docs/benchmarks.md the worst point's test error was the same without labels (31.7 %), so they cost nothing."""

_MOMENTUM = 0.1
"""How far a batch moves the statistics of norms while training: PyTorch's own. They are measured anew afterwards."""


def train(
    draft: Draft,
    stretch: Stretch,
    features: Features,
    goal: Goal,
    schedule: TrainingSchedule,
    generator: torch.Generator,
) -> Draft:
    """Return a sub-network after one round of training.

    A classifier learns the end's own outputs, softened (distillation, Hinton et al. 2015), which costs its test error
    less than learning the labels, and towards the end of the round the labels too, as long as the goal is not reached;
    other losses are minimised as they are. Statistics of norms are measured afterwards, over all samples.

    Args:
        draft: What to begin with; left as it is.
        stretch: From the cut where the sub-network begins to where the trained layers end.
        features: Features where it begins.
        goal: What to reach.
        schedule: How long.
        generator: Source of the order of samples.
    """
    trained = Draft({name: tensor.clone() for name, tensor in draft.weights.items()}, _cloned(draft.output))
    variables = [tensor.requires_grad_() for tensor in _variables(stretch.network, trained)]

    def outputs(values: Values) -> Tensor:
        return trained.outputs(stretch, values, _MOMENTUM)

    _descend(variables, outputs, features, goal, schedule, generator)
    for tensor in variables:
        tensor.requires_grad_(False)
    settle_norms(trained.weights, stretch, features, schedule.batch_size(features))
    return trained


def _cloned(output: OutputLayer | None) -> OutputLayer | None:
    return (
        None
        if output is None
        else OutputLayer(output.weight.clone(), None if output.bias is None else output.bias.clone())
    )


def _variables(network: Network, draft: Draft) -> list[Tensor]:
    """Return what is trained: all but the statistics of norms."""
    roles = (layer.step.weights for layer in network.layers)
    statistics = {names[role] for names in roles for role in ("mean", "var") if role in names}
    output = () if draft.output is None else (draft.output.weight, draft.output.bias)
    own = (tensor for name, tensor in draft.weights.items() if name not in statistics)
    return [tensor for tensor in (*own, *output) if tensor is not None]


def _descend(
    variables: list[Tensor],
    outputs: Callable[[Values], Tensor],
    features: Features,
    goal: Goal,
    schedule: TrainingSchedule,
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
                objective = objective + _TEMPERATURE * own
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
    return F.cross_entropy(found / _TEMPERATURE, (wished / _TEMPERATURE).softmax(1)) * _TEMPERATURE**2


@torch.no_grad()
def settle_norms(weights: Weights, stretch: Stretch, features: Features, batch_size: int) -> None:
    """Set the statistics of a stretch's norms to their means over all batches, in place."""
    if not any(layer.step.kind == "norm" for layer in stretch.layers):
        return
    for count, batch in zip(itertools.count(1), features.batches(batch_size)):
        stretch.run(weights, batch, momentum=1 / count)
