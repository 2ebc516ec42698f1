"""What a correction may not leave behind: it writes into weights, and changes nothing else of model, data and path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.held_values import tensor_digest
from connectivity_hooks.model.inputs import named_tensors
from connectivity_hooks.paths.path import Path
from connectivity_hooks.tasks.task import Task

_PLAIN = (bool, int, float, complex, str, tuple)
# Samples and elements that are compared: who scales or shifts data or weights changes the first of them too.
_SAMPLES, _ELEMENTS = 8, 64


class Surroundings:
    """A module, its task's data and a path as they are now.

    Attributes that the module's own passes write are left out, wherever one pass shows them.

    Args:
        model: The module, in evaluation mode.
        path: The path it moves along.
        task: Gives the data.
    """

    def __init__(self, model: nn.Module, path: Path, task: Task) -> None:
        self._model, self._path, self._task = model, path, task
        fresh = dict(_attributes(model))
        self._pass()
        ran = dict(_attributes(model))
        self._own = {key for key in fresh.keys() | ran.keys() if fresh.get(key) != ran.get(key)}
        self._module, self._held = ran, dict(self._tensors())

    def change_of_module(self) -> str | None:
        """Return what of the module is not as it was, in words; cheap."""
        now = dict(_attributes(self._model))
        for key in [*self._module, *now]:
            if key not in self._own and now.get(key) != self._module.get(key):
                return f"{key[0]}, {key[1]}" if key[0] else key[1]
        return None

    def change(self) -> str | None:
        """Return what of module, data and path is not as it was, in words."""
        changed = self.change_of_module()
        if changed is not None:
            return changed
        now = dict(self._tensors())
        return next((name for name in [*self._held, *now] if now.get(name) != self._held.get(name)), None)

    @torch.no_grad()
    def _pass(self) -> None:
        inputs, _ = next(iter(self._task.train.head(2).batches(2)))
        with torch.random.fork_rng():
            self._task.forward(self._model, inputs)

    def _tensors(self) -> Iterator[tuple[str, str]]:
        for split in self._task.splits():
            for batch in split.head(_SAMPLES).batches(_SAMPLES):
                for name, tensor in named_tensors(dict(zip(("inputs", "targets"), batch, strict=True))):
                    yield f"the {split.name} data ({name})", tensor_digest(tensor)
        for index, point in enumerate(self._path.points()):
            for name, tensor in point.items():
                yield f"the path's point {index}, {name}", tensor_digest(tensor.reshape(-1)[:_ELEMENTS])


def _attributes(model: nn.Module) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield (module, what) and a value to compare: plain attributes, and which objects hooks and modules are."""
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            if key.endswith("_hooks") and isinstance(value, dict):
                yield (name, "its hooks: " + key), tuple(map(id, value.values()))
            elif key == "_modules":
                yield (name, "its modules"), tuple((each, id(inner)) for each, inner in value.items())
            elif isinstance(value, _PLAIN) and not _holds_tensors(value):
                yield (name, "its attribute " + key), value
            elif callable(value) and not isinstance(value, (nn.Module, Tensor)):
                yield (name, "its attribute " + key), id(value)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, tuple) and any(not isinstance(each, _PLAIN) or _holds_tensors(each) for each in value)
