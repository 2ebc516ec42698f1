"""How much memory there is, so that what does not fit is refused before it is taken."""

from __future__ import annotations

import os

from connectivity_hooks.errors import InputError


def available_memory() -> int | None:
    """Return the bytes that can still be taken without swapping, or None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        # What other programs have put into swap comes back to us as room; the system's own estimate leaves it out.
        return (kibibytes["MemAvailable"] + kibibytes.get("SwapFree", 0)) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return _free_pages()


def require_memory(needed: int, what: object, remedy: str) -> None:
    """Raise `InputError` where `what` needs more bytes than can be taken: ``WHAT: needs …, …; REMEDY``.

    Without this the system would grant the memory, and kill the process when it is written to.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(f"{what}: needs {in_words(needed)} of memory, {in_words(available)} are free; {remedy}")


def in_words(count: int) -> str:
    """Return a number of bytes for a person, e.g. ``1.5 GB``."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count // size} {unit}"
    return f"{count} bytes"


def _free_pages() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
