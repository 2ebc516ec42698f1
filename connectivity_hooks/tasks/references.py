"""References to code, ``FILE.py:callable?arg=value`` or ``package.module:callable?arg=value``, and calling them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import pathlib
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.errors import ConnectivityError, InputError, UsageError, near_matches, one_line
from connectivity_hooks.sources import remember
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.untrusted import parse_literal

_SHOWN = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Reference:
    """A parsed ``home:name?arg=value&…``.

    Attributes:
        home: A file, a module, or the prefix of a model adapter.
        name: What to take from there.
        arguments: Values as Python literals, or text where they are none.
    """

    home: str
    name: str
    arguments: dict[str, Any]

    @property
    def is_code(self) -> bool:
        """Whether it names a file or a dotted module, rather than a prefix."""
        return self.home.endswith(".py") or "/" in self.home or "." in self.home


def parse(spec: str) -> Reference:
    """Parse a reference; raise `UsageError` when it is not one."""
    body, _, query = spec.partition("?")
    home, separator, name = body.rpartition(":")
    if _CONTROL.search(body):
        raise UsageError(f"{_shown(spec)}: has control characters, which no name has")
    if not separator or not home or not name:
        raise UsageError(f"{spec!r}: expected PREFIX:NAME, FILE.py:callable or package.module:callable")
    return Reference(home, name, read_arguments(spec, query))


def read_arguments(spec: str, query: str) -> dict[str, Any]:
    """Return the arguments after the question mark of what was typed; raise `UsageError` where they are none."""
    arguments = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{spec!r}: expected ?argument=value&argument=value, found {part!r}")
        arguments[key] = _literal(key, value)
    return arguments


def resolve(reference: Reference) -> Callable[..., Any]:
    """Import what a reference names.

    Raises:
        InputError: The file or module is missing or fails while it is imported.
        UsageError: It has nothing callable of that name.
    """
    module = _import_file(reference.home) if reference.home.endswith(".py") else _import_module(reference.home)
    remember(module)
    with guarded_call(f"{reference.home}:{reference.name} fails"):  # a module may look names up by code of its own
        found = getattr(module, reference.name, None)
    if found is None:
        public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UsageError(f"{reference.home} has no {reference.name!r}; {near_matches(reference.name, public)}")
    if not callable(found):
        raise UsageError(f"{reference.home}:{reference.name} is a {type(found).__name__}, expected a function or class")
    function: Callable[..., Any] = found
    return function


def loaded(spec: str) -> types.ModuleType | None:
    """Return the module that a reference names, where it names one and was resolved before."""
    try:
        home = parse(spec).home
    except ConnectivityError:
        return None
    return sys.modules.get(_name_of(pathlib.Path(home)) if home.endswith(".py") else home)


def call(reference: Reference, function: Callable[..., Any]) -> Any:
    """Call what a reference names with its arguments; its own errors become one line.

    Raises:
        InputError: The call fails.
    """
    with guarded_call(f"{reference.home}:{reference.name} fails"):
        return function(**reference.arguments)


def _literal(key: str, text: str) -> Any:
    try:
        return parse_literal(text)
    except Exception as error:  # Python's own parser gives up in many ways
        raise UsageError(f"?{key}={_shown(text)}: cannot be read: {one_line(error, 120)}") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _import_file(file: str) -> types.ModuleType:
    path = pathlib.Path(file)
    try:
        there = path.is_file()
    except OSError as error:
        raise InputError(f"{_shown(file)}: cannot be read: {error.strerror}; give FILE.py:callable") from None
    if not there:
        raise InputError(f"{file}: no such file; give FILE.py:callable")
    name = _name_of(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))  # so that the file finds its neighbours
    try:
        with guarded_call(f"{file}: fails while it is imported"):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        with contextlib.suppress(ValueError):  # the file itself may have taken it away
            sys.path.remove(str(path.resolve().parent))
    return module


def _name_of(path: pathlib.Path) -> str:
    return f"_connectivity_hooks_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"


def _import_module(name: str) -> types.ModuleType:
    with guarded_call(f"module {name}: cannot be imported"):
        return importlib.import_module(name)
