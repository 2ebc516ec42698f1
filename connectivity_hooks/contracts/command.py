"""A command that a plugin adds to ``connectivity-hooks``."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import click


class Command(ABC):
    """A further command of ``connectivity-hooks``; the first line of its docstring stands in ``--help``."""

    name: ClassVar[str]

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def command(self) -> click.Command:
        """Return the command; it is asked for when it is used, and the place for heavy imports.

        What it returns when called is the exit status; `InputError` and `UsageError` end it as they end every command.
        """

    def function(self) -> Callable[..., Any] | None:
        """Return what ``connectivity_hooks.NAME`` is in Python, where the command has such a function.

        It is asked for when it is used. Names of our own come first.
        """
        return None
