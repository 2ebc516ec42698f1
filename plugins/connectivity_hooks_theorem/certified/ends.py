"""One end of a certified path: its weights, its outputs on the training split, and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.tasks import IGNORED, Loss, Task
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import inputs
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.importance import Importance

_BELOW = 0.98
"""Sub-networks aim a little below the target: their loss inside the whole network differs by rounding. Outputs deviated
by 5e-7 at most (docs/benchmarks.md); two per cent leave room for losses that are small differences of large outputs."""


@dataclass(frozen=True)
class End:
    """An end of the path.

    Attributes:
        name: ``A`` or ``B``.
        weights: Its weights.
        on_device: The same on the task's device, floating weights in the task's type.
        outputs: (N, C) on the training split.
        targets: (N, …).
        kind: The task's loss.
        loss: Its mean on the training split.
        importance: For spaces at a cut the share of each neuron; empty where it was not asked for.
    """

    name: str
    weights: Weights
    on_device: Weights
    outputs: Tensor
    targets: Tensor
    kind: Loss
    loss: float
    importance: dict[int, Tensor]

    def goal(self, target: float, *, imitate: bool) -> Goal:
        """Return what its sub-networks should reach, by learning its own outputs or else the targets."""
        outputs = self.outputs if imitate else None
        return Goal(self.targets, self.kind, self.outputs.shape[1], outputs, target * _BELOW)


@torch.no_grad()
def read_end(network: Network, weights: Weights, task: Task, name: str, importance: Importance | None = None) -> End:
    """Run an end over the training split, and gather the importance of its neurons.

    Raises:
        InputError: There are fewer samples than classes, targets that do not fit the loss, or a layer whose neurons are
            silent for every sample.
    """
    on_device = {
        key: tensor.to(task.device, task.dtype if tensor.is_floating_point() else None)
        for key, tensor in weights.items()
    }
    outputs, awake = [], set[int]()
    for batch in inputs(task.train, task.batch_size):
        passed = [batch]
        for cut in range(1, len(network.cuts)):
            passed.append(Stretch(network, cut - 1, cut).run(on_device, passed[-1]))
            awake |= {cut for value in passed[-1].values() if bool(value.any())}
        (found,) = Stretch(network, len(network.cuts) - 1).run(on_device, passed[-1]).values()
        outputs.append(found)
        if importance is not None:
            importance.add(passed[1:], found)
    _refuse_silence(network, awake, name)
    gathered = torch.cat(outputs)
    targets = training_targets(task, gathered)
    if not targets.is_floating_point() and len(targets) < gathered.shape[1]:
        raise InputError(
            f"builder certified: {len(targets)} training samples are fewer than the {gathered.shape[1]} classes; give "
            "more data"
        )
    loss = float(task.loss.measure(gathered, targets).mean())
    shares = {} if importance is None else importance.shares(on_device)
    return End(name, weights, on_device, gathered, targets, task.loss, loss, shares)


def training_targets(task: Task, outputs: Tensor) -> Tensor:
    """Return the targets of the training split in the shape that goes with outputs (N, C).

    Raises:
        InputError: They do not fit the loss, or labels are ignored, which a sub-network cannot be fitted to.
    """
    targets = task.train.targets().to(outputs.device)
    task.loss.check(outputs, targets)
    if task.loss.fit is not None:
        _, targets = task.loss.fit(outputs, targets)
    if task.loss.name == "cross-entropy" and not targets.is_floating_point() and bool((targets == IGNORED).any()):
        raise InputError(f"builder certified: some labels are {IGNORED}, which is ignored; leave these samples out")
    return targets


def _refuse_silence(network: Network, awake: set[int], name: str) -> None:
    for cut in range(1, len(network.cuts)):
        if cut not in awake:
            space = network.spaces[network.cut_spaces(cut)[0]].name
            raise InputError(
                f"builder certified: end {name}: every neuron of {space} is silent for every sample, nothing can be "
                "learnt from a dead layer; train the network longer or start it anew"
            )
