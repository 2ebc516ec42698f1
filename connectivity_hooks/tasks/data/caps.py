"""How many samples of each split are taken: drawn with a seed, in the split's order.

The first ones would be quicker and wrong: files often have their classes one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from connectivity_hooks.errors import UsageError
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.model.inputs import taken
from connectivity_hooks.progress import SILENT
from connectivity_hooks.tasks.batched import rows_among
from connectivity_hooks.tasks.data.raw import RawData, Source
from connectivity_hooks.tasks.data.spec import DataSpec
from connectivity_hooks.tasks.split import draw

_DRAWS = 1 << 62


@dataclass(frozen=True)
class Cap:
    """How many samples of one split are taken.

    Attributes:
        where: Data and split, for the note.
        most: The number of samples; None takes all.
        seed: Of the draw.
        say: Told in a line what was drawn.
        things: What the samples are called.
    """

    where: str = ""
    most: int | None = None
    seed: int = 0
    say: Callable[[str], object] = SILENT.say
    things: str = "samples"

    def rows(self, size: int) -> Tensor | None:
        """Draw the rows that are taken of `size`, in ascending order; None where all are."""
        if self.most is None:
            return None
        if self.most >= size:
            self.say(f"{self.where}: has {size} {self.things}, not more than the {self.most} asked for; all are taken")
            return None
        self.say(f"{self.where}: {self.most} of {size} {self.things} are taken, drawn with seed {self.seed}")
        return draw(size, self.most, self.seed)


@dataclass(frozen=True)
class Caps:
    """The caps of both splits."""

    train: Cap = Cap()
    test: Cap = Cap()

    def called(self, things: str) -> Caps:
        """Return the caps for samples of another name."""
        return Caps(replace(self.train, things=things), replace(self.test, things=things))


def caps_of(spec: DataSpec, say: Callable[[str], object] = SILENT.say) -> Caps:
    """Return the caps that a user typed; raise `UsageError` where they are no numbers, or a seed has nothing to do."""
    seed = spec.count("seed", 0) or 0
    if seed >= _DRAWS:
        raise UsageError(f"--data {spec.typed}: seed is {seed}; expected one below 2^62")
    train, test = (Cap(f"{spec.body}: {split}", spec.count(split), seed, say) for split in ("train", "test"))
    return Caps(train, test)


def capped(raw: RawData, caps: Caps) -> RawData:
    """Return the samples of both splits that are taken, of data that is read by now."""
    return replace(
        raw, train=_capped(raw.train, caps.train), test=None if raw.test is None else _capped(raw.test, caps.test)
    )


def _capped(source: Source, cap: Cap) -> Source:
    if cap.most is None:
        return source
    if isinstance(source, tuple):
        rows = cap.rows(len(source[1]))
        return source if rows is None else (taken(source[0], rows), source[1][rows])
    if not isinstance(source, list):
        return Chosen(source, cap)
    rows = cap.rows(sum(len(targets) for _, targets in source))
    return source if rows is None else rows_among(source, rows)


class Chosen:
    """A loader of which some samples pass; it is gone through once to count them."""

    def __init__(self, loader: Iterable[Batch], cap: Cap) -> None:
        self._loader = loader
        self._rows = cap.rows(sum(len(targets) for _, targets in loader))

    def __iter__(self) -> Iterator[Batch]:
        first = 0
        for batch in self._loader:
            if self._rows is None:
                yield batch
                continue
            yield from rows_among([batch], self._rows - first)
            first += len(batch[1])
            if first > int(self._rows[-1]):
                return
