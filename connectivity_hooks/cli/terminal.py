"""What a person sees: errors, progress bars and tables on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from connectivity_hooks.cli.descriptors import write_result
from connectivity_hooks.progress import Label

T = TypeVar("T")

NOT_MET = 4
"""Exit status of a command that measured what it should, and found a condition or a limit not met."""

_USUAL = 80  # columns of a terminal that does not tell
_DIGITS = 5  # of a number of columns: more are no terminal's

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def terminal_width() -> int | None:
    """Return the columns for results: `COLUMNS`, or else the terminal's; None for a file or a pipe."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdecimal() and 0 < len(asked) <= _DIGITS and int(asked) > 0:
        return int(asked)
    if not sys.stdout.isatty():
        return None
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file of the system's has no size
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL
    return _USUAL


def plain(text: str) -> str:
    """Return `text` on one line and without control characters, whatever file it came from."""
    return _CONTROL.sub(" ", text)


def say_error(message: str) -> None:
    """Say in one line on stderr why the program ends; a stderr that is full or closed does not change the status."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"error: {plain(message)}\n")


def print_json(value: object) -> None:
    """Print one JSON object on stdout."""
    write_result(json.dumps(value, allow_nan=False, ensure_ascii=True) + "\n")


class Display:
    """Progress bars and remarks on stderr; bars only where someone is looking.

    Args:
        quiet: Show nothing but errors.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    def track(self, items: Iterable[T], label: Label, total: int | None = None) -> Iterator[T]:
        """Yield `items` under a progress bar that vanishes when done."""
        if not sys.stderr.isatty():  # rich takes FORCE_COLOR for a terminal, and a log is none
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        with Bars(*columns, *times, console=self._console, transient=True) as bars:
            task = bars.add_task(_text(label), total=total)
            for item in items:
                yield item
                bars.update(task, advance=1, description=_text(label))

    def say(self, message: str) -> None:
        """Show one line."""
        with contextlib.suppress(OSError):  # a remark that cannot be shown is no reason to end
            self._console.print(Text(plain(message)), soft_wrap=True)


def _text(label: Label) -> str:
    return label if isinstance(label, str) else label()
