"""Builder ``certified``: a path whose loss is bounded along the whole way, by construction."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import CONSTANT, CONVEX, Path, Weights
from connectivity_hooks.paths.edits import edits_between
from connectivity_hooks.structure import read_program
from connectivity_hooks.tasks.task import Task
from connectivity_hooks_theorem.certified.descending import HalfPath, meeting
from connectivity_hooks_theorem.certified.effort import EFFORTS
from connectivity_hooks_theorem.certified.ends import End, read_end
from connectivity_hooks_theorem.certified.finding import Finder
from connectivity_hooks_theorem.certified.fitting import Fitter
from connectivity_hooks_theorem.certified.network import Network
from connectivity_hooks_theorem.certified.reading import INSTEAD, read_network
from connectivity_hooks_theorem.certified.slots import Sides
from connectivity_hooks_theorem.certified.subnetwork import Subnetwork


@dataclass(frozen=True)
class Options:
    """Options of `Certified`."""

    effort: str = option("normal", "What is tried for each sub-network.", choices=tuple(EFFORTS))
    target_loss: float | None = option(
        None, "Training loss every sub-network should reach; none: the larger end's own, a zero barrier.", gt=0
    )
    ridge: float = option(
        0.0, "Weight of a probe's squared norm: a lower test error on the way for a higher bound.", ge=0
    )


class Certified(Builder):
    """A path of constant and convex segments, so that its loss is proven bounded at every t.

    The construction of Nguyen, Bréchet and Mondelli (arXiv 2102.09671) with the two ends meeting directly. Backwards
    over the layers of each end, some of a layer's features are kept, and a sub-network that reads them is written into
    neurons nobody reads (the function does not change), takes over the output layer (the loss is convex along the way),
    and what it replaced is cleared. The bound is the largest training loss of the ends and the sub-networks: the larger
    end's own, where every sub-network gets as low.

    A sub-network is, cheapest first: an affine map of the features, where they are linearly separable and samples held
    out of its fit are classified as well; a few layers trained on them (``effort``: 1 quick, 2 normal, 3 thorough); all
    layers that follow. Its outputs pass through the layers above in pairs of neurons, for ReLU, leaky ReLU, GELU, SiLU,
    hard swish and softplus; otherwise, and before convolutions and pooling, all layers are trained, each sub-network
    warm-started from the one after it. Classifiers learn the end's own outputs, which costs the test error less.

    For chains: affine maps and convolutions (ungrouped or depthwise), batch norm, elementwise activations, pooling,
    flattening and dropout; for losses convex in the outputs. Time grows linearly with samples and, where features are
    separable, with depth; memory: the features of two layers, and the path.
    """

    name = "certified"
    Options = Options

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a certified path from `a` to `b`.

        Raises:
            InputError: The network is no chain, too narrow or dead, the loss is not known to be convex in the outputs,
                or the data does not fit.
        """
        network = _read(a, task)
        sides = Sides.draw(network.spaces, self.seed)
        ends = [read_end(network, weights, task, name) for weights, name in ((a, "A"), (b, "B"))]
        target = self.options.target_loss or max(end.loss for end in ends)
        left, right = (self._descend(network, end, sides, number, task, target) for number, end in enumerate(ends))
        met = [left.last, *meeting(network, left.last, right.last), right.last]
        edits = [*left.edits, *itertools.starmap(edits_between, itertools.pairwise(met)), *reversed(right.edits)]
        return Path(
            start=dict(a),
            edits=tuple(edits),
            positions=tuple(index / len(edits) for index in range(len(edits) + 1)),
            guarantees=(*left.guarantees, CONSTANT, CONVEX, CONSTANT, *reversed(right.guarantees)),
        )

    def _descend(self, network: Network, end: End, sides: Sides, number: int, task: Task, target: float) -> HalfPath:
        fitter = Fitter(
            network, end.on_device, end.goal(target), EFFORTS[self.options.effort], self.options.ridge, task.batch_size
        )
        finder = Finder(fitter, sides, number, task, self.seed)
        half = HalfPath(network, end.weights, reverse=number == 1)
        for subnetwork in self._shown(finder, network, end):
            half.step(subnetwork)
        return half

    def _shown(self, finder: Finder, network: Network, end: End) -> Iterable[Subnetwork]:
        label, count = f"sub-networks of end {end.name}", len(network.cuts) - 1
        found = list(self.progress.track(finder.find(), label, count))
        return sorted(found, key=lambda subnetwork: -subnetwork.cut)


def _read(weights: Weights, task: Task) -> Network:
    if not task.loss.convex:
        raise InputError(
            f"builder certified: the loss {task.loss.name} is not known to be convex in the outputs, which the proof "
            f"needs; declare it with --loss-is-convex, or {INSTEAD}"
        )
    inputs, _ = next(iter(task.train.head(2).batches(2)))
    if len(inputs) < 2:
        inputs = torch.cat([inputs, inputs])
    return read_network(read_program(task.model(), inputs), weights)
