"""The methods that ``connect`` was told to use, made before any file is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from connectivity_hooks.cli.budget_option import unused
from connectivity_hooks.cli.measuring_options import measuring
from connectivity_hooks.cli.method_options import make_method, refuse_stray_options, single
from connectivity_hooks.connecting.attempts import Way
from connectivity_hooks.connecting.best import Candidates
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.contracts import Builder, Condition, Method, Reporter
from connectivity_hooks.contracts.builder import ALL, BEST
from connectivity_hooks.errors import UsageError
from connectivity_hooks.progress import Progress
from connectivity_hooks.registry import registry

M = TypeVar("M", bound=Method)


@dataclass(frozen=True)
class Methods:
    """How two checkpoints are connected, and what else is asked and written.

    Attributes:
        ways: To be tried all, or what the best is chosen from.
        spare: A builder that refuses does not end the run: it was not named.
        conditions: Checked on both ends.
        reporters: Write files.
    """

    ways: Sequence[Way] | Candidates
    spare: bool
    conditions: Sequence[Condition]
    reporters: Sequence[Reporter]

    def describe(self) -> list[object]:
        """Return the methods and what they are told, JSON-ready."""
        if isinstance(self.ways, Candidates):
            return [[method.name, method.used_options()] for method in self.ways.methods]
        return [way.how.describe() for way in self.ways]

    @property
    def named(self) -> Sequence[Way]:
        """The ways, where they are known beforehand; none are of ``best``."""
        return () if isinstance(self.ways, Candidates) else self.ways

    @property
    def training(self) -> list[Method]:
        """Builders and aligners."""
        if isinstance(self.ways, Candidates):
            return self.ways.methods
        methods = [method for way in self.ways for method in (way.how.builder, way.how.aligner) if method is not None]
        return list(dict.fromkeys(methods))


def methods_of(given: Mapping[str, Any], progress: Progress) -> Methods:
    """Make everything named, so that a wrong name or option ends the program before any file is opened.

    Raises:
        UsageError: A name or an option is unknown, or an option's method is not used.
    """
    known = registry()

    def make(kind: type[M], /) -> M:
        made: M = make_method(kind, given, seed=given["seed"], progress=progress)
        return made

    methods = Methods(
        ways=_ways(given, progress),
        spare=ALL in given["builders"],
        conditions=[make(known.condition(name)) for name in given["conditions"]],
        reporters=[make(known.reporter(name)) for name in given["reporters"]],
    )
    names = [method.name for method in methods.training]
    refuse_stray_options(given, [*names, *given["conditions"], *given["reporters"], *single(given["correct"])])
    if idle := unused(given["budget"], methods.training):
        progress.say(idle)
    return methods


def _ways(given: Mapping[str, Any], progress: Progress) -> Sequence[Way] | Candidates:
    how, align = measuring(given, progress), given["align"]

    def make(kind: type[M], /) -> M:
        made: M = make_method(kind, given, seed=given["seed"], progress=progress, budget=given["budget"])
        return made

    named = _named(given["builders"])
    if named is None:
        return Candidates.installed(make, align, how)
    builders = [make(kind) for kind in named]
    aligner = make(registry().aligner(align)) if align else None
    return [Way(builder.name, Connecting(builder, aligner, how)) for builder in builders]


def _named(names: Sequence[str]) -> list[type[Builder]] | None:
    """Return the builders that were named, each once; None for ``best``.

    Raises:
        UsageError: One is unknown, or stands beside ``best``.
    """
    known = registry()
    if BEST in names:
        if set(names) != {BEST}:
            raise UsageError("--builder best chooses by itself; leave the other --builder out")
        return None
    if ALL not in names:
        return [known.builder(name, beside=[ALL, BEST]) for name in dict.fromkeys(names)]
    for name in set(names) - {ALL}:
        known.builder(name, beside=[ALL, BEST])  # says what is wrong with it
    if not known.builders:
        known.builder(ALL)  # says why there is none
    return [entry.cls for entry in known.builders.values()]
