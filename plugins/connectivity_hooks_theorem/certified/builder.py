"""Builder ``certified``: a path whose loss is bounded along the whole way, by construction."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import fit, read
from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import shapes_of
from connectivity_hooks.parallel import kept_whole
from connectivity_hooks.paths import CONSTANT, Path, Weights, edits_between
from connectivity_hooks.structure import first_inputs, task_program
from connectivity_hooks.tasks import Task
from connectivity_hooks_theorem.certified.ends import End, read_end
from connectivity_hooks_theorem.certified.half_path import MEETING, HalfPath, meeting
from connectivity_hooks_theorem.certified.hub import Hub, as_hub
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.reading import INSTEAD, read_network
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.search.both_ends import find_all
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.finder import Finder
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.importance import IMPORTANCES, by_importance
from connectivity_hooks_theorem.certified.search.setting import Setting

_SEEDS_APART = 1000
"""Between the seeds of both ends, to which the number of a cut is added: more than a network has cuts."""


@dataclass(frozen=True)
class Options:
    """Options of `Certified`."""

    effort: str = option("normal", "What is tried for each sub-network.", choices=tuple(EFFORTS))
    target_loss: float | None = option(
        None,
        "Training loss for every sub-network; none: the larger end's own, a zero barrier (quick: 4e-4 at least).",
        gt=0,
    )
    subsets: str = option(
        "important",
        "Neurons each end keeps: those that matter more to it than to the other, by the weights that read them or by "
        "those of a linear probe; or random ones.",
        choices=(*IMPORTANCES, "random"),
    )
    learn: str = option(
        "outputs",
        "What sub-networks and probes learn: the end's own outputs, which costs less test error, or the targets.",
        choices=("outputs", "targets"),
    )
    hub: str | None = option(None, "Meet at this network, a checkpoint made by `connectivity-hooks hub`.")
    memory: float = option(
        4.0,  # half of a machine with 8 GB, which holds the data and the path besides
        "GiB of features held: maps that take more are rounded to bfloat16 for training, or computed for each batch.",
        gt=0,
    )
    ridge: float = option(
        0.0, "Weight of a probe's squared norm: a lower test error on the way for a higher bound.", ge=0
    )


class Certified(Builder):
    """A path of constant and convex segments, so that its loss is proven bounded at every t.

    The construction of Nguyen, Bréchet and Mondelli (arXiv 2102.09671) with the two ends meeting directly, or at a hub:
    a narrow network that every solution of the task can be connected to. Backwards over the layers of each end, some of
    a layer's features are kept, and a sub-network that reads them is written into neurons nobody reads (the function
    does not change), and takes over the output layer (the loss is convex along the way).
    The bound is the largest training loss of the ends and the sub-networks: the larger end's own, where every
    sub-network gets as low.

    A sub-network is, cheapest first: an affine map of the features, where they are linearly separable and samples held
    out of its fit are classified as well; a few layers trained on them (two, then four; three, then six with effort
    ``thorough``); all layers that follow. Its outputs pass through the layers above in pairs of neurons, for ReLU,
    leaky ReLU, GELU, SiLU, hard swish and softplus; otherwise, and before convolutions, pooling and sums, all layers
    are trained, each sub-network warm-started from a later one. Classifiers learn the end's own outputs, which costs
    the test error less; on augmented inputs where the task has an augmentation.

    For chains and residual networks: affine maps and convolutions (of any groups), batch norm, elementwise
    activations, pooling, flattening, dropout, sums and gates; for losses convex in the outputs. Time grows linearly
    with samples and, where features are separable, with depth; with the square of the number of layers whose
    sub-networks are trained as a whole. Memory: two flat layers' features for each end, or as many maps as option
    ``memory`` allows, and the path. Threads: the two ends side by side, one core each; operations of large networks are
    divided among the cores there are. So is the path the same whatever else the machine does.
    """

    name = "certified"
    role = "proof"
    Options = Options

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a certified path from `a` to `b`.

        Raises:
            InputError: The network mixes neurons in another way, is too narrow or dead, the loss is not known to be
                convex in the outputs, the data does not fit, or the hub is none.
        """
        network = read_task(a, task)
        with kept_whole(task.structure(), first_inputs(task), task.batch_size, task.forward):
            hub = self._hub(network, a, task)
            left, right = self._half_paths(network, (a, b), task, hub)
        met = [] if hub else [left.last, *meeting(network, left.last, right.last), right.last]
        edits = [*left.edits, *itertools.starmap(edits_between, itertools.pairwise(met)), *reversed(right.edits)]
        guarantees = (*left.guarantees, *(() if hub else MEETING), *reversed(right.guarantees))
        count = max(1, len(edits))
        return Path(
            start=dict(a),
            edits=tuple(edits) or ((),),
            positions=tuple(index / count for index in range(count + 1)),
            guarantees=guarantees or (CONSTANT,),
        )

    def _hub(self, network: Network, like: Weights, task: Task) -> Hub | None:
        if self.options.hub is None:
            return None
        checkpoint = read(pathlib.Path(self.options.hub))
        fitted = fit(checkpoint, task.structure(), finite=True)
        weights = {name: tensor.to(like[name]) for name, tensor in fitted.weights.items()}
        return as_hub(weights, network, read_end(network, weights, task, "hub").loss)

    def _half_paths(
        self, network: Network, weights: tuple[Weights, Weights], task: Task, hub: Hub | None
    ) -> list[HalfPath]:
        """Return the half path of each end; that of an end which is the hub itself has no segments."""
        measure = None if hub else IMPORTANCES.get(self.options.subsets)
        ends = [
            read_end(network, each, task, name, measure(network) if measure else None)
            for each, name in zip(weights, "AB", strict=True)
        ]
        leaving = [number for number, end in enumerate(ends) if hub is None or not hub.equals(end.weights)]
        finders = self._finders(network, ends, task, hub)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)  # for augmentation
            found = find_all([finders[number] for number in leaving], self.progress)
        half_paths = [HalfPath(network, end.weights, reverse=number == 1) for number, end in enumerate(ends)]
        for number, subnetworks in zip(leaving, found, strict=True):
            for subnetwork in subnetworks if hub is None else (*subnetworks, hub.subnetwork):
                half_paths[number].step(subnetwork)
            if hub is not None:
                half_paths[number].arrive(hub.weights)
        return half_paths

    def _finders(self, network: Network, ends: Sequence[End], task: Task, hub: Hub | None) -> list[Finder]:
        options, effort = self.options, EFFORTS[self.options.effort]
        largest = max([end.loss for end in ends] + ([hub.loss] if hub else []))
        target = options.target_loss or max(largest, effort.good_enough)
        setting = Setting(network, task, effort, self.seed, options.ridge, int(options.memory * 1024**3))
        sides, finders = hub.sides if hub else self._sides(network, ends), []
        for number, end in enumerate(ends):
            fitter = Fitter(setting, end.on_device, end.goal(target, imitate=options.learn == "outputs"))
            finders.append(Finder(fitter, sides, 0 if hub else number, self.seed + _SEEDS_APART * number))
        return finders

    def _sides(self, network: Network, ends: Sequence[End]) -> Sides:
        if self.options.subsets == "random":
            return Sides.of(network.spaces, random_orders(network.spaces, self.seed))
        return Sides.of(network.spaces, by_importance(network, [end.importance for end in ends], self.seed))


def read_task(weights: Weights, task: Task) -> Network:
    """Read the task's model as a network a certified path can be built for.

    Raises:
        InputError: The loss is not known to be convex in the outputs, the model reads other inputs than one tensor, or
            the network does not fit.
    """
    if not task.loss.convex:
        raise InputError(
            f"builder certified: the loss {task.loss.name} is not known to be convex in the outputs, which the proof "
            f"needs; declare it with --loss-is-convex, or {INSTEAD}"
        )
    first = first_inputs(task)
    if not isinstance(first, Tensor):
        raise InputError(f"builder certified: the network reads {shapes_of(first)}, expected one tensor; {INSTEAD}")
    try:
        program = task_program(task)
    except InputError as error:
        raise InputError(f"builder certified: {error}; {INSTEAD}") from None
    return read_network(program)
