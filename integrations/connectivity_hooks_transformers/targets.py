"""Targets of the Trainer's own passes, which its callbacks are not told."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from connectivity_hooks.features import eager


class PassedTargets:
    """The ``labels`` of a model's training passes since they were last taken.

    Args:
        model: As it is trained, without wrappers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._passed: list[Tensor] = []
        self._hook = model.register_forward_pre_hook(eager(self._called), with_kwargs=True)

    def take(self) -> list[Tensor] | None:
        """Return the targets, one tensor for each pass, and forget them; None where there were none."""
        passed, self._passed = self._passed, []
        return passed or None

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.remove()

    def _called(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if model.training and isinstance(named.get("labels"), Tensor):
            self._passed.append(named["labels"])
