"""Builder ``certified``: a path whose loss is bounded along the whole way, by construction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import CONSTANT, CONVEX, Path, Weights
from connectivity_hooks.paths.edits import edits_between
from connectivity_hooks.structure import read_program
from connectivity_hooks.tasks.task import Task
from connectivity_hooks_theorem.chain import INSTEAD, Chain, read_chain
from connectivity_hooks_theorem.descending import HalfPath, meeting
from connectivity_hooks_theorem.slots import Sides
from connectivity_hooks_theorem.subnetwork import Subnetwork, probe, train_hidden


@dataclass(frozen=True)
class Options:
    """Options of `Certified`."""

    target_loss: float | None = option(
        None, "Training loss every sub-network should reach; none: the larger end's own, a zero barrier.", gt=0
    )
    epochs: int = option(40, "Epochs at most of a sub-network with a hidden layer.", ge=1)


class Certified(Builder):
    """A path of constant and convex segments, so that its loss is proven bounded at every t.

    The construction of Nguyen, Bréchet and Mondelli (arXiv 2102.09671) in its half/half form, with the two ends meeting
    directly. Backwards over the layers of each end, half of a layer's features are kept, and a sub-network that reads
    them is written into neurons nobody reads (the function does not change), takes over the output layer (the loss is
    convex along the way), and what it replaced is cleared. The bound is the largest training loss of the ends and the
    sub-networks: the larger end's own, where every sub-network gets as low.

    A sub-network is a logistic probe where half the features are separable, else one with a hidden layer trained on
    them; their logits pass through the layers above in pairs of neurons. What it costs is test error, a point or two on
    the way.

    For fully connected chains with ReLU and the cross-entropy. Each layer needs 4·C neurons. Time: a few seconds a
    layer and end, growing with N·n; memory: every hidden layer's features, N·n each, and the path.
    """

    name = "certified"
    Options = Options

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a certified path from `a` to `b`.

        Raises:
            InputError: The network is not a fully connected chain with ReLU, a layer is too narrow, or the loss is not
                the
                cross-entropy of class labels.
        """
        labels = task.train.targets()
        if task.loss.name != "cross-entropy" or labels.is_floating_point():
            raise InputError(
                f"builder certified: the loss {task.loss.name} is not the cross-entropy of class labels; {INSTEAD}"
            )
        inputs, _ = next(iter(task.train.head(2).batches(2)))
        chain = read_chain(read_program(task.model(), inputs), a)
        sides = Sides.draw([layer.width for layer in chain.layers[:-1]], self.seed)
        _check_widths(chain, sides)
        halves = []
        target = self.options.target_loss or max(self._loss(chain, end, task) for end in (a, b))
        for index, end in enumerate((a, b)):
            halves.append(self._descend(chain, end, sides, index, task, target))
        left, right = halves
        met = [left.last, *meeting(chain, left.last, right.last), right.last]
        edits = [*left.edits, *itertools.starmap(edits_between, itertools.pairwise(met)), *reversed(right.edits)]
        return Path(
            start=dict(a),
            edits=tuple(edits),
            positions=tuple(index / len(edits) for index in range(len(edits) + 1)),
            guarantees=(*left.guarantees, CONSTANT, CONVEX, CONSTANT, *reversed(right.guarantees)),
        )

    def _descend(self, chain: Chain, end: Weights, sides: Sides, index: int, task: Task, target: float) -> HalfPath:
        half = HalfPath(chain, end, sides, index)
        features, separable = self._features(chain, end, task), True
        for layer in self.progress.track(range(chain.depth, 0, -1), f"sub-networks of end {'AB'[index]}", chain.depth):
            kept = features.pop()[:, sides.side(layer, layer, index).to(task.device)]
            found = self._subnetwork(chain, sides, layer, kept, task, target, separable)
            # Features grow more separable with depth: below a layer whose probe falls short no other is tried.
            separable = len(found.maps) == 1
            half.step(layer, found)
        return half

    def _subnetwork(
        self, chain: Chain, sides: Sides, layer: int, kept: Tensor, task: Task, target: float, separable: bool
    ) -> Subnetwork:
        """Return the first of probe and hidden layer that reaches the target, else the better of those tried."""
        labels = task.train.targets().to(kept.device)
        tried = [probe(kept, labels, chain.classes, target)] if separable else []
        if tried and (tried[0].loss <= target or layer == chain.depth):
            return tried[0]
        generator = torch.Generator().manual_seed(self.seed + layer)
        hidden, epochs = sides.narrowest(layer + 1), self.options.epochs
        tried.append(train_hidden(kept, labels, chain.classes, hidden, target, epochs, generator))
        return min(tried, key=lambda subnetwork: subnetwork.loss)

    @torch.no_grad()
    def _features(self, chain: Chain, end: Weights, task: Task) -> list[Tensor]:
        """Return F_1 … F_{L-1} on the training split."""
        weights = {
            name: tensor.to(task.device, task.dtype) for name, tensor in end.items() if tensor.is_floating_point()
        }
        current = torch.cat([x.flatten(1) for x, _ in task.train.batches(task.batch_size)])
        features = []
        for index in range(1, chain.depth + 1):
            current = chain.step(weights, current, index)
            features.append(current)
        return features

    @torch.no_grad()
    def _loss(self, chain: Chain, end: Weights, task: Task) -> float:
        output = chain.layer(chain.depth + 1)
        last = self._features(chain, end, task)[-1]
        logits = last @ end[output.weight].to(last).T + end[output.bias].to(last)
        return float(task.loss.per_sample(logits.double(), task.train.targets().to(last.device)).mean())


def _check_widths(chain: Chain, sides: Sides) -> None:
    for index, layer in enumerate(chain.layers[:-1], start=1):
        needed = 1 if index == 1 else 2 * chain.classes
        missing = needed - sides.narrowest(index)
        if missing > 0:
            raise InputError(
                f"builder certified: layer {layer.weight} has {layer.width} neurons, {2 * missing} too few to hold two "
                f"sub-networks of {needed}; {INSTEAD}"
            )
