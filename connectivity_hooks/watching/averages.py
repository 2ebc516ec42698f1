"""Whether running averages of the weights (EMA, SWA) are connected to the trained weights by a straight line."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from connectivity_hooks.contracts.condition import Condition, Verdict
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.errors import UsageError, near_matches
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.finding import Finding, find
from connectivity_hooks.evaluation.phrases import rises
from connectivity_hooks.evaluation.running_statistics import tracked_norms
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.model.weights import Weights, weights_of
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.paths.path import Path
from connectivity_hooks.processes import refuse_sharded
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.tasks.task import Task

Averages: TypeAlias = "nn.Module | Mapping[str, nn.Module]"

AVERAGE = "average"
"""Name of the condition, and of a single average that was given none."""
AT_THE_ENDS = ("loss at t = 0", "loss at t = 1")
"""Among the details of a verdict: the trained weights' loss, and the average's."""
POINTS = 5
"""Points of the line, ends included: t = 0, 1/4, 1/2, 3/4 and 1. Each is a pass over the probe."""
TOO_FEW = "too few samples to tell whether loss or error rise on the line to the trained weights; give more, samples="

BATCH_NORM = (
    "watch: averages=: {} has running statistics of batch norm, and those of an average, and of weights in between, "
    "need not fit; correct='batch-norm' measures them anew on the probe at every t, for a pass more at each"
)


class LineToAverages(Condition):
    """Whether loss and error stay low on the straight line from the trained weights to each average of them.

    θ(t) = (1 - t)·θ + t·θ̄ is measured on the probe at t = 0, 1/4, 1/2, 3/4 and 1, by the rules of every evaluation: a
    rise is one above the worse end, paired by sample, and counts from 5 % of the worse end's loss or 2 % of guessing's
    on, or from 2 points of error (`connectivity_hooks.evaluation.climb`). Between these t nothing is known. An
    `AveragedModel` that has not taken in anything yet is passed over.

    What is run is a copy of the average, made at each check and given up after it: 5 passes over the probe for each
    average, 10 with a correction that makes one for each t, and some on its first samples, which show that it can be
    measured. Memory: the copy, beside the training's.

    Args:
        trained: The model, as it is trained.
        averages: By name, as they are kept: an `AveragedModel`, timm's `ModelEmaV3`, or a module.
        correct: What is done to the weights at each t, ends included.
        seed: Seed of every random choice.

    Raises:
        UsageError: An average has not the weights of the model, or is the model.
    """

    name = AVERAGE

    def __init__(
        self, trained: nn.Module, averages: Mapping[str, nn.Module], correct: Correction | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(seed=seed)
        self._trained, self._averages, self._correct = unwrapped(trained), dict(averages), correct
        for name, average in self._averages.items():
            _require_average_of(self._trained, inside(average), name)

    @property
    def lacks_statistics(self) -> bool:
        """Whether there are running statistics that nothing measures anew."""
        return self._correct is None and bool(tracked_norms(self._trained))

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for each average; its name stands where others have a layer's."""
        for name, average in self._averages.items():
            if _has_begun(average):
                yield self._verdict(name, inside(average), observation)

    def _verdict(self, name: str, average: nn.Module, observation: Observation) -> Verdict:
        for module in (self._trained, average):
            refuse_sharded(module, "a probe forward")
        task = _task(average, self._trained, observation)
        ends = [_placed(weights_of(module), task) for module in (self._trained, average)]
        evaluation = evaluate(Path.from_points(ends), task, points=POINTS, refine=0, correct=self._correct)
        parameters = {each for each, _ in self._trained.named_parameters()}
        norms = [_norm(weights, parameters) for weights in ends]
        return _judged(name, evaluation, find(evaluation, task.train.name), norms)


def named(averages: Averages) -> dict[str, nn.Module]:
    """Return averages by name; a single one is the `AVERAGE`.

    Raises:
        UsageError: There are none, or one is no module.
    """
    found: Mapping[Any, Any] = averages if isinstance(averages, Mapping) else {AVERAGE: averages}
    for name, average in found.items():
        if not isinstance(name, str) or not name or not isinstance(average, nn.Module):
            raise UsageError(
                f"watch: averages=: expected a module that holds an average of the weights, or several by name, found "
                f"{name!r:.40}: {type(average).__name__}"
            )
    if not found:
        raise UsageError("watch: averages=: expected one average or more, found none; leave it out")
    return dict(found)


