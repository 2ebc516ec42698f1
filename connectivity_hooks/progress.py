"""Where long loops report how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Label: TypeAlias = str | Callable[[], str]
"""What is shown beside the bar; a function is asked again at every item, such as for the loss so far."""


class Progress(Protocol):
    """A display of long work."""

    def track(self, items: Iterable[T], label: Label, total: int | None = None) -> Iterator[T]:
        """Yield `items`, showing `label` and how many of `total` are done."""
        ...

    def say(self, message: str) -> None:
        """Show one line that a person should read."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[T], label: Label, total: int | None = None) -> Iterator[T]:
        """Yield `items`."""
        yield from items

    def say(self, message: str) -> None:
        """Drop the message."""


SILENT = Silent()
