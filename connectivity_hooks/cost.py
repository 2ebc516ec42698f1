"""What work costs: seconds, and the memory that it takes at its peak."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import torch

from connectivity_hooks.memory import in_words

# Seconds between two looks at the process's memory: a look takes 10 µs, so that all of them take nothing to speak of.
_EVERY = 0.05
FLOOR = 10**6
"""Bytes: of a process less says nothing. Building that takes nothing was seen to take 4 to 120 kB, the allocator's."""

_PAGES = pathlib.Path("/proc/self/statm")


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost, that of interrupted runs which it went on from included.

    Attributes:
        seconds: By the clock.
        memory: Bytes that were taken at the peak, above what was held when the work began; None where the system does
            not tell.
        device: Whose memory: ``cpu``, what the process took from the system, looked at 20 times a second; ``cuda``,
            PyTorch's own count of the device's memory (`torch.cuda.max_memory_allocated`).
    """

    seconds: float
    memory: int | None = None
    device: str = "cpu"

    @property
    def memory_is(self) -> str:
        """What the bytes are."""
        if self.device == "cpu":
            return "bytes that the process took from the system, looked at 20 times a second; below 1 MB noise"
        return "bytes of the device, as PyTorch counts them"

    def after(self, earlier: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        known = [each.memory for each in (self, earlier) if each.memory is not None]
        return Cost(self.seconds + earlier.seconds, max(known, default=None), self.device)


def memory_in_words(memory: int | None, device: str) -> str:
    """Return memory at the peak for a person, in no more digits than it is known; a dash where it is not known.

    Args:
        memory: Bytes.
        device: Whose; see `Cost`.
    """
    if memory is None:
        return "–"
    if device != "cpu":
        return in_words(memory)
    if memory < FLOOR:
        return f"< {in_words(FLOOR)}"
    return in_words(round(memory, 2 - len(str(memory))))


@dataclass
class Meter:
    """Measures what is done between its beginning and its end.

    On CUDA it resets the device's peak statistics.

    Args:
        device: Where the work is done.

    Attributes:
        earlier: What interrupted runs that it goes on from cost.
    """

    device: torch.device
    earlier: Cost = Cost(0.0)
    _memory: _OnDevice | _OfProcess | None = field(default=None, init=False)
    _begun: float = field(default=0.0, init=False)
    _took: Cost | None = field(default=None, init=False)

    def __enter__(self) -> Meter:
        self._memory = _OnDevice(self.device) if self.device.type == "cuda" else _OfProcess()
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._took = self._so_far()
        if self._memory is not None:
            self._memory.close()

    @property
    def cost(self) -> Cost:
        """So far, or of the whole work once it is done; of one that has not begun, what came earlier."""
        return (self._took or self._so_far()).after(self.earlier)

    def _so_far(self) -> Cost:
        if self._memory is None:
            return Cost(0.0, None, self.device.type)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the device may be behind the program
        return Cost(time.perf_counter() - self._begun, self._memory.taken(), self.device.type)


class _OnDevice:
    """A CUDA device's memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)
        self._before = torch.cuda.memory_allocated(device)

    def taken(self) -> int:
        return max(0, torch.cuda.max_memory_allocated(self._device) - self._before)

    def close(self) -> None:
        """Nothing is open."""


class _OfProcess:
    """The memory that this process took from the system, as a thread sees it that looks now and then.

    The process's own highest mark would be exact, and knows nothing of work that takes less than what came before it.
    """

    def __init__(self) -> None:
        self._before = self._seen = _taken()
        self._over = threading.Event()
        if self._before is not None:
            threading.Thread(target=self._watch, name="memory", daemon=True).start()

    def taken(self) -> int | None:
        self._look()
        return None if self._before is None or self._seen is None else self._seen - self._before

    def close(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        now = _taken()
        if now is not None and self._seen is not None:
            self._seen = max(self._seen, now)


def _taken() -> int | None:
    """Return the bytes this process holds, without the code of libraries and other files; None where that is unknown.

    Libraries are read at their first use, which would count for whoever happens to be the first.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        resident, of_files = map(int, _PAGES.read_text(encoding="ascii").split()[1:3])
        return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")
    return None
