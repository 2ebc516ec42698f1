"""``--builder best``: from the simplest way to what takes longest, and the best of them is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from connectivity_hooks.connecting.attempts import Attempts, Way
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder, Role
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.paths.path import Path
from connectivity_hooks.registry import registry

M = TypeVar("M", bound=Method)

_TIE = 1e-3
"""Largest losses that differ by a smaller share are the same: an aligned end differs by rounding alone."""
_SHOWN = 3
"""Others that the sentence compares with: a person reads no more, and the table has them all."""


class Make(Protocol):
    """Makes a method of its class, with its options."""

    def __call__(self, kind: type[M], /) -> M:
        """Return it."""
        ...


@dataclass(frozen=True)
class Candidates:
    """The methods that `best` chooses from, each made with its options.

    Attributes:
        builders: By what they are taken for, see `Builder.role`.
        aligners: Tried with the line.
        measuring: How every path is measured.
    """

    builders: Mapping[Role, Sequence[Builder]]
    aligners: Sequence[Aligner] = ()
    measuring: Measuring = field(default_factory=Measuring)

    @classmethod
    def installed(cls, make: Make, align: str | None = None, measuring: Measuring | None = None) -> Candidates:
        """Take what the plugins offer.

        Args:
            make: Makes each.
            align: Name of the only aligner to try; None tries those that are there, or the one that tries the others.
            measuring: How every path is measured; None takes the defaults.

        Raises:
            UsageError: No builder is there to choose from, or the aligner is unknown.
        """
        known = registry()
        roles: dict[Role, list[type[Builder]]] = {"line": [], "proof": [], "curve": []}
        for entry in known.builders.values():
            if entry.cls.role is not None:
                roles[entry.cls.role].append(entry.cls)
        if not any(roles.values()):
            raise UsageError("--builder best: no installed plugin offers a builder that it chooses from; name one")
        offered = [entry.cls for entry in known.aligners.values()]
        aligners = [known.aligner(align)] if align else [kind for kind in offered if kind.tries_others] or offered
        made = {role: [make(kind) for kind in kinds] for role, kinds in roles.items()}
        return cls(made, [make(kind) for kind in aligners], measuring or Measuring())

    @property
    def methods(self) -> list[Method]:
        """All of them."""
        return [*(builder for builders in self.builders.values() for builder in builders), *self.aligners]

    def way(self, builder: Builder, aligner: Aligner | None = None) -> Way:
        """Return a way, called ``BUILDER`` or ``BUILDER+ALIGNER``."""
        name = builder.name + (f"+{aligner.name}" if aligner else "")
        return Way(name, Connecting(builder, aligner, self.measuring))


@dataclass(frozen=True)
class Kept:
    """Which of several ways is kept.

    Attributes:
        name: Of the way.
        why: In a sentence.
        path: Its path, whose options say what was tried and why this was kept.
    """

    name: str
    why: str
    path: Path


def keep_best(candidates: Candidates, attempts: Attempts) -> Kept:
    """Try what there is, and keep the best.

    In this order: the line; the line to the aligned end; what is proven; a curve, from where the line is lower. It ends
    as soon as a path is flat on every split, or is proven to be on the first: nothing later could be better. Kept is
    what is proven to have no barrier; else what has the smallest largest loss on the first split; else what came first.

    Raises:
        InputError: Nothing that was tried gave a path.
    """
    ended = False
    for way in _ways(candidates, attempts.evaluations):
        found = attempts.attempt(way)
        if found is not None and (is_proven(found) or is_flat(found)):
            ended = True
            break
    attempts.require_one()
    name = best_of(attempts.evaluations)
    why = _why(name, attempts.evaluations, ended)
    path = attempts.evaluations[name].path
    tried = {other: largest_loss(found) for other, found in attempts.evaluations.items()}
    record = {"kept": name, "why": why, "largest_loss": _finite(tried), "refused": dict(attempts.refused)}
    return Kept(name, why, replace(path, options={**path.options, "best": record}))


def best_of(evaluations: Mapping[str, Evaluation]) -> str:
    """Return the name of the best of several, the simplest first."""
    pool = {name: found for name, found in evaluations.items() if is_proven(found)} or evaluations
    lowest = min(map(largest_loss, pool.values()))
    return next(name for name, found in pool.items() if _as_low(largest_loss(found), lowest))


def largest_loss(evaluation: Evaluation) -> float:
    """Return the largest loss of the first split; infinite where it is not a number."""
    loss = next(iter(evaluation.barriers.values())).loss_max
    return loss if math.isfinite(loss) else math.inf


def is_flat(evaluation: Evaluation) -> bool:
    """Say whether loss and error rise on no split, as far as measured."""
    return all(found.verdict in ("proven", "connected") for found in evaluation.conclusion.findings.values())


def is_proven(evaluation: Evaluation) -> bool:
    """Say whether it is proven that the loss of the first split has no barrier."""
    return evaluation.conclusion.verdict == "proven"


def _ways(candidates: Candidates, found: Mapping[str, Evaluation]) -> Iterator[Way]:
    """Yield what to try next; the curve begins where the line that was found is lowest."""
    lines = candidates.builders.get("line", ())
    yield from (candidates.way(line) for line in lines)
    yield from (candidates.way(line, aligner) for line in lines for aligner in candidates.aligners)
    yield from (candidates.way(proof) for proof in candidates.builders.get("proof", ()))
    start = None
    starts = {candidates.way(line, aligner).name: aligner for line in lines for aligner in (None, *candidates.aligners)}
    measured = {name: evaluation for name, evaluation in found.items() if name in starts}
    if measured:
        start = starts[min(measured, key=lambda name: largest_loss(measured[name]))]
    yield from (candidates.way(curve, start) for curve in candidates.builders.get("curve", ()))


def _as_low(loss: float, lowest: float) -> bool:
    return loss <= lowest + _TIE * abs(lowest)


def _why(name: str, evaluations: Mapping[str, Evaluation], ended: bool) -> str:
    """Say in one sentence why a way is kept."""
    kept = evaluations[name]
    split = next(iter(kept.barriers))
    others = {other: largest_loss(found) for other, found in evaluations.items() if other != name}
    if is_proven(kept):
        bound = kept.bound[split] or 0.0
        return f"{name} is kept: its {split} loss is proven never to exceed {bound:.4g}, which no measurement outdoes."
    own = f"its largest {split} loss is {largest_loss(kept):.4g}"
    if not others:
        rest = "nothing rises along it, so nothing else was tried" if ended else "nothing else could be tried"
        return f"{name} is kept: {own}, and {rest}."
    ties = [other for other, loss in others.items() if _as_low(loss, largest_loss(kept))]
    if ties:
        return f"{name} is kept: {own}, as that of {ties[0]} is, and it is simpler."
    nearest = sorted(others, key=lambda other: others[other])[:_SHOWN]
    against = ", ".join(f"{others[other]:.4g} along {other}" for other in nearest)
    return f"{name} is kept: {own}, the smallest ({against})."


def _finite(losses: Mapping[str, float]) -> dict[str, float | None]:
    return {name: loss if math.isfinite(loss) else None for name, loss in losses.items()}
