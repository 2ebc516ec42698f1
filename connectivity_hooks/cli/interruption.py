"""SIGINT and SIGTERM: exceptions while there is work to end, nothing once the result is there."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXCEPTIONS: list[BaseException] = []


class Terminated(BaseException):
    """SIGTERM arrived; raised so that ``finally`` blocks run."""


def listen() -> None:
    """Raise `KeyboardInterrupt` or `Terminated` when a signal arrives."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def ignore() -> None:
    """Let no further signal change how the program ends."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def cause_of(error: BaseException) -> BaseException:
    """Return what a signal raised, where one arrived: a library may have made another error of it on the way."""
    return _EXCEPTIONS[0] if _EXCEPTIONS else error


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    error = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
    _EXCEPTIONS.append(error)
    raise error
