"""Verifying a path file, claim by claim, with code that no builder uses."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import Checkpoint, read
from connectivity_hooks.checkpoints.constants import constants_of, is_constant
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.facts import LIBRARY, in_words, unlike
from connectivity_hooks.model.pristine import pristine
from connectivity_hooks.model.weights import Weights, assign, weights_of
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.paths.fitting import require_fit, require_written
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, Path
from connectivity_hooks.paths.second_end import second_end_in_words
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Program, task_program
from connectivity_hooks.structure.untouched import Attributes, require_forgetful
from connectivity_hooks.tasks.loss import joined
from connectivity_hooks.tasks.own_loss import settle_loss
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.tasks.telling import telling
from connectivity_hooks.verification.convexity import between, rounding_of_mean
from connectivity_hooks.verification.ends import EndsFound, compare_ends
from connectivity_hooks.verification.findings import Finding, Kind, Verification
from connectivity_hooks.verification.guarantees import segment_faults
from connectivity_hooks.verification.outputs import outputs_of, require_repeated
from connectivity_hooks.verification.proof import Seen, coarse_loss, not_convex
from connectivity_hooks.verification.reading import mixed, reading_fault
from connectivity_hooks.verification.recorded_task import differences
from connectivity_hooks.verification.rounding import PRECISE, outputs_tolerance, relative_deviation

_Batch: TypeAlias = tuple[Tensor, Tensor]
"""Outputs and targets."""

_HELD = 1 << 30
"""Bytes of outputs held of one point and split, so that convex segments are looked at on every sample."""

_SHARES = (0.25, 0.5, 0.75)
"""Of a convex segment, on every sample: outputs are interpolated, so that none of these costs a pass."""

_VISIBLE = 1e-2
"""Of the loss at the larger end: what rounding in the passes, 2.4e-4 of the outputs at most, may add inside a segment.
What is computed there beyond that is above the bound, whatever explains it."""

_PROBED = 512
"""Samples whose outputs are computed inside every segment: a batch or two, for one segment costs several passes."""


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

    A bound is about the task's data and loss; a report beside the file that is of others is pointed out. Of each
    segment: which weights move; that along a ``constant`` one no changed weight can reach an output; that along a
    ``convex`` one only the output layer moves; that outputs inside it are what this implies, at random t; that the loss
    there is not above the line between its ends, as a convex one cannot be. Of the model: that its configuration, and
    the base of an adapter, are those that the file records, if it does. Of each point: that its weights are finite and
    fit the model, and its loss on every split. Of the ends, if the checkpoints are given: digests, and weights bit for
    bit; an end that was aligned is compared as a function, in float64.

    Time: a pass over the data for each point; memory: two points' weights and the outputs of a few samples.

    Args:
        file: The path file.
        task: Model, data and loss.
        checkpoints: The two checkpoints, in the order of the path.
        interior: Random t inside each segment.
        seed: Seed of these t, and of the samples that are looked at.
        progress: Shows how far it is.

    Raises:
        InputError: The file is no path file, or does not fit the model at all.
        UsageError: The task's type is too coarse to tell a fault from rounding.
    """
    if task.dtype not in PRECISE:
        coarse = str(task.dtype).removeprefix("torch.")
        raise UsageError(f"verify: {coarse} cannot tell a fault from rounding; use float32 or float64")
    path = Path.load(file)
    ends = [read(pathlib.Path(end)) for end in checkpoints]
    notes = differences(pathlib.Path(file), path, task.describe())
    return replace(_Verifier(path, task, ends, interior, seed).run(progress), notes=notes)


