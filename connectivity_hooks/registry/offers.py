"""What one plugin offers: the classes its hooks return, checked before anyone can choose them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, get_args

import pluggy

from connectivity_hooks.contracts.adapter import Adapter
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import ALL, BEST, Builder, Role
from connectivity_hooks.contracts.command import Command
from connectivity_hooks.contracts.condition import Condition
from connectivity_hooks.contracts.correction import NONE, Correction
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.operation import Operation
from connectivity_hooks.contracts.options import option_fields
from connectivity_hooks.contracts.reporter import Reporter
from connectivity_hooks.errors import one_line
from connectivity_hooks.registry.loading import PluginFault

Offers: TypeAlias = dict[str, dict[str, type[Any]]]

CONTRACTS: dict[str, type] = {
    "condition": Condition,
    "builder": Builder,
    "aligner": Aligner,
    "correction": Correction,
    "reporter": Reporter,
    "adapter": Adapter,
    "command": Command,
    "operation": Operation,
}

NAME = re.compile(r"[a-z][a-z0-9-]*")
OPERATION = re.compile(r"\w+\.\w+", re.ASCII)
"""Namespace and name, as PyTorch has them."""


def offers_of(manager: pluggy.PluginManager, plugin: str) -> Offers:
    """Return {kind: {name: class}} of everything `plugin` offers.

    Raises:
        PluginFault: A hook raises or returns something else than classes of its kind, or one of them has no valid
            name or options; the message names the hook and the class.
    """
    return {kind: _offered(manager, plugin, kind) for kind in CONTRACTS}


def _offered(manager: pluggy.PluginManager, plugin: str, kind: str) -> dict[str, type[Any]]:
    hook = f"register_{kind}s"
    offered: dict[str, type[Any]] = {}
    for cls in _returned(manager, plugin, hook):
        name = _checked_name(cls, kind, hook)
        if name in offered:
            raise PluginFault(f"{hook}: two {kind}s are named {name!r}: {offered[name].__name__} and {cls.__name__}")
        offered[name] = cls
    return offered


def _returned(manager: pluggy.PluginManager, plugin: str, hook: str) -> Iterator[Any]:
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin_name != plugin:
            continue
        try:
            classes = implementation.function()  # called directly: pluggy drops a None, a return that was forgotten
        except (Exception, SystemExit) as error:
            raise PluginFault(f"{hook}: {one_line(error)}") from error
        if not isinstance(classes, Sequence):
            raise PluginFault(f"{hook}: expected a list of classes, found {classes!r}")
        yield from classes


def _checked_name(cls: Any, kind: str, hook: str) -> str:
    contract = CONTRACTS[kind]
    if not (isinstance(cls, type) and issubclass(cls, contract)):
        raise PluginFault(f"{hook}: expected subclasses of {contract.__name__}, found {cls!r}")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise PluginFault(f"{hook}: {cls.__name__} does not define {missing}")
    attribute = "prefix" if kind == "adapter" else "name"
    name, allowed = getattr(cls, attribute, None), OPERATION if kind == "operation" else NAME
    if not (isinstance(name, str) and allowed.fullmatch(name)):
        raise PluginFault(f"{hook}: {cls.__name__}.{attribute}: expected {allowed.pattern}, found {name!r}")
    if name == NONE and kind == "correction":
        raise PluginFault(f"{hook}: {cls.__name__}.{attribute}: {name!r} stands for no correction; choose another name")
    if issubclass(cls, Builder):
        _check_builder(cls, hook)
    if issubclass(cls, Method):
        _check_options(cls, hook)
    return name


def _check_builder(cls: type[Builder], hook: str) -> None:
    if cls.name in (ALL, BEST):
        raise PluginFault(f"{hook}: {cls.__name__}.name: {cls.name!r} stands for several; choose another name")
    if cls.role not in (None, *get_args(Role)):
        expected = ", ".join(map(repr, get_args(Role)))
        raise PluginFault(f"{hook}: {cls.__name__}.role: expected {expected} or None, found {cls.role!r}")


def _check_options(cls: type[Method], hook: str) -> None:
    try:
        fields = option_fields(cls.Options)
        cls.Options()
    except Exception as error:  # annotations are evaluated here, so a stranger's code may raise anything
        raise PluginFault(f"{hook}: {cls.__name__}.Options: {error}") from error
    if any(field.name == "seed" for field in fields):
        raise PluginFault(f"{hook}: {cls.__name__}.Options: 'seed' is every method's own, read self.seed instead")
