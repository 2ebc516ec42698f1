"""Verifying a path file, claim by claim, with code that no builder uses."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import Checkpoint, fit, read
from connectivity_hooks.errors import InputError
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, Path
from connectivity_hooks.paths.weights import Weights, assign, same, weights_of
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Program, read_program
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.findings import Finding, Kind, Verification
from connectivity_hooks.verification.spread import changed_outputs, output_weights

_PROBED = 512
_UNITS = 2000


def verify(
    file: str | os.PathLike[str],
    task: Task,
    *,
    checkpoints: Sequence[str | os.PathLike[str]] = (),
    interior: int = 3,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Verification:
    """Check every claim of a path file.

    Of each segment: which weights move; that along a ``constant`` one no changed weight can reach an output; that along
    a ``convex`` one only the output layer moves; that outputs inside it are what this implies, at random t. Of each
    point: that its weights are finite and fit the model, and its loss on every split. Of the ends, if the checkpoints
    are given: digests, and weights bit for bit.

    Time: a pass over the data for each point; memory: two points' weights and the outputs of a few samples.

    Args:
        file: The path file.
        task: Model, data and loss.
        checkpoints: The two checkpoints, in the order of the path.
        interior: Random t inside each segment.
        seed: Seed of these t.
        progress: Shows how far it is.

    Raises:
        InputError: The file is no path file, or does not fit the model at all.
    """
    path = Path.load(file)
    return _Verifier(path, task, [read(pathlib.Path(end)) for end in checkpoints], interior, seed).run(progress)


@dataclass
class _Verifier:
    path: Path
    task: Task
    ends: Sequence[Checkpoint]
    interior: int
    seed: int
    findings: list[Finding] = field(default_factory=list)
    excess: float = float("-inf")
    deviation: float = 0.0

    def run(self, progress: Progress) -> Verification:
        self.model = self.task.blank()
        self._fit_model()
        first = self.task.train.head(self.task.batch_size)
        with SideBySide(self.model, next(iter(first.batches(self.task.batch_size)))[0]) as self.side_by_side:
            return self._check(progress)

    def _check(self, progress: Progress) -> Verification:
        self.program = self._program()
        self.probed = self.task.train.head(min(_PROBED, len(self.task.train)))
        self.generator = torch.Generator().manual_seed(self.seed)
        self._check_ends()
        largest: dict[str, tuple[float, int]] = {}
        before: Weights | None = None
        count = len(self.path.edits) + 1
        for index, point in enumerate(progress.track(self.path.points(), "verifying points", count)):
            self._measure(index, point, largest)
            if before is not None and self.path.basis == "polyline":
                self._check_segment(index - 1, before, point)
            before = point
        return Verification(
            tuple(self.findings),
            {name: self._bound(largest[name][0]) for name in largest},
            largest,
            max(self.excess, 0.0),
            self.deviation,
            {kind: self.path.guarantees.count(kind) for kind in (CONSTANT, CONVEX, MEASURED)},
            self._ends_in_words(),
        )

    def _say(self, kind: Kind, where: str, reason: str) -> None:
        self.findings.append(Finding(kind, where, reason))

    def _bound(self, largest: float) -> float | None:
        return None if self.findings or MEASURED in self.path.guarantees else largest

    def _fit_model(self) -> None:
        expected = weights_of(self.model)
        missing, extra = sorted(expected.keys() - self.path.start), sorted(self.path.start.keys() - expected)
        if missing or extra:
            raise InputError(f"the path does not fit the model: missing {missing[:5]}, unexpected {extra[:5]}")
        for name, tensor in expected.items():
            if tensor.shape != self.path.start[name].shape:
                found = tuple(self.path.start[name].shape)
                raise InputError(f"the path does not fit the model: {name} is {found}, expected {tuple(tensor.shape)}")

    def _program(self) -> Program | None:
        if set(self.path.guarantees) <= {MEASURED}:
            return None
        inputs, _ = next(iter(self.task.train.head(2).batches(2)))
        if len(inputs) < 2:
            inputs = torch.cat([inputs, inputs])
        try:
            return read_program(self.model, inputs)
        except InputError as error:
            self._say("constant", "the model", f"its structure cannot be read, so nothing can be proven: {error}")
            return None

    def _check_ends(self) -> None:
        if not self.ends:
            return
        if len(self.ends) != 2:
            raise InputError(f"expected the two checkpoints of the path, found {len(self.ends)}")
        points = (self.path.start, self.path.point(len(self.path.edits)))
        for index, (name, checkpoint, point) in enumerate(zip("AB", self.ends, points, strict=True)):
            recorded = self.path.end_points[index].sha256 if self.path.end_points else None
            if recorded != checkpoint.sha256:
                self._say(
                    "end", f"end {name}", f"digest {checkpoint.sha256[:12]}… expected, found {str(recorded)[:12]}…"
                )
            if index == 0 or self.path.alignment is None:
                self._compare(name, fit(checkpoint, self.model).weights, point)

    def _compare(self, end: str, expected: Weights, found: Weights) -> None:
        for name, tensor in expected.items():
            wide = tensor.to(found[name].dtype) if tensor.is_floating_point() else tensor
            if not same(wide, found[name]):
                self._say("end", f"end {end}, {name}", "differs from the checkpoint")

    def _ends_in_words(self) -> str:
        if not self.ends:
            return "not compared with the checkpoints"
        if any(finding.kind == "end" for finding in self.findings):
            return "not those of the checkpoints"
        if self.path.alignment is not None:
            return "A is the checkpoint bit for bit, B has its digest and was aligned"
        return "the checkpoints bit for bit"

    @torch.no_grad()
    def _measure(self, index: int, point: Weights, largest: dict[str, tuple[float, int]]) -> None:
        for name, tensor in point.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                self._say("weights", f"point {index}, {name}", "holds NaN or Inf")
        assign(weights_of(self.model), point)
        for split in self.task.splits():
            loss = self._loss(split)
            if not loss < float("inf"):
                self._say("loss", f"point {index}", f"the {split.name} loss is {loss}")
            if split.name not in largest or loss > largest[split.name][0]:
                largest[split.name] = (loss, index)

    def _loss(self, split: Split) -> float:
        total = torch.zeros((), dtype=torch.float64)
        for outputs, targets in self.side_by_side.outputs(split.batches(self.task.batch_size)):
            total += self.task.loss.per_sample(outputs.double(), targets).sum(dtype=torch.float64).cpu()
        return float(total) / len(split)

    def _check_segment(self, segment: int, before: Weights, after: Weights) -> None:
        guarantee = self.path.guarantees[segment]
        if guarantee == MEASURED:
            return
        if self.program is not None:
            self._check_structure(segment, before, after, self.program)
        self._check_outputs(segment, before, after)

    def _check_structure(self, segment: int, before: Weights, after: Weights, program: Program) -> None:
        where = f"segment {segment} ({self.path.guarantees[segment]})"
        used = {name for step in program.steps for name in step.weights.values()}
        moved = {name for name in before if name in used and not torch.equal(before[name], after[name])}
        if self.path.guarantees[segment] == CONSTANT:
            changes, names = changed_outputs(program, before, after)
            if changes:
                self._say("constant", where, f"a change of {', '.join(names)} can reach the outputs")
            return
        if not self.task.loss.convex:
            self._say("convex", where, f"the loss {self.task.loss.name} is not known to be convex in the outputs")
        others = sorted(moved - output_weights(program))
        if others:
            self._say("convex", where, f"moves {', '.join(others)}, expected the output layer alone")

    def _check_outputs(self, segment: int, before: Weights, after: Weights) -> None:
        """Compare outputs inside a segment with what its guarantee says, and its loss with that of its ends."""
        first, last = self._outputs(before), self._outputs(after)
        guarantee, tolerance = self.path.guarantees[segment], _UNITS * torch.finfo(self.task.dtype).eps
        scale = float(torch.stack([first.abs().max(), last.abs().max()]).max()) or 1.0
        limit = max(self._mean(first), self._mean(last))
        worst = float((last - first).abs().max()) / scale if guarantee == CONSTANT else 0.0
        for t in self._inside():
            found = self._outputs(_between(before, after, t))
            expected = first if guarantee == CONSTANT else torch.lerp(first, last, t)
            worst = max(worst, float((found - expected).abs().max()) / scale)
            self.excess = max(self.excess, self._mean(found) / limit - 1 if limit > 0 else 0.0)
        self.deviation = max(self.deviation, worst)
        if not worst <= tolerance:
            where = f"segment {segment} ({guarantee})"
            self._say(guarantee, where, f"outputs deviate by {worst:.1e}, rounding explains {tolerance:.1e}")

    def _inside(self) -> Iterator[float]:
        yield from torch.rand(self.interior, generator=self.generator, dtype=torch.float64).tolist()

    @torch.no_grad()
    def _outputs(self, weights: Weights) -> Tensor:
        assign(weights_of(self.model), weights)
        batches = self.probed.batches(self.task.batch_size)
        return torch.cat([self.model(inputs) for inputs, _ in batches]).double()

    def _mean(self, outputs: Tensor) -> float:
        targets = self.probed.targets().to(outputs.device)
        return float(self.task.loss.per_sample(outputs, targets).mean())


def _between(before: Weights, after: Weights, t: float) -> Weights:
    return {
        name: torch.lerp(tensor, after[name], t) if tensor.is_floating_point() else tensor
        for name, tensor in before.items()
    }
