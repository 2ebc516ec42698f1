"""The barrier after calibration: at each t outputs are divided by the temperature that fits them best (a control).

A network halfway between two may predict the right classes with the wrong confidence; its loss is then high for a
reason that one number mends (arXiv 2510.08023). What is left of a barrier at the best
temperature of each t is not that.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation.barriers import Barriers, barriers
from connectivity_hooks.evaluation.calibration import fit_temperature, require_logits
from connectivity_hooks.evaluation.measurement import Measurement, SampleScores, score, summarise
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

_BYTES = 1 << 28
"""256 MB: outputs of the held-out samples that are kept while a temperature is fitted; more are computed again."""


@dataclass(frozen=True)
class Calibrating:
    """Which samples temperatures are fitted on.

    Attributes:
        hold_out: Share of the training samples.
        seed: Draws them.
    """

    hold_out: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.hold_out, numbers.Real) or not 0 < self.hold_out < 1:
            raise UsageError(
                f"calibrate: expected a share of the training samples between 0 and 1, found {self.hold_out!r}"
            )
        if not isinstance(self.seed, numbers.Integral):
            raise UsageError(f"calibrate: expected a whole number as seed, found {self.seed!r}")


@dataclass(frozen=True)
class Calibrated:
    """A path whose outputs are calibrated at each t that was measured; no proven bound is about it.

    Attributes:
        ts: Where.
        temperatures: T at each of them; None where there is none, see `TemperatureFit`: outputs stay as they are.
        curves: For each split what was measured at T.
        barriers: For each split the barriers, above ends that are calibrated too.
        samples: How many temperatures were fitted on.
        seed: Drew them.
    """

    ts: Sequence[float]
    temperatures: Sequence[float | None]
    curves: Mapping[str, Sequence[Measurement]]
    barriers: Mapping[str, Barriers]
    samples: int
    seed: int

    def temperature(self, t: float) -> float | None:
        """Return T at a t that was measured."""
        return self.temperatures[list(self.ts).index(t)]


def calibrate(
    passes: Passes,
    task: Task,
    ts: Sequence[float],
    arc: npt.NDArray[np.float64],
    how: Calibrating,
    progress: Progress = SILENT,
) -> Calibrated:
    """Measure a path again at some t, its outputs divided by the temperature of each.

    Time: a pass over all splits and the held-out samples for each t; the latter about ten times where their outputs
    take more than 256 MB.

    Args:
        passes: Runs the module along the path, corrected where it is.
        task: Its loss is settled on how targets are read.
        ts: From 0 to 1, in order.
        arc: Length of the path up to each.
        how: Which samples are held out.
        progress: Shows how far it is.

    Raises:
        InputError: The loss is not one of logits.
    """
    require_logits(task.loss, "calibrate")
    held_out = task.train.sample(max(1, round(how.hold_out * len(task.train))), int(how.seed))
    ends: dict[str, tuple[SampleScores, SampleScores]] = {}
    found: dict[float, tuple[float | None, dict[str, SampleScores]]] = {}
    curves: dict[str, list[Measurement]] = {split.name: [] for split in task.splits()}
    first = [0.0, 1.0]  # which all others are compared with
    for t in progress.track([*first, *(t for t in ts if t not in first)], "calibrating the path", len(ts)):
        temperature = _temperature(passes, t, held_out, task.loss)
        scores = {split.name: _scores(passes, t, split, task.loss, temperature) for split in task.splits()}
        found[t] = (temperature, scores)
        if t == 1.0:
            ends = {name: (found[0.0][1][name], scores[name]) for name in scores}
        if t not in first:
            found[t] = (temperature, {})
            for name, of in scores.items():
                curves[name].append(summarise(t, name, of, ends[name], "forward", task.loss.name))
    for name, (a, b) in ends.items():
        whole = [summarise(t, name, of, (a, b), "forward", task.loss.name) for t, of in ((0.0, a), (1.0, b))]
        curves[name] = sorted([*whole, *curves[name]], key=lambda point: point.t)
    return Calibrated(
        ts=tuple(ts),
        temperatures=tuple(found[t][0] for t in ts),
        curves={name: tuple(curve) for name, curve in curves.items()},
        barriers={name: barriers(curve, arc) for name, curve in curves.items()},
        samples=len(held_out),
        seed=int(how.seed),
    )


def _temperature(passes: Passes, t: float, held_out: Split, loss: Loss) -> float | None:
    kept: list[tuple[Tensor, Tensor]] = []
    size = 0
    for outputs, targets in passes.scored(t, held_out):
        size += outputs.nbytes + targets.nbytes
        if size > _BYTES:
            kept.clear()
            return fit_temperature(partial(passes.scored, t, held_out), loss)
        kept.append((outputs, targets))
    return fit_temperature(lambda: kept, loss)


@torch.no_grad()
def _scores(passes: Passes, t: float, split: Split, loss: Loss, temperature: float | None) -> SampleScores:
    return score(_divided(passes.scored(t, split), temperature or 1.0), loss)


def _divided(batches: Iterator[tuple[Tensor, Tensor]], temperature: float) -> Iterator[tuple[Tensor, Tensor]]:
    return ((outputs.double() / temperature, targets) for outputs, targets in batches)
