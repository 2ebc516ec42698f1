"""Several networks over the same data: as many batches at a time as fit, each read once for all networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from connectivity_hooks.evaluation import Passes, TemperatureFit, slopes
from connectivity_hooks.model import Inputs, mapped, named_tensors
from connectivity_hooks.tasks import LOSSES, Split
from connectivity_hooks_averaging.ensemble.kinds import AnyPool, Kind
from connectivity_hooks_averaging.ensemble.members import Member

BYTES = 1 << 28
"""256 MB: what the sums of all ensembles may take, and the batches they are of; more is done part by part."""

Chunk = list[tuple[Inputs, Tensor]]


class Row(NamedTuple):
    """Predictions of one network or ensemble for a part of the data.

    Attributes:
        name: Of the member or the ensemble.
        rows: (M, C) in float64.
        wanted: What is right.
        pool: Of an ensemble.
    """

    name: str
    rows: Tensor
    wanted: Tensor
    pool: AnyPool | None


@dataclass(frozen=True)
class Sweep:
    """Runs members over a split, and averages groups of them.

    Time: a pass for each member; weights are written once for each part. Memory: one model, a part's batches and sums.

    Attributes:
        passes: Runs the module.
        kind: What is averaged.
        members: The networks.
        groups: Names of the members of each ensemble.
        batch_size: Samples of a batch.
    """

    passes: Passes
    kind: Kind
    members: Sequence[Member]
    groups: Mapping[str, Sequence[str]]
    batch_size: int

    @torch.no_grad()
    def over(self, split: Split) -> Iterator[Row]:
        """Yield the predictions of every member, then of every ensemble, part by part of a split."""
        for chunk in self._chunks(split):
            yield from self._rows(chunk)

    @torch.no_grad()
    def temperatures(self, split: Split) -> dict[str, float | None]:
        """Return T of every member and ensemble, at which a split's loss is least, see `TemperatureFit`.

        That of an ensemble divides the logarithms of the mean probabilities. A split that fits into one part is passed
        once, another one as often as Newton's method takes steps, about ten times.
        """
        fits: dict[str, TemperatureFit] = {}
        loss, whole = LOSSES["cross-entropy"], self._parts(split) == 1
        while not fits or not all(fit.done for fit in fits.values()):
            sums: dict[str, Tensor] = {}
            for name, rows, wanted, _ in self.over(split):
                fit = fits.setdefault(name, TemperatureFit())
                while whole and not fit.done:
                    fit.update(slopes(rows, wanted, loss, fit.inverse))
                if not fit.done and len(rows):
                    found = slopes(rows, wanted, loss, fit.inverse)
                    sums[name] = sums[name] + found if name in sums else found
            for name, total in sums.items():
                fits[name].update(total)
        return {name: fit.temperature for name, fit in fits.items()}

    def _rows(self, chunk: Chunk) -> Iterator[Row]:
        pools = {name: self.kind.pool() for name in self.groups}
        for member in self.members:
            copies = ((mapped(torch.clone, inputs), targets.clone()) for inputs, targets in chunk)
            parts = [self.kind.rows(*batch) for batch in self.passes.under(member.weights(), copies)]
            rows, wanted = (torch.cat(column) for column in zip(*parts, strict=True))
            for name, names in self.groups.items():
                if member.name in names:
                    pools[name].add(rows)
            yield Row(member.name, rows, wanted, None)
        for name, pool in pools.items():
            yield Row(name, pool.pooled(), wanted, pool)

    def _chunks(self, split: Split) -> Iterator[Chunk]:
        batches, size = split.batches(self.batch_size), self._at_a_time(split)
        while chunk := list(itertools.islice(batches, size)):
            yield chunk

    def _parts(self, split: Split) -> int:
        batches = -(-len(split) // self.batch_size)
        return -(-batches // self._at_a_time(split))

    def _at_a_time(self, split: Split) -> int:
        """Return how many batches fit, by what two samples take."""
        few = min(2, len(split))
        inputs, targets = next(iter(split.head(few).batches(few)))
        given = sum(tensor.nbytes for _, tensor in named_tensors(inputs)) + targets.nbytes
        ((outputs, _),) = self.passes.under(self.members[0].weights(), [(inputs, targets)])
        # In float64: two sums of each ensemble, predictions, and three more while they are made of outputs.
        taken = given + outputs.numel() * 8 * (2 * len(self.groups) + 4)
        return max(1, int(BYTES * few / (taken * self.batch_size)))
