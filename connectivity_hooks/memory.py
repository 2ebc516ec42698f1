"""How much memory there is, so that what does not fit is refused before it is taken."""

from __future__ import annotations

import os
import pathlib

from connectivity_hooks.errors import InputError

# Where a container or a job of a cluster finds its own limit, its use, and how much of that is page cache it can drop.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int | None:
    """Return the bytes that can still be taken, within the container's limit; None where the system does not say."""
    known = [_of_machine(), *(_left(*group) for group in _GROUPS)]
    return min((size for size in known if size is not None), default=None)


def require_memory(needed: int, what: object, remedy: str) -> None:
    """Raise `InputError` where `what` needs more bytes than can be taken: ``WHAT: needs …, …; REMEDY``.

    Without this the system would grant the memory, and kill the process when it is written to.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(f"{what}: needs {in_words(needed)} of memory, {in_words(available)} are free; {remedy}")


def in_words(count: int) -> str:
    """Return a number of bytes for a person, e.g. ``1.5 GB``; beyond any memory in existence just that."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else "more than 1000 TB"
    return f"{count} bytes"


def _of_machine() -> int | None:
    words = _words(pathlib.Path("/proc/meminfo"))
    free = _after(words, "MemAvailable:")
    if free is None:
        return _free_pages()
    # What other programs have put into swap comes back to us as room; the system's own estimate leaves it out. In KiB.
    return (free + (_after(words, "SwapFree:") or 0)) * 1024


def _free_pages() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left(folder: str, limit: str, used: str, cache: str) -> int | None:
    """Return what a control group may still take; None where there is no such limit."""
    group = pathlib.Path(folder)
    numbers = [_words(group / name)[:1] for name in (limit, used)]
    dropped = _after(_words(group / "memory.stat"), cache) or 0
    try:
        return max(0, int(numbers[0][0]) - int(numbers[1][0]) + dropped)
    except (ValueError, IndexError):  # no such file, or "max"
        return None


def _after(words: list[str], name: str) -> int | None:
    try:
        return int(words[words.index(name) + 1])
    except (ValueError, IndexError):
        return None


def _words(file: pathlib.Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
