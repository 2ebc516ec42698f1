"""A hub: one narrow network that every solution of a task can be connected to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import same, weights_of
from connectivity_hooks.parallel import kept_whole
from connectivity_hooks.paths import Weights
from connectivity_hooks.progress import Progress
from connectivity_hooks.tasks.task import Task
from connectivity_hooks_theorem.certified.ends import training_targets
from connectivity_hooks_theorem.certified.network.blocks import clear_unread, narrowed, neurons_read, write
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Sides, all_but, random_orders
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.effort import Effort
from connectivity_hooks_theorem.certified.search.features import Augmented, Features, Recomputed, Source
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.output_layer import Goal


@dataclass(frozen=True)
class Hub:
    """A network all of whose neurons lie on side 0 of every space.

    Attributes:
        weights: Its weights, silent on side 1.
        sides: Side 0 holds the neurons it uses.
        subnetwork: Itself as a sub-network of the input.
    """

    weights: Weights
    sides: Sides
    subnetwork: Subnetwork

    @property
    def loss(self) -> float:
        """Its mean loss on the training split."""
        return self.subnetwork.loss

    def equals(self, weights: Weights) -> bool:
        """Say whether weights are the hub's, bit for bit."""
        return all(same(tensor, weights[name]) for name, tensor in self.weights.items())


def as_hub(weights: Weights, network: Network, loss: float) -> Hub:
    """Read a network as a hub.

    Raises:
        InputError: It uses every neuron of a space, or none.
    """
    read, sides = neurons_read(weights, network), []
    used = {layer.rows.space: read[layer.step.name] for layer in network.layers if layer.cols is not None}
    for number, space in enumerate(network.spaces):
        every = torch.arange(space.width)
        if space.whole:
            sides.append((every, every))
            continue
        mine = used[number].nonzero().flatten()
        if not 0 < len(mine) < space.width:
            raise InputError(
                f"builder certified: the hub uses {len(mine)} of the {space.width} neurons of {space.name}, expected "
                "some and not all; make one with `connectivity-hooks hub`"
            )
        sides.append((mine, all_but(space.width, mine)))
    cut = Sides(tuple(sides))
    slots = cut.slots(0, 0)
    narrow = narrowed(weights, network.layers, slots, slots)
    return Hub(weights, cut, Subnetwork(0, slots, narrow, len(network.cuts) - 1, loss, None))


def _inputs(source: Source, task: Task) -> Features:
    if task.augment is None:
        return Recomputed(source, task.train, task.batch_size)
    return Augmented(source, task.train, task.batch_size, task.augment, imitate=False)


def train_hub(
    model: nn.Module, network: Network, task: Task, effort: Effort, target: float, seed: int, progress: Progress
) -> tuple[Weights, float, float | None]:
    """Train a network that uses one half of every space.

    Args:
        model: Gives names, shapes and values of what no step uses.
        network: The network.
        task: Data and loss.
        effort: Rounds of training.
        target: Training stops at this loss.
        seed: Seed of every random choice.
        progress: Shows how far it is.

    Returns:
        Whole weights, silent outside the half, with their mean loss and share of errors on the training split.
    """
    weights = {name: tensor.detach().clone() for name, tensor in weights_of(model).items()}
    orders = random_orders(network.spaces, seed)
    slots = Sides.of(network.spaces, orders).slots(0, 0)
    generator = torch.Generator().manual_seed(seed)
    features = _inputs(Source(network, weights, 0, slots), task)
    like = torch.zeros(1, device=task.device).expand(len(task.train), network.classes)
    goal = Goal(training_targets(task, like), task.loss, network.classes, None, target)
    fitter = Fitter(network, weights, goal, effort, 0.0, task.batch_size)
    few = next(iter(task.train.head(2).batches(2)))[0]
    with torch.random.fork_rng(), kept_whole(model, few, task.batch_size, task.forward):
        torch.manual_seed(seed)  # for augmentation
        found = fitter.trained(features, 0, len(network.cuts) - 1, slots, generator, progress=progress)
    write(weights, found.weights, network.layers, slots)
    clear_unread(weights, network)
    return weights, found.loss, found.error