def inside(average: nn.Module) -> nn.Module:
    """Return the module inside a wrapper that averages weights, such as AveragedModel or timm's ModelEmaV3."""
    children = dict(average.named_children())
    return unwrapped(children["module"] if set(children) == {"module"} else average)


def _has_begun(average: nn.Module) -> bool:
    count = getattr(average, "n_averaged", None)
    return not isinstance(count, torch.Tensor) or int(count) > 0


def _require_average_of(trained: nn.Module, average: nn.Module, name: str) -> None:
    if average is trained:
        raise UsageError(f"watch: averages=: {name} is the model itself; give what averages its weights")
    ours, theirs = ({key: tuple(t.shape) for key, t in weights_of(each).items()} for each in (trained, average))
    for key in (*ours, *theirs):
        if ours.get(key) != theirs.get(key):
            found = f"shape {theirs[key]}, {ours[key]} in the model" if ours.keys() & theirs.keys() >= {key} else ""
            missing = found or (near_matches(key, theirs) if key in ours else "which the model has not")
            raise UsageError(f"watch: averages=: {name} is no average of {type(trained).__name__}: {key}: {missing}")


def _task(average: nn.Module, trained: nn.Module, observation: Observation) -> Task:
    """Return the task of the probe, whose module is a copy of the average, in the wider type of both."""
    device, dtype = torch.device("cpu"), torch.float32
    for tensor in weights_of(trained).values():
        if tensor.is_floating_point():
            device, dtype = tensor.device, tensor.dtype
            break
    for tensor in weights_of(average).values():
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    split = observation.split
    if isinstance(split, BatchedSplit):
        split = split.at(device, dtype)
    return Task(
        lambda: copy.deepcopy(average),
        split,
        loss=observation.loss,
        device=device,
        dtype=dtype,
        batch_size=observation.batch_size,
        forward=observation.forward,
        model_name=type(average).__name__,
    )


def _placed(weights: Weights, task: Task) -> Weights:
    """Return weights where and in the type in which they are compared."""
    return {
        name: tensor.to(task.device, task.dtype if tensor.is_floating_point() else None)
        for name, tensor in weights.items()
    }


def _judged(name: str, evaluation: Evaluation, found: Finding, norms: list[float]) -> Verdict:
    (split,) = evaluation.curves
    height = found.loss.height
    if not math.isfinite(height) or not all(map(math.isfinite, evaluation.barriers[split].loss_ends)):
        return Verdict.invalid(AVERAGE, name, "the loss is not a finite number at an end of the line, or on it")
    holds = None if found.verdict == "undecided" else found.verdict != "barrier"
    reason = {None: TOO_FEW, False: "" if holds is not False else rises(split, found), True: ""}[holds]
    return Verdict(
        AVERAGE, name, holds, height, found.loss.counts_from, "loss above the worse end", reason,
        _details(evaluation, split, found, norms),
    )  # fmt: skip


def _details(
    evaluation: Evaluation, split: str, found: Finding, norms: list[float]
) -> dict[str, float | int | str | None]:
    curve, error = evaluation.curves[split], found.error
    losses = {f"loss at t = {point.t:g}": point.loss for point in curve}
    errors = {f"error at t = {point.t:g}": point.error for point in curve if point.error is not None}
    return {
        "least": found.loss.least,
        "most": found.loss.most,
        "t": found.loss.t,
        "error_rise": None if error is None else error.height,
        "error_least": None if error is None else error.least,
        "error_most": None if error is None else error.most,
        "error_t": None if error is None else error.t,
        **losses,
        **errors,
        "distance": evaluation.length,
        "norm_trained": norms[0],
        "norm_average": norms[1],
        "correction": evaluation.correction,
        "samples": curve[0].samples,
    }


def _norm(weights: Weights, parameters: set[str]) -> float:
    """Return the Euclidean norm of the parameters, in float64."""
    return math.sqrt(sum(float(weights[name].double().square().sum()) for name in sorted(parameters & weights.keys())))
