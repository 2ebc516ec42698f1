"""The methods and adapters that the loaded plugins offer, looked up by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

from connectivity_hooks.contracts.adapter import Adapter
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.command import Command
from connectivity_hooks.contracts.condition import Condition
from connectivity_hooks.contracts.correction import NONE, Correction
from connectivity_hooks.contracts.operation import Operation
from connectivity_hooks.contracts.reporter import Reporter
from connectivity_hooks.errors import UsageError, near_matches, one_line
from connectivity_hooks.registry.loading import Broken, Loaded, Origin, PluginFault, installed, load
from connectivity_hooks.registry.offers import Offers, offers_of
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.warning import warn_unraised

T = TypeVar("T")

BLOCKED = "CONNECTIVITY_HOOKS_NO_PLUGINS"

_LONGEST_SHOWN = 80  # of what is no name: a line of a terminal
_INSTALL = "leave it out, or install a plugin that does ('connectivity-hooks plugins' lists what is there)"


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered class and the plugin it comes from."""

    name: str
    cls: type[T]
    origin: Origin


class Registry:
    """What the loaded plugins offer.

    Args:
        loaded: The result of `loading.load`.
        shut_out: What the user left out, in words; empty where nothing was.

    Attributes:
        hook: Calls the notification hooks of every plugin that serves.
        plugins: The plugins that serve.
        broken: The plugins that were set aside, and why.
        shut_out: As given.
        conditions: Registered conditions by name; likewise `builders`, `aligners`, `corrections`,
            `reporters`.
        adapters: Registered model adapters by prefix.
        commands: Registered commands by name.
        operations: What plugins teach of operations, by the operation's name.

    Raises:
        UsageError: Two plugins offer something of one kind under one name.
    """

    def __init__(self, loaded: Loaded, shut_out: str = "") -> None:
        offers, faulty = _offers(loaded)
        self.shut_out = shut_out
        self.hook = loaded.manager.hook
        self.plugins: tuple[Origin, ...] = tuple(offers)
        self.broken: tuple[Broken, ...] = (*loaded.broken, *faulty)
        self.conditions: dict[str, Entry[Condition]] = _merged(offers, "condition")
        self.builders: dict[str, Entry[Builder]] = _merged(offers, "builder")
        self.aligners: dict[str, Entry[Aligner]] = _merged(offers, "aligner")
        self.corrections: dict[str, Entry[Correction]] = _merged(offers, "correction")
        self.reporters: dict[str, Entry[Reporter]] = _merged(offers, "reporter")
        self.adapters: dict[str, Entry[Adapter]] = _merged(offers, "adapter")
        self.commands: dict[str, Entry[Command]] = _merged(offers, "command")
        self.operations: dict[str, Entry[Operation]] = _merged(offers, "operation")

    def condition(self, name: str) -> type[Condition]:
        """Return the condition of that name; raise `UsageError` with near matches."""
        return self._find(self.conditions, "condition", name)

    def builder(self, name: str, beside: Sequence[str] = ()) -> type[Builder]:
        """Return the builder of that name; raise `UsageError` with near matches, `beside` among them."""
        return self._find(self.builders, "builder", name, beside)

    def aligner(self, name: str) -> type[Aligner]:
        """Return the aligner of that name; raise `UsageError` with near matches."""
        return self._find(self.aligners, "aligner", name)

    def correction(self, name: str) -> type[Correction]:
        """Return the correction of that name; raise `UsageError` with near matches, no correction at all among them."""
        return self._find(self.corrections, "correction", name, beside=[NONE])

    def reporter(self, name: str) -> type[Reporter]:
        """Return the reporter of that name; raise `UsageError` with near matches."""
        return self._find(self.reporters, "reporter", name)

    def adapter(self, prefix: str) -> Adapter:
        """Return the adapter of that prefix; raise `UsageError` with near matches."""
        return self._find(self.adapters, "model adapter", prefix)()

    def adapter_of(self, model: nn.Module) -> Adapter | None:
        """Return the one adapter that claims `model`, or None; raise `UsageError` if several do."""
        adapters = [entry.cls() for entry in self.adapters.values()]
        claiming = [adapter for adapter in adapters if _claims(adapter, model)]
        if len(claiming) > 1:
            names = ", ".join(adapter.prefix for adapter in claiming)
            raise UsageError(f"several adapters claim {type(model).__name__}: {names}; name the layers, or block one")
        return claiming[0] if claiming else None

    def notify(self, hook: str, **news: object) -> None:
        """Call a notification hook of every plugin; one that fails is named in a warning and spoils nothing."""
        try:
            getattr(self.hook, hook)(**news)
        except Exception as error:  # a stranger's plugin may raise anything
            warn_unraised(f"a plugin failed in {hook}: {one_line(error)}")

    def _find(self, entries: Mapping[str, Entry[T]], kind: str, name: str, beside: Sequence[str] = ()) -> type[T]:
        if not isinstance(name, str):
            raise UsageError(f"{kind}: expected one name a call, found {repr(name)[:_LONGEST_SHOWN]}")
        if name in entries:
            return entries[name].cls
        # What was asked for may be what a plugin that was set aside would have given.
        aside = "".join(f"; set aside: {broken.origin}: {broken.reason}" for broken in self.broken)
        if self.shut_out:  # or a plugin that the user left out
            aside = f"; {self.shut_out}{aside}"
        none = "no plugin that is loaded offers one" if self.shut_out else f"no installed plugin offers one; {_INSTALL}"
        known = near_matches(name, [*entries, *beside]) if entries else none
        raise UsageError(f"unknown {kind} {name!r}; {known}{aside}")


