"""Hooks on a training, and a verdict on whether two checkpoints are connected by a path of low loss.

>>> import connectivity_hooks as ch
>>> with ch.capture(model) as features:                       # doctest: +SKIP
...     model(x)
>>> ch.save(model, "a.safetensors")                           # doctest: +SKIP
>>> path = ch.connect("a.safetensors", "b.safetensors", task) # doctest: +SKIP
>>> ch.evaluate(path, task).save("report")                    # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from connectivity_hooks.version import __version__ as __version__

if TYPE_CHECKING:
    from connectivity_hooks.checking import check
    from connectivity_hooks.checkpoints import save
    from connectivity_hooks.connecting.connect import connect
    from connectivity_hooks.connecting.evaluate import evaluate
    from connectivity_hooks.contracts import hookimpl
    from connectivity_hooks.errors import ConnectivityError, InputError, UsageError
    from connectivity_hooks.evaluation.evaluation import Evaluation
    from connectivity_hooks.features.capture import Capture, capture
    from connectivity_hooks.parallel import threads
    from connectivity_hooks.paths import Path
    from connectivity_hooks.stability.analysis import stability_of
    from connectivity_hooks.stability.copies import Copy, copies
    from connectivity_hooks.stability.result import Stability
    from connectivity_hooks.stability.start import save_start
    from connectivity_hooks.tasks import Task, make_task
    from connectivity_hooks.verification.findings import Verification
    from connectivity_hooks.verification.verify import verify
    from connectivity_hooks.watching import Watch, watch

_HOMES = {
    "Capture": "features",
    "ConnectivityError": "errors",
    "Copy": "stability",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "Path": "paths",
    "Stability": "stability",
    "Task": "tasks",
    "UsageError": "errors",
    "Verification": "verification",
    "Watch": "watching",
    "capture": "features",
    "check": "checking",
    "connect": "connecting",
    "copies": "stability",
    "evaluate": "connecting",
    "hookimpl": "contracts",
    "make_task": "tasks",
    "save": "checkpoints",
    "save_start": "stability",
    "stability_of": "stability",
    "threads": "parallel",
    "verify": "verification",
    "watch": "watching",
}

__all__ = [
    "Capture",
    "ConnectivityError",
    "Copy",
    "Evaluation",
    "InputError",
    "Path",
    "Stability",
    "Task",
    "UsageError",
    "Verification",
    "Watch",
    "capture",
    "check",
    "connect",
    "copies",
    "evaluate",
    "hookimpl",
    "make_task",
    "save",
    "save_start",
    "stability_of",
    "threads",
    "verify",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import connectivity_hooks`` stays as quick as its user needs.

    What is not ours may be a function of a plugin's command, such as ``connectivity_hooks.average``.
    """
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    function = None if name.startswith("_") else importlib.import_module(f"{__name__}.registry").function_of(name)
    if function is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return function


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
