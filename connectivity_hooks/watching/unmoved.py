"""Reading a training's own data without moving it: on a copy of its state, and every generator put back after."""

from __future__ import annotations

import copy
import gc
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from connectivity_hooks.errors import one_line

T = TypeVar("T")

# A list of more than about a thousand entries is data: the copy has the same entries in a list of its own.
_LONG = 10_000
# Arrays up to 16 MB may be somebody's order of samples, which is state; 64 MB of them are copied without being noticed.
_LARGE = 16_000_000
_COPIED = 64_000_000
# More than this many objects hold no state that anybody wrote by hand; looking at them takes a tenth of a second.
_LOOKED_AT = 100_000

_PLAIN = (str, bytes, int, float, complex, bool, type(None), types.ModuleType, range, slice, torch.dtype, torch.device)
_CONTAINERS = (list, dict, set, deque)
_OURS = {"torch", "numpy", *sys.stdlib_module_names}  # what draws there draws from the global states


@dataclass(frozen=True)
class Unmoved(Generic[T]):
    """What may be read.

    Attributes:
        source: A copy, or the thing itself.
        fault: Why it is not a copy, in words; empty where it is.
    """

    source: T
    fault: str


@contextmanager
def unmoved(thing: T) -> Iterator[Unmoved[T]]:
    """Yield what may be read in the block in place of `thing`, so that this leaves it as it was.

    It is a copy that shares the data, that is whatever is large, and nothing else: counters, positions, samplers and
    generators are its own. Where no copy can be made (an open file, a generator) it is the thing itself. Either way
    every random generator that can be reached from it is afterwards as it was: also those in closures, and in globals
    that its functions name. The global random states are not looked after here.
    """
    things = list(_reachable(thing))
    with generators_kept(things):
        try:
            source, fault = copy.deepcopy(thing, _shared(things)), ""
        except Exception as error:  # whatever somebody's own object raises when it is copied
            source, fault = thing, one_line(error, 120)
        if isinstance(source, DataLoader) and not fault:
            source._iterator = None  # the workers are the other one's
        yield Unmoved(source, fault)


@contextmanager
def generators_kept(things: Iterable[object]) -> Iterator[None]:
    """Leave the random generators among `things` as they were: PyTorch's, numpy's and Python's."""
    restore = [put_back for thing in things for put_back in _put_back(thing)]
    try:
        yield
    finally:
        for put_back in restore:
            put_back()


def _put_back(thing: object) -> Iterator[Callable[[], object]]:
    if isinstance(thing, torch.Generator):
        state = thing.get_state()
        yield lambda: thing.set_state(state)
    elif isinstance(thing, np.random.Generator):
        bits, words = thing.bit_generator, copy.deepcopy(thing.bit_generator.state)
        yield lambda: setattr(bits, "state", words)
    elif isinstance(thing, np.random.RandomState):
        old = thing.get_state()
        yield lambda: thing.set_state(old)
    elif isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
        own = thing.getstate()
        yield lambda: thing.setstate(own)


def _reachable(thing: object) -> Iterator[object]:
    """Yield what `thing` is made of, from the outside in; what is large, and what holds no state, is not entered."""
    waiting, seen = deque([thing]), {id(thing)}
    while waiting and len(seen) < _LOOKED_AT:
        each = waiting.popleft()
        yield each
        for part in _parts(each):
            if id(part) not in seen and not isinstance(part, _PLAIN):
                seen.add(id(part))
                waiting.append(part)


def _parts(thing: object) -> Iterable[object]:
    if isinstance(thing, types.FunctionType):
        return _named_by(thing)
    if isinstance(thing, type):
        return () if _is_ours(thing.__module__) else [value for base in thing.__mro__ for value in vars(base).values()]
    if isinstance(thing, (Tensor, np.ndarray, torch.Generator, np.random.Generator, random.Random)) or _is_long(thing):
        return ()
    return gc.get_referents(thing)


def _named_by(function: types.FunctionType) -> list[object]:
    """Return what a function can reach: its closure and defaults, and the globals, of other modules too, it names."""
    if _is_ours(function.__module__):
        return []
    names = _names(function.__code__)
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [vars(value) for value in found if isinstance(value, types.ModuleType) and not _is_ours(value.__name__)]
    found += [inside[name] for inside in modules for name in names if name in inside]
    found += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return [*found, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]


def _names(code: types.CodeType) -> list[str]:
    inner = [name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (an empty one raises)
    except ValueError:
        return False
    return True


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _OURS


def _is_long(thing: object) -> bool:
    return isinstance(thing, _CONTAINERS) and sys.getsizeof(thing) > _LONG


def _shared(things: Iterable[object]) -> dict[int, Any]:
    """Return for `copy.deepcopy` what it should take as the copy of what is large, and of what it cannot copy."""
    memo: dict[int, Any] = {}
    copied = 0
    for thing in things:
        if isinstance(thing, torch.Generator):
            memo[id(thing)] = torch.Generator(thing.device).set_state(thing.get_state())
        elif isinstance(thing, _BaseDataLoaderIter):
            memo[id(thing)] = thing  # running workers stay where they are
        elif _is_long(thing):
            memo[id(thing)] = copy.copy(thing)
        elif isinstance(thing, Tensor) and (thing.layout != torch.strided or thing.is_nested):
            memo[id(thing)] = thing  # its size is not to be had in one way, and no loader writes to such data
        elif isinstance(thing, (Tensor, np.ndarray)):
            copied += thing.nbytes
            if thing.nbytes > _LARGE or copied > _COPIED:
                memo[id(thing)] = thing
    return memo
