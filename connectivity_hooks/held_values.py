"""The plain values and tensors that a user's own code holds and reads: what its source file does not say."""

from __future__ import annotations

import functools
import hashlib
import inspect
import linecache
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.sources import is_own, module_of, source_digest

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
# Values in values in values: what a person writes by hand is not nested deeper.
_DEEPEST = 8


def values_digest(*things: object) -> str:
    """Return a digest of the values that functions, classes and objects hold or read.

    Followed are attributes, defaults, closures, arguments of ``functools.partial``, and the globals that a function
    names, through functions, classes and objects of a user's own. Other objects count by their class alone.
    """
    digest, seen = hashlib.sha256(), set[int]()
    for thing in things:
        for word in _words(thing, seen, 0):
            digest.update(word + b"\0")
    return digest.hexdigest()


def module_digest(model: nn.Module) -> str:
    """Return a digest of a module without its weights: classes, plain attributes, and buffers that are not saved."""
    digest, saved = hashlib.sha256(), model.state_dict(keep_vars=True).keys()
    for name, module in model.named_modules():
        digest.update(f"{name}:{type(module).__qualname__}\0".encode())
        for key, value in sorted(vars(module).items()):
            if _is_plain(value):
                digest.update(f"{key}={value!r}\0".encode(errors="backslashreplace"))
    for name, buffer in model.named_buffers():
        if name not in saved:
            digest.update(name.encode() + tensor_digest(buffer).encode())
    return digest.hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's type, shape and bytes; of a kind that has no bytes, of what it is shown as."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    try:
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    except (RuntimeError, TypeError, NotImplementedError):
        digest.update(type(tensor).__qualname__.encode())
    return digest.hexdigest()


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(each) for each in value)
    return isinstance(value, _PLAIN)


def _words(thing: Any, seen: set[int], depth: int) -> Iterator[bytes]:
    if isinstance(thing, _PLAIN):
        yield repr(thing).encode(errors="backslashreplace")
    elif isinstance(thing, Tensor):
        yield tensor_digest(thing).encode()
    elif id(thing) not in seen and depth < _DEEPEST:
        seen.add(id(thing))
        yield type(thing).__qualname__.encode(errors="backslashreplace")
        for name, value in _parts(thing):
            yield repr(name).encode(errors="backslashreplace")
            yield from _words(value, seen, depth + 1)


def _parts(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what a thing is made of, each with a plain name."""
    if isinstance(thing, dict):
        yield from ((key, value) for key, value in thing.items() if isinstance(key, _PLAIN))
    elif isinstance(thing, (tuple, list)):
        yield from enumerate(thing)
    elif isinstance(thing, (set, frozenset)):
        yield from enumerate(sorted(repr(value) for value in thing if isinstance(value, _PLAIN)))
    elif isinstance(thing, functools.partial):
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
    elif isinstance(thing, types.MethodType):
        yield from (("self", thing.__self__), ("func", thing.__func__))
    elif isinstance(thing, (staticmethod, classmethod)):
        yield "func", thing.__func__
    elif isinstance(thing, types.FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, type):
        yield from _of_class(thing)
    elif _followed(type(thing)):
        yield from (*sorted(getattr(thing, "__dict__", {}).items()), ("class", type(thing)))


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if _followed(base):
            for name, value in vars(base).items():
                if not name.startswith("_abc") and name not in ("__module__", "__dict__", "__weakref__"):
                    yield name, value.fget if isinstance(value, property) else value


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    wrapped = inspect.unwrap(function)
    if wrapped is not function:
        yield "wrapped", wrapped
    code, module = function.__code__, module_of(function)
    yield from (("defaults", function.__defaults__), ("keywords", function.__kwdefaults__))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    if module is None or not is_own(module):
        return
    # Of what was typed in the lines may be known, the code always is.
    yield "source", source_digest(module) or "".join(linecache.getlines(code.co_filename)) or code.co_code
    for name in sorted(_names(code) & function.__globals__.keys()):
        yield name, function.__globals__[name]


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code, and the code in it, may look up."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _followed(thing: Any) -> bool:
    module = module_of(thing)
    return module is not None and is_own(module)
