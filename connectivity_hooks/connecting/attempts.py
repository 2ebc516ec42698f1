"""Several ways to connect one pair, tried one after the other; one that cannot is told, and spoils no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from connectivity_hooks.connecting.measured import measured_pair
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair
from connectivity_hooks.connecting.work import PairWork
from connectivity_hooks.contracts.options import takes_budget
from connectivity_hooks.errors import ConnectivityError, InputError, one_line
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.team import current


@dataclass(frozen=True)
class Way:
    """One of several ways, and what it is called beside the others."""

    name: str
    how: Connecting

    @property
    def in_words(self) -> str:
        """The builder, and the aligner where there is one, as a sentence names them."""
        aligner = self.how.aligner
        return self.how.builder.name + (f" aligned by {aligner.name}" if aligner else "")


class Attempts:
    """What came of the ways that were tried.

    Args:
        pair: The checkpoints.
        task: Model, data and loss.
        place: Where the path and the measurements of a way are kept; None where nothing is kept.
        progress: Says what is tried, and what refuses.

    Attributes:
        evaluations: Of each way that gave a path, by its name, in the order they were tried.
        refused: Why each of the others gave none, in a line.
        works: Of all that were tried; `PairWork.finish` is the caller's, once its own output is safe.
    """

    def __init__(
        self,
        pair: Pair,
        task: Task,
        place: Callable[[Way], PairWork] | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._pair, self._task, self._place, self._progress = pair, task, place, progress
        self.evaluations: dict[str, Evaluation] = {}
        self.refused: dict[str, str] = {}
        self.works: dict[str, PairWork] = {}

    def make(self, way: Way) -> Evaluation:
        """Connect and measure; what cannot be done is raised.

        Raises:
            ConnectivityError: See `measured_pair`.
        """
        if takes_budget(way.how.builder.Options):
            _load_training()
        work = None
        if self._place:
            work = self.works[way.name] = self._place(way)
        found = measured_pair(self._pair, self._task, way.how, work, self._progress)
        self.evaluations[way.name] = found
        return found

    def attempt(self, way: Way) -> Evaluation | None:
        """Connect and measure; where that cannot be done, remember why and return None."""
        self._progress.say(f"trying {way.in_words}")
        owner = f"builder {way.how.builder.name}"
        try:
            with guarded_call(owner):
                return self.make(way)
        except (ConnectivityError, torch.OutOfMemoryError) as error:
            if current().count > 1 and error is not current().refusal:
                raise  # by one of several processes, perhaps, while the others wait for it
            reason = one_line(error).removeprefix(f"{owner}: ")
        self._progress.say(f"{way.in_words} refused: {reason}")
        self.refused[way.name] = reason
        if way.name in self.works:  # it would refuse again
            self.works.pop(way.name).finish()
        return None

    def require_one(self) -> None:
        """Raise `InputError` where nothing that was tried gave a path; the message has every reason."""
        if not self.evaluations:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
            raise InputError(f"no builder connects them: {reasons or 'none is installed'}")


def _load_training() -> None:
    """Let PyTorch load what it does with the first optimizer, which would count for the builder that comes first.

    2 seconds and 90 MB, more than the training of a small network.
    """
    torch.optim.SGD([torch.zeros(1)])
