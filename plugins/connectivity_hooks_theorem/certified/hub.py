"""A hub: one narrow network that every solution of a task can be connected to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import same, weights_of
from connectivity_hooks.parallel import kept_whole
from connectivity_hooks.paths import Weights
from connectivity_hooks.progress import Progress
from connectivity_hooks_theorem.certified.ends import training_targets
from connectivity_hooks_theorem.certified.network.blocks import clear_unread, narrow_blocks, neurons_read, write_blocks
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Sides, all_but, random_orders
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.features import Source, training_features
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.setting import Setting


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
    read, by_space = neurons_read(weights, network), []
    used = {layer.rows.space: read[layer.step.name] for layer in network.layers if layer.cols is not None}
    for number, space in enumerate(network.spaces):
        every = torch.arange(space.width)
        if space.whole:
            by_space.append((every, every))
            continue
        mine = used[number].nonzero().flatten()
        if not 0 < len(mine) < space.width:
            raise InputError(
                f"builder certified: the hub uses {len(mine)} of the {space.width} neurons of {space.name}, expected "
                "some and not all; make one with `connectivity-hooks hub`"
            )
        by_space.append((mine, all_but(space.width, mine)))
    sides = Sides(tuple(by_space))
    neurons = sides.neurons(0, 0)
    narrow = narrow_blocks(weights, network.layers, neurons, neurons)
    return Hub(weights, sides, Subnetwork(0, neurons, narrow, len(network.cuts) - 1, loss, None))


def train_hub(
    model: nn.Module, setting: Setting, target: float, progress: Progress
) -> tuple[Weights, float, float | None]:
    """Train a network that uses side 0 of every space, as wide as side 1.

    Args:
        model: Gives names, shapes and values of what no step uses.
        setting: The network, data, rounds of training and seed.
        target: Training stops at this loss.
        progress: Shows how far it is.

    Returns:
        Whole weights, silent on side 1, with their mean loss and share of errors on the training split.
    """
    network, task, seed = setting.network, setting.task, setting.seed
    weights = {name: tensor.detach().clone() for name, tensor in weights_of(model).items()}
    neurons = Sides.of(network.spaces, random_orders(network.spaces, seed)).neurons(0, 0)
    features = training_features(Source(network, weights, 0, neurons), task, setting.memory, imitate=False)
    like = torch.zeros(1, device=task.device).expand(len(task.train), network.classes)
    goal = Goal(training_targets(task, like), task.loss, network.classes, None, target)
    whole = Stretch(network, 0, len(network.cuts) - 1)
    few = next(iter(task.train.head(2).batches(2)))[0]
    with torch.random.fork_rng(), kept_whole(model, few, task.batch_size, task.forward):
        torch.manual_seed(seed)  # for augmentation
        generator = torch.Generator().manual_seed(seed)
        found = Fitter(setting, weights, goal).trained(features, whole, neurons, generator, progress=progress)
    write_blocks(weights, found.weights, network.layers, neurons)
    clear_unread(weights, network)
    return weights, found.loss, found.error