@functools.lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of the installed plugins, loaded on first use.

    The environment variable ``CONNECTIVITY_HOOKS_NO_PLUGINS`` set to ``1`` loads none; a comma-separated list of names
    leaves those out. The command line's ``--no-plugins`` and ``--block`` set it.
    """
    setting = os.environ.get(BLOCKED, "").strip()
    if setting == "1":
        return Registry(load([]), f"plugins are switched off (--no-plugins, or {BLOCKED}=1)")
    blocked, entries = {name.strip() for name in setting.split(",")}, installed()
    found = sorted({entry.name for entry in entries} & blocked)
    words = f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} blocked (--block, or {BLOCKED})" if found else ""
    return Registry(load(entries, blocked), words)


def function_of(name: str) -> Callable[..., Any] | None:
    """Return the function that a plugin's command of that name is in Python; None where there is none."""
    entry = registry().commands.get(name)
    if entry is None:
        return None
    with guarded_call(f"command {name}"):
        return entry.cls().function()


def _claims(adapter: Adapter, model: nn.Module) -> bool:
    with guarded_call(f"adapter {adapter.prefix}"):
        return adapter.claims(model)


def _offers(loaded: Loaded) -> tuple[dict[Origin, Offers], list[Broken]]:
    offers: dict[Origin, Offers] = {}
    faulty: list[Broken] = []
    for plugin, origin in loaded.origins.items():
        try:
            offers[origin] = offers_of(loaded.manager, plugin)
        except PluginFault as fault:  # the whole plugin goes, its notifications too: half of one would surprise
            loaded.manager.unregister(name=plugin)
            faulty.append(Broken(origin, one_line(fault)))
    return offers, faulty


def _merged(offers: Mapping[Origin, Offers], kind: str) -> dict[str, Entry[Any]]:
    entries: dict[str, Entry[Any]] = {}
    for origin, offered in offers.items():
        for name, cls in offered[kind].items():
            other = entries.setdefault(name, Entry(name, cls, origin))
            if other.origin != origin:
                raise UsageError(
                    f"two {kind}s are named {name!r}: from {other.origin} and {origin}; "
                    f"uninstall one, or leave it out with {BLOCKED}={origin.plugin}"
                )
    return dict(sorted(entries.items()))
