"""Source files of a user's own code, told from their earlier selves."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pathlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from typing import Any

from connectivity_hooks.untrusted import open_regular

_read: dict[str, tuple[object, str]] = {}
"""Digests of files as they were when their modules were first seen, by module: (its spec, digest)."""


def sources_of(things: Iterable[object]) -> dict[str, list[str]]:
    """Return digests of the files that modules, functions, classes or objects come from, and of files beside them.

    Beside are the files, in the same folder or below it, of every module that is loaded by now; of a package's module,
    those of the package. Installed packages, the standard library and this project stand for themselves: of them the
    one file is looked at. A file that was edited after it was loaded has both digests.

    Returns:
        Digests by name from the folder on; several where files of one name are in several folders.
    """
    found: dict[str, set[str]] = {}
    for module in dict.fromkeys(filter(None, map(module_of, things))):
        for name, digest in _with_neighbours(module):
            found.setdefault(name, set()).add(digest)
    return {name: sorted(digests) for name, digests in sorted(found.items())}


def remember(module: types.ModuleType) -> None:
    """Digest a module that was just loaded, and what it loaded, before anybody edits a file."""
    sources_of([module])


def file_digest(file: pathlib.Path) -> str:
    """Return the sha256 of a regular file's bytes."""
    with open_regular(file) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def module_of(thing: Any) -> types.ModuleType | None:
    """Return the module that a thing, or else its class, was defined in; what wraps it is looked through."""
    if isinstance(thing, types.ModuleType):
        return thing
    while isinstance(thing, functools.partial):
        thing = thing.func
    if callable(thing) and not isinstance(thing, type):
        thing = inspect.unwrap(thing)
    if not isinstance(thing, (type, types.FunctionType, types.MethodType)):
        thing = type(thing)
    return sys.modules.get(str(thing.__module__))


def source_file(module: types.ModuleType) -> pathlib.Path | None:
    """Return the file of a module; None where it is a part of the interpreter, compiled, or typed in."""
    name = vars(module).get("__file__")
    file = _resolved(name) if isinstance(name, str) and name.endswith(".py") else None
    return file if file is not None and file.is_file() else None


def source_digest(module: types.ModuleType) -> str | None:
    """Return the digest of a module's file, as it was loaded and as it is now; None where it has none."""
    file = source_file(module)
    if file is None:
        return None
    spec, now = vars(module).get("__spec__"), file_digest(file)
    if module.__name__ not in _read or _read[module.__name__][0] is not spec:  # a module loaded again has a new one
        _read[module.__name__] = (spec, now)
    loaded = _read[module.__name__][1]
    return now if loaded == now else f"{loaded}, then {now}"


def is_own(module: types.ModuleType) -> bool:
    """Say whether a module is a user's own: neither installed, nor of Python, nor of this project."""
    name = vars(module).get("__file__")
    if not isinstance(name, str):
        return module.__name__ == "__main__"  # typed in
    if module.__name__.startswith("connectivity_hooks") or {"site-packages", "dist-packages"} & set(
        pathlib.PurePath(name).parts
    ):
        return False
    return not any(_resolved(name).is_relative_to(folder) for folder in _of_python())


def _with_neighbours(module: types.ModuleType) -> Iterator[tuple[str, str]]:
    file, digest = source_file(module), source_digest(module)
    if file is None or digest is None:
        return
    yield file.name, digest
    if not is_own(module):
        return
    folder = _folder(module, file)
    for name, other in list(sys.modules.items()):
        # The script that is run changes for reasons of its own; where it is meant, it was yielded above.
        if name == "__main__" or not isinstance(other, types.ModuleType) or not is_own(other):
            continue
        there = source_file(other)
        digest = source_digest(other) if there is not None and there.is_relative_to(folder) else None
        if there is not None and digest is not None:
            yield there.relative_to(folder).as_posix(), digest


def _folder(module: types.ModuleType, file: pathlib.Path) -> pathlib.Path:
    """Return the folder of a file, or of the whole package it is in."""
    folder = file.parent
    package = module.__package__ if isinstance(module.__package__, str) else ""
    for _ in range(package.count(".")):
        folder = folder.parent
    return folder


@functools.cache
def _resolved(name: str) -> pathlib.Path:
    return pathlib.Path(os.path.realpath(name))


@functools.cache
def _of_python() -> tuple[pathlib.Path, ...]:
    return tuple(_resolved(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
