"""Writing a file in one step: whatever happens, the old file or the new one is there, and no litter."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from connectivity_hooks.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends well.

    The file is made in the same folder, flushed to disk, given the mode the umask allows, and renamed.

    Raises:
        InputError: `path` is a symbolic link, a folder or a device, or its folder cannot be written to.
    """
    target = pathlib.Path(path)
    _refuse_special(target)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}; choose another place") from None
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


def atomic_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` in UTF-8 to `path` in one step."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def _refuse_special(target: pathlib.Path) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}; choose another place") from None
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise InputError(f"{target}: is {kind} and is not replaced; give the path of a regular file")


def _umask() -> int:
    # The mask can only be read by setting it; another thread's file of this instant would be created stricter, never
    # laxer.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
