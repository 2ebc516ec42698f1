"""The hooks a plugin may implement. A plugin is a module named by an entry point of group ``connectivity_hooks``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from connectivity_hooks.contracts.adapter import Adapter
    from connectivity_hooks.contracts.aligner import Aligner
    from connectivity_hooks.contracts.builder import Builder
    from connectivity_hooks.contracts.command import Command
    from connectivity_hooks.contracts.condition import Condition, Verdict
    from connectivity_hooks.contracts.correction import Correction
    from connectivity_hooks.contracts.operation import Operation
    from connectivity_hooks.contracts.reporter import Reporter
    from connectivity_hooks.evaluation.evaluation import Evaluation
    from connectivity_hooks.paths.path import Path

PROJECT = "connectivity_hooks"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_conditions() -> Sequence[type[Condition]]:  # type: ignore[empty-body]
    """Return the `Condition` classes this plugin adds to ``check`` and ``--condition``."""


@hookspec
def register_builders() -> Sequence[type[Builder]]:  # type: ignore[empty-body]
    """Return the `Builder` classes this plugin adds to ``--builder``."""


@hookspec
def register_aligners() -> Sequence[type[Aligner]]:  # type: ignore[empty-body]
    """Return the `Aligner` classes this plugin adds to ``--align``."""


@hookspec
def register_corrections() -> Sequence[type[Correction]]:  # type: ignore[empty-body]
    """Return the `Correction` classes this plugin adds to ``--correct``."""


@hookspec
def register_adapters() -> Sequence[type[Adapter]]:  # type: ignore[empty-body]
    """Return the `Adapter` classes this plugin adds: model prefixes such as ``timm:``."""


@hookspec
def register_operations() -> Sequence[type[Operation]]:  # type: ignore[empty-body]
    """Return the `Operation` classes this plugin teaches: what operations without a built-in rule do to neurons."""


@hookspec
def register_reporters() -> Sequence[type[Reporter]]:  # type: ignore[empty-body]
    """Return the `Reporter` classes this plugin adds to ``--reporter``."""


@hookspec
def register_commands() -> Sequence[type[Command]]:  # type: ignore[empty-body]
    """Return the `Command` classes this plugin adds to ``connectivity-hooks``."""


@hookspec
def condition_checked(checkpoint: str, verdicts: Sequence[Verdict]) -> None:
    """Be told that a condition was checked on a checkpoint; `verdicts` has one entry per layer."""


@hookspec
def path_built(path: Path, seconds: float) -> None:
    """Be told that a builder finished `path` in `seconds`, alignment included.

    Sent once by the run that builds it, on every way: ``connect``, ``star``, ``stability``, ``demo``, `ch.connect`,
    `ch.stability_of`. A path that an earlier run built and this one found again is not sent again; ``connect --out``
    into the folder of a run that is finished is a new run, which builds anew.
    """


@hookspec
def path_evaluated(evaluation: Evaluation) -> None:
    """Be told that a path was evaluated.

    Sent once by the run that measures its last point, on every way, `ch.evaluate` included; measurements that an
    earlier run made and kept are in it. What was measured before and is only found again (`ch.evaluate` with ``keep=``,
    a pair of `ch.stability_of`) is not sent again. ``connect --out`` into the folder of a run that is finished measures
    anew, and so does ``star`` with the paths that it keeps; these are sent.
    """
