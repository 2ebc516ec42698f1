"""A module that moves along a path: its weights at any t, corrected where a correction is asked for."""

from __future__ import annotations

from collections.abc import Callable

from connectivity_hooks.contracts.correction import Correction, Prepared
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.left_behind import Surroundings
from connectivity_hooks.evaluation.spectral_norm import norms_inside, recompute, spectral_norms
from connectivity_hooks.model.weights import Weights, assign, weights_of
from connectivity_hooks.paths.path import MEASURED, Path
from connectivity_hooks.paths.walk import Walk
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.structure.untouched import Attributes
from connectivity_hooks.tasks.task import Task


class ModelOnPath:
    """One module of a task that takes the path's own weights at any t.

    Memory: the path, the module, and copies of those tensors of the last point passed of which a block changed.

    Attributes:
        path: The path.
        task: Made the module, and has the data.
        model: The module, in evaluation mode.
        weights: Its own tensors by name.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task = path, task
        self.model = task.blank()
        self.weights: Weights = weights_of(self.model)
        self._attributes = Attributes(self.model)
        self._walk = Walk(path.to(task.device, task.dtype))
        self._spectral = spectral_norms(path.start)

    def go(self, t: float) -> None:
        """Give the module the weights at `t`: the path's own, and what has to be computed from them."""
        self._attributes.put_back()  # tables that the module made of the weights before
        self._walk.write(t, self.weights)
        recompute(norms_inside(self.path, t, self._spectral), self.weights)

    def visit(self, place: Callable[[Weights], None]) -> None:
        """Give the module weights that lie on no path, and what has to be computed from them.

        Args:
            place: Writes them into the module's own tensors by name.
        """
        self._attributes.put_back()
        place(self.weights)
        recompute(self._spectral, self.weights)

    def require_own(self, doing: str) -> None:
        """Refuse a module whose tensors were replaced: what is written at the next t would not reach it.

        Args:
            doing: What may have done it, as the first words of the message.

        Raises:
            InputError: One was; values are to be written into it.
        """
        for name, tensor in weights_of(self.model).items():
            if name not in self.weights or tensor.data_ptr() != self.weights[name].data_ptr():
                raise InputError(f"{doing}: {name} was replaced by another tensor; write into it, as with copy_")

    def write(self, weights: Weights) -> None:
        """Give the module weights of no t."""
        self._attributes.put_back()
        assign(self.weights, weights)


class Corrected:
    """A module on its path whose weights are corrected at each t.

    Args:
        moving: The module.
        correction: What is done at each t; None leaves the path's own weights.

    Attributes:
        left: Names of modules that the correction cannot correct, see `Prepared`.
        notes: What a person should know of it.
        everywhere: Whether it is applied at every t, see `Correction`; asked once, so that it stays what it was.

    Raises:
        InputError: The correction cannot be used with this model or these data, its code fails, what it prepared is no
            `Prepared`, or it leaves something behind on model, data or path.
    """

    def __init__(self, moving: ModelOnPath, correction: Correction | None) -> None:
        self._moving, self._correction = moving, correction
        self._prepared: Prepared | None = None
        self.everywhere = False
        self._applied = False
        if correction is not None:
            self._prepare(correction)
        self.left = tuple(self._prepared.left) if self._prepared else ()
        self.notes = tuple(self._prepared.notes) if self._prepared else ()

    def go(self, t: float) -> None:
        """Give the module the corrected weights at `t`."""
        self._moving.go(t)
        if self.corrects(t):
            self._apply(t, f"at t = {t:g}")

    def visit(self, place: Callable[[Weights], None]) -> None:
        """Give the module weights that lie on no path, corrected; see `Correction.by_weights_alone`."""
        self._moving.visit(place)
        self._apply(0.0, "at a place on no path")

    def _apply(self, t: float, where: str) -> None:
        if self._correction is None or self._prepared is None:
            return
        doing = f"correction {self._correction.name} {where}"
        with guarded_call(doing):
            self._prepared.apply(t)
        self._moving.require_own(doing)
        # Data and path are compared once: what changes them does so at any t.
        _require(doing, self._surroundings.change_of_module() if self._applied else self._surroundings.change())
        self._applied = True

    def corrects(self, t: float) -> bool:
        """Say whether the weights at `t` are corrected, see `Correction.everywhere`."""
        if self._correction is None or self.everywhere:
            return self._correction is not None
        path, (segment, share) = self._moving.path, self._moving.path.segment(t)
        beside = path.guarantees[max(0, segment - (share == 0)) : segment + 1]
        return 0 < t < 1 and set(beside) == {MEASURED}

    def _prepare(self, correction: Correction) -> None:
        doing, moving = f"correction {correction.name}: preparing", self._moving
        self.everywhere = bool(correction.everywhere)
        self._surroundings = Surroundings(moving.model, moving.path, moving.task)
        with guarded_call(doing):
            self._prepared = correction.prepare(moving)
        if not isinstance(self._prepared, Prepared):
            found = type(self._prepared).__name__
            raise InputError(f"correction {correction.name}: prepare() returned a {found}, expected a Prepared")
        moving.require_own(doing)
        _require(doing, self._surroundings.change())


def _require(doing: str, changed: str | None) -> None:
    """Refuse a correction that changed anything but weights."""
    if changed is not None:
        raise InputError(f"{doing}: it changed more than weights ({changed}); put it back before it returns")