@dataclass
class _Verifier:
    path: Path
    task: Task
    checkpoints: Sequence[Checkpoint]
    interior: int
    seed: int
    findings: list[Finding] = field(default_factory=list)
    held: dict[str, list[_Batch]] = field(default_factory=dict)
    excess: float = float("-inf")
    deviation: float = 0.0
    coarse: list[str] = field(default_factory=list)

    def run(self, progress: Progress) -> Verification:
        self.model = self.task.blank()
        self.constants, self.attributes = constants_of(self.model), Attributes(self.model)
        self.fresh = pristine(self.model)
        require_fit(self.path, self.model)
        first = self.task.train.head(self.task.batch_size)
        with SideBySide(
            self.model, next(iter(first.batches(self.task.batch_size)))[0], self.task.forward
        ) as self.side_by_side:
            return self._check(progress)

    def _check(self, progress: Progress) -> Verification:
        self._settle()
        self.program = self._program()
        count = min(_PROBED, len(self.task.train))
        self.probed = self.task.train.sample(count, self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)
        model, ends = self._check_model(), self._ends()
        self._check_reading("weights between both ends", mixed(self.path.start, self.path.end), self.task.splits())
        largest: dict[str, tuple[float, int]] = {}
        before: Weights | None = None
        self._check_weights()
        for index, point in enumerate(progress.track(self.path.at_knots(), "verifying points", len(self.path.knots))):
            earlier, self.held = self.held, {}
            self._measure(index, point, largest)
            if before is not None:
                self._check_segment(index - 1, before, point)
                self._check_convexity(index - 1, earlier)
            before = point
        return Verification(
            tuple(self.findings),
            {name: self._bound(largest[name][0]) for name in largest},
            largest,
            max(self.excess, 0.0),
            self.deviation,
            {kind: self.path.guarantees.count(kind) for kind in (CONSTANT, CONVEX, MEASURED)},
            ends.words,
            self.task.describe(),
            "" if self.path.alignment is None else second_end_in_words(self.path.alignment),
            model=model,
            unseen_model=bool(self.path.facts) and not self.task.facts(),
        )

    @torch.no_grad()
    def _settle(self) -> None:
        """Let the first samples say how the loss reads targets, so that every batch is read in the same way."""
        self._write(self.path.start)
        for split in self.task.splits():
            few = telling(split)
            outputs, targets = next(iter(self.side_by_side.outputs(few.batches(len(few)))))
            inputs, _ = next(iter(few.batches(len(few))))
            where = f"{self.task.data_name or 'data'}: {split.name}"
            loss, _ = settle_loss(
                self.model, self.task.loss, (inputs, targets), outputs, split.targets(), where, self.task.forward
            )
            self.task = self.task.read_as(loss, self.task.notes)

    def _say(self, kind: Kind, where: str, reason: str) -> None:
        self.findings.append(Finding(kind, where, reason))

    def _bound(self, largest: float) -> float | None:
        return None if self.findings or self.coarse or MEASURED in self.path.guarantees else largest

    def _program(self) -> Program | None:
        if set(self.path.guarantees) <= {MEASURED}:
            return None
        try:
            return task_program(self.task, self.model)
        except InputError as error:
            self._say("constant", "the model", f"its structure cannot be read, so nothing can be proven: {error}")
            return None

    def _ends(self) -> EndsFound:
        found = compare_ends(self.path, self.checkpoints, self.task, self.model, self.probed)
        self.findings += found.findings
        return found

    def _check_model(self) -> str:
        """Compare what the file says of the model beside its weights with the model; return in words what was done."""
        recorded, found = self.path.facts, self.task.facts()
        if not recorded:
            return "the file does not say what makes its function beside its weights"
        if not found:
            return "what the file says of its function beside its weights is not compared: no library knows this model"
        differing = unlike(recorded, found)
        if differing:
            self._say("model", "the model", f"is another than the file's: {in_words(differing, 'in the file', 'here')}")
            return "is another than the file's"
        if recorded.get(LIBRARY) != found.get(LIBRARY):
            return (
                f"what both say of its function beside its weights is the same; the file's is of "
                f"{recorded.get(LIBRARY)}, this one of {found.get(LIBRARY)}"
            )
        return f"its function is the file's in all {len(recorded)} entries beside its weights"

    def _check_weights(self) -> None:
        """Look at every point, control points that are not on the path among them."""
        for index, point in enumerate(self.path.points()):
            for name, tensor in point.items():
                finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
                if not finite and not is_constant(self.constants, name, tensor):
                    self._say("weights", f"point {index}, {name}", "holds NaN or Inf")

    @torch.no_grad()
    def _measure(self, index: int, point: Weights, largest: dict[str, tuple[float, int]]) -> None:
        self._write(point)
        at_end = index in (0, len(self.path.guarantees))
        if at_end:
            self._require_faithful(point, last=index > 0)
        self._check_reading(f"point {index}", None, (self.probed,))
        for split in self.task.splits():
            loss = self._loss(split)
            if not loss < float("inf"):
                self._say("loss", f"point {index}", f"the {split.name} loss is {loss}")
            if split.name not in largest or loss > largest[split.name][0]:
                largest[split.name] = (loss, index)

    def _require_faithful(self, point: Weights, *, last: bool) -> None:
        """Refuse a model whose outputs are not those of the weights that were written into it."""
        require_written(self.model, point)
        require_repeated(self.model, self.task, self.probed)
        if last:
            inputs, _ = next(iter(self.probed.batches(self.task.batch_size)))
            require_forgetful(self.model, self.fresh, point, inputs, self.task.forward)

    def _write(self, weights: Weights) -> None:
        self.attributes.put_back()  # tables that a module made of the weights before
        assign(weights_of(self.model), weights)

    def _loss(self, split: Split) -> float:
        """Return the mean loss; the outputs are held for the convex segments beside, where they are not too large."""
        terms, size = [], 0
        held: list[_Batch] = []
        for outputs, targets in self.side_by_side.outputs(split.batches(self.task.batch_size)):
            terms.append(self.task.loss.measure(outputs, targets))
            size += outputs.nbytes
            held = [*held, (outputs, targets)] if size <= _HELD and CONVEX in self.path.guarantees else []
        if held:
            self.held[split.name] = held
        found = joined(terms)
        self.coarse = self.coarse or coarse_loss(self.task.loss, found.sums.dtype)
        return float(found.double().mean())

    @torch.no_grad()
    def _check_reading(self, where: str, weights: Weights | None, splits: Iterable[Split]) -> None:
        """Compare the module with the steps that were read from it, under other weights if any are given."""
        if self.program is None:
            return
        if weights is not None:
            self._write(weights)
        for split in splits:
            inputs = (given for given, _ in split.batches(self.task.batch_size))
            outputs = (found for found, _ in self.side_by_side.outputs(split.batches(self.task.batch_size)))
            fault = reading_fault(self.program, weights_of(self.model), zip(inputs, outputs, strict=True))
            if fault:
                self._say("constant", where, fault)
                self.program = None  # once is enough, and nothing can be proven any more
                return

    def _check_segment(self, segment: int, before: Weights, after: Weights) -> None:
        guarantee = self.path.guarantees[segment]
        if guarantee == MEASURED:
            return
        if guarantee == CONVEX:
            for words in not_convex(self.task.loss, []) + self.coarse:
                self._say("convex", f"segment {segment} (convex)", words)
        if self.program is not None:
            self.findings += segment_faults(segment, guarantee, before, after, self.program)
        self._check_inside(segment, before, after)

    def _check_inside(self, segment: int, before: Weights, after: Weights) -> None:
        """Compare outputs inside a segment with what its guarantee says, and the loss with the line of its ends."""
        guarantee, tolerance = self.path.guarantees[segment], outputs_tolerance(self.task.dtype)
        first, last = self._outputs(before), self._outputs(after)
        limit = max(self._mean(first), self._mean(last))
        targets = self.probed.targets().to(first.device)
        worst = relative_deviation(last, first) if guarantee == CONSTANT else 0.0
        for t in self._inside():
            found = self._outputs(self._between(before, after, t))
            expected = first if guarantee == CONSTANT else torch.lerp(first, last, t)
            worst = max(worst, relative_deviation(found, expected))
            mean = self._mean(found)
            self.excess = max(self.excess, mean / limit - 1 if limit > 0 else 0.0)
            if not mean <= limit + _VISIBLE * abs(limit) + torch.finfo(self.task.dtype).eps:
                where = f"segment {segment} ({guarantee})"
                self._say(guarantee, where, f"the loss is {mean:.6g} inside, above {limit:.6g} at the larger end")
            if guarantee == CONVEX and self.task.loss.convex:
                self._bend(segment, t, "the samples looked at", [((first, targets), (last, targets))])
        self.deviation = max(self.deviation, worst)
        if not worst <= tolerance:
            where = f"segment {segment} ({guarantee})"
            self._say(guarantee, where, f"outputs deviate by {worst:.1e}, rounding explains {tolerance:.1e}")

    def _check_convexity(self, segment: int, earlier: dict[str, list[_Batch]]) -> None:
        """See on every sample whether the loss is convex along a segment; on a few where outputs are too large."""
        if self.path.guarantees[segment] != CONVEX or not self.task.loss.convex:
            return
        for split in self.task.splits():
            if split.name in earlier and split.name in self.held:
                for t in _SHARES:
                    self._bend(segment, t, split.name, zip(earlier[split.name], self.held[split.name], strict=True))

    def _bend(self, segment: int, t: float, split: str, ends: Iterable[tuple[_Batch, _Batch]]) -> None:
        loss = self.task.loss
        batches = list(ends)
        found = [between(loss, a, b, targets, t) for (a, targets), (b, _) in batches]
        larger = max(self._mean_of(side) for side in zip(*batches, strict=True))
        terms = joined([one.terms for one in found])
        blur = rounding_of_mean(torch.cat([one.rounding for one in found]), terms.weights)
        bend = max(float(one.bends.max()) for one in found)
        where = f"{t:.3f} of the way on {split}"
        seen = Seen(where, float(terms.double().mean()), bend, float(blur), larger)
        for words in not_convex(loss, [seen]):
            self._say("convex", f"segment {segment} (convex)", words)

    def _mean_of(self, batches: Iterable[_Batch]) -> float:
        found = joined([self.task.loss.measure(outputs, targets) for outputs, targets in batches])
        return float(found.double().mean())

    def _inside(self) -> Iterator[float]:
        yield from torch.rand(self.interior, generator=self.generator, dtype=torch.float64).tolist()

    def _between(self, before: Weights, after: Weights, t: float) -> Weights:
        """Interpolate in the type the model computes in: the file's own may be coarser, and rounds between the ends."""
        wide = self.task.dtype
        return {
            name: torch.lerp(tensor.to(wide), after[name].to(wide), t) if tensor.is_floating_point() else tensor
            for name, tensor in before.items()
        }

    def _outputs(self, weights: Weights) -> Tensor:
        self._write(weights)
        return outputs_of(self.model, self.task, self.probed).double()

    def _mean(self, outputs: Tensor) -> float:
        return self._mean_of([(outputs, self.probed.targets().to(outputs.device))])
