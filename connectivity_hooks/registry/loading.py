"""Loading plugins from entry points.

pluggy's own loader silently drops the second plugin of a name and accepts a misspelt hook; this one does neither,
and a plugin that cannot be used is set aside with its reason instead of ending the program.
"""

from __future__ import annotations

import importlib.metadata
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

from connectivity_hooks.contracts import hookspecs
from connectivity_hooks.errors import ConnectivityError, UsageError, near_matches, one_line


class PluginFault(ConnectivityError):
    """A plugin breaks its contract; the message is the reason it is set aside."""


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from."""

    plugin: str
    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version}, {self.module})"


@dataclass(frozen=True)
class Broken:
    """A plugin that was set aside, and why."""

    origin: Origin
    reason: str


@dataclass(frozen=True)
class Loaded:
    """Every plugin found: those that serve, by name, and those set aside."""

    manager: pluggy.PluginManager
    origins: dict[str, Origin]
    broken: tuple[Broken, ...]


def load(entry_points: Iterable[importlib.metadata.EntryPoint], blocked: Iterable[str] = ()) -> Loaded:
    """Import and register each entry point whose name is not in `blocked`.

    Raises:
        UsageError: Two distributions give a plugin of one name.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    shut_out = set(blocked)
    origins: dict[str, Origin] = {}
    broken: list[Broken] = []
    for entry in _distinct(entry for entry in entry_points if entry.name not in shut_out):
        origin = _origin(entry)
        try:
            _register(manager, entry)
        except (
            Exception,
            SystemExit,
        ) as error:  # a stranger's module may raise anything while it is imported
            broken.append(Broken(origin, one_line(error)))
        else:
            origins[entry.name] = origin
    return Loaded(manager, origins, tuple(broken))


def installed() -> list[importlib.metadata.EntryPoint]:
    """Return the entry points of every installed distribution, in order of name."""
    return sorted(importlib.metadata.entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name)


def _distinct(entry_points: Iterable[importlib.metadata.EntryPoint]) -> list[importlib.metadata.EntryPoint]:
    seen: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in entry_points:
        first = seen.setdefault(entry.name, entry)
        if _identity(first) != _identity(entry):
            raise UsageError(
                f"two plugins are named {entry.name!r}: {_origin(first)} and {_origin(entry)}; uninstall one of them"
            )
    return list(seen.values())


def _identity(entry: importlib.metadata.EntryPoint) -> tuple[str, str]:
    # Without the version: of an editable and an installed copy the first on sys.path is what an import gets.
    origin = _origin(entry)
    return re.sub(r"[-_.]+", "-", origin.distribution).lower(), origin.module


def _origin(entry: importlib.metadata.EntryPoint) -> Origin:
    distribution = entry.dist
    if distribution is None:
        return Origin(entry.name, "no distribution", "?", entry.value)
    return Origin(entry.name, distribution.name or "unnamed distribution", distribution.version or "?", entry.value)


def _register(manager: pluggy.PluginManager, entry: importlib.metadata.EntryPoint) -> None:
    module = entry.load()
    if not isinstance(module, types.ModuleType):
        found = type(module).__name__
        raise PluginFault(f"the entry point gives a {found}, expected a module of hook implementations")
    try:
        _register_hooks(manager, module, entry.name)
    except Exception:
        if manager.has_plugin(entry.name):  # pluggy before 1.7 keeps the hooks it came to before the wrong one
            manager.unregister(name=entry.name)
        raise


def _register_hooks(manager: pluggy.PluginManager, module: types.ModuleType, name: str) -> None:
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as error:
        raise PluginFault(f"{error}; was it written for another version of connectivity-hooks?") from error
    callers = manager.get_hookcallers(module)
    if not callers:
        raise PluginFault(
            "the module implements no hook; mark its functions with connectivity_hooks.contracts.hookimpl"
        )
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = next(caller.name for caller in callers if not caller.has_spec())
        known = [hook for hook in vars(manager.hook) if getattr(manager.hook, hook).has_spec()]
        raise PluginFault(f"unknown hook {unknown!r}; {near_matches(unknown, known)}") from error
