"""What conditions, builders, aligners and reporters have in common: options, a seed, and where to tell and keep."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from abc import ABC
from collections.abc import Iterator
from typing import Any, ClassVar

from connectivity_hooks.contracts.work import UNKEPT, Work
from connectivity_hooks.progress import SILENT, Progress


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a method that has none."""


class Method(ABC):
    """A named way to do something, with validated options.

    A subclass sets `name` (what the user types) and, if it has any, `Options`: a frozen dataclass made of
    `option` fields. The first line of its docstring is its summary, the docstring its manual page.

    Args:
        options: An instance of `Options`; None means all defaults.
        seed: Seed for every random choice; a method never touches the global random state.
        progress: Where long loops report how far they are.

    Attributes:
        work: Where a builder or an aligner that works long keeps its state, see `Work`. It belongs to the pair that is
            connected at the moment; where nothing is kept, nothing is found.
    """

    name: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    work: Work = UNKEPT

    def __init__(self, options: Any = None, *, seed: int = 0, progress: Progress = SILENT) -> None:
        self.options = self.Options() if options is None else options
        self.seed = seed
        self.progress = progress

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]

    def used_options(self) -> dict[str, Any]:
        """Return the options and the seed as written into every artifact."""
        return {**dataclasses.asdict(self.options), "seed": self.seed}

    @contextlib.contextmanager
    def working(self, work: Work) -> Iterator[None]:
        """Let the method keep its state in `work` inside the block."""
        self.work = work
        try:
            yield
        finally:
            self.work = UNKEPT
