"""Running statistics measured anew for weights that no training run has seen."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from connectivity_hooks.contracts import Correction, Prepared, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import ModelOnPath, statistics_of, tracked_norms
from connectivity_hooks.model import forward
from connectivity_hooks.tasks import Split
from connectivity_hooks_corrections.hooked_passes import uncompiled
from connectivity_hooks_corrections.samples import SAMPLES, DrawnSamples


@dataclass(frozen=True)
class Options:
    """Options of `BatchNorm`."""

    samples: int = option(SAMPLES, "Training samples that the statistics are measured on, at most.", ge=2)


class BatchNorm(Correction):
    """Statistics of batch norm measured anew at each t, ends included.

    Averaged running statistics fit neither end of a path, so that networks with batch norm may seem unconnected that
    are not. Here they are measured under the weights of each t, on training samples that are drawn once, in random
    order. Instance norms that track statistics are measured likewise; networks without either are left as they are.
    Costs a pass over the samples for each t.
    """

    name = "batch-norm"
    Options = Options
    by_weights_alone = True

    def prepare(self, moving: ModelOnPath) -> Prepared:
        """Draw the samples, and find the norms that can be measured."""
        task = moving.task
        return Reestimation(moving.model, task.train, task.batch_size, self.options.samples, self.seed)


class Reestimation(Prepared):
    """Measures the running means and variances of a model's norms, on the same samples at every point of a path.

    The samples are drawn once, see `DrawnSamples`. Each norm gets the average of its batches' own statistics
    (``momentum=None``; Izmailov et al. 2018, section 3.3), summed in float64, with the norms alone in training mode.
    It covers batch norms and instance norms that track statistics, and subclasses that normalise by their batch alone;
    what else keeps statistics is left as the path has it and named.

    Args:
        model: The model, in evaluation mode; run with the weights it has to find out which subclasses qualify.
        split: Where the samples are drawn.
        batch_size: Samples of a batch.
        samples: How many are drawn at most.
        seed: Seed of the drawing.

    Attributes:
        norms: The norms that are measured, by name.
        samples: What they are measured on; None where there are none.
        left: Names of the modules that derive from a norm but do not normalise by their batch alone.

    Raises:
        InputError: The split has fewer than two samples.
    """

    def __init__(self, model: nn.Module, split: Split, batch_size: int, samples: int = SAMPLES, seed: int = 0) -> None:
        self._model = model
        self.norms = tracked_norms(model)
        self.left = ()
        self.samples: DrawnSamples | None = None
        if not self.norms:
            return
        if len(split) < 2:
            raise InputError(
                f"data: statistics of batch norm cannot be re-estimated from {len(split)} training sample, expected at "
                "least 2; use the stored ones"
            )
        self.samples = DrawnSamples(split, batch_size, samples, seed)
        self.left = self._unlike_batch_norm(self.samples)
        self.norms = {name: norm for name, norm in self.norms.items() if name not in self.left}

    @torch.no_grad()
    def apply(self, t: float = 0.0) -> None:
        """Write the statistics under the model's present weights into it; they do not depend on `t` otherwise."""
        if self.samples is None:
            return
        with uncompiled(), self.measuring():
            for inputs in self.samples.batches():
                forward(self._model, inputs)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Let the norms normalise by their batches in the passes of the block, and write the averages when it ends."""
        sums = {norm: _Sum(norm) for norm in self.norms.values()}
        with ExitStack() as stack:
            for norm, total in sums.items():
                stack.enter_context(_measuring(norm))
                stack.callback(norm.register_forward_hook(total.add).remove)
            yield
        for total in sums.values():
            total.write()

    @torch.no_grad()
    def _unlike_batch_norm(self, samples: DrawnSamples) -> tuple[str, ...]:
        """Return the norms of other classes than PyTorch's own whose outputs depend on their running statistics."""
        foreign = {name: norm for name, norm in self.norms.items() if not type(norm).__module__.startswith("torch.nn")}
        found = dict.fromkeys(foreign, True)

        def look(name: str, norm: _NormBase, given: tuple[Tensor, ...]) -> None:
            found[name] = not _normalises_by_its_batch(norm, given[0])

        if foreign:
            with ExitStack() as stack:
                stack.enter_context(uncompiled())
                for name, norm in foreign.items():
                    hook = norm.register_forward_pre_hook(lambda norm, given, name=name: look(name, norm, given))
                    stack.callback(hook.remove)
                forward(self._model, next(samples.batches()))
        return tuple(name for name, unlike in found.items() if unlike)


class _Sum:
    """The sum of one norm's statistics over its calls; the stored ones are put back if it is never called."""

    def __init__(self, norm: _NormBase) -> None:
        self._tensors = statistics_of(norm)
        self._stored = [tensor.clone() for tensor in self._tensors]
        self._sums = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in self._tensors]
        self._calls = 0

    def add(self, *_: object) -> None:
        for total, tensor in zip(self._sums, self._tensors, strict=True):
            total += tensor
        self._calls += 1

    def write(self) -> None:
        for tensor, total, stored in zip(self._tensors, self._sums, self._stored, strict=True):
            tensor.copy_(total / self._calls if self._calls else stored)


@contextmanager
def _measuring(norm: _NormBase) -> Iterator[None]:
    """Let a norm, and none of the modules in it, normalise by its batch and hold the statistics of that batch alone."""
    momentum, training = norm.momentum, norm.training
    counted = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    norm.reset_running_stats()
    norm.momentum, norm.training = 1.0, True
    if type(norm) is nn.SyncBatchNorm:  # each process measures for itself, and others may not be measuring at all
        vars(norm)["forward"] = types.MethodType(_BatchNorm.forward, norm)
    try:
        yield
    finally:
        norm.momentum, norm.training = momentum, training
        if counted is not None and norm.num_batches_tracked is not None:  # how long it was trained stays true
            norm.num_batches_tracked.copy_(counted)
        vars(norm).pop("forward", None)


def _normalises_by_its_batch(norm: _NormBase, x: Tensor) -> bool:
    """Say whether a norm in training mode ignores its running statistics, and keeps its input's mean."""
    statistics, outputs = statistics_of(norm), []
    stored = [tensor.clone() for tensor in statistics]
    for mean, var in ((0.0, 1.0), (1.0, 4.0)):
        with _measuring(norm):
            norm.running_mean.fill_(mean)  # type: ignore[union-attr]
            norm.running_var.fill_(var)  # type: ignore[union-attr]
            outputs.append(norm.forward(x.clone()))
            kept = norm.running_mean.clone()  # type: ignore[union-attr]
    for tensor, values in zip(statistics, stored, strict=True):
        tensor.copy_(values)
    own = x.double().transpose(0, 1).flatten(1).mean(1)
    return torch.allclose(*outputs) and torch.allclose(kept.double(), own, rtol=1e-2, atol=1e-4)
