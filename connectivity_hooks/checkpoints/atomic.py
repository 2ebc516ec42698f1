"""Writing a file in one step: whatever happens, the old file or the new one is there, and no litter for long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from connectivity_hooks.checkpoints.litter import PREFIX, SUFFIX, remove_abandoned
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.untrusted import require_utf8


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends well.

    The file is made in the same folder, flushed to disk, given the mode the umask allows, and renamed. What a killed
    run left half written in that folder is removed first.

    Raises:
        InputError: `path` is a symbolic link, a folder or a device, its name is not UTF-8, or its folder cannot be
            written to.
    """
    target = pathlib.Path(path)
    handle, temporary = _begun(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def require_target(path: str | os.PathLike[str]) -> None:
    """Refuse, before anything is computed, a path that `atomic_write` could not write to.

    Raises:
        InputError: As `atomic_write` does.
    """
    handle, temporary = _begun(pathlib.Path(path))
    os.unlink(temporary)
    os.close(handle)


def atomic_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` in UTF-8 to `path` in one step; half a character, which has none, is written as its escape."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def make_folder(folder: pathlib.Path) -> None:
    """Make a folder with its parents; raise `InputError` where that cannot be, or its name is not UTF-8."""
    require_utf8(folder, "folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{folder}: cannot be made: {reason}; choose another folder") from None


def _sync_folder(folder: pathlib.Path) -> None:
    """Have the folder's list of names on the disk: a renamed file is safe only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _begun(target: pathlib.Path) -> tuple[int, str]:
    require_utf8(target)
    _refuse_special(target)
    remove_abandoned(target.parent)
    try:
        return _temporary(target.parent)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}; choose another place") from None


def _temporary(folder: pathlib.Path) -> tuple[int, str]:
    """Make a file that is locked as long as it is open, by which others know that it is not abandoned."""
    while True:
        handle, temporary = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=folder)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # another run took it for abandoned in the instant before the lock


def _refuse_special(target: pathlib.Path) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{target}: cannot be written: {reason}; choose another place") from None
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise InputError(f"{target}: is {kind} and is not replaced; give the path of a regular file")


def _umask() -> int:
    # The mask can only be read by setting it; another thread's file of this instant would be created stricter, never
    # laxer.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def require_other(source: pathlib.Path, target: pathlib.Path) -> None:
    """Refuse to write over the file that is read; raise `UsageError`."""
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target}: is the file that is read; name another one to write")
