"""Code that is not ours (a model, a loss, a loader, a logger), called through one guard, and what it may hand back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from connectivity_hooks.errors import ConnectivityError, InputError, one_line

_END = object()


@contextlib.contextmanager
def guarded_call(doing: object) -> Iterator[None]:
    """Turn whatever a stranger's code raises in the block into one `InputError`; interruptions pass.

    Errors of this package pass as they are, and so does a lack of device memory, of which the command line knows more.

    Args:
        doing: What fails, as the first words of the message; ``str`` of it is taken only then.

    Raises:
        InputError: ``DOING: REASON``.
    """
    try:
        with no_exit(doing):
            yield
    except (ConnectivityError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(f"{doing}: {one_line(error, 200)}") from error


@contextlib.contextmanager
def no_exit(doing: object) -> Iterator[None]:
    """Turn what would end the program, such as ``sys.exit()`` in a model, into an `InputError`; other errors pass.

    For calls through which exceptions of ours travel, such as those of hooks that end a pass early.

    Raises:
        InputError: ``DOING: REASON``.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or is_interruption(error):
            raise
        raise InputError(f"{doing}: {one_line(error, 200)}") from error


def is_interruption(error: BaseException) -> bool:
    """Say whether a person or a signal ends the program, rather than code that was called.

    ``sys.exit()`` in a model is a fault of the model; in a handler of SIGTERM it is the end of a training.
    """
    if isinstance(error, Exception):
        return False
    return isinstance(error, KeyboardInterrupt) or bool(_codes(error) & _handlers())


def guarded_batches(batches: Iterable[Any], whose: str) -> Iterator[Any]:
    """Yield what a stranger's loader gives; only the asking is guarded, not what is done with a batch.

    Raises:
        InputError: It fails.
    """
    failing = f"{whose}: fails while it gives its batches"
    with guarded_call(failing):
        iterator = iter(batches)
    while True:
        with guarded_call(failing):
            batch = next(iterator, _END)
        if batch is _END:
            return
        yield batch


@dataclass(frozen=True)
class Pass:
    """The first words about a forward pass that fails; made only then."""

    model: nn.Module
    inputs: object

    def __str__(self) -> str:
        shapes = " and ".join(str(tuple(leaf.shape)) for leaf in tree_leaves(self.inputs) if isinstance(leaf, Tensor))
        return f"the model ({type(self.model).__name__}) on a batch of inputs {shapes}"


def unlike_plain(value: object) -> str | None:
    """Return what a value is, where it is not a plain tensor: dense, with values, of no other class than PyTorch's."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if type(value) not in (Tensor, nn.Parameter):
        return f"a tensor of the class {type(value).__name__}"
    if value.is_nested:
        return "a nested tensor"
    if value.layout != torch.strided or value.is_quantized:
        return f"a {'quantized' if value.is_quantized else 'sparse'} tensor"
    return "a tensor on the meta device, without values" if value.is_meta else None


def unlike_floats(value: object) -> str | None:
    """Return what a value is, where it is not a plain tensor of real floating numbers."""
    found = unlike_plain(value)
    if found is None and isinstance(value, Tensor) and not value.is_floating_point():
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return found


def _codes(error: BaseException) -> set[CodeType]:
    codes, trace = set(), error.__traceback__
    while trace is not None:
        codes.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    return codes


def _handlers() -> set[CodeType]:
    found = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (
        getattr(one, "__code__", None) or getattr(type(one).__call__, "__code__", None)
        for one in found
        if callable(one)
    )
    return {code for code in codes if code is not None}
