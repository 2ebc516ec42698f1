"""How much memory there is for something whose size stands in a file, asked before it is taken."""

from __future__ import annotations

import pathlib

from connectivity_hooks.errors import InputError

_MEMINFO = pathlib.Path("/proc/meminfo")  # it counts in KiB
_UNITS = {1e12: "TB", 1e9: "GB", 1e6: "MB", 1e3: "kB", 1.0: "bytes"}
# Where a container or a job of a cluster finds its own limit, its use, and how much of that is page cache it can drop.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available() -> int | None:
    """Return how many bytes can be had without swapping, within the container's limit; None where no one says."""
    known = [_after(_words(_MEMINFO), "MemAvailable:", 1024), *(_left(*group) for group in _GROUPS)]
    return min((size for size in known if size is not None), default=None)


def require(size: int, what: str, remedy: str) -> None:
    """Refuse what does not fit.

    Args:
        size: Bytes that are about to be taken.
        what: What takes them, and from which file.
        remedy: What the person can do.

    Raises:
        InputError: There is less memory than that.
    """
    free = available()
    if free is not None and size > free:
        raise InputError(f"{what} takes {in_words(size)} of memory, {in_words(free)} are free; {remedy}")


def in_words(size: float) -> str:
    """Return a number of bytes in three digits and a unit; beyond any memory in existence just that."""
    if size >= 1e15:
        return "more than 1000 TB"
    unit = next(scale for scale in (1e12, 1e9, 1e6, 1e3, 1.0) if size >= scale or scale == 1.0)
    return f"{size / unit:.3g} {_UNITS[unit]}"


def _left(folder: str, limit: str, used: str, cache: str) -> int | None:
    """Return what a control group may still take; None where there is no such limit."""
    group = pathlib.Path(folder)
    numbers = [_words(group / name)[:1] for name in (limit, used)]
    dropped = _after(_words(group / "memory.stat"), cache, 1) or 0
    try:
        return max(0, int(numbers[0][0]) - int(numbers[1][0]) + dropped)
    except (ValueError, IndexError):  # no such file, or "max"
        return None


def _after(words: list[str], name: str, scale: int) -> int | None:
    try:
        return int(words[words.index(name) + 1]) * scale
    except (ValueError, IndexError):
        return None


def _words(file: pathlib.Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
