"""REPAIR: each channel of the network between two checkpoints varies as it does in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from connectivity_hooks.contracts import Correction, Prepared, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import ModelOnPath
from connectivity_hooks.paths import MEASURED
from connectivity_hooks_corrections.batch_norm import Reestimation
from connectivity_hooks_corrections.choice import SEVERAL_TIMES, Choice, choose
from connectivity_hooks_corrections.hooked_passes import modules_run
from connectivity_hooks_corrections.layer_pass import measured
from connectivity_hooks_corrections.moments import Statistics, matching
from connectivity_hooks_corrections.samples import SAMPLES, DrawnSamples

_SHOWN = 5
"""Names in a note: enough to see what they have in common, and one line."""

_SILENT = "did not run at one of the path's points"


@dataclass(frozen=True)
class Options:
    """Options of `Repair`."""

    samples: int = option(SAMPLES, "Training samples that means and deviations are measured on, at most.", ge=2)


class Repair(Correction):
    """Mean and standard deviation of each hidden channel set to what lies between both ends'.

    Between two networks the values inside vary less than in either, layer by layer, although their neurons were aligned
    (Jordan et al. 2023, arXiv 2211.08403, "REPAIR"). Each linear map and convolution but the output layer gets a factor
    and a shift for each channel, in one pass over the samples in which later layers see the corrected values; they are
    fused into weight and bias. Means and deviations are over samples and positions, without padding where the batch has
    an attention mask. What only batch norms read is corrected by statistics measured anew, as by ``batch-norm``. Layers
    that have no bias, share weights, run several times or compute their weights are left and named. Both ends, points
    that a path passes and what a guarantee reaches stay as they are. Costs a pass over the samples for each t, and one
    for each point of the path; the larger the batch (``--batch-size``), the closer the means and deviations.
    """

    name = "repair"
    everywhere = False
    Options = Options

    def prepare(self, moving: ModelOnPath) -> Prepared:
        """Draw the samples, find out which layers can be corrected, and measure them at the path's points."""
        return Repaired(moving, self.options.samples, self.seed)


class Repaired(Prepared):
    """Corrects a model between the points of its path, on the same samples at every t.

    In a pass at t each layer's outputs are normalised by the statistics of their batch, and scaled to the target; the
    statistics of all batches, averaged in float64, are what is fused in the end. With one batch both are the same.
    Memory: beside the samples, two numbers in float64 for each channel and point of the path.

    Args:
        moving: The module and its path.
        samples: How many are drawn at most.
        seed: Seed of the drawing.

    Attributes:
        left: Names of the modules that cannot be corrected.
        notes: What is corrected, and why what is left is left.

    Raises:
        InputError: The training split has fewer than two samples.
    """

    def __init__(self, moving: ModelOnPath, samples: int = SAMPLES, seed: int = 0) -> None:
        train, batch_size = moving.task.train, moving.task.batch_size
        if len(train) < 2:
            raise InputError(f"data: repair cannot measure deviations of {len(train)} training sample; it needs 2")
        self._moving = moving
        moving.go(0.0)
        self._norms = Reestimation(moving.model, train, batch_size, samples, seed)
        self._samples = self._norms.samples or DrawnSamples(train, batch_size, samples, seed)
        with modules_run():
            chosen = choose(moving.model, self._norms.norms, self._samples)
        self._points, left = self._measured_points(chosen)
        self._layers = [layer for layer in chosen.corrected if layer.name not in left]
        self.left = (*chosen.left, *left, *self._norms.left)
        self.notes = tuple(_notes(len(self._layers), len(self._norms.norms), {**chosen.left, **left}))

    @torch.no_grad()
    def apply(self, t: float) -> None:
        """Give each channel the mean and deviation between those at the path's points beside `t`."""
        segment, share = self._moving.path.segment(t)
        if share == 0:
            return
        if not self._layers:
            self._norms.apply(t)
            return
        before, after = self._points[segment], self._points[segment + 1]
        targets = {layer.name: before[layer.name].lerp(after[layer.name], share) for layer in self._layers}
        with self._norms.measuring():
            found = measured(self._moving.model, self._samples, self._layers, targets)
        for layer in self._layers:
            statistics = found[layer.name].moments.statistics()
            if statistics is not None:  # which parts run may depend on the weights
                layer.fuse(*matching(statistics, targets[layer.name], self._moving.task.dtype))

    def _measured_points(self, chosen: Choice) -> tuple[dict[int, dict[str, Statistics]], dict[str, str]]:
        """Return the statistics at each point beside a segment without a guarantee, and layers that have none there."""
        path, points, left = self._moving.path, dict[int, dict[str, Statistics]](), dict[str, str]()
        for number in sorted({at for i, kind in enumerate(path.guarantees) if kind == MEASURED for at in (i, i + 1)}):
            self._moving.go(path.knots[number])
            found = measured(self._moving.model, self._samples, chosen.corrected)
            points[number] = {}
            for name, each in found.items():
                statistics = each.moments.statistics()
                if each.calls > len(self._samples.rows):
                    left[name] = SEVERAL_TIMES
                elif statistics is None:
                    left[name] = _SILENT
                else:
                    points[number][name] = statistics
        return points, left


def _notes(corrected: int, norms: int, left: Mapping[str, str]) -> Iterator[str]:
    """Yield what is corrected, and a line for each reason why something is left."""
    if not corrected and not norms:
        yield "repair corrects nothing: no batch norm, and no hidden linear map or convolution that can be corrected"
    else:
        yield (
            f"repair gives {_counted(corrected, 'layer')} the means and deviations between both ends', and measures "
            f"{_counted(norms, 'norm')} anew"
        )
    for reason in dict.fromkeys(left.values()):
        names = [name for name, why in left.items() if why == reason]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"repair leaves as the path has them, since they {reason}: {', '.join(names[:_SHOWN])}{more}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
