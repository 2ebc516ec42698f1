"""What a killed run left half written: found by its name, known to be abandoned by its lock, and removed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import socket
import time

SUFFIX = ".part"

_ANY_HOST = ".connectivity-hooks."
# Locks of one machine may not be seen by another over a network file system: a run's files carry its machine.
PREFIX = f"{_ANY_HOST}{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}."
# Of another machine, or of a container that has gone: no single file takes a day to write, each write renews its time.
_NOBODYS = 24 * 3600.0


def remove_abandoned(folder: pathlib.Path) -> None:
    """Remove the half-written files of runs that ended; those that a live run writes to are locked, and stay."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_ANY_HOST) and entry.name.endswith(SUFFIX):
                with contextlib.suppress(OSError):  # gone meanwhile, locked, of another user, no locks here: it stays
                    _remove_unless_live(entry)


def _remove_unless_live(entry: os.DirEntry[str]) -> None:
    handle = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have finished in between: then the name is gone, and the lock is on the finished file.
        if entry.name.startswith(PREFIX) or time.time() - os.fstat(handle).st_mtime > _NOBODYS:
            os.unlink(entry.path)
    finally:
        os.close(handle)
